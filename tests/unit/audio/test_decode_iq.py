from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from app_core.audio.decode_iq import (
    NWR_CHANNELS_HZ,
    IqRecording,
    RawIqReader,
    channel_name,
    choose_channels,
    open_iq_recording,
    recorded_at,
)
from app_core.audio.heard import event_text
from app_core.base.errors import ConfigError, WireError
from app_core.base.iq_file import IqFormat
from app_core.eas.events import BurstHeard
from tests.unit.audio.recordings import IQ_CENTER_HZ, IQ_RATE_HZ, TEST, TORNADO, broadcast


def write_sigmf(stem: Path, **capture: object) -> Path:
    iq = broadcast((TEST, 162_475_000.0), (TORNADO, 162_500_000.0))
    iq.tofile(stem.with_name(stem.name + ".sigmf-data"))
    document = {
        "global": {"core:datatype": "cf32_le", "core:sample_rate": IQ_RATE_HZ, "core:version": "1.0.0"},
        "captures": [{"core:sample_start": 0, "core:frequency": IQ_CENTER_HZ, **capture}],
        "annotations": [],
    }
    metadata_path = stem.with_name(stem.name + ".sigmf-meta")
    metadata_path.write_text(json.dumps(document))
    return metadata_path


def told(recording: IqRecording) -> list[tuple[str, str]]:
    heard = [one for step in recording.steps() for one in step.heard]
    return [("+".join(one.channels), event_text(one.event)) for one in heard if not isinstance(one.event, BurstHeard)]


def test_every_weather_channel_in_the_band_is_decoded_on_its_own(tmp_path: Path) -> None:
    path = write_sigmf(tmp_path / "x", **{"core:datetime": "2026-05-03T12:00:01.5Z"})
    recording = open_iq_recording(path, iq_format=None, sample_rate_hz=None, center_frequency_hz=None)
    assert recording.channels_hz == (162_450_000.0, 162_475_000.0, 162_500_000.0, 162_525_000.0)
    assert recording.began_at == datetime(2026, 5, 3, 12, 0, 1, 500_000, UTC)
    assert sorted(told(recording)) == [
        ("162.475 MHz", "NNNN"),
        ("162.475 MHz", TEST),
        ("162.500 MHz", "NNNN"),
        ("162.500 MHz", TORNADO),
    ]


def test_a_channel_that_is_asked_for_is_the_only_one(tmp_path: Path) -> None:
    path = write_sigmf(tmp_path / "x")
    recording = open_iq_recording(
        path, iq_format=None, sample_rate_hz=None, center_frequency_hz=None, channels_hz=[162_500_000.0]
    )
    assert recording.began_at is None
    assert told(recording) == [("162.500 MHz", TORNADO), ("162.500 MHz", "NNNN")]


def test_the_end_of_a_recording_decides_what_is_pending(tmp_path: Path) -> None:
    path = tmp_path / "one_burst.cf32"
    broadcast((TEST, 162_475_000.0))[: round(1.41 * IQ_RATE_HZ)].tofile(path)
    recording = open_iq_recording(path, iq_format="cf32", sample_rate_hz=IQ_RATE_HZ, center_frequency_hz=IQ_CENTER_HZ)
    assert told(recording) == [("162.475 MHz", TEST)]


@pytest.mark.parametrize("iq_format", ["cf32", "cs16", "cu8"])
def test_raw_iq_of_a_pipe_is_what_a_file_would_give(tmp_path: Path, iq_format: IqFormat) -> None:
    rng = np.random.default_rng(5)
    components = rng.uniform(-0.9, 0.9, 2 * 1500).astype(np.float32)
    raw = {
        "cf32": components.astype("<f4"),
        "cs16": np.round(components * 32768).astype("<i2"),
        "cu8": np.round(components * 127.5 + 127.5).astype("u1"),
    }[iq_format].tobytes()
    read_end, write_end = os.pipe()
    os.write(write_end, raw + b"\1")
    os.close(write_end)
    reader = RawIqReader(read_end, iq_format, 1e5, 1e8)
    blocks = [reader.read(1000), reader.read(1000), reader.read(1000)]
    os.close(read_end)
    assert [len(block) for block in blocks] == [1000, 500, 0]
    tolerance = {"cf32": 0.0, "cs16": 1 / 32768, "cu8": 1 / 127.5}[iq_format]
    np.testing.assert_allclose(np.concatenate(blocks).view(np.float32), components, atol=tolerance, rtol=0)


def test_a_frequency_outside_names_the_band() -> None:
    with pytest.raises(ConfigError, match=r"100\.000 MHz: outside the recorded band of 162\.3500 to 162\.6500 MHz"):
        choose_channels(162_500_000.0, 300_000.0, [162_500_000.0, 100e6])


def test_a_channel_that_is_half_outside_is_outside() -> None:
    with pytest.raises(ConfigError, match="outside"):
        choose_channels(162_500_000.0, 100_000.0, [162_545_000.0])


def test_a_band_without_weather_radio_says_so() -> None:
    with pytest.raises(ConfigError, match=r"no NWR channel.*--channel"):
        choose_channels(100e6, 2.4e6, [])


def test_a_rate_too_low_for_a_channel_says_so() -> None:
    with pytest.raises(ConfigError, match="too few"):
        choose_channels(162_550_000.0, 16_000.0, [])


def test_all_seven_channels_fit_a_dongle() -> None:
    assert choose_channels(162_475_000.0, 250_000.0, []) == NWR_CHANNELS_HZ
    assert choose_channels(162_475_000.0, 250_000.0, [162.4e6, 162.4e6]) == (162.4e6,)


def test_names_of_channels() -> None:
    assert channel_name(162_400_000.0) == "162.400 MHz"
    assert channel_name(162_412_500.0) == "162.4125 MHz"
    assert channel_name(100e6) == "100.000 MHz"


def test_a_time_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.sigmf-meta").write_text('{"global": {}, "captures": [{"core:datetime": "yesterday"}]}')
    with pytest.raises(WireError, match="yesterday"):
        recorded_at(tmp_path / "x.sigmf-data")
    assert recorded_at(tmp_path / "y.cu8") is None

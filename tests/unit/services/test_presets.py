"""Presets: a word for the settings that everybody would write, the same for both programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from app_core.base.errors import ConfigError
from app_core.demod.channel_config import ChannelConfig
from app_core.demod.listening import Listener
from services.config_command import main
from services.decode_service import channels_of
from services.presets import CHANNEL_PRESETS, expand_channel, expand_presets
from services.sdr_service import listened_frequencies, receivers_of
from services.settings import Loaded, load
from tests.support.signals import audio_tone, complex_noise

NWR_HZ = [162_400_000 + 25_000 * number for number in range(7)]
RECEIVER = '[[receivers]]\nid = "roof"\ndriver = "rtl_tcp"\nsample_rate_hz = 1024000\npreset = "nwr"\n'


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONFIG_PATH", "REDIS_URL", "REDIS_PORT", "REDIS_DB", "HERALD_STATION", "SDR_ARGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HERALD_DATA_DIR", str(tmp_path))


def _load(folder: Path, text: str) -> Loaded:
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_one_word_gives_a_receiver_seven_channels_and_both_programs_know_them(tmp_path: Path) -> None:
    loaded = _load(tmp_path, RECEIVER)
    (receiver,) = receivers_of(loaded)
    assert (receiver.center_frequency_hz, receiver.publish_sample_rate_hz) == (162_487_500, 250_000)
    assert receiver.publish_center_frequency_hz == 162_487_500
    channels = channels_of(loaded)
    assert [channel.id for channel in channels] == [f"wx{number}" for number in range(1, 8)]
    assert [channel.frequency_hz for channel in channels] == NWR_HZ
    assert {(channel.mode.value, channel.bandwidth_hz) for channel in channels} == {("nfm", 16_000)}
    assert channels[6].name == "162.550 MHz"
    assert listened_frequencies(loaded) == {"roof": NWR_HZ}
    published_hz = receiver.publish_sample_rate_hz
    assert published_hz is not None
    for channel in channels:
        offset_hz = abs(channel.frequency_hz - 162_487_500)
        assert offset_hz > channel.bandwidth_hz / 2, "the spike at 0 Hz is on no channel"
        assert offset_hz + channel.bandwidth_hz / 2 <= 0.4 * published_hz, "no channel is in the edges of the filter"


def test_what_the_table_says_wins_over_its_preset(tmp_path: Path) -> None:
    (receiver,) = receivers_of(_load(tmp_path, RECEIVER + "publish_sample_rate_hz = 500000\n"))
    assert (receiver.center_frequency_hz, receiver.publish_sample_rate_hz) == (162_487_500, 500_000)


def test_a_file_that_lists_channels_of_the_receiver_means_those(tmp_path: Path) -> None:
    listed = '[[channels]]\nid = "mine"\nreceiver_id = "roof"\nfrequency_hz = 162550000\n'
    assert [channel.id for channel in channels_of(_load(tmp_path, RECEIVER + listed))] == ["mine"]
    other = RECEIVER.replace("roof", "shed") + listed
    ids = [channel.id for channel in channels_of(_load(tmp_path, RECEIVER + other))]
    assert ids == ["mine", *(f"shed-wx{number}" for number in range(1, 8))]


def test_ids_of_several_receivers_are_told_apart() -> None:
    receivers = [{"id": name, "driver": "soapy", "preset": "nwr"} for name in ("a", "b")]
    ids = [channel["id"] for channel in expand_presets({"receivers": receivers})["channels"]]
    assert len(ids) == 14
    assert (ids[0], ids[-1]) == ("a-wx1", "b-wx7")


def test_a_recording_keeps_its_own_centre() -> None:
    tables = expand_presets({"receivers": [{"id": "a", "driver": "replay", "path": "x", "preset": "nwr"}]})
    assert "center_frequency_hz" not in tables["receivers"][0]
    assert tables["receivers"][0]["publish_sample_rate_hz"] == 250_000


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"preset": "nwr"}, {"mode": "nfm", "bandwidth_hz": 16_000}),
        (
            {"preset": "fm_broadcast"},
            {"mode": "wfm", "stereo": True, "bandwidth_hz": 200_000, "deemphasis_us": 75, "audio_rate_hz": 48_000},
        ),
        ({"preset": "fm_broadcast", "region": "elsewhere"}, {"deemphasis_us": 50}),
        ({"preset": "fm_broadcast", "stereo": False, "audio_rate_hz": 32_000}, {"stereo": False, "deviation_hz": 75e3}),
        ({"preset": "airband"}, {"mode": "am", "bandwidth_hz": 10_000}),
        ({"preset": "airband", "spacing_hz": 8_333}, {"mode": "am", "bandwidth_hz": 6_000}),
        ({"preset": "am_broadcast"}, {"mode": "am", "bandwidth_hz": 10_000}),
        ({"preset": "am_broadcast", "region": "elsewhere", "mode": "sam"}, {"mode": "sam", "bandwidth_hz": 9_000}),
    ],
)
def test_a_channels_preset_gives_what_belongs_to_its_service(said: dict[str, Any], expected: dict[str, Any]) -> None:
    table = {"id": "c", "receiver_id": "r", "frequency_hz": 118e6} | said
    channel = ChannelConfig.model_validate(expand_channel(table)).model_dump(mode="json")
    assert {name: channel[name] for name in expected} == expected


def test_the_airband_has_a_squelch_and_a_threshold_alone_does_not_take_it_away() -> None:
    assert expand_channel({"preset": "airband"})["squelch"] == {"mode": "snr", "tail_s": 0.05}
    assert expand_channel({"preset": "airband", "squelch": {"open_db": 12}})["squelch"] == {
        "mode": "snr",
        "tail_s": 0.05,
        "open_db": 12,
    }
    kept = CHANNEL_PRESETS["airband"].settings["squelch"]
    assert kept == {"mode": "snr", "tail_s": 0.05}, "the preset itself is not changed"


def test_little_noise_is_heard_behind_a_transmission_in_the_airband() -> None:
    table = expand_channel({"id": "c", "receiver_id": "r", "frequency_hz": 118e6, "preset": "airband"})
    listener = Listener(ChannelConfig.model_validate(table), 24_000)
    iq = complex_noise(72_000, 1e-6, seed=1)
    iq[24_000:48_000] += (0.1 + audio_tone(1000.0, 24_000, 24_000, 0.05)).astype(np.complex64)
    heard = np.flatnonzero(listener.push(iq)[:, 0])
    assert heard[0] < 24_000 * 1.1
    assert heard[-1] < 24_000 * 2.12


def test_every_preset_alone_makes_a_channel() -> None:
    for name in CHANNEL_PRESETS:
        ChannelConfig.model_validate(
            expand_channel({"preset": name}) | {"id": "c", "receiver_id": "r", "frequency_hz": 1e8}
        )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (RECEIVER.replace('"nwr"', '"wx"'), "receivers.0: no preset 'wx' for a receiver; there are: nwr"),
        (RECEIVER.replace('"nwr"', "[]"), r"receivers.0: no preset \[\] for a receiver"),
        ('[[channels]]\npreset = "wx"\n', "channels.0: no preset 'wx' for a channel; there are: nwr, fm_broadcast"),
        (
            '[[channels]]\npreset = "fm_broadcast"\nregion = "mars"\n',
            "region of preset 'fm_broadcast' must be 'americas' or 'elsewhere', not 'mars'",
        ),
        ('[[channels]]\npreset = "airband"\nspacing_hz = []\n', "spacing_hz of preset 'airband' must be 25000 or 8333"),
    ],
)
def test_an_unknown_preset_or_choice_is_refused_with_the_known_ones(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^station.toml: .*{reason}"):
        _load(tmp_path, text)


def test_an_option_of_another_preset_is_no_setting(tmp_path: Path) -> None:
    text = '[[channels]]\nid = "c"\nreceiver_id = "r"\nfrequency_hz = 118e6\npreset = "airband"\nregion = "americas"\n'
    with pytest.raises(ConfigError, match=r"channels\.0\.region: no such setting"):
        channels_of(_load(tmp_path, text))


@pytest.mark.parametrize("tables", [{}, {"receivers": 5}, {"channels": "x"}, {"receivers": [3], "channels": [4]}])
def test_what_is_no_table_is_left_for_others_to_refuse(tables: dict[str, Any]) -> None:
    assert expand_presets(tables) == tables


def test_a_preset_without_an_id_is_left_for_others_to_refuse() -> None:
    assert "channels" not in expand_presets({"receivers": [{"preset": "nwr"}]})


def test_config_check_prints_what_came_of_the_presets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "station.toml"
    path.write_text(RECEIVER, encoding="utf-8")
    assert main(["check", "--config", str(path)]) == 0
    effective = orjson.loads(capsys.readouterr().out)
    assert [channel["id"] for channel in effective["channels"]] == [f"wx{number}" for number in range(1, 8)]
    assert effective["receivers"][0]["publish_sample_rate_hz"] == 250_000

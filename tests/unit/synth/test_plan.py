"""Plans that make no sense are refused before a sample is made, and the text says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app_core.base.errors import ConfigError
from app_core.eas.header import parse_header
from app_core.synth.plan import (
    ChannelPlan,
    Impairments,
    Recording,
    ScheduledAlert,
    Speech,
    StationPlan,
    Tone,
)

HEADER = "ZCZC-WXR-TOR-029095+0045-3241845-KEAX/NWS-"
CHANNEL = ChannelPlan(162_550e3, 30.0)

NONSENSE: list[tuple[str, Callable[[], object]]] = [
    ("channel at 162.55 Hz is outside the band", lambda: StationPlan((ChannelPlan(162.55, 30.0),))),
    ("channel at nan Hz is outside", lambda: StationPlan((ChannelPlan(float("nan"), 30.0),))),
    ("two channels at 162550000.0 Hz", lambda: StationPlan((CHANNEL, CHANNEL))),
    ("sample rate 240000.0 Hz is not a multiple", lambda: StationPlan((CHANNEL,), sample_rate_hz=240_000.0)),
    ("sample rate 25000.0 Hz", lambda: StationPlan((CHANNEL,), sample_rate_hz=25_000.0)),
    ("sample rate nan Hz", lambda: StationPlan((CHANNEL,), sample_rate_hz=float("nan"))),
    ("seed -1 is negative", lambda: StationPlan((CHANNEL,), seed=-1)),
    ("no centre frequency inf", lambda: StationPlan((), center_frequency_hz=float("inf"))),
    (
        "alert is for 162400000.0 Hz, where no channel is",
        lambda: StationPlan((CHANNEL,), (ScheduledAlert(162_400e3, 1.0, HEADER),)),
    ),
    ("header is wrong: not a SAME header: 'ZCZC'", lambda: ScheduledAlert(162_550e3, 1.0, "ZCZC")),
    ("cannot start at -1.0 s", lambda: ScheduledAlert(162_550e3, -1.0, HEADER)),
    ("cannot start at nan s", lambda: ScheduledAlert(162_550e3, float("nan"), HEADER)),
    ("attention signal of 99.0 s", lambda: ScheduledAlert(162_550e3, 1.0, HEADER, attention_s=99.0)),
    ("carrier-to-noise ratio of 200.0 dB", lambda: ChannelPlan(162_550e3, 200.0)),
    ("noise floor of 3.0 dBFS", lambda: Impairments(noise_dbfs=3.0)),
    ("-500.0 ppm is outside", lambda: Impairments(frequency_error_ppm=-500.0)),
    ("DC spike of 1.0 dBFS", lambda: Impairments(dc_dbfs=1.0)),
    ("IQ gain error of 7.0 dB", lambda: Impairments(iq_gain_db=7.0)),
    ("IQ phase error of 45.0 deg", lambda: Impairments(iq_phase_deg=45.0)),
    ("tone of 5000.0 Hz", lambda: Tone(5_000.0)),
    ("level 1.5 of a tone", lambda: Tone(500.0, 1.5)),
    ("no text", lambda: Speech("  ")),
    ("pause of -1.0 s", lambda: Speech("a", pause_s=-1.0)),
    ("no audio file /nowhere/at-all.wav", lambda: Recording(Path("/nowhere/at-all.wav"))),
]


@pytest.mark.parametrize(("complaint", "build"), NONSENSE, ids=[complaint for complaint, _ in NONSENSE])
def test_nonsense_is_refused_by_name(complaint: str, build: Callable[[], object]) -> None:
    with pytest.raises(ConfigError) as refused:
        build()
    assert complaint in str(refused.value)


def test_recordings_with_impossible_times_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.touch()
    with pytest.raises(ConfigError, match=r"a\.wav cannot start at -1\.0 s"):
        Recording(path, start_s=-1.0)
    with pytest.raises(ConfigError, match=r"pause of -1\.0 s"):
        Recording(path, pause_s=-1.0)


def test_a_header_may_be_fields_or_text() -> None:
    assert ScheduledAlert(162_550e3, 0.0, parse_header(HEADER)).header_text == HEADER
    assert ScheduledAlert(162_550e3, 0.0, HEADER).header_text == HEADER

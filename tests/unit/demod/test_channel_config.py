"""What a channel may be: defaults by mode, and refusals in words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from app_core.demod.channel_config import ChannelConfig, Mode


def _channel(**settings: Any) -> ChannelConfig:
    return ChannelConfig.model_validate({"id": "a", "receiver_id": "r", "frequency_hz": 162_550_000} | settings)


def _refusal(**settings: Any) -> str:
    with pytest.raises(ValidationError) as refusal:
        _channel(**settings)
    problem = refusal.value.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


@pytest.mark.parametrize(
    ("mode", "bandwidth_hz", "deviation_hz", "deemphasis_us"),
    [
        ("nfm", 16_000, 5_000, 530.5),
        ("wfm", 200_000, 75_000, 75.0),
        ("am", 8_000, 0, 0),
        ("sam", 10_000, 0, 0),
        ("usb", 2_800, 0, 0),
        ("lsb", 2_800, 0, 0),
    ],
)
def test_what_is_left_out_is_the_default_of_the_mode(
    mode: str, bandwidth_hz: float, deviation_hz: float, deemphasis_us: float
) -> None:
    channel = _channel(mode=mode)
    assert channel.mode is Mode(mode)
    assert (channel.bandwidth_hz, channel.deviation_hz) == (bandwidth_hz, deviation_hz)
    assert channel.deemphasis_us == deemphasis_us
    assert (channel.audio_rate_hz, channel.squelch.mode) == (24_000, "off")
    assert (channel.agc is not None) == (mode in ("usb", "lsb"))


@pytest.mark.parametrize("mode", list(Mode))
def test_none_is_the_default_and_what_is_printed_can_be_read_again(mode: Mode) -> None:
    channel = _channel(mode=mode)
    nothing = {"bandwidth_hz": None, "deviation_hz": None, "deemphasis_us": None, "agc": None, "squelch": None}
    assert _channel(mode=mode, **nothing) == channel
    assert ChannelConfig.model_validate(channel.model_dump(mode="json")) == channel


def test_a_channel_of_weather_radio_needs_no_setting_but_its_place() -> None:
    channel = _channel()
    assert channel.mode is Mode.NFM
    assert channel.deemphasis_hz == pytest.approx(300.0, rel=1e-4)
    assert _channel(deemphasis_us=0).deemphasis_hz is None
    assert _channel(mode="wfm").deemphasis_hz == pytest.approx(1.0 / (2.0 * math.pi * 75e-6))


def test_a_single_sideband_lies_on_one_side_of_its_channel() -> None:
    assert _channel(mode="usb").channel_bandwidth_hz == 5_600
    assert _channel(mode="am").channel_bandwidth_hz == 8_000


def test_who_moves_one_threshold_of_the_squelch_moves_both() -> None:
    assert _channel(squelch={"mode": "snr", "open_db": 12}).squelch.close_db == 9.0
    assert _channel(squelch={"mode": "snr", "close_db": 2}).squelch.open_db == 5.0
    both = _channel(squelch={"mode": "snr", "open_db": 12, "close_db": 3}).squelch
    assert (both.open_db, both.close_db, both.tail_s) == (12.0, 3.0, 0.2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "wfm", "bandwidth_hz": 16_000}, "bandwidth_hz of broadcast FM (mode wfm) must be 100000 to 400000"),
        ({"bandwidth_hz": 200_000}, "bandwidth_hz of narrow FM (mode nfm) must be 5000 to 50000, not 200000"),
        ({"mode": "usb", "deviation_hz": 5_000}, "single sideband (mode usb) has no deviation_hz: leave it out"),
        ({"mode": "am", "deemphasis_us": 75}, "AM (mode am) has no deemphasis_us"),
        ({"frequency_hz": 162.55}, "frequency_hz is in hertz; 162.55 MHz is 162550000"),
        ({"deviation_hz": 9_000}, "at most half of bandwidth_hz, which is 16000; it is 9000"),
        ({"deviation_hz": 0}, "deviation_hz must be above 0"),
        ({"mode": "wfm", "deviation_hz": 160_000}, "deviation_hz of broadcast FM (mode wfm) is at most 150000"),
        ({"mode": "am", "agc": {"hang_s": 1}}, "AM (mode am) has no agc"),
        ({"agc": {"hang_s": 1}}, "narrow FM (mode nfm) has no agc"),
        ({"stereo": True}, "stereo is broadcast FM's (mode wfm), and this is narrow FM (mode nfm)"),
        ({"mode": "wfm", "ctcss_hz": 100}, "ctcss_hz is narrow FM's"),
        ({"ctcss_hz": 100.5}, "ctcss_hz: Value error, 100.5 Hz is no CTCSS tone; the nearest is 100.0"),
        ({"mode": "usb", "squelch": {"mode": "noise"}}, 'use squelch = { mode = "snr" }'),
        ({"bandwidth_hz": 8_000, "deviation_hz": 2_500, "squelch": {"mode": "noise"}}, "needs a bandwidth_hz of 9200"),
        ({"squelch": {"mode": "snr", "open_db": 5, "close_db": 6}}, "squelch: Value error, a squelch closes below"),
        ({"squelch": {"open_db": 12}}, 'open_db would do nothing without a mode: add mode = "snr"'),
        ({"squelch": {"tail_s": 1, "close_db": 3}}, "close_db and tail_s would do nothing"),
        ({"squelch": {"mode": "loud"}}, "squelch.mode: Input should be 'off', 'snr' or 'noise'"),
        ({"mode": "fm"}, "mode: Input should be 'nfm', 'wfm', 'am', 'sam', 'usb' or 'lsb'"),
        ({"audio_rate_hz": 11_025}, "audio_rate_hz: Input should be 8000, 16000, 22050, 24000, 32000, 44100 or 48000"),
        ({"colour": 1}, "colour: Extra inputs are not permitted"),
        ({"loudness_lufs": 3}, "loudness_lufs: "),
        ({"frequency_hz": math.inf}, "frequency_hz: "),
        ({"id": ""}, "id: "),
        ({"name": "roof\0"}, "name: Value error, a name is one line of printable characters"),
        ({"name": "roof\nyard"}, "name: Value error, a name is one line"),
        ({"name": "x" * 121}, "name: String should have at most 120 characters"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(settings: dict[str, Any], words: str) -> None:
    assert words in _refusal(**settings)

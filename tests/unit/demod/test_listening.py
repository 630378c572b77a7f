"""What a listener hears of a channel: every mode, in stereo, behind a squelch, wherever the stream is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.demod.chain import channel_rate_hz
from app_core.demod.channel import ChannelBank
from app_core.demod.channel_config import ChannelConfig, Mode
from app_core.demod.listening import Listener
from tests.support.signals import (
    audio_tone,
    complex_noise,
    complex_tone,
    fm_modulate,
    tone_amplitude,
    tone_frequency_hz,
)

PILOT_HZ = 19_000.0


def _config(**settings: Any) -> ChannelConfig:
    return ChannelConfig.model_validate({"id": "c", "receiver_id": "r", "frequency_hz": 1e8} | settings)


def _listener(**settings: Any) -> tuple[Listener, int]:
    config = _config(**settings)
    return Listener(config, channel_rate_hz(config)), channel_rate_hz(config)


def _hear(listener: Listener, iq: NDArray[np.complex64], cuts: tuple[int, ...] = ()) -> NDArray[np.float32]:
    parts = [listener.push(part) for part in np.split(iq, cuts)]
    return np.concatenate([*parts, listener.flush()])


def _am(audio: NDArray[np.floating], amplitude: float = 0.2) -> NDArray[np.complex64]:
    return (amplitude * (1.0 + audio)).astype(np.complex64)


def _stereo(left_hz: float, right_hz: float, rate_hz: int, seconds: float) -> NDArray[np.complex64]:
    """A tone on each side; made at a higher rate, since a frequency does not stand still between samples."""
    oversampling = 8
    rate_hz *= oversampling
    left, right = (audio_tone(hz, rate_hz, round(seconds * rate_hz), 0.5) for hz in (left_hz, right_hz))
    pilot_phase = 2.0 * np.pi * PILOT_HZ / rate_hz * np.arange(len(left))
    total, difference = 0.9 * (left + right) / 2.0, 0.9 * (left - right) / 2.0
    multiplex = total + 0.1 * np.sin(pilot_phase) + difference * np.sin(2.0 * pilot_phase)
    return fm_modulate(multiplex, rate_hz, 75_000.0)[::oversampling]


def _signal(mode: str, rate_hz: int, seconds: float) -> NDArray[np.complex64]:
    tone = audio_tone(1000.0, rate_hz, round(seconds * rate_hz), 0.5)
    if mode in ("am", "sam"):
        return _am(tone)
    if mode in ("usb", "lsb"):
        sign = 1.0 if mode == "usb" else -1.0
        return complex_tone(sign * 1000.0, rate_hz, len(tone), 0.1)
    return fm_modulate(tone, rate_hz, 75_000.0 if mode == "wfm" else 5_000.0)


@pytest.mark.parametrize("mode", ["nfm", "wfm", "am", "sam", "usb", "lsb"])
@pytest.mark.parametrize("audio_rate_hz", [8_000, 22_050, 48_000])
def test_every_mode_gives_the_tone_that_was_sent(mode: str, audio_rate_hz: int) -> None:
    listener, rate_hz = _listener(mode=mode, audio_rate_hz=audio_rate_hz)
    pcm = _hear(listener, _signal(mode, rate_hz, 1.5))
    assert pcm.shape == (round(1.5 * audio_rate_hz), 1)
    settled = pcm[audio_rate_hz // 2 :, 0]
    assert tone_frequency_hz(settled, audio_rate_hz) == pytest.approx(1000.0, abs=0.1)
    assert tone_amplitude(settled, 1000.0, audio_rate_hz) > 0.3


@pytest.mark.parametrize(
    "settings",
    [
        {"squelch": {"mode": "noise"}, "ctcss_hz": 100.0},
        {"mode": "wfm", "stereo": True, "audio_rate_hz": 44_100},
        {"mode": "am", "squelch": {"mode": "snr"}},
        {"mode": "usb"},
    ],
)
def test_the_stream_may_be_cut_anywhere(settings: dict[str, Any]) -> None:
    listener, rate_hz = _listener(**settings)
    iq = _signal(settings.get("mode", "nfm"), rate_hz, 0.6) + complex_noise(round(0.6 * rate_hz), 1e-3, seed=1)
    cuts = tuple(sorted(np.random.default_rng(2).integers(0, len(iq), 9)))
    whole, pieces = _hear(listener, iq), _hear(_listener(**settings)[0], iq, (*cuts[:4], cuts[4], *cuts[4:]))
    assert whole.shape == pieces.shape
    assert np.abs(whole - pieces).max() < 1e-5


def test_stereo_has_two_sides_that_are_told_apart() -> None:
    listener, rate_hz = _listener(mode="wfm", stereo=True, audio_rate_hz=48_000, deemphasis_us=0)
    pcm = _hear(listener, _stereo(1000.0, 3000.0, rate_hz, 2.0))[48_000:]
    assert pcm.shape[1] == listener.n_audio == 2
    assert listener.readings()["is_stereo"] is True
    for side, own_hz, other_hz in ((0, 1000.0, 3000.0), (1, 3000.0, 1000.0)):
        own, other = (tone_amplitude(pcm[:, side], hz, 48_000) for hz in (own_hz, other_hz))
        assert 20.0 * np.log10(own / other) > 40.0


def test_a_squelch_is_silent_without_a_signal_and_counts_for_how_long_it_was_open() -> None:
    listener, rate_hz = _listener(squelch={"mode": "snr"})
    noise = complex_noise(4 * rate_hz, 1e-3, seed=3)
    noise[rate_hz : 3 * rate_hz] += _signal("nfm", rate_hz, 2.0)
    pcm = _hear(listener, noise)[:, 0]
    assert np.abs(pcm[: 24_000 * 9 // 10]).max() == 0.0
    assert np.abs(pcm[24_000 * 7 // 2 :]).max() == 0.0
    assert tone_amplitude(pcm[36_000:60_000], 1000.0, 24_000) > 0.4
    assert listener.open_share == pytest.approx(0.55, abs=0.05)
    assert listener.readings()["squelch_open"] is False


@pytest.mark.parametrize(("mode", "is_heard"), [("usb", True), ("lsb", False)])
def test_a_sideband_is_judged_without_the_other(mode: str, is_heard: bool) -> None:
    listener, rate_hz = _listener(mode=mode, squelch={"mode": "snr"})
    iq = complex_noise(3 * rate_hz, 1e-6, seed=4)
    iq[rate_hz:] += _signal("usb", rate_hz, 2.0)
    pcm = _hear(listener, iq)[:, 0]
    assert not pcm[:23_000].any()
    assert pcm[36_000:].any() == is_heard
    assert listener.readings()["squelch_open"] is is_heard


@pytest.mark.parametrize("mode", ["nfm", "wfm", "am", "sam", "usb"])
def test_what_is_heard_stands_at_the_time_of_its_samples(mode: str) -> None:
    flat = {"deemphasis_us": 0} if mode in ("nfm", "wfm") else {}
    listener, rate_hz = _listener(mode=mode, audio_rate_hz=48_000, **flat)
    pcm = _hear(listener, _signal(mode, rate_hz, 1.0))[24_000:45_000, 0]
    turn = np.angle((pcm * np.exp(-2j * np.pi / 48.0 * np.arange(24_000, 45_000))).sum())
    # A sideband's tone is a cosine where the others' is a sine; half a sample of IQ is the discriminator's.
    late_s = -(turn + (0.0 if mode == "usb" else np.pi / 2.0)) / (2.0 * np.pi * 1_000.0)
    assert late_s == pytest.approx(0.0, abs=25e-6)


def test_a_tone_opens_the_squelch_and_is_not_heard() -> None:
    listener, rate_hz = _listener(ctcss_hz=100.0)
    n_samples = 3 * rate_hz
    audio = audio_tone(1000.0, rate_hz, n_samples, 0.4) + audio_tone(100.0, rate_hz, n_samples, 0.1)
    pcm = _hear(listener, fm_modulate(audio, rate_hz, 5_000.0))[24_000 * 3 // 2 :, 0]
    assert (listener.readings()["ctcss_hz"], listener.readings()["squelch_open"]) == (100.0, True)
    assert tone_amplitude(pcm, 1000.0, 24_000) > 0.3
    assert tone_amplitude(pcm, 100.0, 24_000) < 0.002
    other, _ = _listener(ctcss_hz=123.0)
    assert np.abs(_hear(other, fm_modulate(audio, rate_hz, 5_000.0))).max() == 0.0


def test_without_a_squelch_nothing_is_said_of_one() -> None:
    listener, rate_hz = _listener()
    _hear(listener, _signal("nfm", rate_hz, 0.5))
    assert listener.open_share is None
    assert "squelch_open" not in listener.readings()


def test_the_readings_are_those_of_the_mode() -> None:
    listener, rate_hz = _listener()
    listener.push(fm_modulate(audio_tone(1000.0, rate_hz, rate_hz, 0.5), rate_hz, 5_000.0, 120.0, 0.5))
    readings = listener.readings()
    assert readings["level_dbfs"] == pytest.approx(20.0 * np.log10(0.5), abs=0.01)
    assert readings["frequency_error_hz"] == pytest.approx(120.0, abs=1.0)
    assert readings["deviation_hz"] == pytest.approx(2500.0, rel=0.02)
    sideband, rate_hz = _listener(mode="usb")
    sideband.push(_signal("usb", rate_hz, 0.5))
    assert sideband.readings()["frequency_error_hz"] is None, "there is no carrier"
    assert sideband.readings()["deviation_hz"] is None


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("audio_rate_hz", [8_000, 48_000])
def test_every_channel_that_is_accepted_can_be_received(mode: Mode, audio_rate_hz: int) -> None:
    widths_hz = {Mode.WFM: (100_000, 400_000), Mode.USB: (500, 10_000), Mode.LSB: (500, 10_000)}
    narrowest_hz = 5_000 if mode is Mode.NFM else 2_000
    for bandwidth_hz in widths_hz.get(mode, (narrowest_hz, 50_000)):
        deviation_hz = bandwidth_hz / 4 if mode in (Mode.NFM, Mode.WFM) else None
        config = _config(
            mode=mode,
            bandwidth_hz=bandwidth_hz,
            deviation_hz=deviation_hz,
            audio_rate_hz=audio_rate_hz,
            squelch={"mode": "snr"},
            stereo=mode is Mode.WFM,
        )
        block = IqBlock(np.zeros(20_000, np.complex64), 1e6, 1e8, 0, 0.0, 1)
        assert ChannelBank([config]).push(block)[0][1].sample_rate_hz == audio_rate_hz
        Listener(config, channel_rate_hz(config))
        with pytest.raises(ValueError, match=r"bandwidth_hz of .* must be"):
            _config(mode=mode, bandwidth_hz=narrowest_hz / 10)

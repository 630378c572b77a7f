"""What is measured of a channel: signal over noise in every mode, whatever is on it, and what its squelch judges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.demod.chain import ChannelLevels, channel_rate_hz
from app_core.demod.channel import ChannelBank
from app_core.demod.channel_config import ChannelConfig
from app_core.demod.listening import Listener
from tests.support.signals import audio_tone, complex_noise, fm_modulate

RATE_HZ, CENTER_HZ = 96_000, 118e6
N = 2 * RATE_HZ
AMPLITUDE = 0.1


def _config(mode: str, **settings: Any) -> ChannelConfig:
    table = {"id": "one", "receiver_id": "r", "frequency_hz": CENTER_HZ, "mode": mode}
    return ChannelConfig.model_validate(table | settings)


def _levels(config: ChannelConfig, iq: NDArray[np.complex64]) -> ChannelLevels:
    bank = ChannelBank([config], listen=True)
    for start in range(0, len(iq), 4800):
        part = iq[start : start + 4800]
        bank.push(IqBlock(part, float(RATE_HZ), CENTER_HZ, start, start / RATE_HZ, 1))
        bank.take_listening()
    return bank.levels()["one"]


def _noise(snr_db: float, power: float, width_hz: float, n: int = N) -> NDArray[np.complex64]:
    """Noise that stands `snr_db` below a power within a width."""
    return complex_noise(n, power * 10.0 ** (-snr_db / 10.0) * RATE_HZ / width_hz, seed=3)


def _speech(n: int) -> NDArray[np.float64]:
    """Syllables of tones that move: what has no level, no pitch and no pause of its own for long, within ±0.9."""
    time_s = np.arange(n) / RATE_HZ
    voice = sum(
        np.sin(2.0 * np.pi * (pitch_hz * time_s + 3.0 * np.sin(2.0 * np.pi * 0.7 * time_s + pitch_hz)))
        for pitch_hz in (310.0, 620.0, 930.0, 1550.0, 2480.0)
    )
    return np.asarray(0.9 / 5.0 * voice * (0.55 + 0.45 * np.sin(2.0 * np.pi * 4.0 * time_s)), dtype=np.float64)


@pytest.mark.parametrize("snr_db", [10.0, 20.0, 40.0])
@pytest.mark.parametrize("what", ["carrier", "tone", "speech"])
@pytest.mark.parametrize("mode", ["am", "sam"])
def test_the_ratio_of_am_is_that_of_its_signal_whatever_modulates_it(mode: str, what: str, snr_db: float) -> None:
    modulation = {"carrier": np.zeros(N), "tone": audio_tone(1000.0, RATE_HZ, N, 0.85), "speech": _speech(N)}[what]
    turns = np.exp(2j * np.pi * 300.0 * np.arange(N) / RATE_HZ)
    signal = AMPLITUDE * (1.0 + modulation) * turns
    iq = (signal + _noise(snr_db, np.mean(np.abs(signal) ** 2), 10_000.0)).astype(np.complex64)
    levels = _levels(_config(mode, bandwidth_hz=10_000), iq)
    assert levels["snr_db"] == pytest.approx(snr_db, abs=2.0)
    assert levels["frequency_error_hz"] == pytest.approx(300.0, abs=40.0)


@pytest.mark.parametrize("snr_db", [10.0, 25.0])
@pytest.mark.parametrize("mode", ["usb", "lsb"])
def test_the_ratio_of_a_sideband_is_its_own_and_there_is_no_carrier(mode: str, snr_db: float) -> None:
    sign = 1.0 if mode == "usb" else -1.0
    turns = np.exp(2j * np.pi * sign * 1000.0 * np.arange(N) / RATE_HZ)
    iq = (AMPLITUDE * turns + _noise(snr_db, AMPLITUDE**2, 2_500.0)).astype(np.complex64)
    levels = _levels(_config(mode), iq)
    assert levels["snr_db"] == pytest.approx(snr_db, abs=2.0)
    assert levels["frequency_error_hz"] is None
    other = _levels(_config("lsb" if mode == "usb" else "usb"), iq)
    assert other["snr_db"] < 3.0


@pytest.mark.parametrize("mode", ["nfm", "am", "usb"])
def test_noise_alone_has_no_ratio(mode: str) -> None:
    assert _levels(_config(mode), complex_noise(N, 1e-3, seed=4))["snr_db"] < 1.0


@pytest.mark.parametrize(
    ("settings", "expected_db"),
    [({"mode": "snr"}, 20.0), ({"mode": "noise"}, 21.0)],
)
def test_what_the_squelch_compares_with_its_thresholds_is_told(settings: dict[str, Any], expected_db: float) -> None:
    iq = fm_modulate(np.zeros(N), RATE_HZ, 5_000.0, 0.0, AMPLITUDE) + _noise(20.0, AMPLITUDE**2, 16_000.0)
    for open_db, is_open in ((expected_db - 4.0, True), (expected_db + 4.0, False)):
        squelch = settings | {"open_db": open_db, "close_db": open_db - 1.0}
        levels = _levels(_config("nfm", squelch=squelch), iq)
        assert levels["squelch_db"] == pytest.approx(expected_db, abs=3.0)
        assert levels["squelch_open"] is is_open
    assert "squelch_db" not in _levels(_config("nfm"), iq)


@pytest.mark.parametrize("mode", ["am", "usb"])
def test_by_hand_the_ratio_is_the_same(mode: str) -> None:
    config = _config(mode)
    rate_hz = channel_rate_hz(config)
    listener, turns = Listener(config, rate_hz), np.exp(2j * np.pi * 1000.0 * np.arange(rate_hz) / rate_hz)
    signal = AMPLITUDE * (1.0 + 0.85 * turns.imag) if mode == "am" else AMPLITUDE * turns
    width_hz = 8_000.0 if mode == "am" else 2_500.0
    power = np.mean(np.abs(signal) ** 2) * 10.0**-2.0 * rate_hz / width_hz
    listener.push((signal + complex_noise(rate_hz, power, seed=5)).astype(np.complex64))
    assert listener.readings()["snr_db"] == pytest.approx(20.0, abs=2.0)

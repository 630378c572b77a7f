"""The transmitter's audio path: pre-emphasis, limiter, band limit, change of rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.synth.modulation import LOW_RATE_HZ, MODULATION_STEP, Modulator, emphasis_gain, modulate


def tones(rate_hz: int, seconds: float, level: float) -> NDArray[np.float32]:
    """Tones from 310 to 3310 Hz, 500 Hz apart."""
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    hz = np.arange(310, 3_400, 500)[:, np.newaxis]
    return np.asarray(level * np.sin(2.0 * np.pi * hz * time_s + hz).sum(axis=0), np.float32)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 25_000, 44_100, 48_000])
def test_the_receivers_de_emphasis_gives_the_audio_back(rate_hz: int) -> None:
    modulation = modulate(tones(rate_hz, 1.0, 0.02), rate_hz) * MODULATION_STEP
    assert modulation.size == LOW_RATE_HZ
    frequency_hz = np.fft.rfftfreq(modulation.size, 1.0 / LOW_RATE_HZ)
    unity = np.hypot(1.0, 1_000.0 / 300.0)
    audio = np.fft.irfft(np.fft.rfft(modulation) * unity / (1.0 + 1j * frequency_hz / 300.0), modulation.size)
    expected = tones(LOW_RATE_HZ, 1.0, 0.02)
    np.testing.assert_allclose(audio[1_000:-1_000], expected[1_000:-1_000], atol=0.0015)


def test_emphasis_is_one_at_1_khz_and_rises_6_db_an_octave() -> None:
    assert emphasis_gain(1_000.0) == 1.0
    assert emphasis_gain(3_000.0) / emphasis_gain(1_500.0) == pytest.approx(2.0, rel=0.02)
    assert emphasis_gain(300.0) / emphasis_gain(1e-6) == pytest.approx(2.0**0.5)


@pytest.mark.parametrize(("level", "highest"), [(0.1, 1.15), (0.5, 1.4)])
def test_loud_audio_is_limited_to_the_full_deviation(level: float, highest: float) -> None:
    modulation = modulate(tones(48_000, 1.0, level), 48_000) * MODULATION_STEP
    assert np.abs(modulation).max() < highest
    assert np.mean(np.abs(modulation) > 1.0) < 0.2 * level + 0.02
    assert np.abs(modulation).max() > 0.95


def test_what_is_above_the_audio_band_does_not_pass() -> None:
    time_s = np.arange(48_000) / 48_000
    high = (0.1 * (np.sin(2.0 * np.pi * 4_100.0 * time_s) + np.sin(2.0 * np.pi * 9_000.0 * time_s))).astype(np.float32)
    modulation = modulate(high, 48_000) * MODULATION_STEP
    assert np.abs(modulation[500:-500]).max() < 1e-3


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 20_000), max_size=6), st.sampled_from([8_000, 22_050]))
def test_cuts_in_the_audio_do_not_show(sizes: list[int], rate_hz: int) -> None:
    pcm = np.random.default_rng(3).standard_normal(30_000).astype(np.float32) * np.float32(0.3)
    modulator = Modulator(rate_hz)
    pieces, at = [], 0
    for size in sizes:
        pieces.append(modulator.push(pcm[at : at + size]))
        at += size
    pieces += [modulator.push(pcm[at:]), modulator.flush()]
    np.testing.assert_array_equal(np.concatenate(pieces), modulate(pcm, rate_hz))


@pytest.mark.parametrize("n_samples", [0, 1, 7, 5_000, 22_051])
def test_the_modulation_lasts_as_long_as_the_audio(n_samples: int) -> None:
    assert modulate(np.zeros(n_samples, np.float32), 22_050).size == -(-n_samples * 500 // 441)


@pytest.mark.parametrize("rate_hz", [0, 3_999, 1_000_000])
def test_rates_that_cannot_be_taken_are_refused(rate_hz: int) -> None:
    with pytest.raises(ValueError, match="only 4000 to 768000 Hz"):
        Modulator(rate_hz)

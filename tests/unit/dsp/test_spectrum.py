from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.dsp.spectrum import SpectrumEstimator, normalize
from tests.support.signals import complex_noise, complex_tone

RATE_HZ = 250e3


def spectrum_of(iq: np.ndarray, fft_size: int = 2048) -> np.ndarray:
    estimator = SpectrumEstimator(fft_size)
    estimator.push(iq)
    power_dbfs = estimator.read()
    assert power_dbfs is not None
    return power_dbfs


@pytest.mark.parametrize("fft_size", [256, 1000, 2048, 8192, 16384])
@pytest.mark.parametrize("level_dbfs", [0.0, -20.0, -60.0, -110.0])
def test_a_tone_on_a_bin_reads_its_level_at_its_place(fft_size: int, level_dbfs: float) -> None:
    step = fft_size // 5
    iq = complex_tone(step * RATE_HZ / fft_size, RATE_HZ, 4 * fft_size, 10.0 ** (level_dbfs / 20.0))
    power_dbfs = spectrum_of(iq, fft_size)
    assert power_dbfs.shape == (fft_size,)
    assert power_dbfs.dtype == np.float32
    assert int(np.argmax(power_dbfs)) == fft_size // 2 + step
    assert power_dbfs.max() == pytest.approx(level_dbfs, abs=0.02)


def test_lowest_frequency_comes_first_and_the_centre_stands_in_the_middle() -> None:
    assert int(np.argmax(spectrum_of(complex_tone(-RATE_HZ / 2.0, RATE_HZ, 4096)))) == 0
    assert int(np.argmax(spectrum_of(np.ones(4096, np.complex64)))) == 1024


def test_a_tone_between_two_bins_reads_0_83_db_low() -> None:
    power_dbfs = spectrum_of(complex_tone(100.5 * RATE_HZ / 2048, RATE_HZ, 4096))
    assert power_dbfs.max() == pytest.approx(-0.83, abs=0.02)


def test_far_from_a_tone_there_is_nothing_above_minus_90_db() -> None:
    power_dbfs = spectrum_of(complex_tone(100.37 * RATE_HZ / 2048, RATE_HZ, 4096))
    assert np.delete(power_dbfs, np.s_[1024 + 95 : 1024 + 106]).max() < -90.0


def test_noise_reads_its_density_times_two_bins() -> None:
    power = np.mean(10.0 ** (spectrum_of(complex_noise(2048 * 200, 0.01, seed=1)).astype(float) / 10.0))
    assert 10.0 * np.log10(power) == pytest.approx(-20.0 + 10.0 * np.log10(2.004 / 2048), abs=0.1)


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 20_000), max_size=10))
def test_cutting_the_input_changes_nothing(cuts: list[int]) -> None:
    iq = complex_noise(20_000, 0.5, seed=2)
    estimator = SpectrumEstimator(256)
    for a, b in pairwise([0, *sorted(cuts), 20_000]):
        estimator.push(iq[a:b])
    assert estimator.frames == 20_000 // 256
    got = estimator.read()
    assert got is not None
    np.testing.assert_allclose(got, spectrum_of(iq, 256), atol=1e-3)


def test_every_frame_counts() -> None:
    frames = [complex_tone(i * RATE_HZ / 64, RATE_HZ, 64) for i in range(-32, 32)]
    power_dbfs = spectrum_of(np.concatenate(frames), 64)
    # The window spreads each tone over seven bins, of power 2.004 in all.
    np.testing.assert_allclose(power_dbfs, 10.0 * np.log10(2.004 / 64), atol=0.1)


def test_a_reading_begins_a_new_average_and_none_without_a_frame() -> None:
    estimator = SpectrumEstimator(64)
    assert estimator.read() is None
    estimator.push(np.ones(96, np.complex64))
    assert estimator.read() is not None
    assert estimator.read() is None
    assert estimator.push(np.zeros(32, np.complex64)) == 1
    estimator.push(np.ones(60, np.complex64))
    estimator.reset()
    assert estimator.push(np.ones(60, np.complex64)) == 0


def test_silence_reads_the_floor() -> None:
    np.testing.assert_array_equal(spectrum_of(np.zeros(2048, np.complex64)), np.float32(-200.0))


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e30])
def test_broken_samples_spoil_no_reading(broken: float) -> None:
    iq = complex_tone(0.0, RATE_HZ, 2048 * 40)
    iq[5000] = broken
    power_dbfs = spectrum_of(iq)
    assert np.isfinite(power_dbfs).all()
    assert power_dbfs.max() == pytest.approx(0.0, abs=0.1)


def test_normalized_spectrum_is_a_straight_line_between_its_ends() -> None:
    levels = np.array([-150.0, -120.0, -90.0, -60.0, 0.0, 6.0], np.float32)
    np.testing.assert_allclose(normalize(levels), [0.0, 0.0, 0.25, 0.5, 1.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(normalize(levels, -100.0, -50.0), [0.0, 0.0, 0.2, 0.8, 1.0, 1.0], atol=1e-6)
    with pytest.raises(ValueError, match="below"):
        normalize(levels, 0.0, 0.0)


def test_a_spectrum_of_too_few_bins_is_refused() -> None:
    with pytest.raises(ValueError, match="8 bins"):
        SpectrumEstimator(4)


def test_a_frame_does_not_reach_over_a_cut_and_the_average_does() -> None:
    estimator = SpectrumEstimator(2048)
    tone = complex_tone(100 * RATE_HZ / 2048, RATE_HZ, 4096, 1.0)
    estimator.push(tone[:2048])
    estimator.push(np.full(1500, 30.0, dtype=np.complex64))
    estimator.cut()
    assert estimator.push(tone[:2048]) == 2
    power_dbfs = estimator.read()
    assert power_dbfs is not None
    assert power_dbfs[1024 + 100] == pytest.approx(0.0, abs=0.01)
    assert power_dbfs[1024] < -90.0

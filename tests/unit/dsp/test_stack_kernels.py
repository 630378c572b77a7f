"""Each loop over channels side by side against its plain-numpy model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.dsp import _stack_kernels as kernels
from app_core.dsp.channel_stack import turn_rows
from tests.support.signals import complex_noise

BROKEN = [np.nan, np.inf, -np.inf, 1e30, 1e6, complex(0.0, np.nan), complex(0.0, -2e6)]


def real_noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def test_copying_puts_0_for_broken_samples_and_nothing_else() -> None:
    source = complex_noise(100, 1.0, seed=1)
    source[10 : 10 + len(BROKEN)] = BROKEN
    source[50] = 9.9e5 - 9.9e5j
    got, wanted = np.ones(100, np.complex64), np.ones(100, np.complex64)
    kernels.copy_sane(got, source, 1e6)
    with np.errstate(invalid="ignore"):
        kernels.copy_sane_model(wanted, source, 1e6)
    np.testing.assert_array_equal(got, wanted)
    assert np.count_nonzero(got == 0) == len(BROKEN)
    assert got[50] == source[50]


def test_turning_agrees_with_the_plain_loop_and_carries_the_phase() -> None:
    n_frames, n_channels, size, n_good = 3, 5, 40, 25
    rows = complex_noise(n_frames * n_channels * size, 1.0, seed=2).reshape(-1, size)
    ramp = complex_noise(n_channels * n_good, 1.0, seed=3).reshape(n_channels, n_good)
    phases = [np.array([[3, 2, 7], [0, 0, 1], [10**12, 3, 10**13], [5, 6, 7], [1, 1, 3]], np.int64) for _ in range(2)]
    results = [np.zeros((n_channels, 6, n_good), np.complex64) for _ in range(2)]
    kernels.turn_rows(rows, ramp, phases[0], results[0], (7, n_frames, 2))
    turn_rows(rows, ramp, phases[1], results[1], (7, n_frames, 2))
    np.testing.assert_allclose(results[0], results[1], atol=2e-6)
    np.testing.assert_array_equal(phases[0], phases[1])
    assert phases[0][0, 0] == (3 + 3 * 2) % 7
    np.testing.assert_array_equal(results[0][:, [0, 1, 5]], 0.0)
    turn = np.exp(-2j * np.pi * 5 / 7)
    np.testing.assert_allclose(results[0][0, 3], rows[n_channels, 7:32] * ramp[0] * turn, atol=2e-6)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_readings_agree_with_their_model(share: float) -> None:
    iq = complex_noise(3000, 1.0, seed=4).reshape(3, 1000)
    got, wanted = (np.arange(6.0).reshape(3, 2) for _ in range(2))
    kernels.track_moments(iq, share, got)
    kernels.track_moments_model(iq, share, wanted)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    frequency = iq.real + np.array([[0.0], [-2.0], [3.0]], np.float32)
    got, wanted = np.zeros((2, 3)), np.zeros((2, 3))
    kernels.mean_and_peak(frequency, 5000.0, got[0], got[1])
    kernels.mean_and_peak_model(frequency, 5000.0, wanted[0], wanted[1])
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("place", [0, 1, 14, 15, 200])
@pytest.mark.parametrize("n", [0, 1, 7, 119, 120, 500, 1000])
@pytest.mark.parametrize("broken", [(), (3, 150)])
def test_dealing_puts_every_sample_into_its_row(place: int, n: int, broken: tuple[int, ...]) -> None:
    source = complex_noise(n, 1.0, seed=6)
    for k in broken:
        source[k : k + 1] = np.nan
    got, wanted = np.ones((15, 80), np.complex64), np.ones((15, 80), np.complex64)
    kernels.deal_sane(got, place, source, 1e6)
    kernels.deal_sane_model(wanted, place, source, 1e6)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("n_rows", [2, 4, 5, 6, 15, 30])
def test_unfolding_agrees_with_its_model_and_with_the_whole_transform(n_rows: int) -> None:
    n_columns, size = 64, 100
    samples = complex_noise(n_rows * n_columns, 1.0, seed=7)
    spectra = np.fft.fft(samples.reshape(n_columns, n_rows).T, axis=1).astype(np.complex64)
    numbers = (np.array([[0], [50], [63], [n_rows * n_columns - 7]]) + np.arange(size)) % (n_rows * n_columns)
    turns = np.exp(-2j * np.pi * numbers / samples.shape[0])
    weights = complex_noise(4 * size, 1.0, seed=8).reshape(4, size)
    arguments = (
        spectra,
        (numbers[:, 0] % n_columns).astype(np.int64),
        np.stack((turns.real, turns.imag), axis=1).astype(np.float32),
        np.stack((weights.real, weights.imag), axis=1).astype(np.float32),
        np.zeros((2, size), np.float32),
    )
    got, wanted = np.zeros((4, size), np.complex64), np.zeros((4, size), np.complex64)
    kernels.unfold_bins(*arguments, got)
    kernels.unfold_bins_model(*arguments, wanted)
    whole = np.fft.fft(samples.astype(np.complex128))[numbers] * weights
    scale = np.abs(whole).max()
    np.testing.assert_allclose(got, wanted, atol=2e-6 * scale)
    np.testing.assert_allclose(got, whole, atol=2e-6 * scale)


@pytest.mark.parametrize("n", [1, 31, 1023, 1024, 1025, 3000])
@pytest.mark.parametrize("n_taps", [8, 56])
def test_a_filter_agrees_with_its_model(n: int, n_taps: int) -> None:
    samples, taps = real_noise(3, n + n_taps - 1), real_noise(n_taps)
    got, wanted = np.ones((3, n), np.float32), np.ones((3, n), np.float32)
    kernels.fir(samples, taps, got)
    kernels.fir_model(samples, taps, wanted)
    np.testing.assert_allclose(got, wanted, atol=3e-5)


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 1100), n=st.integers(1, 1200))
def test_a_filtered_sample_is_the_same_wherever_the_input_begins(start: int, n: int) -> None:
    samples, taps = real_noise(2, 2400), real_noise(56)
    whole = np.zeros((2, 2400 - 55), np.float32)
    kernels.fir(samples, taps, whole)
    n = min(n, whole.shape[1] - start)
    part = np.zeros((1, n), np.float32)
    kernels.fir(samples[1:, start : start + n + 55].copy(), taps, part)
    np.testing.assert_array_equal(part[0], whole[1, start : start + n])
    taps = taps[: kernels.HALF_BAND_TAPS]
    doubled, part = np.zeros((2, 2 * (2400 - 15)), np.float32), np.zeros((1, 2 * n), np.float32)
    kernels.interpolate_half_band(samples, taps, doubled)
    kernels.interpolate_half_band(samples[1:, start : start + n + 15].copy(), taps, part)
    np.testing.assert_array_equal(part[0], doubled[1, 2 * start : 2 * (start + n)])


@pytest.mark.parametrize("n", [1, 33, 1000])
def test_doubling_the_rate_agrees_with_its_model(n: int) -> None:
    samples, taps = real_noise(3, n + kernels.HALF_BAND_TAPS - 1), real_noise(kernels.HALF_BAND_TAPS)
    got, wanted = np.ones((3, 2 * n), np.float32), np.ones((3, 2 * n), np.float32)
    kernels.interpolate_half_band(samples, taps, got)
    kernels.interpolate_half_band_model(samples, taps, wanted)
    np.testing.assert_allclose(got, wanted, atol=2e-5)

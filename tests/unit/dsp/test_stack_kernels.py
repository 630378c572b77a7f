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


def test_moments_agree_with_their_model() -> None:
    iq = complex_noise(3000, 1.0, seed=4).reshape(3, 1000)
    got, wanted = np.zeros((3, 2)), np.zeros((3, 2))
    kernels.envelope_moments(iq, got)
    kernels.envelope_moments_model(iq, wanted)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    kernels.sums_and_squares(iq.real.copy(), got)
    kernels.sums_and_squares_model(iq.real.copy(), wanted)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


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

"""Each kernel of the SAME decoder against its plain-numpy model."""

import numpy as np
import pytest

from app_core.dsp import _same_kernels as kernels


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.mark.parametrize(("start", "step"), [(0.0, 1.0), (0.37, 2.646), (3.99, 0.96)])
def test_resample_agrees_with_its_model(rng: np.random.Generator, start: float, step: float) -> None:
    pcm = rng.standard_normal(400).astype(np.float32)
    table = rng.standard_normal((9, 12)).astype(np.float32)
    got = kernels.resample(pcm, start, step, table, 100)
    np.testing.assert_allclose(got, kernels.resample_model(pcm, start, step, table, 100), atol=2e-5)
    assert np.abs(got).max() > 1.0


def test_tone_balance_agrees_with_its_model_and_is_zero_in_silence(rng: np.random.Generator) -> None:
    samples = rng.standard_normal(412).astype(np.float32)
    samples[100:140] = 0.0
    mixer = rng.standard_normal((4, 16)).astype(np.float32)
    got = kernels.tone_balance(samples, mixer, 100)
    np.testing.assert_allclose(got, kernels.tone_balance_model(samples, mixer, 100), atol=1e-4)
    assert np.all(got[25:32] == 0.0)
    assert np.abs(got).max() > 0.5


def search_arguments(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    clocks = np.array([0.97, 1.0, 1.03])[:, None]
    byte_offsets = np.rint(np.arange(17) * 32 / clocks).astype(np.int64)
    bit_offsets = np.rint(np.arange(32) * 4 / clocks).astype(np.int64)
    bit_offsets[1] = bit_offsets[0]
    preamble = rng.standard_normal(8).astype(np.float32)
    words = np.sign(rng.standard_normal((2, 32))).astype(np.float32)
    words[:, 7::8] = 0.0
    return byte_offsets, bit_offsets, preamble, words


def test_search_start_agrees_with_its_model(rng: np.random.Generator) -> None:
    arguments = search_arguments(rng)
    balance = rng.uniform(-1, 1, 1000).astype(np.float32)
    score, clock, word = kernels.search_start(balance, *arguments, -1e9, 200)
    model_score, model_clock, model_word = kernels.search_start_model(balance, *arguments, -1e9, 200)
    np.testing.assert_allclose(score, model_score, atol=1e-4)
    np.testing.assert_array_equal(clock, model_clock)
    np.testing.assert_array_equal(word, model_word)
    assert set(clock) == {0, 1, 2}


def test_search_start_passes_over_nothing_that_reaches_the_least(rng: np.random.Generator) -> None:
    arguments = search_arguments(rng)
    balance = rng.uniform(-1, 1, 1000).astype(np.float32)
    model_score, _, _ = kernels.search_start_model(balance, *arguments, -1e9, 200)
    least = float(np.quantile(model_score, 0.99))
    score, _, _ = kernels.search_start(balance, *arguments, least, 200)
    reached = model_score >= least
    np.testing.assert_allclose(score[reached], model_score[reached], atol=1e-4)
    assert np.all(score[~reached] < least)


@pytest.mark.parametrize(("start", "length"), [(0.0, 16.0), (5.25, 16.4), (7.9, 15.53)])
def test_correlate_bits_agrees_with_its_model(rng: np.random.Generator, start: float, length: float) -> None:
    n_bits = 20
    samples = rng.standard_normal(int(np.ceil(start + n_bits * length))).astype(np.float32)
    got = kernels.correlate_bits(samples, start, length, kernels.TONE_CYCLES, n_bits)
    np.testing.assert_allclose(
        got, kernels.correlate_bits_model(samples, start, length, kernels.TONE_CYCLES, n_bits), atol=1e-9
    )
    assert got.shape == (n_bits, 4)


def test_a_tone_shows_half_its_amplitude_and_leaves_the_other_tones_alone() -> None:
    samples = np.sin(2 * np.pi * 4 / 16 * np.arange(161)).astype(np.float32)
    got = np.abs(kernels.correlate_bits(samples, 0.0, 16.0, kernels.TONE_CYCLES, 10))
    np.testing.assert_allclose(got, np.tile([0.5, 0.0, 0.0, 0.0], (10, 1)), atol=1e-6)


def test_coherent_power_agrees_with_its_model(rng: np.random.Generator) -> None:
    correlation = rng.standard_normal((3, 50, 4)) + 1j * rng.standard_normal((3, 50, 4))
    use = rng.integers(-1, 2, 50)
    phase = np.cumsum(rng.uniform(3, 4, 50))
    got = kernels.coherent_power(correlation, use, phase, -2e-3, 1e-4, 41)
    np.testing.assert_allclose(got, kernels.coherent_power_model(correlation, use, phase, -2e-3, 1e-4, 41), rtol=1e-9)

"""Each kernel of the SAME decoder against its plain-numpy model."""

import numpy as np
import pytest
from scipy import signal

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


def test_filter_sections_agree_with_their_model_in_any_pieces(rng: np.random.Generator) -> None:
    samples = rng.standard_normal(500).astype(np.float32)
    sections = signal.butter(4, 0.2, "highpass", output="sos")
    wanted = kernels.filter_sections_model(samples, sections, np.zeros((2, 2)))
    state = np.zeros((2, 2))
    got = np.concatenate([kernels.filter_sections(part, sections, state) for part in np.split(samples, [1, 17, 300])])
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_allclose(got, signal.sosfilt(sections, samples), atol=1e-5)

"""Each kernel of the header grammar against its plain-numpy model."""

import numpy as np
import pytest

from app_core.dsp import _grammar_kernels as kernels


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_word_sums_agree_with_their_model(rng: np.random.Generator, scale: float) -> None:
    chars = scale * rng.standard_normal((20, 128))
    words = rng.integers(0, 128, (50, 3))
    prior = np.log(rng.dirichlet(np.ones(50)))
    places = np.array([0, 5, 17])
    for got, wanted in zip(
        kernels.word_sums(chars, places, words, prior),
        kernels.word_sums_model(chars, places, words, prior),
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize("n_bits", [0, 37, 80, 120])
def test_character_table_agrees_with_its_model(rng: np.random.Generator, n_bits: int) -> None:
    bits = 5.0 * rng.standard_normal((n_bits, 2))
    prior = (float(np.log(0.98)), float(np.log(0.02)))
    chars, eighth = kernels.character_table(bits, 10, prior)
    model_chars, model_eighth = kernels.character_table_model(bits, 10, prior)
    np.testing.assert_allclose(chars, model_chars, atol=1e-9)
    np.testing.assert_array_equal(eighth, model_eighth)

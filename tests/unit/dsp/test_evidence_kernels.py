"""Each kernel behind the evidence of bits against its plain-numpy model."""

import numpy as np
import pytest

from app_core.dsp import _evidence_kernels as kernels

LEVELS = np.array([1.0, 4.0, 30.0])
TRANSITION = np.array([[0.9, 0.08, 0.02], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


def side_powers(rng: np.random.Generator, n: int) -> np.ndarray:
    side = rng.gamma(2.0, 1.0, n)
    side[n // 2 : n // 2 + 10] *= 30.0
    side[5:9] = -1.0
    return side


def test_side_levels_agree_with_their_model(rng: np.random.Generator) -> None:
    side = side_powers(rng, 200)
    weight, likelihood = kernels.side_levels(side, LEVELS, TRANSITION)
    model_weight, model_likelihood = kernels.side_levels_model(side, LEVELS, TRANSITION)
    np.testing.assert_allclose(weight, model_weight, rtol=1e-9)
    assert likelihood == pytest.approx(model_likelihood, rel=1e-9)
    assert weight[102:108].max() < 0.1 < 0.6 < weight[:90].mean()


@pytest.mark.parametrize("tail", [(0.0, 1.0), (0.1, 4.0)])
@pytest.mark.parametrize("coherent", [False, True])
def test_bit_densities_agree_with_their_model(
    rng: np.random.Generator, tail: tuple[float, float], coherent: bool
) -> None:
    n = 120
    received = rng.random(n) > 0.1
    side = side_powers(rng, n)
    distance = rng.gamma(1.0, 3.0, (n, 3, 2))
    argument = np.zeros((n, 3, 2)) if coherent else rng.gamma(1.0, 6.0, (n, 3, 2))
    argument[:, 2] = 0.0
    noise = rng.uniform(0.5, 2.0, (3, 2, 1)) * LEVELS
    absent = np.array([0.0, 0.0, 0.5])
    prior = rng.dirichlet(np.ones(3), n)
    arguments = (received, side, distance, argument, noise, absent, tail, prior, LEVELS, TRANSITION)
    got = kernels.bit_densities(*arguments)
    np.testing.assert_allclose(got, kernels.bit_densities_model(*arguments), atol=1e-4)
    assert not got[~received].any()


@pytest.mark.parametrize("width", [1, 7, 500])
def test_neighbour_means_agree_with_their_model(rng: np.random.Generator, width: int) -> None:
    values = rng.standard_normal(60) + 1j * rng.standard_normal(60)
    weight = rng.random(60)
    weight[20:40] = 0.0
    for got, wanted in zip(
        kernels.neighbour_means(values, weight, width),
        kernels.neighbour_means_model(values, weight, width),
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted, atol=1e-9)


def test_normal_equations_agree_with_their_model_and_find_the_channel(rng: np.random.Generator) -> None:
    symbols = rng.choice([-1.0, 1.0], 400)
    channel = rng.standard_normal((10, 2)) + 1j * rng.standard_normal((10, 2))
    values = np.asarray(kernels.symbol_rows(symbols, 2, 6) @ channel, np.complex128)
    weight = rng.random(400)
    weight[:8] = 0.0
    gram, right = kernels.normal_equations(values, symbols, weight, 2, 6, 5)
    model_gram, model_right = kernels.normal_equations_model(values, symbols, weight, 2, 6, 5)
    np.testing.assert_allclose(gram, model_gram, atol=1e-9)
    np.testing.assert_allclose(right, model_right, atol=1e-9)
    np.testing.assert_allclose(np.linalg.solve(gram.sum(axis=0), right.sum(axis=0)), channel, atol=1e-9)

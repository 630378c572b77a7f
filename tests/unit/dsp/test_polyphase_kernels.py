"""The loops of the resamplers against their plain-numpy models."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.dsp import _polyphase_kernels as kernels


def samples_of(rng: np.random.Generator, dtype: type, n: int) -> np.ndarray:
    values = rng.standard_normal(n)
    if dtype is np.complex64:
        values = values + 1j * rng.standard_normal(n)
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize(("up", "down", "phase"), [(1, 1, 0), (2, 1, 1), (1, 3, 0), (147, 160, 100), (5, 7, 4)])
def test_polyphase_agrees_with_its_model(rng: np.random.Generator, dtype: type, up: int, down: int, phase: int) -> None:
    samples = samples_of(rng, dtype, 400)
    table = rng.standard_normal((up, 17)).astype(np.float32)
    n_out = 100
    got: NDArray[Any] = np.zeros(n_out, dtype)
    wanted = np.zeros_like(got)
    kernels.polyphase(samples, table, up, down, phase, got)
    kernels.polyphase_model(samples, table, up, down, phase, wanted)
    np.testing.assert_allclose(got, wanted, atol=2e-5)
    assert np.abs(wanted).max() > 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize(("up", "down", "phase"), [(1001, 1000, 1000), (10007, 20011, 5), (12000, 1041, 11999)])
def test_interpolated_polyphase_agrees_with_its_model(
    rng: np.random.Generator, dtype: type, up: int, down: int, phase: int
) -> None:
    samples = samples_of(rng, dtype, 400)
    table = rng.standard_normal((9, 16)).astype(np.float32)
    n_out = 150
    got: NDArray[Any] = np.zeros(n_out, dtype)
    wanted = np.zeros_like(got)
    kernels.polyphase_interpolated(samples, table, up, down, phase, got)
    kernels.polyphase_interpolated_model(samples, table, up, down, phase, wanted)
    np.testing.assert_allclose(got, wanted, atol=5e-5)
    assert np.abs(wanted).max() > 1.0


@pytest.mark.parametrize("name", ["polyphase", "polyphase_interpolated"])
def test_a_row_of_a_stack_is_resampled_as_if_alone(rng: np.random.Generator, name: str) -> None:
    samples = samples_of(rng, np.float32, 1200).reshape(3, 400)
    table = rng.standard_normal((6, 16)).astype(np.float32)
    up, down = (6, 5) if name == "polyphase" else (1001, 1000)
    got, wanted = np.zeros((3, 100), np.float32), np.zeros((3, 100), np.float32)
    getattr(kernels, f"{name}_stack")(samples, table, up, down, 2, got)
    getattr(kernels, f"{name}_stack_model")(samples, table, up, down, 2, wanted)
    np.testing.assert_allclose(got, wanted, atol=5e-5)
    alone = np.zeros(100, np.float32)
    getattr(kernels, name)(samples[1], table, up, down, 2, alone)
    np.testing.assert_array_equal(got[1], alone)

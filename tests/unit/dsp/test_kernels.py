"""Each numba kernel against its plain-numpy model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.dsp import _kernels

RNG_SEED = 20260101


def samples_of(dtype: type, n: int) -> np.ndarray:
    rng = np.random.default_rng(RNG_SEED)
    values = rng.standard_normal(n)
    if dtype is np.complex64:
        values = values + 1j * rng.standard_normal(n)
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize(("up", "down", "phase"), [(1, 1, 0), (2, 1, 1), (1, 3, 0), (147, 160, 100), (5, 7, 4)])
def test_polyphase_agrees_with_its_model(dtype: type, up: int, down: int, phase: int) -> None:
    samples = samples_of(dtype, 400)
    table = np.random.default_rng(1).standard_normal((up, 17)).astype(np.float32)
    n_out = 100
    got: NDArray[Any] = np.zeros(n_out, dtype)
    wanted = np.zeros_like(got)
    _kernels.polyphase(samples, table, up, down, phase, got)
    _kernels.polyphase_model(samples, table, up, down, phase, wanted)
    np.testing.assert_allclose(got, wanted, atol=2e-5)
    assert np.abs(wanted).max() > 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize(("up", "down", "phase"), [(1001, 1000, 1000), (10007, 20011, 5), (12000, 1041, 11999)])
def test_interpolated_polyphase_agrees_with_its_model(dtype: type, up: int, down: int, phase: int) -> None:
    samples = samples_of(dtype, 400)
    table = np.random.default_rng(1).standard_normal((9, 16)).astype(np.float32)
    n_out = 150
    got: NDArray[Any] = np.zeros(n_out, dtype)
    wanted = np.zeros_like(got)
    _kernels.polyphase_interpolated(samples, table, up, down, phase, got)
    _kernels.polyphase_interpolated_model(samples, table, up, down, phase, wanted)
    np.testing.assert_allclose(got, wanted, atol=5e-5)
    assert np.abs(wanted).max() > 1.0


@pytest.mark.parametrize("previous", [0j, 0.3 - 0.4j])
def test_discriminator_agrees_with_its_model(previous: complex) -> None:
    iq = samples_of(np.complex64, 500)
    iq[100:103] = 0
    got, wanted = np.zeros(500, np.float32), np.zeros(500, np.float32)
    _kernels.discriminate(iq, previous, 0.7, got)
    _kernels.discriminate_model(iq, previous, 0.7, wanted)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert got[101] == 0.0


@pytest.mark.parametrize("pole", [0.0, 0.92])
def test_deemphasis_agrees_with_its_model_and_carries_its_state(pole: float) -> None:
    audio = samples_of(np.float32, 300) * np.float32(3.0)
    states = [np.array([0.2, -0.1]) for _ in range(2)]
    results = [np.zeros(300, np.float32) for _ in range(2)]
    kernels: list[Callable[..., Any]] = [_kernels.level_and_deemphasize, _kernels.level_and_deemphasize_model]
    for kernel, state, out in zip(kernels, states, results, strict=True):
        kernel(audio, state, 0.01, pole, 0.8, out)
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    np.testing.assert_allclose(states[0], states[1], atol=1e-9)


def test_deemphasis_clips_and_forgets_broken_samples() -> None:
    audio = np.array([100.0, -100.0, np.nan, np.inf, 0.0], dtype=np.float32)
    state, out = np.zeros(2), np.zeros(5, np.float32)
    _kernels.level_and_deemphasize(audio, state, 0.0, 0.0, 1.0, out)
    np.testing.assert_array_equal(out, [_kernels.PCM_LIMIT, -_kernels.PCM_LIMIT, 0.0, 0.0, 0.0])
    assert np.isfinite(state).all()

"""Each numba kernel against its plain-numpy model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app_core.dsp import _kernels

RNG_SEED = 20260101


def samples_of(dtype: type, n: int) -> np.ndarray:
    rng = np.random.default_rng(RNG_SEED)
    values = rng.standard_normal(n)
    if dtype is np.complex64:
        values = values + 1j * rng.standard_normal(n)
    return values.astype(dtype)


@pytest.mark.parametrize("previous", [0j, 0.3 - 0.4j])
def test_discriminator_agrees_with_its_model(previous: complex) -> None:
    iq = samples_of(np.complex64, 500)
    iq[100:103] = 0
    got, wanted = np.zeros(500, np.float32), np.zeros(500, np.float32)
    _kernels.discriminate(iq, previous, 0.7, got)
    _kernels.discriminate_model(iq, previous, 0.7, wanted)
    np.testing.assert_allclose(got, wanted, atol=5e-7)
    assert got[101] == 0.0


def test_an_angle_is_exact_within_4e_7_all_around() -> None:
    angles = np.linspace(-np.pi, np.pi, 200_001)
    iq = np.exp(1j * angles).astype(np.complex64)
    got = np.array([_kernels.angle(im, re) for im, re in zip(iq.imag, iq.real, strict=True)])
    np.testing.assert_allclose(got, np.angle(iq.astype(np.complex128)), atol=4e-7)


@pytest.mark.parametrize(
    ("im", "re", "wanted"),
    [
        (0.0, 0.0, 0.0),
        (0.0, -1.0, np.pi),
        (1.0, 0.0, np.pi / 2),
        (-1.0, 0.0, -np.pi / 2),
        (1e-30, -1e-30, 0.75 * np.pi),
        (np.nan, 1.0, 0.0),
        (np.inf, np.inf, 0.0),
        (np.inf, 1.0, np.pi / 2),
    ],
)
def test_an_angle_is_a_number_whatever_comes(im: float, re: float, wanted: float) -> None:
    assert _kernels.angle(np.float32(im), np.float32(re)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 17, 500])
def test_a_row_of_a_stack_is_discriminated_as_if_alone(n: int) -> None:
    iq = samples_of(np.complex64, 5 * n).reshape(5, n)
    got, wanted = np.zeros((5, n), np.float32), np.zeros((5, n), np.float32)
    first = samples_of(np.complex64, 5)
    previous, previous_model = first.copy(), first.copy()
    _kernels.discriminate_stack(iq, previous, 0.7, got)
    _kernels.discriminate_stack_model(iq, previous_model, 0.7, wanted)
    np.testing.assert_allclose(got, wanted, atol=5e-7)
    np.testing.assert_array_equal(previous, previous_model)
    alone = np.zeros(n, np.float32)
    _kernels.discriminate(iq[3], complex(first[3]), 0.7, alone)
    np.testing.assert_array_equal(got[3], alone)


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


@pytest.mark.parametrize("n_rows", [1, 3, 4, 6, 9])
def test_deemphasis_of_a_stack_agrees_with_its_model_and_with_a_row_alone(n_rows: int) -> None:
    audio = (samples_of(np.float32, 250 * n_rows) * np.float32(3.0)).reshape(n_rows, 250)
    start = np.random.default_rng(2).standard_normal((n_rows, 2))
    states = [start.copy() for _ in range(2)]
    results = [np.zeros((n_rows, 250), np.float32) for _ in range(2)]
    kernels: list[Callable[..., Any]] = [
        _kernels.level_and_deemphasize_stack,
        _kernels.level_and_deemphasize_stack_model,
    ]
    for kernel, state, out in zip(kernels, states, results, strict=True):
        kernel(audio, state, 0.01, 0.92, 0.8, out)
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    np.testing.assert_allclose(states[0], states[1], atol=1e-9)
    assert np.abs(results[0]).max() <= _kernels.PCM_LIMIT
    for row in range(n_rows):
        state, alone = start[row : row + 1].copy(), np.zeros((1, 250), np.float32)
        _kernels.level_and_deemphasize_stack(audio[row : row + 1], state, 0.01, 0.92, 0.8, alone)
        np.testing.assert_array_equal(results[0][row], alone[0])

"""The loop that follows the pilot against its plain-numpy model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.dsp import _wfm_kernels as kernels

PILOT_LOOP = kernels.PilotLoop(
    step=2.0 * np.pi * 19.0 / 256.0,
    max_detune=1e-3,
    acquire_proportional=0.1,
    acquire_integral=4e-5,
    track_proportional=0.04,
    track_integral=1e-5,
    level_share=0.02,
    lock_level=0.05,
    unlock_level=0.03,
    blend_step=0.01,
)


def pilot_run(kernel: Callable[..., None], multiplex: NDArray[np.float32]) -> tuple[Any, Any]:
    phases = PILOT_LOOP.step * np.arange(64)
    cosine, sine = np.cos(phases).astype(np.float32), np.sin(phases).astype(np.float32)
    state, out = np.zeros(6), np.zeros_like(multiplex)
    kernel(multiplex, 63, cosine, sine, PILOT_LOOP, state, out)
    return state, out


def multiplex_with_pilot(rng: np.random.Generator, level: float, n: int) -> NDArray[np.float32]:
    place = np.arange(n)
    pilot = level * np.sin((PILOT_LOOP.step + 2e-4) * place + 1.0)
    return np.asarray(pilot + 0.02 * rng.standard_normal(n), dtype=np.float32)


def test_the_pilot_loop_agrees_with_its_model_while_it_locks_and_unlocks(rng: np.random.Generator) -> None:
    n = 40_000
    multiplex = multiplex_with_pilot(rng, 0.1, n)
    multiplex[20_000:] *= np.float32(0.1)
    got, wanted = (pilot_run(kernel, multiplex) for kernel in (kernels.track_pilot, kernels.track_pilot_model))
    np.testing.assert_allclose(got[1], wanted[1], atol=1e-4)
    np.testing.assert_allclose(got[0], wanted[0], atol=1e-3)
    assert np.abs(wanted[1][15_000:20_000]).max() > 0.1
    assert wanted[0][4] == 0.0
    assert np.abs(wanted[1][-1000:]).max() == 0.0


def test_the_pilot_loop_finds_phase_step_and_level(rng: np.random.Generator) -> None:
    n = 64 * 1000 + 63
    state, out = pilot_run(kernels.track_pilot, multiplex_with_pilot(rng, 0.1, n))
    # The history of 63 samples is not followed, and the phase is that of the sample behind the last.
    phase = (PILOT_LOOP.step + 2e-4) * n + 1.0
    assert abs(np.angle(np.exp(1j * (state[0] - phase)))) < 0.05
    assert state[1] == pytest.approx(2e-4, abs=1e-5)
    assert state[2] == pytest.approx(0.1, abs=0.003)
    assert (state[3], state[4]) == (1.0, 1.0)
    np.testing.assert_array_equal(out[:63], 0.0)

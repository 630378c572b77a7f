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
    noise_share=0.06,
    drift_share=0.01,
    power_share=0.02,
    n_wait=50.0,
    quiet_power=1e-6,
)


def pilot_run(kernel: Callable[..., None], multiplex: NDArray[np.float32]) -> tuple[Any, Any]:
    phases = PILOT_LOOP.step * np.arange(64)
    cosine, sine = np.cos(phases).astype(np.float32), np.sin(phases).astype(np.float32)
    state, out = np.zeros(kernels.PILOT_STATES), np.zeros_like(multiplex)
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
    assert np.abs(wanted[1][15_000:20_000]).max() > 0.05
    assert wanted[0][4] == 0.0
    assert np.abs(wanted[1][-1000:]).max() == 0.0


def test_the_blend_is_whole_up_to_the_quiet_noise_and_falls_as_its_amplitude_above(rng: np.random.Generator) -> None:
    n = 64 * 4000 + 63
    place = np.arange(n)
    pilot = 0.1 * np.sin((PILOT_LOOP.step + 2e-4) * place + 1.0)
    noise = rng.standard_normal(n)
    blends, powers = [], []
    for amplitude in (0.005, 0.1, 0.2):
        state, _ = pilot_run(kernels.track_pilot, (pilot + amplitude * noise).astype(np.float32))
        blends.append(state[3])
        powers.append(state[10])
    wanted, _ = pilot_run(kernels.track_pilot_model, (pilot + 0.2 * noise).astype(np.float32)[: n // 4])
    got, _ = pilot_run(kernels.track_pilot, (pilot + 0.2 * noise).astype(np.float32)[: n // 4])
    np.testing.assert_allclose(got[6:], wanted[6:], rtol=1e-3, atol=1e-5)
    assert got[10] == pytest.approx(wanted[10], rel=1e-3)
    assert blends[0] == 1.0
    assert powers[0] < PILOT_LOOP.quiet_power
    assert powers[2] == pytest.approx(4.0 * powers[1], rel=0.2)
    np.testing.assert_allclose(blends[1:], np.sqrt(PILOT_LOOP.quiet_power / np.array(powers[1:])), rtol=0.1)


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

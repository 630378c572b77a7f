"""Each kernel of the demodulators against its plain-numpy model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.dsp import _demod_kernels as kernels

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
CARRIER_LEVEL = kernels.CarrierLevel(0.001, 0.01, 0.03, 60.0, 0.02, 0.05)
CARRIER_LOOP = kernels.CarrierLoop(0.05, 0.001, 0.01, 0.02, 0.02, 2.5, 0.7, 0.5, 0.01)
GAIN_CONTROL = kernels.GainControl(0.05, 40.0, 0.99, 0.01, 0.5)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


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


def test_the_carrier_level_agrees_with_its_model_over_steps(rng: np.random.Generator) -> None:
    n = 6000
    steps = np.repeat([0.1, 0.14, 1.0, 0.0, 0.3], n // 5)
    envelope = (steps * (1.0 + 0.5 * np.sin(0.3 * np.arange(n)) + 0.05 * rng.standard_normal(n))).astype(np.float32)
    results = []
    for kernel in (kernels.normalize_carrier, kernels.normalize_carrier_model):
        state, delay, out = np.zeros(7), np.zeros(20, np.float32), np.zeros(n, np.float32)
        kernel(envelope[:2501], CARRIER_LEVEL, state, delay, out[:2501])
        kernel(envelope[2501:], CARRIER_LEVEL, state, delay, out[2501:])
        results.append((out, state, delay))
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert np.abs(results[1][0][1800:2400]).max() == pytest.approx(0.5, abs=0.25)


def test_the_carrier_level_takes_broken_samples_for_the_carrier() -> None:
    envelope = np.ones(2000, np.float32)
    envelope[500:700] = np.nan
    envelope[700:800] = np.inf
    state, delay, out = np.zeros(7), np.zeros(20, np.float32), np.zeros(2000, np.float32)
    kernels.normalize_carrier(envelope, CARRIER_LEVEL, state, delay, out)
    np.testing.assert_allclose(out[200:], 0.0, atol=1e-6)
    assert state[0] == pytest.approx(1.0)


def test_the_carrier_loop_agrees_with_its_model_while_it_locks_and_unlocks(rng: np.random.Generator) -> None:
    n = 4000
    place = np.arange(n)
    noise = 0.05 * (rng.standard_normal(n) + 1j * rng.standard_normal(n))
    iq = np.exp(1j * (0.3 * place + 2.0)) * (1.0 + 0.5 * np.sin(0.2 * place))
    iq = (np.where(place < 3000, iq, 0.0) + noise).astype(np.complex64)
    iq[:50] = 0.0
    results = []
    for kernel in (kernels.track_carrier, kernels.track_carrier_model):
        state, out = np.zeros(10), np.zeros(n, np.float32)
        kernel(iq[:2999], CARRIER_LOOP, state, out[:2999])
        assert state[7] == 1.0
        assert state[1] == pytest.approx(0.3, abs=0.02)
        kernel(iq[2999:], CARRIER_LOOP, state, out[2999:])
        results.append((out, state))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-6)
    np.testing.assert_allclose(results[0][0][2000:2900], 1.0 + 0.5 * np.sin(0.2 * place[2000:2900]), atol=0.25)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e30])
def test_the_carrier_loop_takes_broken_samples_for_nothing(broken: float) -> None:
    iq = np.exp(0.1j * np.arange(2000)).astype(np.complex64)
    zeroed = iq.copy()
    iq[1000:1010], zeroed[1000:1010] = broken, 0.0
    results = []
    for samples in (iq, zeroed):
        state, out = np.zeros(10), np.zeros(2000, np.float32)
        kernels.track_carrier(samples, CARRIER_LOOP, state, out)
        results.append(out)
    np.testing.assert_array_equal(results[0], results[1])


def test_gain_control_agrees_with_its_model(rng: np.random.Generator) -> None:
    audio = np.concatenate((rng.standard_normal(300), 0.01 * rng.standard_normal(600), rng.standard_normal(300)))
    results = []
    for kernel in (kernels.control_gain, kernels.control_gain_model):
        state, out = np.array([0.01, 0.0]), np.zeros(1200, np.float32)
        kernel(audio.astype(np.float32), GAIN_CONTROL, state, out)
        results.append((out, state))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-9)
    assert np.abs(results[1][0][800:900]).max() > 10.0 * np.abs(results[1][0][300:340]).max()


def test_gain_control_hangs_and_then_decays_to_its_floor() -> None:
    state, out = np.array([0.01, 0.0]), np.zeros(1000, np.float32)
    audio = np.zeros(1000, np.float32)
    audio[:200] = 1.0
    audio[200:205] = [np.nan, np.inf, -np.inf, 1e30, 0.0]
    levels = []
    for k in range(1000):
        kernels.control_gain(audio[k : k + 1], GAIN_CONTROL, state, out[k : k + 1])
        levels.append(state[0])
    assert levels[199] == pytest.approx(1.0, abs=1e-4)
    assert levels[239] == levels[199]
    assert levels[240] == pytest.approx(0.99 * levels[239])
    assert levels[-1] == 0.01
    np.testing.assert_array_equal(out[200:], 0.0)
    assert out.max() == 0.5


def test_sections_agree_with_their_model_and_carry_their_state(rng: np.random.Generator) -> None:
    samples = rng.standard_normal(400).astype(np.float32)
    sections = np.array([[1.0, -1.9, 0.95, -1.6, 0.7], [0.5, 0.2, 0.1, 0.3, 0.2]])
    results = []
    for kernel in (kernels.filter_sections, kernels.filter_sections_model):
        state, out = np.full((2, 2), 0.1), np.zeros(400, np.float32)
        kernel(samples[:123], sections, state, out[:123])
        kernel(samples[123:], sections, state, out[123:])
        results.append((out, state))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-9)
    assert np.abs(results[1][0]).max() > 0.5

"""The loops over audio against their plain-numpy models."""

import numpy as np
import pytest

from app_core.dsp import _audio_kernels as kernels

GAIN_CONTROL = kernels.GainControl(0.05, 40.0, 0.99, 0.01, 0.5)


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

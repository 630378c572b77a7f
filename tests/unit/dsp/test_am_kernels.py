"""The loops for AM carriers against their plain-numpy models."""

import numpy as np
import pytest

from app_core.dsp import _am_kernels as kernels

CARRIER_LEVEL = kernels.CarrierLevel(0.001, 0.01, 0.03, 60.0, 0.02, 0.05)
CARRIER_LOOP = kernels.CarrierLoop(0.05, 0.001, 0.01, 0.02, 0.02, 2.5, 0.7, 0.5, 0.01)


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

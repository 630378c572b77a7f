"""Each kernel over the bits of a burst against its plain-numpy model."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.dsp import _bit_kernels as kernels


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.mark.parametrize(("start", "length"), [(0.0, 16.0), (5.25, 16.4), (-7.9, 15.53)])
def test_correlate_bits_agrees_with_its_model(rng: np.random.Generator, start: float, length: float) -> None:
    n_bits = 20
    # The last bit lies partly beyond the samples.
    samples = rng.standard_normal(int(np.ceil(start + n_bits * length)) - 5).astype(np.float32)
    lengths = length + rng.uniform(-0.2, 0.2, n_bits)
    edges: NDArray[np.float64] = start + np.concatenate([[0.0], np.cumsum(lengths)])
    got = kernels.correlate_bits(samples, edges, kernels.TONE_CYCLES)
    np.testing.assert_allclose(got, kernels.correlate_bits_model(samples, edges, kernels.TONE_CYCLES), atol=1e-9)
    assert got.shape == (n_bits, 4)


def test_a_tone_shows_half_its_amplitude_and_leaves_the_other_tones_alone() -> None:
    samples = np.sin(2 * np.pi * 4 / 16 * np.arange(161)).astype(np.float32)
    got = np.abs(kernels.correlate_bits(samples, np.arange(0.0, 161.0, 16.0), kernels.TONE_CYCLES))
    np.testing.assert_allclose(got, np.tile([0.5, 0.0, 0.0, 0.0], (10, 1)), atol=1e-6)


def test_coherent_power_agrees_with_its_model(rng: np.random.Generator) -> None:
    correlation = rng.standard_normal((3, 50, 4)) + 1j * rng.standard_normal((3, 50, 4))
    use = rng.integers(-1, 2, 50)
    phase = np.cumsum(rng.uniform(3, 4, 50))
    got = kernels.coherent_power(correlation, use, phase, -2e-3, 1e-4, 41)
    np.testing.assert_allclose(got, kernels.coherent_power_model(correlation, use, phase, -2e-3, 1e-4, 41), rtol=1e-9)


def wavering(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A burst whose speed wavers by 0.5 % at 4 Hz: its samples and the edges of its bits."""
    lengths = 16.0 * (1.0 + 5e-3 * np.sin(2 * np.pi * 4.0 * 1.92e-3 * np.arange(len(bits))))
    edges = 20.0 + np.concatenate([[0.0], np.cumsum(lengths, dtype=np.float64)])
    place = np.arange(int(edges[-1]) + 20)
    bit = np.clip(np.searchsorted(edges, place, "right") - 1, 0, len(bits) - 1)
    cycles = np.where(bits[bit] == 1, 4.0, 3.0)
    return np.sin(2 * np.pi * cycles * (place - edges[bit]) / lengths[bit]).astype(np.float32), edges


def test_follow_bits_agrees_with_its_model_and_follows(rng: np.random.Generator) -> None:
    sent = rng.integers(0, 2, 300)
    samples, edges = wavering(sent)
    samples += 0.2 * rng.standard_normal(len(samples)).astype(np.float32)
    known = sent.copy()
    known[100:] = -1
    arguments = (samples, 20.0, 16.0, known, np.array([-0.5j, -0.5j]), kernels.TONE_CYCLES[:2], 0.12, 0.0072)
    got = kernels.follow_bits(*arguments)
    np.testing.assert_allclose(got, kernels.follow_bits_model(*arguments), atol=1e-6)
    assert np.abs(got - edges).max() < 2.0
    straight = 20.0 + 16.0 * np.arange(301)
    assert np.abs(straight - edges).max() > 3.0

"""The loop that zooms into a capture against its plain-numpy model."""

import numpy as np
import pytest

from app_core.dsp import _zoom_kernels as kernels
from tests.support.signals import complex_noise


@pytest.mark.parametrize(("decimation", "n_taps", "n_out"), [(8, 16, 4), (20, 80, 136), (3, 5, 68), (25, 7, 8)])
def test_zooming_agrees_with_its_model_and_with_a_convolution(decimation: int, n_taps: int, n_out: int) -> None:
    iq = complex_noise((n_out - 1) * decimation + n_taps, 1.0, seed=1)
    tap = complex_noise(n_taps, 1.0, seed=2)
    taps = np.empty((2, 2 * n_taps), np.float32)
    taps[0, 0::2], taps[0, 1::2], taps[1, 0::2], taps[1, 1::2] = tap.real, -tap.imag, tap.imag, tap.real
    got, wanted = np.zeros(n_out, np.complex64), np.zeros(n_out, np.complex64)
    assert kernels.zoom_samples(iq.view(np.float32), taps, decimation, 1e6, got)
    assert kernels.zoom_samples_model(iq.view(np.float32), taps, decimation, 1e6, wanted)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    np.testing.assert_allclose(wanted, np.convolve(iq, tap[::-1], "valid")[::decimation], atol=1e-4)


@pytest.mark.parametrize("broken", [np.nan, np.inf, complex(0.0, -np.inf), 1e6, complex(0.0, np.nan)])
@pytest.mark.parametrize("place", [0, 777, 1283, 1499])
def test_a_broken_sample_is_seen_wherever_it_stands(broken: complex, place: int) -> None:
    iq = complex_noise(1500, 1.0, seed=3)
    taps = np.zeros((2, 160), np.float32)
    zoomed = np.zeros(72, np.complex64)
    assert kernels.zoom_samples(iq.view(np.float32), taps, 20, 1e6, zoomed)
    iq[place] = broken
    assert not kernels.zoom_samples(iq.view(np.float32), taps, 20, 1e6, zoomed)
    assert not kernels.zoom_samples_model(iq.view(np.float32), taps, 20, 1e6, zoomed)


def test_outputs_do_not_depend_on_how_many_are_computed_at_once() -> None:
    iq = complex_noise(5000, 1.0, seed=4)
    taps = complex_noise(160, 1.0, seed=5).view(np.float32).reshape(2, 160)
    whole, parts = np.zeros(200, np.complex64), np.zeros(200, np.complex64)
    kernels.zoom_samples(iq.view(np.float32), taps, 24, 1e6, whole)
    for first in range(0, 200, 4):
        kernels.zoom_samples(iq[24 * first :].view(np.float32), taps, 24, 1e6, parts[first : first + 4])
    np.testing.assert_array_equal(parts, whole)

"""Audio as 16-bit integers."""

import numpy as np

from app_core.dsp import _audio_kernels as kernels
from app_core.dsp.pcm16 import to_int16


def test_audio_is_rounded_clipped_and_free_of_nonsense() -> None:
    pcm = np.array([0.0, 1.0, -1.0, 2.0, -9.0, np.nan, np.inf, -np.inf, 0.5, 1e-9], dtype=np.float32)
    kept = pcm.copy()
    assert to_int16(pcm).tolist() == [0, 32767, -32767, 32767, -32767, 0, 32767, -32767, 16384, 0]
    assert np.array_equal(pcm, kept, equal_nan=True)


def test_shape_and_places_of_stereo_stay_and_the_source_is_not_touched() -> None:
    stereo = np.array([[0.5, -0.5], [1.0, -1.0], [0.0, 0.25]], np.float32)[::2]
    before = stereo.copy()
    assert to_int16(stereo).tolist() == [[16384, -16384], [0, 8192]]
    np.testing.assert_array_equal(stereo, before)
    assert to_int16(np.zeros((0, 2), np.float32)).shape == (0, 2)


def test_kernel_agrees_with_its_model(rng: np.random.Generator) -> None:
    pcm = (2.0 * rng.standard_normal(2000)).astype(np.float32)
    # Halves, where rounding decides, and what is no sample.
    pcm[:500] = (rng.integers(-32767, 32767, 500) + 0.5) / np.float32(32767.0)
    pcm[500:504] = [np.nan, np.inf, -np.inf, 1e30]
    codes = np.empty((2, 2000), np.int16)
    kernels.quantise_int16(pcm, codes[0])
    kernels.quantise_int16_model(pcm, codes[1])
    np.testing.assert_array_equal(codes[0], codes[1])

"""Audio as 16-bit integers, as files, sound cards and encoders want it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._audio_kernels import quantise_int16


def to_int16(pcm: NDArray[np.float32]) -> NDArray[np.int16]:
    """Give audio as 16-bit integers, in an array of its own.

    Parameters
    ----------
    pcm
        Any shape; what is beyond full scale is clipped, what is not a number is silence. [full scale = ±1]

    Returns
    -------
    codes
        Of the same shape. [full scale = ±32767]
    """
    codes = np.empty(pcm.shape, dtype=np.int16)
    quantise_int16(np.ascontiguousarray(pcm, dtype=np.float32).reshape(-1), codes.reshape(-1))
    return codes

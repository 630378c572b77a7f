"""The attention signal between header and voice: EAS's pair of tones, or NOAA Weather Radio's single one.

The peak of the tone is what `level` says, for the pair too: each of its tones then has half of it. Both ends are
ramped for a few milliseconds so that the tone does not click. `app_core.eas.attention_detector` hears them.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app_core.eas.waveform import ATTENTION_EAS_HZ, ATTENTION_NWR_HZ

RAMP_S = 0.005
"""Length of the raised-cosine ramp at either end of a tone."""


class Attention(StrEnum):
    """Which attention signal a transmission carries."""

    NWR = "nwr"
    EAS = "eas"
    NONE = "none"


ATTENTION_TONES_HZ = {Attention.NWR: (ATTENTION_NWR_HZ,), Attention.EAS: ATTENTION_EAS_HZ, Attention.NONE: ()}
"""Tones of each signal, the lower one first."""


def attention_tone(
    attention: Attention, duration_s: float, sample_rate_hz: float, *, level: float = 1.0
) -> NDArray[np.float32]:
    """Generate an attention signal.

    Parameters
    ----------
    attention
        Which signal; `Attention.NONE` gives no samples.
    duration_s
        Length, ramps included.
    sample_rate_hz
        Rate of the result. [samples per second]
    level
        Peak of the sum of the tones. [full scale = 1]

    Returns
    -------
    pcm
        Shape (n,), n = round(duration_s * sample_rate_hz), or (0,) for `Attention.NONE`.

    Raises
    ------
    ValueError
        If `duration_s` is negative or not finite, or `sample_rate_hz` is not above twice the highest tone.
    """
    tones_hz = ATTENTION_TONES_HZ[attention]
    if not 0.0 <= duration_s < np.inf:
        raise ValueError(f"an attention signal cannot last {duration_s} s")
    if not tones_hz:
        return np.zeros(0, np.float32)
    if not sample_rate_hz > 2.0 * max(tones_hz):
        raise ValueError(f"{sample_rate_hz} Hz cannot carry a tone of {max(tones_hz)} Hz")
    n_samples = round(duration_s * sample_rate_hz)
    time_s = np.arange(n_samples) / sample_rate_hz
    pcm = np.zeros(n_samples)
    for tone_hz in tones_hz:
        pcm += np.sin(2.0 * np.pi * tone_hz * time_s)
    pcm *= level / len(tones_hz)
    n_ramp = min(round(RAMP_S * sample_rate_hz), n_samples // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(n_ramp) + 0.5) / max(n_ramp, 1))
    pcm[:n_ramp] *= ramp
    pcm[n_samples - n_ramp :] *= ramp[::-1]
    return pcm.astype(np.float32)

"""The compiled loops over audio, each beside the plain-numpy model that defines it.

Convention: a kernel writes into arrays that the caller made and allocates nothing; what lives on between blocks is a
float64 vector `state`, updated, and its meaning is said in the docstring. Loops whose sums are carried from sample to
sample run in double precision and in order, so cutting the input elsewhere gives the same output bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

ABSURD = 1e6
"""No sample that is this far above full scale is one."""

HANG_SHARE = 0.9
"""A peak above this share of the level counts as one at the level: it starts the hang time anew."""


class GainControl(NamedTuple):
    """Constants of `control_gain`.

    Attributes
    ----------
    attack_share
        Share of the distance to a louder sample by which the level rises.
    n_hang
        How long the level stands still behind the last peak. [samples]
    decay_factor
        Factor by which it falls per sample after that.
    least_level
        It falls no lower.
    target
        Amplitude of the output.
    """

    attack_share: float
    n_hang: float
    decay_factor: float
    least_level: float
    target: float


@njit(cache=True, nogil=True)
def control_gain(audio: F32, control: GainControl, state: F64, out: F32) -> None:
    """Bring audio to a constant amplitude: the gain falls fast, then hangs, then rises slowly.

    Parameters
    ----------
    audio
        Shape (n,), any scale; a sample that is not finite or absurd counts as 0.
    control
        Constants.
    state
        Shape (2,): level, at least ``control.least_level``; samples that it still hangs.
    out
        Shape (n,); written: ``audio * target / level``, within ``±target``.
    """
    level = state[0]
    hang = state[1]
    for k in range(audio.shape[0]):
        sample = np.float64(audio[k])
        if not abs(sample) < ABSURD:
            sample = np.float64(0.0)
        peak = abs(sample)
        if peak > level:
            level += control.attack_share * (peak - level)
        if peak > HANG_SHARE * level:
            hang = control.n_hang
        elif hang > 0.0:
            hang -= 1.0
        else:
            level = max(level * control.decay_factor, control.least_level)
        out[k] = control.target * sample / max(level, peak)
    state[0] = level
    state[1] = hang


def control_gain_model(audio: F32, control: GainControl, state: F64, out: F32) -> None:
    """Model of `control_gain`, same arguments, for sane audio: first the levels, then one division."""
    peaks = np.abs(audio.astype(np.float64))
    levels = np.empty_like(peaks)
    level, hang = (float(value) for value in state)
    for k, peak in enumerate(peaks):
        level += control.attack_share * max(peak - level, 0.0)
        held = peak > HANG_SHARE * level
        if not held and hang == 0.0:
            level = max(level * control.decay_factor, control.least_level)
        hang = control.n_hang if held else max(hang - 1.0, 0.0)
        levels[k] = level
    out[:] = control.target * audio / np.maximum(levels, peaks)
    state[:] = level, hang


@njit(cache=True, nogil=True)
def filter_sections(samples: F32, sections: F64, state: F64, out: F32) -> None:
    """Filter through a chain of second-order sections (transposed direct form II).

    Parameters
    ----------
    samples
        Shape (n,); a sample that is not finite or absurd counts as 0.
    sections
        Shape (n_sections, 5): ``b0, b1, b2, a1, a2`` of each, where ``a0`` is 1.
    state
        Shape (n_sections, 2).
    out
        Shape (n,); written.
    """
    for k in range(samples.shape[0]):
        sample = np.float64(samples[k])
        if not abs(sample) < ABSURD:
            sample = np.float64(0.0)
        for i in range(sections.shape[0]):
            result = sections[i, 0] * sample + state[i, 0]
            state[i, 0] = sections[i, 1] * sample - sections[i, 3] * result + state[i, 1]
            state[i, 1] = sections[i, 2] * sample - sections[i, 4] * result
            sample = result
        out[k] = sample


def filter_sections_model(samples: F32, sections: F64, state: F64, out: F32) -> None:
    """Model of `filter_sections`, same arguments, for sane samples: each section as a state-space system."""
    signal = samples.astype(np.float64)
    for (b0, b1, b2, a1, a2), memory in zip(sections, state, strict=True):
        transition = np.array([[-a1, 1.0], [-a2, 0.0]])
        entry = np.array([b1 - a1 * b0, b2 - a2 * b0])
        for k in range(signal.shape[0]):
            sample = signal[k]
            signal[k] = memory[0] + b0 * sample
            memory[:] = transition @ memory + entry * sample
    out[:] = signal


@njit(cache=True, nogil=True)
def quantise_int16(pcm: F32, codes: NDArray[np.int16]) -> None:
    """Round audio to 16 bits; what is beyond full scale is clipped, what is not a number is silence.

    Parameters
    ----------
    pcm
        Shape (n,). [full scale = ±1]
    codes
        Shape (n,), overwritten. [full scale = ±32767]
    """
    scale = np.float32(32767.0)
    for index in range(len(pcm)):
        scaled = pcm[index] * scale
        scaled = scaled if scaled == scaled else np.float32(0.0)
        codes[index] = np.int16(np.rint(min(max(scaled, -scale), scale)))


def quantise_int16_model(pcm: F32, codes: NDArray[np.int16]) -> None:
    """Define `quantise_int16`."""
    scaled = np.nan_to_num(pcm, nan=0.0, posinf=1.0, neginf=-1.0) * np.float32(32767.0)
    codes[:] = np.clip(np.rint(scaled), -32767, 32767).astype(np.int16)

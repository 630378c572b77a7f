"""Every numba loop of the way from IQ to PCM, each beside the plain-numpy model that defines it.

Convention: a kernel writes into an array that the caller made and allocates nothing; state that lives on between
blocks is an argument. ``reassoc`` and ``contract`` let the compiler sum a dot product in vector registers; no other
liberty is taken, so NaN and infinity keep their meaning.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

PCM_LIMIT = 4.0
"""Audio is clipped here and nowhere else: a guard against noise without a carrier, far above any legal deviation."""


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def polyphase(
    samples: NDArray[Any],
    table: NDArray[np.float32],
    up: int,
    down: int,
    phase: int,
    out: NDArray[Any],
) -> None:
    """Resample by ``up / down`` with one row of taps for each of the `up` phases.

    Parameters
    ----------
    samples
        Shape (n,), float32 or complex64; the window of output 0 starts at ``samples[0]``, and the caller makes sure
        that the window of the last output ends inside.
    table
        Shape (up, n_taps); row ``p`` serves outputs that stand ``p / up`` of an input sample past the grid.
    up, down
        Output and input rate, in lowest terms.
    phase
        Position of output 0, ``0 <= phase < up``. [1 / up of an input sample]
    out
        Shape (n_out,), the type of `samples`, finite; written.
    """
    n_taps = table.shape[1]
    start = 0
    for k in range(out.shape[0]):
        total = out[k] * 0
        row = table[phase]
        window = samples[start : start + n_taps]
        for i in range(n_taps):
            total += window[i] * row[i]
        out[k] = total
        phase += down
        start += phase // up
        phase %= up


def polyphase_model(
    samples: NDArray[Any],
    table: NDArray[np.float32],
    up: int,
    down: int,
    phase: int,
    out: NDArray[Any],
) -> None:
    """Model of `polyphase`, same arguments: one dot product in double precision for each output."""
    n_taps = table.shape[1]
    for k in range(out.shape[0]):
        start, row = divmod(phase + k * down, up)
        out[k] = samples[start : start + n_taps] @ table[row].astype(np.float64)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def polyphase_interpolated(
    samples: NDArray[Any],
    table: NDArray[np.float32],
    up: int,
    down: int,
    phase: int,
    out: NDArray[Any],
) -> None:
    """Resample by ``up / down`` where `up` phases are too many for a table: taps between two rows are interpolated.

    Parameters are those of `polyphase`, except for `table`: shape (n_rows + 1, n_taps), row ``r`` stands
    ``r / n_rows`` of an input sample past the grid. The position itself stays exact: it is counted in whole numbers.
    """
    n_rows = table.shape[0] - 1
    n_taps = table.shape[1]
    start = 0
    for k in range(out.shape[0]):
        place = phase / up * n_rows
        index = min(int(place), n_rows - 1)
        share = np.float32(place - index)
        lower = out[k] * 0
        upper = out[k] * 0
        row = table[index]
        next_row = table[index + 1]
        window = samples[start : start + n_taps]
        for i in range(n_taps):
            lower += window[i] * row[i]
            upper += window[i] * next_row[i]
        out[k] = lower + share * (upper - lower)
        phase += down
        start += phase // up
        phase %= up


def polyphase_interpolated_model(
    samples: NDArray[Any],
    table: NDArray[np.float32],
    up: int,
    down: int,
    phase: int,
    out: NDArray[Any],
) -> None:
    """Model of `polyphase_interpolated`, same arguments."""
    n_rows, n_taps = table.shape[0] - 1, table.shape[1]
    rows = np.arange(n_rows + 1) / n_rows
    for k in range(out.shape[0]):
        start, position = divmod(phase + k * down, up)
        taps = [np.interp(position / up, rows, table[:, i]) for i in range(n_taps)]
        out[k] = samples[start : start + n_taps] @ np.array(taps)


@njit(cache=True, nogil=True)
def discriminate(iq: NDArray[np.complex64], previous: complex, scale: float, out: NDArray[np.float32]) -> None:
    """Instantaneous frequency: the angle from each sample to the next.

    Parameters
    ----------
    iq
        Shape (n,), any level.
    previous
        The sample before ``iq[0]``; 0 when there is none.
    scale
        Output per radian.
    out
        Shape (n,); written: ``angle(iq[k] * conj(iq[k - 1])) * scale``, 0 where either sample is 0.
    """
    before_re = np.float32(previous.real)
    before_im = np.float32(previous.imag)
    gain = np.float32(scale)
    for k in range(iq.shape[0]):
        re = iq[k].real
        im = iq[k].imag
        out[k] = gain * math.atan2(im * before_re - re * before_im, re * before_re + im * before_im)
        before_re = re
        before_im = im


def discriminate_model(iq: NDArray[np.complex64], previous: complex, scale: float, out: NDArray[np.float32]) -> None:
    """Model of `discriminate`, same arguments."""
    before = np.concatenate(([previous], iq[:-1])).astype(np.complex128)
    out[:] = np.angle(iq * before.conj()) * scale


@njit(cache=True, nogil=True)
def level_and_deemphasize(
    audio: NDArray[np.float32],
    state: NDArray[np.float64],
    tracking: float,
    pole: float,
    gain: float,
    out: NDArray[np.float32],
) -> None:
    """Take the mean out slowly, then fall by 6 dB an octave, then guard against nonsense.

    Parameters
    ----------
    audio
        Shape (n,), any scale; a NaN or infinite sample counts as the mean.
    state
        Shape (2,): the running mean and the last output before the guard; updated.
    tracking
        Share of the distance to each sample by which the mean moves, 0 to 1.
    pole
        Pole of ``y[k] = pole * y[k - 1] + gain * x[k]``; 0 leaves the slope out.
    gain
        Gain of the same.
    out
        Shape (n,); written; within ``±PCM_LIMIT``.
    """
    mean = state[0]
    last = state[1]
    for k in range(audio.shape[0]):
        sample = np.float64(audio[k])
        if not math.isfinite(sample):
            sample = mean
        mean += tracking * (sample - mean)
        last = pole * last + gain * (sample - mean)
        out[k] = min(max(last, -PCM_LIMIT), PCM_LIMIT)
    state[0] = mean
    state[1] = last


def level_and_deemphasize_model(
    audio: NDArray[np.float32],
    state: NDArray[np.float64],
    tracking: float,
    pole: float,
    gain: float,
    out: NDArray[np.float32],
) -> None:
    """Model of `level_and_deemphasize`, same arguments, for finite audio: both filters as sums over their past."""
    n = audio.shape[0]
    age = np.arange(n)[:, None] - np.arange(n)[None, :]
    powers = np.where(age >= 0, age, 0)
    memory = np.where(age >= 0, (1.0 - tracking) ** powers, 0.0)
    mean = memory @ (tracking * audio.astype(np.float64)) + (1.0 - tracking) ** np.arange(1, n + 1) * state[0]
    slope = np.where(age >= 0, pole**powers, 0.0)
    shaped = slope @ (gain * (audio - mean)) + pole ** np.arange(1, n + 1) * state[1]
    out[:] = np.clip(shaped, -PCM_LIMIT, PCM_LIMIT)
    state[:] = mean[-1], shaped[-1]

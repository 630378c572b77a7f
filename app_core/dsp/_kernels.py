"""The numba loops of FM on the way from IQ to PCM, each beside the plain-numpy model that defines it.

Convention: a kernel writes into an array that the caller made and allocates nothing; state that lives on between
blocks is an argument. The compiler is given no liberty with rounding, so NaN and infinity keep their meaning.

A kernel that calls another stands in its file (here the ``_stack`` ones, which do the same for every row of a matrix):
numba's cache does not notice that what was compiled into a kernel has changed in another file.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

PCM_LIMIT = 4.0
"""Audio is clipped here and nowhere else: a guard against noise without a carrier, far above any legal deviation."""

_ATAN = tuple(
    np.float32(coefficient)
    for coefficient in (
        *(1.0, -0.33333066, 0.19992484, -0.14202571, 0.10636754, -0.07495446),
        *(0.04258761, -0.01600503, 0.00283406),
    )
)
"""``atan(x) / x`` as a polynomial in ``x²`` for 0 <= x <= 1: the Chebyshev fit, within 2e-8."""

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_LOW, _HIGH = np.float32(-PCM_LIMIT), np.float32(PCM_LIMIT)
_QUARTER_TURN, _HALF_TURN = np.float32(math.pi / 2.0), np.float32(math.pi)


@njit(cache=True, nogil=True)
def angle(im: np.float32, re: np.float32) -> np.float32:
    """Angle of ``re + j im`` within 4e-7 rad, without a branch; 0 for 0 and where it is not a number. [rad]"""
    height = abs(im)
    width = abs(re)
    larger = max(height, width)
    share = min(height, width) / (larger if larger > _ZERO else _ONE)
    square = share * share
    turn = _ATAN[8]
    turn = turn * square + _ATAN[7]
    turn = turn * square + _ATAN[6]
    turn = turn * square + _ATAN[5]
    turn = turn * square + _ATAN[4]
    turn = turn * square + _ATAN[3]
    turn = turn * square + _ATAN[2]
    turn = turn * square + _ATAN[1]
    turn = (turn * square + _ATAN[0]) * share
    turn = _QUARTER_TURN - turn if height > width else turn
    turn = _HALF_TURN - turn if re < _ZERO else turn
    turn = -turn if im < _ZERO else turn
    return turn if turn == turn else _ZERO


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
        Shape (n,); written: ``angle(iq[k] * conj(iq[k - 1])) * scale``, within 4e-7 rad; 0 where either sample is 0
        or the angle is not a number.
    """
    gain = np.float32(scale)
    n = iq.shape[0]
    if n == 0:
        return
    before_re = np.float32(previous.real)
    before_im = np.float32(previous.imag)
    re = iq[0].real
    im = iq[0].imag
    out[0] = gain * angle(im * before_re - re * before_im, re * before_re + im * before_im)
    # Two views of one array and not a sample that is carried over: the loop then fills vector registers.
    before = iq[: n - 1]
    after = iq[1:]
    advance = out[1:]
    for k in range(n - 1):
        re = after[k].real
        im = after[k].imag
        before_re = before[k].real
        before_im = before[k].imag
        advance[k] = gain * angle(im * before_re - re * before_im, re * before_re + im * before_im)


def discriminate_model(iq: NDArray[np.complex64], previous: complex, scale: float, out: NDArray[np.float32]) -> None:
    """Model of `discriminate`, same arguments."""
    before = np.concatenate(([previous], iq[:-1])).astype(np.complex128)
    product = iq * before.conj()
    out[:] = np.where(product == 0.0, 0.0, np.angle(product)) * scale


@njit(cache=True, nogil=True)
def discriminate_stack(
    iq: NDArray[np.complex64], previous: NDArray[np.complex64], scale: float, out: NDArray[np.float32]
) -> None:
    """`discriminate` for every row.

    Parameters
    ----------
    iq
        Shape (n_rows, n), n >= 1.
    previous
        Shape (n_rows,): the samples before ``iq[:, 0]``; updated to the last of `iq`.
    scale
        Output per radian.
    out
        Shape (n_rows, n); written.
    """
    for row in range(iq.shape[0]):
        discriminate(iq[row], previous[row], scale, out[row])
        previous[row] = iq[row, iq.shape[1] - 1]


def discriminate_stack_model(
    iq: NDArray[np.complex64], previous: NDArray[np.complex64], scale: float, out: NDArray[np.float32]
) -> None:
    """Model of `discriminate_stack`, same arguments."""
    for row in range(iq.shape[0]):
        discriminate_model(iq[row], complex(previous[row]), scale, out[row])
    previous[:] = iq[:, -1]


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


@njit(cache=True, nogil=True)
def level_and_deemphasize_stack(
    audio: NDArray[np.float32],
    state: NDArray[np.float64],
    tracking: float,
    pole: float,
    gain: float,
    out: NDArray[np.float32],
) -> None:
    """`level_and_deemphasize` for every row, of finite audio.

    Each sample waits for the one before, so four rows are taken at a time: their waits overlap.

    Parameters
    ----------
    audio
        Shape (n_rows, n), finite.
    state
        Shape (n_rows, 2): of each row the running mean and the last output before the guard; updated.
    tracking, pole, gain
        As of `level_and_deemphasize`.
    out
        Shape (n_rows, n); written; within ``±PCM_LIMIT``.
    """
    n_rows, n = audio.shape
    keep = 1.0 - tracking
    fours = n_rows // 4 * 4
    for row in range(0, fours, 4):
        in_a, in_b, in_c, in_d = audio[row], audio[row + 1], audio[row + 2], audio[row + 3]
        out_a, out_b, out_c, out_d = out[row], out[row + 1], out[row + 2], out[row + 3]
        mean_a, last_a = state[row, 0], state[row, 1]
        mean_b, last_b = state[row + 1, 0], state[row + 1, 1]
        mean_c, last_c = state[row + 2, 0], state[row + 2, 1]
        mean_d, last_d = state[row + 3, 0], state[row + 3, 1]
        for k in range(n):
            a, b, c, d = np.float64(in_a[k]), np.float64(in_b[k]), np.float64(in_c[k]), np.float64(in_d[k])
            mean_a = keep * mean_a + tracking * a
            mean_b = keep * mean_b + tracking * b
            mean_c = keep * mean_c + tracking * c
            mean_d = keep * mean_d + tracking * d
            last_a = pole * last_a + gain * (a - mean_a)
            last_b = pole * last_b + gain * (b - mean_b)
            last_c = pole * last_c + gain * (c - mean_c)
            last_d = pole * last_d + gain * (d - mean_d)
            out_a[k] = last_a
            out_b[k] = last_b
            out_c[k] = last_c
            out_d[k] = last_d
        state[row, 0], state[row, 1] = mean_a, last_a
        state[row + 1, 0], state[row + 1, 1] = mean_b, last_b
        state[row + 2, 0], state[row + 2, 1] = mean_c, last_c
        state[row + 3, 0], state[row + 3, 1] = mean_d, last_d
    for row in range(fours, n_rows):
        in_a, out_a = audio[row], out[row]
        mean_a, last_a = state[row, 0], state[row, 1]
        for k in range(n):
            a = np.float64(in_a[k])
            mean_a = keep * mean_a + tracking * a
            last_a = pole * last_a + gain * (a - mean_a)
            out_a[k] = last_a
        state[row, 0], state[row, 1] = mean_a, last_a
    for row in range(n_rows):
        out_a = out[row]
        for k in range(n):
            out_a[k] = min(max(out_a[k], _LOW), _HIGH)


def level_and_deemphasize_stack_model(
    audio: NDArray[np.float32],
    state: NDArray[np.float64],
    tracking: float,
    pole: float,
    gain: float,
    out: NDArray[np.float32],
) -> None:
    """Model of `level_and_deemphasize_stack`, same arguments."""
    for row in range(audio.shape[0]):
        level_and_deemphasize_model(audio[row], state[row], tracking, pole, gain, out[row])

"""The numba loops over channels side by side, each beside the plain-numpy model that defines it.

Convention: a stack is a matrix with a channel in each row; no row ever sees another, so a channel's samples are the
same, bit for bit, whatever stands beside it. That is why the loops here may not be rounded as the compiler likes: the
only liberty is ``contract`` where one product is added to one sum, which can be fused in one way alone, and ``reassoc``
in sums that are readings. Kernels write into arrays that the caller made and allocate nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

FIR_STEP = 8
"""The number of taps of `fir` is a multiple of this."""

HALF_BAND_TAPS = 16
"""Number of taps of `interpolate_half_band`."""

_FIR_BLOCK = 1024
"""Samples that are filtered at once, so that they stay in the first cache while the taps go over them."""


@njit(cache=True, nogil=True)
def copy_sane(target: NDArray[np.complex64], source: NDArray[np.complex64], limit: float) -> None:
    """Copy samples, with 0 for those that are broken.

    Parameters
    ----------
    target
        Shape (n,); written.
    source
        Shape (n,).
    limit
        A sample with a component of this size, an infinite one or NaN is broken.
    """
    highest = np.float32(limit)
    for k in range(source.shape[0]):
        sample = source[k]
        is_sane = abs(sample.real) < highest and abs(sample.imag) < highest
        target[k] = sample if is_sane else np.complex64(0.0)


def copy_sane_model(target: NDArray[np.complex64], source: NDArray[np.complex64], limit: float) -> None:
    """Model of `copy_sane`, same arguments."""
    # Both comparisons are False for NaN.
    target[:] = np.where((np.abs(source.real) < limit) & (np.abs(source.imag) < limit), source, 0.0)


@njit(cache=True, nogil=True)
def turn_rows(
    rows: NDArray[np.complex64],
    ramp: NDArray[np.complex64],
    phase: NDArray[np.int64],
    samples: NDArray[np.complex64],
    place: tuple[int, int, int],
) -> None:
    """`app_core.dsp.channel_stack.TurnRows`, whose plain form is its model."""
    first_good, n_frames, first_frame = place
    n_channels, n_good = ramp.shape
    for channel in range(n_channels):
        parts = phase[channel, 2]
        factors = ramp[channel]
        for frame in range(n_frames):
            turns = -2.0 * math.pi * (phase[channel, 0] / parts)
            turn_re, turn_im = np.float32(math.cos(turns)), np.float32(math.sin(turns))
            good = rows[frame * n_channels + channel, first_good : first_good + n_good]
            written = samples[channel, first_frame + frame]
            for k in range(n_good):
                factor_re = factors[k].real * turn_re - factors[k].imag * turn_im
                factor_im = factors[k].real * turn_im + factors[k].imag * turn_re
                re = good[k].real * factor_re - good[k].imag * factor_im
                im = good[k].real * factor_im + good[k].imag * factor_re
                written[k] = complex(re, im)
            phase[channel, 0] = (phase[channel, 0] + phase[channel, 1]) % parts


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def envelope_moments(iq: NDArray[np.complex64], moments: NDArray[np.float64]) -> None:
    """Sums of the second and fourth power of the magnitude.

    Parameters
    ----------
    iq
        Shape (n_rows, n). [full scale = 1]
    moments
        Shape (n_rows, 2); written: sums of ``|z|²`` and of ``|z|⁴``.
    """
    for row in range(iq.shape[0]):
        samples = iq[row]
        second = 0.0
        fourth = 0.0
        for k in range(samples.shape[0]):
            power = np.float64(samples[k].real * samples[k].real + samples[k].imag * samples[k].imag)
            second += power
            fourth += power * power
        moments[row, 0] = second
        moments[row, 1] = fourth


def envelope_moments_model(iq: NDArray[np.complex64], moments: NDArray[np.float64]) -> None:
    """Model of `envelope_moments`, same arguments."""
    power = np.square(iq.real, dtype=np.float64) + np.square(iq.imag, dtype=np.float64)
    moments[:, 0] = power.sum(axis=1)
    moments[:, 1] = np.square(power).sum(axis=1)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def sums_and_squares(samples: NDArray[np.float32], sums: NDArray[np.float64]) -> None:
    """Sums of samples and of their squares.

    Parameters
    ----------
    samples
        Shape (n_rows, n), any scale.
    sums
        Shape (n_rows, 2); written: the sum and the sum of squares of each row.
    """
    for row in range(samples.shape[0]):
        values = samples[row]
        total = 0.0
        squares = 0.0
        for k in range(values.shape[0]):
            value = np.float64(values[k])
            total += value
            squares += value * value
        sums[row, 0] = total
        sums[row, 1] = squares


def sums_and_squares_model(samples: NDArray[np.float32], sums: NDArray[np.float64]) -> None:
    """Model of `sums_and_squares`, same arguments."""
    sums[:, 0] = samples.sum(axis=1, dtype=np.float64)
    sums[:, 1] = np.square(samples, dtype=np.float64).sum(axis=1)


@njit(cache=True, nogil=True, fastmath={"contract"})
def fir(samples: NDArray[np.float32], taps: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Filter every row: the taps one after the other, over many samples at a time.

    Parameters
    ----------
    samples
        Shape (n_rows, n + n_taps - 1).
    taps
        Shape (n_taps,), a multiple of `FIR_STEP`.
    out
        Shape (n_rows, n); written: ``sum(taps[i] * samples[:, k + i])``.
    """
    n = out.shape[1]
    for row in range(out.shape[0]):
        for start in range(0, n, _FIR_BLOCK):
            filtered = out[row, start : min(start + _FIR_BLOCK, n)]
            m = filtered.shape[0]
            for k in range(m):
                filtered[k] = np.float32(0.0)
            for i in range(0, taps.shape[0], FIR_STEP):
                t0, t1, t2, t3 = taps[i], taps[i + 1], taps[i + 2], taps[i + 3]
                t4, t5, t6, t7 = taps[i + 4], taps[i + 5], taps[i + 6], taps[i + 7]
                s = samples[row, start + i : start + i + m + FIR_STEP - 1]
                for k in range(m):
                    # From left to right: one product at a time is added to one sum.
                    total = filtered[k] + t0 * s[k] + t1 * s[k + 1] + t2 * s[k + 2] + t3 * s[k + 3]
                    filtered[k] = total + t4 * s[k + 4] + t5 * s[k + 5] + t6 * s[k + 6] + t7 * s[k + 7]


def fir_model(samples: NDArray[np.float32], taps: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Model of `fir`, same arguments: in double precision."""
    for row in range(out.shape[0]):
        out[row] = np.correlate(samples[row].astype(np.float64), taps.astype(np.float64), "valid")


@njit(cache=True, nogil=True, fastmath={"contract"})
def interpolate_half_band(samples: NDArray[np.float32], taps: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Double the rate of every row: each sample as it is, and behind it one half-way to the next.

    Parameters
    ----------
    samples
        Shape (n_rows, n + HALF_BAND_TAPS - 1).
    taps
        Shape (HALF_BAND_TAPS,): those of the samples half-way.
    out
        Shape (n_rows, 2 n); written. Its first sample is the one that has ``HALF_BAND_TAPS / 2 - 1`` before it.
    """
    t0, t1, t2, t3, t4, t5, t6, t7 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7]
    t8, t9, t10, t11 = taps[8], taps[9], taps[10], taps[11]
    t12, t13, t14, t15 = taps[12], taps[13], taps[14], taps[15]
    for row in range(out.shape[0]):
        s = samples[row]
        doubled = out[row]
        for k in range(doubled.shape[0] // 2):
            left = t0 * s[k] + t1 * s[k + 1] + t2 * s[k + 2] + t3 * s[k + 3]
            left = left + t4 * s[k + 4] + t5 * s[k + 5] + t6 * s[k + 6] + t7 * s[k + 7]
            right = t8 * s[k + 8] + t9 * s[k + 9] + t10 * s[k + 10] + t11 * s[k + 11]
            right = right + t12 * s[k + 12] + t13 * s[k + 13] + t14 * s[k + 14] + t15 * s[k + 15]
            doubled[2 * k] = s[k + 7]
            doubled[2 * k + 1] = left + right


def interpolate_half_band_model(
    samples: NDArray[np.float32], taps: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Model of `interpolate_half_band`, same arguments."""
    n = out.shape[1] // 2
    out[:, ::2] = samples[:, HALF_BAND_TAPS // 2 - 1 :][:, :n]
    for row in range(out.shape[0]):
        out[row, 1::2] = np.correlate(samples[row].astype(np.float64), taps.astype(np.float64), "valid")

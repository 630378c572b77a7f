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

_DEAL_COLUMNS = 8
"""Columns of a frame that are filled at once: a line of the cache in each row."""

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


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _is_sane(parts: NDArray[np.float32], limit: np.float32) -> bool:
    """Whether all numbers are below `limit` in size; counted in float32, of which registers hold most."""
    n_broken = np.float32(0.0)
    for i in range(parts.shape[0]):
        n_broken += np.float32(0.0) if abs(parts[i]) < limit else np.float32(1.0)
    return bool(n_broken == np.float32(0.0))


@njit(cache=True, nogil=True)
def deal_sane(rows: NDArray[np.complex64], place: int, source: NDArray[np.complex64], limit: float) -> None:
    """Deal samples out to rows, one to each in turn, with 0 for those that are broken.

    Parameters
    ----------
    rows
        Shape (n_rows, n_columns); sample ``source[k]`` is written to ``rows[p % n_rows, p // n_rows]`` for
        ``p = place + k``.
    place
        Of the first sample.
    source
        Shape (n,), n <= n_rows * n_columns - place.
    limit
        As of `copy_sane`.
    """
    highest = np.float32(limit)
    n_rows, n = rows.shape[0], source.shape[0]
    # One by one up to the end of a column, and behind the last whole block of columns; all where something is broken.
    step = _DEAL_COLUMNS * n_rows
    head = min(-place % n_rows, n)
    n_blocks = (n - head) // step if _is_sane(source.view(np.float32), highest) else 0
    for part in range(2):
        first = 0 if part == 0 else head + n_blocks * step
        for k in range(first, head if part == 0 else n):
            sample = source[k]
            is_kept = abs(sample.real) < highest and abs(sample.imag) < highest
            rows[(place + k) % n_rows, (place + k) // n_rows] = sample if is_kept else np.complex64(0.0)
    # Eight bytes are moved at once, and not two times four.
    dealt, whole = rows.view(np.int64), source.view(np.int64)
    column = (place + head) // n_rows
    for block in range(n_blocks):
        for to in range(n_rows):
            out = dealt[to, column : column + _DEAL_COLUMNS]
            dealer = whole[head + block * step + to :]
            out[0] = dealer[0]
            out[1] = dealer[n_rows]
            out[2] = dealer[2 * n_rows]
            out[3] = dealer[3 * n_rows]
            out[4] = dealer[4 * n_rows]
            out[5] = dealer[5 * n_rows]
            out[6] = dealer[6 * n_rows]
            out[7] = dealer[7 * n_rows]
        column += _DEAL_COLUMNS


def deal_sane_model(rows: NDArray[np.complex64], place: int, source: NDArray[np.complex64], limit: float) -> None:
    """Model of `deal_sane`, same arguments."""
    row, column = np.arange(place, place + source.shape[0]) % rows.shape[0], np.arange(source.shape[0])
    column = (place + column) // rows.shape[0]
    rows[row, column] = np.where((np.abs(source.real) < limit) & (np.abs(source.imag) < limit), source, 0.0)


@njit(cache=True, nogil=True, fastmath={"contract"})
def unfold_bins(
    spectra: NDArray[np.complex64],
    first: NDArray[np.int64],
    turns: NDArray[np.float32],
    weights: NDArray[np.float32],
    scratch: NDArray[np.float32],
    bins: NDArray[np.complex64],
) -> None:
    """`app_core.dsp.capture_frame.UnfoldBins`, by Horner's rule: the last row first, four rows at a time."""
    n_rows, n_columns = spectra.shape
    size = bins.shape[1]
    for channel in range(bins.shape[0]):
        start, column = 0, first[channel]
        while start < size:
            n = min(size - start, n_columns - column)
            re, im = scratch[0, :n], scratch[1, :n]
            turn_re, turn_im = turns[channel, 0, start : start + n], turns[channel, 1, start : start + n]
            a = spectra[n_rows - 1, column : column + n]
            for i in range(n):
                re[i] = a[i].real
                im[i] = a[i].imag
            row = n_rows - 2
            while row >= 3:
                a, b = spectra[row, column : column + n], spectra[row - 1, column : column + n]
                c, d = spectra[row - 2, column : column + n], spectra[row - 3, column : column + n]
                for i in range(n):
                    c_re, c_im = turn_re[i], turn_im[i]
                    x = re[i] * c_re - im[i] * c_im + a[i].real
                    y = re[i] * c_im + im[i] * c_re + a[i].imag
                    u = x * c_re - y * c_im + b[i].real
                    v = x * c_im + y * c_re + b[i].imag
                    x = u * c_re - v * c_im + c[i].real
                    y = u * c_im + v * c_re + c[i].imag
                    re[i] = x * c_re - y * c_im + d[i].real
                    im[i] = x * c_im + y * c_re + d[i].imag
                row -= 4
            while row >= 0:
                a = spectra[row, column : column + n]
                for i in range(n):
                    x = re[i] * turn_re[i] - im[i] * turn_im[i] + a[i].real
                    im[i] = re[i] * turn_im[i] + im[i] * turn_re[i] + a[i].imag
                    re[i] = x
                row -= 1
            weight_re, weight_im = weights[channel, 0, start : start + n], weights[channel, 1, start : start + n]
            out = bins[channel, start : start + n]
            for i in range(n):
                x = re[i] * weight_re[i] - im[i] * weight_im[i]
                y = re[i] * weight_im[i] + im[i] * weight_re[i]
                out[i] = complex(x, y)
            start += n
            column = 0


def unfold_bins_model(
    spectra: NDArray[np.complex64],
    first: NDArray[np.int64],
    turns: NDArray[np.float32],
    weights: NDArray[np.float32],
    scratch: NDArray[np.float32],
    bins: NDArray[np.complex64],
) -> None:
    """Model of `unfold_bins`, same arguments: in double precision."""
    n_rows, n_columns = spectra.shape
    columns = (first[:, None] + np.arange(bins.shape[1])) % n_columns
    turn = turns[:, 0] + 1j * turns[:, 1].astype(np.float64)
    powers = turn ** np.arange(n_rows)[:, None, None]
    total = (powers * spectra[:, columns]).sum(axis=0)
    bins[:] = (weights[:, 0] + 1j * weights[:, 1].astype(np.float64)) * total


@njit(cache=True, nogil=True)
def turn_rows(
    rows: NDArray[np.complex64],
    ramp: NDArray[np.complex64],
    phase: NDArray[np.int64],
    samples: NDArray[np.complex64],
    place: tuple[int, int, int],
) -> None:
    """`app_core.dsp.capture_frame.TurnRows`; its plain form, `app_core.dsp.channel_stack.turn_rows`, is its model."""
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
def track_moments(iq: NDArray[np.complex64], share: float, means: NDArray[np.float64]) -> None:
    """Follow the mean second and fourth power of the magnitude.

    Parameters
    ----------
    iq
        Shape (n_rows, n), n >= 1. [full scale = 1]
    share
        Share of the distance to the means of `iq` by which the readings move.
    means
        Shape (n_rows, 2): the readings of ``|z|²`` and of ``|z|⁴``; updated.
    """
    n = iq.shape[1]
    for row in range(iq.shape[0]):
        samples = iq[row]
        second = 0.0
        fourth = 0.0
        for k in range(n):
            power = np.float64(samples[k].real * samples[k].real + samples[k].imag * samples[k].imag)
            second += power
            fourth += power * power
        means[row, 0] += share * (second / n - means[row, 0])
        means[row, 1] += share * (fourth / n - means[row, 1])


def track_moments_model(iq: NDArray[np.complex64], share: float, means: NDArray[np.float64]) -> None:
    """Model of `track_moments`, same arguments."""
    power = np.square(iq.real, dtype=np.float64) + np.square(iq.imag, dtype=np.float64)
    means[:] += share * (np.stack((power.mean(axis=1), np.square(power).mean(axis=1)), axis=1) - means)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def mean_and_peak(
    samples: NDArray[np.float32], scale: float, mean: NDArray[np.float64], peak: NDArray[np.float64]
) -> None:
    """Mean of the samples, and the peak of a sine that has their power about it.

    Parameters
    ----------
    samples
        Shape (n_rows, n), n >= 1, any scale.
    scale
        Units of the results for one of the samples.
    mean, peak
        Shape (n_rows,); written.
    """
    n = samples.shape[1]
    for row in range(samples.shape[0]):
        values = samples[row]
        total = 0.0
        squares = 0.0
        for k in range(n):
            value = np.float64(values[k])
            total += value
            squares += value * value
        mean[row] = scale * (total / n)
        peak[row] = scale * math.sqrt(2.0 * max(squares / n - (total / n) * (total / n), 0.0))


def mean_and_peak_model(
    samples: NDArray[np.float32], scale: float, mean: NDArray[np.float64], peak: NDArray[np.float64]
) -> None:
    """Model of `mean_and_peak`, same arguments."""
    mean[:] = scale * samples.mean(axis=1, dtype=np.float64)
    peak[:] = scale * math.sqrt(2.0) * samples.std(axis=1, dtype=np.float64)


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

"""The numba loop that cuts a narrow band out of a capture, beside the plain-numpy model that defines it.

Convention: it writes into an array that the caller made and allocates nothing. ``reassoc`` lets the compiler sum in
vector registers; outputs are computed four at a time, always the same four of a stream, so that cutting the input
elsewhere does not change one bit of them.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

ZOOM_GROUP = 4
"""Outputs that are computed together: each pair of taps is then loaded once for four windows."""

_CHECK_GROUPS = 16
"""Groups whose samples are checked before they are filtered: few enough to stay in the first cache."""

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _n_broken(parts: NDArray[np.float32], limit: np.float32) -> np.float32:
    """How many numbers are NaN or not below `limit` in size, or about as many: 0 only for none."""
    n_broken = _ZERO
    for i in range(parts.shape[0]):
        n_broken += _ZERO if abs(parts[i]) < limit else _ONE
    return n_broken


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def zoom_samples(
    parts: NDArray[np.float32], taps: NDArray[np.float32], decimation: int, limit: float, zoomed: NDArray[np.complex64]
) -> bool:
    """Filter with complex taps and keep every `decimation`-th output, unless a sample is broken.

    Parameters
    ----------
    parts
        Shape (2 n,): real and imaginary parts in turn; ``n >= (n_out - 1) * decimation + n_taps``.
    taps
        Shape (2, 2 n_taps): what the parts are multiplied by for the real and for the imaginary part of the output,
        that is ``re, -im, …`` and ``im, re, …`` of the complex taps. Fastest where `n_taps` is a multiple of 4.
    decimation
        Input samples for each output.
    limit
        A sample with a part of this size, an infinite one or NaN is broken.
    zoomed
        Shape (n_out,), a multiple of `ZOOM_GROUP`; written: ``sum(tap[i] * sample[k * decimation + i])``.

    Returns
    -------
    is_sane
        False if a broken sample was met; then `zoomed` is worth nothing.
    """
    highest = np.float32(limit)
    real_taps, imag_taps = taps[0], taps[1]
    n = real_taps.shape[0]
    step = 2 * decimation
    n_groups = zoomed.shape[0] // ZOOM_GROUP
    for first in range(0, n_groups, _CHECK_GROUPS):
        last = min(first + _CHECK_GROUPS, n_groups)
        checked = parts[first * ZOOM_GROUP * step : (last * ZOOM_GROUP - 1) * step + n]
        if _n_broken(checked, highest) > _ZERO:
            return False
        for group in range(first, last):
            k = group * ZOOM_GROUP
            a, b = parts[k * step : k * step + n], parts[(k + 1) * step : (k + 1) * step + n]
            c, d = parts[(k + 2) * step : (k + 2) * step + n], parts[(k + 3) * step : (k + 3) * step + n]
            a_re = a_im = b_re = b_im = c_re = c_im = d_re = d_im = _ZERO
            for i in range(n):
                tap_re, tap_im = real_taps[i], imag_taps[i]
                a_re += a[i] * tap_re
                a_im += a[i] * tap_im
                b_re += b[i] * tap_re
                b_im += b[i] * tap_im
                c_re += c[i] * tap_re
                c_im += c[i] * tap_im
                d_re += d[i] * tap_re
                d_im += d[i] * tap_im
            zoomed[k] = complex(a_re, a_im)
            zoomed[k + 1] = complex(b_re, b_im)
            zoomed[k + 2] = complex(c_re, c_im)
            zoomed[k + 3] = complex(d_re, d_im)
    return True


def zoom_samples_model(
    parts: NDArray[np.float32], taps: NDArray[np.float32], decimation: int, limit: float, zoomed: NDArray[np.complex64]
) -> bool:
    """Model of `zoom_samples`, same arguments: in double precision."""
    n_taps = taps.shape[1] // 2
    samples = parts.view(np.complex64)
    tap = taps[1, 1::2].astype(np.float64) + 1j * taps[1, 0::2]
    windows = np.lib.stride_tricks.sliding_window_view(samples, n_taps)[::decimation][: zoomed.shape[0]]
    # Both comparisons are False for NaN.
    if not np.all((np.abs(windows.real) < limit) & (np.abs(windows.imag) < limit)):
        return False
    zoomed[:] = windows.astype(np.complex128) @ tap
    return True

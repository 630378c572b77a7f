"""The compiled loops of the resamplers, each beside the plain-numpy model that defines it.

Convention: a kernel writes into an array that the caller made and allocates nothing. ``reassoc`` and ``contract`` let
the compiler sum a dot product in vector registers; no other liberty is taken, so NaN and infinity keep their meaning.

The ``_stack`` kernels stand here with those that they call: numba's cache does not notice a change in another file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


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
        Shape (up, n_taps); row ``p`` serves outputs that stand ``p / up`` of an input sample past the grid. Fastest
        where `n_taps` is a multiple of 16.
    up, down
        Output and input rate, in lowest terms.
    phase
        Position of output 0, ``0 <= phase < up``. [1 / up of an input sample]
    out
        Shape (n_out,), the type of `samples`; written.
    """
    n_taps = table.shape[1]
    whole, part = down // up, down % up
    start = 0
    for k in range(out.shape[0]):
        total = out.dtype.type(0)
        row = table[phase]
        window = samples[start : start + n_taps]
        for i in range(n_taps):
            total += window[i] * row[i]
        out[k] = total
        start += whole
        phase += part
        if phase >= up:
            phase -= up
            start += 1


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


@njit(cache=True, nogil=True)
def polyphase_stack(
    samples: NDArray[Any], table: NDArray[np.float32], up: int, down: int, phase: int, out: NDArray[Any]
) -> None:
    """`polyphase` for every row: `samples` of shape (n_rows, n), `out` of shape (n_rows, n_out); both contiguous."""
    for row in range(out.shape[0]):
        polyphase(samples[row], table, up, down, phase, out[row])


def polyphase_stack_model(
    samples: NDArray[Any], table: NDArray[np.float32], up: int, down: int, phase: int, out: NDArray[Any]
) -> None:
    """Model of `polyphase_stack`, same arguments."""
    for row in range(out.shape[0]):
        polyphase_model(samples[row], table, up, down, phase, out[row])


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
    whole, part = down // up, down % up
    rows_per_step = n_rows / up
    start = 0
    for k in range(out.shape[0]):
        place = phase * rows_per_step
        index = min(int(place), n_rows - 1)
        share = np.float32(place - index)
        lower = out.dtype.type(0)
        upper = out.dtype.type(0)
        row = table[index]
        next_row = table[index + 1]
        window = samples[start : start + n_taps]
        for i in range(n_taps):
            lower += window[i] * row[i]
            upper += window[i] * next_row[i]
        out[k] = lower + share * (upper - lower)
        start += whole
        phase += part
        if phase >= up:
            phase -= up
            start += 1


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
def polyphase_interpolated_stack(
    samples: NDArray[Any], table: NDArray[np.float32], up: int, down: int, phase: int, out: NDArray[Any]
) -> None:
    """`polyphase_interpolated` for every row, as `polyphase_stack`."""
    for row in range(out.shape[0]):
        polyphase_interpolated(samples[row], table, up, down, phase, out[row])


def polyphase_interpolated_stack_model(
    samples: NDArray[Any], table: NDArray[np.float32], up: int, down: int, phase: int, out: NDArray[Any]
) -> None:
    """Model of `polyphase_interpolated_stack`, same arguments."""
    for row in range(out.shape[0]):
        polyphase_interpolated_model(samples[row], table, up, down, phase, out[row])

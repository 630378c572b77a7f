"""Fourier transforms of equal size, planned once: by FFTW where pyfftw is installed, else by scipy's pocketfft.

The choice is made at run time and named by `LIBRARY`. FFTW's plan measures this machine at the start and is then two
to three times faster on one core. A row's transform is the same, bit for bit, wherever in a batch it stands.

Convention: forward transforms have the sign -1, inverse ones +1; neither is scaled.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import pyfftw
except ImportError:  # no wheel for this machine
    pyfftw = None

LIBRARY = "scipy.fft" if pyfftw is None else "FFTW"

PLANNING_S = 0.5
"""Longest time that FFTW may take to find a plan. [seconds]"""

_measured: set[tuple[tuple[int, ...], int, str, tuple[str, ...]]] = set()
"""What FFTW has been given time to measure in this process."""

_CALL_SAMPLES = 8192
"""Samples of rows that one call of an `InverseFft` transforms: enough that the call itself costs little."""

_TWIDDLE_NS = 0.17
_PAGE_SAMPLES = 512
_COLUMN_NS = {
    2: 0.33,
    3: 0.36,
    4: 0.36,
    5: 0.45,
    6: 0.42,
    7: 0.46,
    8: 0.40,
    9: 0.52,
    10: 0.44,
    11: 0.57,
    12: 0.44,
    13: 0.57,
    14: 0.50,
    15: 0.50,
    16: 0.47,
    20: 0.50,
    25: 0.72,
    32: 0.55,
    64: 0.65,
}
"""Time of a transform over the columns of a matrix, by its size: those that FFTW has in one piece. [ns per sample]"""

_LARGEST_PRIME = 13
"""Largest prime size that FFTW has in one piece."""

_FULL_REGISTERS = (4, 8, 12, 16, 20, 32, 64)
"""Sizes that FFTW has in one piece and that fill vector registers; a row whose size is the product of two is fast."""


class BatchFft:
    """Forward transforms of the rows of one batch, in memory of its own.

    Parameters
    ----------
    n_rows, fft_size
        Shape of the batch.

    Attributes
    ----------
    rows
        Shape (n_rows, fft_size), complex64: to be filled before `transform`, which may overwrite it.
    """

    def __init__(self, n_rows: int, fft_size: int) -> None:
        shape = (n_rows, fft_size)
        if pyfftw is None:
            self.rows: NDArray[np.complex64] = np.zeros(shape, dtype=np.complex64)
            return
        self.rows = pyfftw.zeros_aligned(shape, dtype=np.complex64)
        self._spectra: NDArray[np.complex64] = pyfftw.zeros_aligned(shape, dtype=np.complex64)
        self._plan = pyfftw.FFTW(
            self.rows, self._spectra, axes=(1,), flags=("FFTW_MEASURE",), planning_timelimit=PLANNING_S
        )
        self.rows[:] = 0  # measuring leaves its own numbers behind

    def transform(self, n_rows: int) -> NDArray[np.complex64]:
        """Transform the first `n_rows`; what stands in the others is transformed with them, or not.

        Returns
        -------
        spectra
            Shape (n_rows, fft_size), bin 0 first; valid until the next call.
        """
        if pyfftw is None:
            import scipy.fft

            spectra: NDArray[np.complex64] = scipy.fft.fft(self.rows[:n_rows], axis=1, overwrite_x=True)
            return spectra
        self._plan.execute()
        return self._spectra[:n_rows]


class FrameFft:
    """Forward transforms of one long frame, the bins of which stay in the order that is fastest to compute.

    With FFTW the frame is a matrix of ``split(size)`` rows: transforms over the columns, a rotation of every element,
    transforms of the rows (Cooley and Tukey 1965). That is faster than one plan for the whole frame, which has to put
    the bins in order, and planned in a tenth of a second where that one takes a second or more.

    Parameters
    ----------
    size
        Samples in the frame.

    Attributes
    ----------
    frame
        Shape (size,), complex64: to be filled before `transform`, which leaves it as it is.
    """

    def __init__(self, size: int) -> None:
        if pyfftw is None:
            self._n_rows = 1
            self.frame: NDArray[np.complex64] = np.zeros(size, dtype=np.complex64)
            return
        self._n_rows = split(size)
        shape = (self._n_rows, size // self._n_rows)
        frame, inner, spectrum = (pyfftw.zeros_aligned(shape, dtype=np.complex64) for _ in range(3))
        self._rows = _plan(inner, spectrum, axis=1)
        if self._n_rows > 1:
            self._columns = _plan(frame, inner, axis=0, flags=())
            cycles = np.outer(np.arange(shape[0]), np.arange(shape[1])) / size
            self._turns: NDArray[np.complex64] = pyfftw.byte_align(np.exp(-2j * np.pi * cycles).astype(np.complex64))
        frame[:] = 0  # measuring leaves its own numbers behind
        self.frame = frame.reshape(size)
        self._frame_rows: NDArray[np.complex64] = frame
        self._inner: NDArray[np.complex64] = inner
        self._spectrum: NDArray[np.complex64] = spectrum.reshape(size)

    def transform(self) -> NDArray[np.complex64]:
        """Transform the frame.

        Returns
        -------
        spectrum
            Shape (size,); bin ``k`` stands at ``places(k)``. Valid until the next call.
        """
        if pyfftw is None:
            import scipy.fft

            whole: NDArray[np.complex64] = scipy.fft.fft(self.frame)
            return whole
        if self._n_rows > 1:
            self._columns.execute()
            np.multiply(self._inner, self._turns, out=self._inner)
        else:
            self._inner[:] = self._frame_rows
        self._rows.execute()
        return self._spectrum

    def places(self, bins: NDArray[np.intp]) -> NDArray[np.intp]:
        """Where bins, 0 to size - 1, stand in what `transform` returns; any shape."""
        n_columns = self.frame.shape[0] // self._n_rows
        return np.asarray(bins % self._n_rows * n_columns + bins // self._n_rows, dtype=np.intp)


class RowsFft:
    """Forward transforms of the rows of a matrix, in memory of its own.

    Parameters
    ----------
    n_rows, n_columns
        Shape of the matrix.

    Attributes
    ----------
    rows
        Shape (n_rows, n_columns), complex64: to be filled before `transform`, which leaves it as it is.
    spectra
        Shape (n_rows, n_columns), complex64: the last transforms, bin 0 first.
    """

    def __init__(self, n_rows: int, n_columns: int) -> None:
        shape = (n_rows, n_columns)
        if pyfftw is None:
            self.rows: NDArray[np.complex64] = np.zeros(shape, dtype=np.complex64)
            self.spectra: NDArray[np.complex64] = np.zeros(shape, dtype=np.complex64)
            return
        self.rows, self.spectra = (pyfftw.zeros_aligned(shape, dtype=np.complex64) for _ in range(2))
        self._plan = _plan(self.rows, self.spectra, axis=1, flags=())
        self.rows[:] = 0  # measuring leaves its own numbers behind

    def transform(self) -> None:
        """Transform all rows."""
        if pyfftw is None:
            import scipy.fft

            self.spectra[:] = scipy.fft.fft(self.rows, axis=1)
            return
        self._plan.execute()


class InverseFft:
    """Inverse transforms of the rows of a batch, in memory of its own.

    The plan is for a fixed number of rows and made once, so that a row does not depend on how many others there are.

    Parameters
    ----------
    size
        Samples in a row.
    n_rows
        Most rows at once.

    Attributes
    ----------
    size
        As given.
    rows
        Shape (n, size), n >= `n_rows`, complex64: to be filled before `transform`, which may overwrite it.
    """

    def __init__(self, size: int, n_rows: int) -> None:
        self.size = size
        # A call begins on an even sample, as FFTW's alignment of 16 bytes asks for.
        self._step = max(1 << (max(_CALL_SAMPLES // size, 1).bit_length() - 1), 1 + size % 2)
        if pyfftw is not None:
            narrow, wide = (pyfftw.zeros_aligned((self._step, size), dtype=np.complex64) for _ in range(2))
            self._plan = _plan(narrow, wide, axis=1, direction="FFTW_BACKWARD")
        shape = (-(-n_rows // self._step) * self._step, size)
        if pyfftw is None:
            self.rows: NDArray[np.complex64] = np.zeros(shape, dtype=np.complex64)
            return
        self.rows, self._samples = (pyfftw.zeros_aligned(shape, dtype=np.complex64) for _ in range(2))
        parts = [slice(start, start + self._step) for start in range(0, shape[0], self._step)]
        self._calls = [(self.rows[part], self._samples[part]) for part in parts]

    def transform(self, n_rows: int) -> NDArray[np.complex64]:
        """Transform the first `n_rows`.

        Returns
        -------
        samples
            Shape (n_rows, size); valid until the next call.
        """
        if pyfftw is None:
            import scipy.fft

            # "forward" puts the scale on the forward transform, and so none on this one.
            samples: NDArray[np.complex64] = scipy.fft.ifft(
                self.rows[:n_rows], axis=1, norm="forward", overwrite_x=True
            )
            return samples
        for narrow, wide in self._calls[: -(-n_rows // self._step)]:
            self._plan.update_arrays(narrow, wide)
            self._plan.execute()
        transformed: NDArray[np.complex64] = self._samples[:n_rows]
        return transformed


def _plan(
    source: NDArray[np.complex64],
    target: NDArray[np.complex64],
    axis: int,
    direction: str = "FFTW_FORWARD",
    flags: tuple[str, ...] = ("FFTW_DESTROY_INPUT",),
) -> Any:
    """Plan transforms; the arrays are overwritten.

    Every plan of a shape is the same one, so that two transforms of the same samples are: what was measured once, or,
    where there was not time enough for that, the estimate.
    """
    key = (source.shape, axis, direction, flags)
    arguments = {"axes": (axis,), "direction": direction}
    if key not in _measured:
        pyfftw.FFTW(source, target, flags=("FFTW_MEASURE", *flags), planning_timelimit=PLANNING_S, **arguments)
        _measured.add(key)
    try:
        return pyfftw.FFTW(source, target, flags=("FFTW_MEASURE", "FFTW_WISDOM_ONLY", *flags), **arguments)
    except RuntimeError:  # it knows none
        return pyfftw.FFTW(source, target, flags=("FFTW_ESTIMATE", *flags), **arguments)


@functools.lru_cache(maxsize=65536)
def largest_prime_factor(number: int) -> int:
    """Largest prime factor of a positive number; 1 for 1."""
    largest, prime = 1, 2
    while prime * prime <= number:
        while number % prime == 0:
            largest, number = prime, number // prime
        prime += 1
    return max(largest, number)


@functools.lru_cache(maxsize=4096)
def split(size: int) -> int:
    """Rows of the matrix as which `FrameFft` transforms a frame of `size`; 1 where it is not split."""
    fitting = [1, *(n_rows for n_rows in _COLUMN_NS if size % n_rows == 0)]
    return min(fitting, key=lambda n_rows: _matrix_cost_ns(n_rows, size // n_rows))


def frame_cost_ns(size: int) -> float:
    """Time of a `FrameFft`, to compare sizes by: an estimate, after FFTW 3.3 on a Zen 4 core. [ns per sample]"""
    n_rows = split(size)
    return _matrix_cost_ns(n_rows, size // n_rows)


def is_fast_row(size: int) -> bool:
    """Whether rows of `size` are of those that are transformed fastest."""
    return any(size % part == 0 and size // part in _FULL_REGISTERS for part in _FULL_REGISTERS)


@functools.lru_cache(maxsize=65536)
def row_cost_ns(size: int) -> float:
    """Time of the transform of one of many rows, as `frame_cost_ns`. [ns per sample]"""
    largest = largest_prime_factor(size)
    if largest > _LARGEST_PRIME:
        # FFTW has no such factor in one piece: its time grows with the prime.
        return 4.0 + 0.1 * largest
    if is_fast_row(size):
        return 0.75 if size < 768 else 0.80
    growth = 0.1 * max(math.log2(size / 2048), 0.0)
    odd = 1.25 if size % 4 == 0 else 1.9 if size % 2 == 0 else 3.5
    return odd + growth + (0.0 if largest <= 5 else 0.7)


def _matrix_cost_ns(n_rows: int, n_columns: int) -> float:
    # Beyond the size of the second cache, memory slows everything down.
    spill = 1.0 + 0.15 * max(math.log2(n_rows * n_columns / 32_768), 0.0)
    if n_rows == 1:
        # Ordered, and copied once more than the matrix is.
        return spill * (1.9 * row_cost_ns(n_columns) + 0.3)
    lanes = 1.0 if n_columns % 4 == 0 else 1.35 if n_columns % 2 == 0 else 2.0
    # Columns a page apart fall on the same lines of the first cache.
    stride = 1.0 if n_columns % _PAGE_SAMPLES else 1.7
    return spill * (lanes * stride * _COLUMN_NS[n_rows] + _TWIDDLE_NS + row_cost_ns(n_columns))

"""Batches of equal transforms, planned once: by FFTW where pyfftw is installed, else by scipy's pocketfft.

The choice is made at run time and named by `LIBRARY`. FFTW's plan measures this machine at the start and is then two
to three times faster on one core.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

try:
    import pyfftw
except ImportError:  # no wheel for this machine
    pyfftw = None

LIBRARY = "scipy.fft" if pyfftw is None else "FFTW"

PLANNING_S = 0.5
"""Longest time that FFTW may take to find a plan. [seconds]"""


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

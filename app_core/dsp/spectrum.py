"""Power spectra of a stream, in dBFS.

Convention: a complex tone of amplitude 1 on the centre of a bin reads 0 dBFS, because the window's gain is divided
out. The window is the 4-term Blackman-Harris: side lobes at -92 dB, so a strong carrier does not hide a weak one
across the 120 dB of the display; a tone half-way between two bins reads 0.83 dB low (scalloping); the noise bandwidth
is 2.0 bins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app_core.dsp.fft import BatchFft

DBFS_MIN = -120.0
"""Level that `normalize` maps to 0."""

DBFS_MAX = 0.0
"""Level that `normalize` maps to 1."""

_BLACKMAN_HARRIS = (0.35875, -0.48829, 0.14128, -0.01168)

_FLOOR = 1e-20
"""Power of -200 dBFS, so that silence has a logarithm."""

_BATCH_SAMPLES = 32_768
"""Samples transformed in one call: they stay in the inner caches, and a message has as many."""


class SpectrumEstimator:
    """Average the power of consecutive, non-overlapping frames of a stream; no sample is skipped.

    Parameters
    ----------
    fft_size
        Samples per frame and bins per spectrum.

    Attributes
    ----------
    fft_size
        As given.
    frames
        Frames in the average so far.
    window
        Shape (fft_size,), sum 1.

    Raises
    ------
    ValueError
        If `fft_size` is below 8.
    """

    def __init__(self, fft_size: int = 2048) -> None:
        if fft_size < 8:
            raise ValueError(f"a spectrum has 8 bins or more, not {fft_size}")
        self.fft_size = fft_size
        self.frames = 0
        angle = 2.0 * np.pi * np.arange(fft_size) / fft_size
        window = np.array(_BLACKMAN_HARRIS) @ np.cos(np.arange(len(_BLACKMAN_HARRIS))[:, None] * angle)
        # Divided by its sum, the window gives a tone its own power.
        self.window: NDArray[np.float32] = (window / window.sum()).astype(np.float32)
        # Windowed frames, of which the first `_n_waiting` are not transformed yet.
        self._fft = BatchFft(max(_BATCH_SAMPLES // fft_size, 1), fft_size)
        self._batch = self._fft.rows
        self._n_waiting = 0
        self._carry = np.zeros(fft_size, dtype=np.complex64)
        self._carried = 0
        # Re² and Im² side by side, summed in double precision and added up only when read.
        self._power = np.zeros(2 * fft_size, dtype=np.float64)

    def reset(self) -> None:
        """Forget the average and the part of a frame that waits: the stream was cut or retuned."""
        self.frames = 0
        self._carried = self._n_waiting = 0
        self._power[:] = 0.0

    def cut(self) -> None:
        """Forget the part of a frame that waits, and keep the average: samples were lost here."""
        self._carried = 0

    def push(self, iq: NDArray[np.complex64]) -> int:
        """Add samples to the average.

        Parameters
        ----------
        iq
            Shape (n,), n >= 0; what does not fill a frame waits for the next call. A frame with a NaN or infinite
            sample is left out. [full scale = 1]

        Returns
        -------
        frames
            Frames in the average so far; broken ones are left out when it is read, at the latest.
        """
        if self._carried:
            wanted = self.fft_size - self._carried
            head, iq = iq[:wanted], iq[wanted:]
            self._carry[self._carried : self._carried + head.shape[0]] = head
            self._carried += head.shape[0]
            if self._carried < self.fft_size:
                return self.frames
            self._add(self._carry.reshape(1, -1))
        whole = iq.shape[0] // self.fft_size * self.fft_size
        self._add(iq[:whole].reshape(-1, self.fft_size))
        self._carried = iq.shape[0] - whole
        self._carry[: self._carried] = iq[whole:]
        return self.frames

    def read(self) -> NDArray[np.float32] | None:
        """Take the average since the last reading, and begin a new one.

        Returns
        -------
        power_dbfs
            Shape (fft_size,), lowest frequency first; bin ``fft_size // 2`` is the centre; not below -200. None when
            not one frame was filled. [dBFS per bin]
        """
        self._transform()
        if not self.frames:
            return None
        power = self._power.reshape(-1, 2).sum(axis=1) / self.frames
        self._power[:] = 0.0
        self.frames = 0
        power_dbfs = 10.0 * np.log10(np.maximum(power, _FLOOR))
        return np.asarray(np.fft.fftshift(power_dbfs), dtype=np.float32)

    def _add(self, frames: NDArray[np.complex64]) -> None:
        """Add frames to the average, shape (n_frames, fft_size)."""
        self.frames += frames.shape[0]
        while frames.shape[0]:
            room = self._batch[self._n_waiting :]
            taken = frames[: room.shape[0]]
            with np.errstate(invalid="ignore", over="ignore"):
                np.multiply(taken, self.window, out=room[: taken.shape[0]])
            self._n_waiting += taken.shape[0]
            frames = frames[taken.shape[0] :]
            if self._n_waiting == self._batch.shape[0]:
                self._transform()

    def _transform(self) -> None:
        """Take the waiting frames into the sum."""
        n_frames, self._n_waiting = self._n_waiting, 0
        if not n_frames:
            return
        with np.errstate(invalid="ignore", over="ignore"):
            # In memory of its own: nothing is allocated but the sum.
            components = self._fft.transform(n_frames).view(np.float32)
            np.square(components, out=components)
            power = components.sum(axis=0)
        if not np.isfinite(power).all():
            # A broken sample spoils all bins of its frame, and no other frame.
            sound = components[np.isfinite(components).all(axis=1)]
            self.frames -= components.shape[0] - sound.shape[0]
            power = sound.sum(axis=0)
        self._power += power


def normalize(
    power_dbfs: NDArray[np.float32], dbfs_min: float = DBFS_MIN, dbfs_max: float = DBFS_MAX
) -> NDArray[np.float32]:
    """Map ``[dbfs_min, dbfs_max]`` to 0..1 in a straight line, clipped at both ends.

    Parameters
    ----------
    power_dbfs
        Any shape. [dBFS]
    dbfs_min, dbfs_max
        Levels that become 0 and 1.

    Returns
    -------
    normalized
        Same shape, 0 to 1.

    Raises
    ------
    ValueError
        If `dbfs_min` is not below `dbfs_max`.
    """
    if not dbfs_min < dbfs_max:
        raise ValueError(f"dbfs_min ({dbfs_min}) is below dbfs_max ({dbfs_max})")
    share = (power_dbfs - dbfs_min) / (dbfs_max - dbfs_min)
    return np.asarray(np.clip(share, 0.0, 1.0), dtype=np.float32)

"""Frequency modulation of all channels at a low rate, and their places in the band, by overlap-save synthesis.

Each channel is modulated at `LOW_RATE_HZ`; a small FFT of it is shaped, laid into its bins of one large spectrum, and
one large inverse FFT gives the band. Either edge of a block, 2 ms, is overlap and is thrown away.
Carriers stand at a whole bin plus a rest; the rest is in the modulator, so any frequency is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app_core.synth.modulation import DEVIATION_HZ, LOW_RATE_HZ, smooth_edge

OVERLAP = 50
"""Low-rate samples of a block that are thrown away at either side."""

HOP = 400
"""Low-rate samples that each block advances by: 16 ms."""

_LENGTH = HOP + 2 * OVERLAP
_BIN_HZ = LOW_RATE_HZ / _LENGTH
_CHANNEL_PASS_HZ = 9_500.0
_CHANNEL_STOP_HZ = 12_500.0


class BandSynthesizer:
    """Makes the band of several FM transmitters, block by block.

    Sample 0 of the band belongs to sample 0 of the modulation.

    Parameters
    ----------
    carriers_hz
        Shape (c,): radio frequencies of the carriers.
    amplitudes
        Shape (c,): of the carriers. [full scale = 1]
    interpolation
        Rate of the band over `LOW_RATE_HZ`.
    """

    def __init__(self, carriers_hz: NDArray[np.float64], amplitudes: NDArray[np.float64], interpolation: int) -> None:
        self.n_block = HOP * interpolation
        self._carriers_hz = carriers_hz
        self._interpolation = interpolation
        self._n_bins = _LENGTH * interpolation
        frequency_hz = np.fft.fftfreq(_LENGTH, 1.0 / LOW_RATE_HZ).astype(np.float64)
        shape = smooth_edge(frequency_hz, _CHANNEL_PASS_HZ, _CHANNEL_STOP_HZ)
        self._weights = (interpolation * amplitudes[:, np.newaxis] * shape).astype(np.complex64)
        self._cycles = np.linspace(0.0, 1.0, carriers_hz.size, endpoint=False)
        self._low = np.zeros((carriers_hz.size, _LENGTH), np.complex64)
        self._low_start = -OVERLAP

    def lead_in(self, modulation: NDArray[np.float32], center_frequency_hz: float, error_ppm: float) -> None:
        """Take the modulation that the first block needs beforehand: shape (c, OVERLAP). [full deviation = 1]"""
        before = np.zeros((self._carriers_hz.size, OVERLAP), np.float32)
        _, rest_hz = self._places(center_frequency_hz, error_ppm)
        self._low[:, -2 * OVERLAP :] = self._modulate(np.hstack((before, modulation)), rest_hz)

    def block(
        self, modulation: NDArray[np.float32], center_frequency_hz: float, error_ppm: float
    ) -> NDArray[np.complex64]:
        """Make the next block.

        Parameters
        ----------
        modulation
            Shape (c, HOP); runs `OVERLAP` low-rate samples ahead of the block. [full deviation = 1]
        center_frequency_hz
            Radio frequency at the centre of the band.
        error_ppm
            Every carrier appears this much too high. [parts per million]

        Returns
        -------
        iq
            Shape (n_block,). [full scale = 1]
        """
        first_bin, rest_hz = self._places(center_frequency_hz, error_ppm)
        self._low[:, : 2 * OVERLAP] = self._low[:, -2 * OVERLAP :]
        self._low[:, 2 * OVERLAP :] = self._modulate(modulation, rest_hz)
        n_bins = self._n_bins
        # Shifting by whole bins restarts the phase at every block; this turn puts it back, in whole numbers.
        turns = (first_bin * (self._low_start * self._interpolation)) % n_bins
        turn = np.exp(2j * np.pi / n_bins * turns).astype(np.complex64)
        rows = np.fft.fft(self._low, axis=1)
        rows *= self._weights
        rows *= turn[:, np.newaxis]
        rows = np.fft.fftshift(rows, axes=1)
        band = np.zeros(n_bins, np.complex64)
        for row, center_bin in zip(rows, first_bin, strict=True):
            low = int(center_bin) - _LENGTH // 2 + n_bins // 2
            begin, end = max(low, 0), min(low + _LENGTH, n_bins)
            if begin < end:
                band[begin:end] += row[begin - low : end - low]
        self._low_start += HOP
        edge = OVERLAP * self._interpolation
        return np.fft.ifft(np.fft.ifftshift(band))[edge:-edge].astype(np.complex64, copy=False)

    def _places(self, center_frequency_hz: float, error_ppm: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Bin of each carrier, shape (c,), and what is left, shape (c,). [Hz]"""
        offset_hz = self._carriers_hz * (1.0 + 1e-6 * error_ppm) - center_frequency_hz
        bins = np.rint(offset_hz / _BIN_HZ).astype(np.int64)
        return bins, offset_hz - bins * _BIN_HZ

    def _modulate(self, modulation: NDArray[np.float32], rest_hz: NDArray[np.float64]) -> NDArray[np.complex64]:
        """FM of unit amplitude, shape (c, n), for modulation of shape (c, n)."""
        step = modulation * np.float64(DEVIATION_HZ / LOW_RATE_HZ)
        step += (rest_hz / LOW_RATE_HZ)[:, np.newaxis]
        np.cumsum(step, axis=1, out=step)
        step += self._cycles[:, np.newaxis]
        step -= np.floor(step)
        self._cycles = step[:, -1].copy()
        angle = step.astype(np.float32)
        angle *= np.float32(2.0 * np.pi)
        iq = np.empty(angle.shape, np.complex64)
        np.cos(angle, out=iq.real)
        np.sin(angle, out=iq.imag)
        return iq

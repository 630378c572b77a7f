"""Signal over noise in a channel of which nothing is known before: from its level, its envelope and its spectrum.

Convention: everything is measured over the last two windows of a stream. Noise is flat over the channel, and its
envelope is that of a Gaussian; a signal differs in one of the two, or came later than the noise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from app_core.dsp.measure import MAX_SNR_DB, constant_envelope_snr_db, power_dbfs

LOW_DB = -10.0
"""Lowest reading."""

_FLOOR_S = 0.2
"""Time constant with which the noise floor falls."""

_N_SETTLING = 4
_N_LEARNED = 12
"""The first windows hold the filters' beginning and are left out; those up to the second number are the first floor."""

_STEADY_S = 5.0
_STEADY_DB = 1.5
_GAUSSIAN = 0.1
"""A level that stays within `_STEADY_DB` for `_STEADY_S`, with a kurtosis not below noise's by `_GAUSSIAN`, is noise,
however loud, if its spectrum is flat: the receiver's gain has changed. Speech is not so steady, a carrier has a lower
kurtosis, and one that is keyed or fully modulated has lines."""

_FLAT = 0.5
"""Ratio up to which a spectrum counts as flat: noise alone gives 0.0 ± 0.1, and 0.2 under a slope of 6 dB."""

_BAND_SHARE = 0.9
"""Part of the channel whose spectrum is looked at: the filter's edges are not flat."""

_MEDIAN = 0.8392
"""Median over mean of the sum of two independent powers of noise: of the gamma distribution of shape 2."""


class BandSpectrum:
    """Signal over noise from the spectrum: what the channel holds over what its median bin stands for.

    Whatever leaves half of the channel to the noise is measured, be it there from the beginning on and whatever its
    envelope: a carrier with any modulation, keyed or not. A signal that fills more reads low.

    Parameters
    ----------
    sample_rate_hz
        Rate of the channel's IQ.
    bandwidth_hz
        Width of the channel.
    center_hz
        Its centre.
    n_window
        Samples of a window, at least 1.
    """

    def __init__(self, sample_rate_hz: float, bandwidth_hz: float, center_hz: float, n_window: int) -> None:
        self._n_bins = fft.next_fast_len(n_window)
        distance_hz = np.abs(np.fft.fftfreq(self._n_bins, 1.0 / sample_rate_hz) - center_hz)
        # The nearest bin is there however narrow the channel.
        reach_hz = max(_BAND_SHARE * bandwidth_hz / 2.0, float(distance_hz.min()))
        self._bins = np.flatnonzero(distance_hz <= reach_hz)
        self._taper = np.hanning(n_window + 2)[1:-1].astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the past, for a gap in the stream."""
        self._power = np.zeros(self._bins.shape[0])

    def push(self, iq: NDArray[np.complex64]) -> float:
        """Measure the last window and the one before.

        Parameters
        ----------
        iq
            The next window, shape (n_window,), finite. [full scale = 1]

        Returns
        -------
        ratio
            Signal over noise, -1 to 1e8: about 0 for noise alone, and 0 for silence. [power ratio]
        """
        lines: NDArray[np.complex128] = fft.fft(self._taper * iq, self._n_bins)[self._bins].astype(np.complex128)
        power = np.square(lines.real) + np.square(lines.imag)
        both = self._power + power
        self._power = power
        middle = both.shape[0] // 2
        total, noise = float(both.mean()), float(np.partition(both, middle)[middle]) / _MEDIAN
        if not total > 0.0:
            return 0.0
        return float(total / max(noise, total * 10.0 ** (-MAX_SNR_DB / 10.0)) - 1.0)


class NoiseFloor:
    """Signal over noise, as the largest of three estimates.

    Parameters
    ----------
    window_s
        Time between two measurements.
    """

    def __init__(self, window_s: float) -> None:
        self._fall = -math.expm1(-window_s / _FLOOR_S)
        self._n_steady = math.ceil(_STEADY_S / window_s)
        self._floor = 0.0
        self._n_learned = -_N_SETTLING
        # Count and sums of the second and fourth moments and of the ratio since the level was last seen to change.
        self._steady = (0, 0.0, 0.0, 0.0)

    def measure(self, second: float, fourth: float, ratio: float, open_db: float) -> float:
        """Signal over noise, not below `LOW_DB`. [dB]

        Parameters
        ----------
        second, fourth
            Means of ``|z|²`` and of ``|z|⁴``.
        ratio
            As of `BandSpectrum`.
        open_db
            From here on the moments of a carrier are believed.
        """
        if not second > 0.0:
            return LOW_DB
        constancy_db = max(constant_envelope_snr_db(second, fourth), LOW_DB)
        self._learn(second, ratio)
        steady_noise = self._steady_noise(second, fourth, ratio)
        if steady_noise is not None:
            self._floor = steady_noise
        elif constancy_db >= open_db:
            # What the moments take for noise may be modulation, so this is the most that the floor can be.
            self._floor = min(self._floor, second / (1.0 + 10.0 ** (constancy_db / 10.0)))
        excess = second / self._floor - 1.0 if self._floor > 0.0 else 0.0
        return max(constancy_db, _ratio_db(ratio), _ratio_db(excess))

    def _learn(self, second: float, ratio: float) -> None:
        """Take the first measurements for noise, and later all that are below the floor."""
        self._n_learned = min(self._n_learned + 1, _N_LEARNED)
        if 0 < self._n_learned < _N_LEARNED:
            noise = second / (1.0 + ratio) if ratio > _FLAT else second
            self._floor += (noise - self._floor) / self._n_learned
        elif second < self._floor:
            self._floor += self._fall * (second - self._floor)

    def _steady_noise(self, second: float, fourth: float, ratio: float) -> float | None:
        """Mean level of the last `_STEADY_S` if all of it was noise of one level."""
        count, seconds, fourths, ratios = self._steady
        if count and abs(power_dbfs(second) - power_dbfs(seconds / count)) > _STEADY_DB:
            count, seconds, fourths, ratios = 0, 0.0, 0.0, 0.0
        count, seconds, fourths, ratios = count + 1, seconds + second, fourths + fourth, ratios + ratio
        self._steady = (count, seconds, fourths, ratios)
        if count < self._n_steady:
            return None
        self._steady = (0, 0.0, 0.0, 0.0)
        is_noise = fourths * count > (2.0 - _GAUSSIAN) * seconds**2 and ratios < _FLAT * count
        return seconds / count if is_noise else None


def _ratio_db(ratio: float) -> float:
    return max(10.0 * math.log10(ratio), LOW_DB) if ratio > 0.0 else LOW_DB

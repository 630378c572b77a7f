"""Low-pass filters designed as a sinc under a Kaiser window.

Convention: frequencies are in cycles per sample of the rate that the filter runs at (0.5 is the Nyquist frequency),
positions in samples of that rate, the centre of the impulse response at position 0. The response is a function of a
continuous position, so that a polyphase resampler can ask for it between the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_KAISER_FLOOR_DB = 21.0
"""Stop band of the plain rectangular window; below it Kaiser's formulas do not hold."""


@dataclass(frozen=True, slots=True)
class LowPass:
    """A linear-phase low-pass filter, unity gain at 0 Hz.

    Attributes
    ----------
    cutoff
        Frequency of -6 dB, the middle of the transition. [cycles per sample]
    half_width
        The impulse response is zero at and beyond ``±half_width``. [samples]
    beta
        Shape of the Kaiser window.
    """

    cutoff: float
    half_width: float
    beta: float

    @classmethod
    def design(cls, passband: float, stopband: float, attenuation_db: float) -> LowPass:
        """Make the shortest filter that keeps `passband` and suppresses everything from `stopband` up.

        Parameters
        ----------
        passband
            Upper edge of the pass band. [cycles per sample]
        stopband
            Lower edge of the stop band. [cycles per sample]
        attenuation_db
            Attenuation in the stop band; the ripple of the pass band has the same size. Kept within 1 dB, or 3 dB
            where the transition is wider than the pass band. [dB]

        Raises
        ------
        ValueError
            If not ``0 <= passband < stopband`` or `attenuation_db` is below 21.
        """
        if not 0.0 <= passband < stopband:
            raise ValueError(f"a low-pass needs 0 <= pass band < stop band, not {passband} and {stopband}")
        beta = kaiser_beta(attenuation_db)
        length = (attenuation_db - 7.95) / (2.285 * 2.0 * math.pi * (stopband - passband))
        return cls(cutoff=(passband + stopband) / 2.0, half_width=length / 2.0 + 1.0, beta=beta)

    def response(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Impulse response at any positions.

        Parameters
        ----------
        position
            Distance from the centre, any shape. [samples]

        Returns
        -------
        response
            Same shape; the sum over positions one sample apart is close to 1.
        """
        inside = np.clip(1.0 - np.square(position / self.half_width), 0.0, None)
        window = np.i0(self.beta * np.sqrt(inside)) / np.i0(self.beta)
        window[inside == 0.0] = 0.0
        return np.asarray(2.0 * self.cutoff * np.sinc(2.0 * self.cutoff * position) * window, dtype=np.float64)

    def taps(self) -> NDArray[np.float64]:
        """Sampled impulse response.

        Returns
        -------
        taps
            Shape (2 k + 1,) where k is the largest whole number below `half_width`; symmetric, sum exactly 1.
        """
        reach = math.ceil(self.half_width) - 1
        taps = self.response(np.arange(-reach, reach + 1, dtype=np.float64))
        return np.asarray(taps / taps.sum(), dtype=np.float64)


def kaiser_beta(attenuation_db: float) -> float:
    """Shape of the Kaiser window whose stop band is `attenuation_db` down (Kaiser 1974).

    Raises
    ------
    ValueError
        If `attenuation_db` is below 21, which no Kaiser window can miss.
    """
    if attenuation_db < _KAISER_FLOOR_DB:
        raise ValueError(f"stop band of {attenuation_db} dB: ask for {_KAISER_FLOOR_DB:.0f} dB or more")
    if attenuation_db > 50.0:
        return 0.1102 * (attenuation_db - 8.7)
    excess = attenuation_db - _KAISER_FLOOR_DB
    return float(0.5842 * excess**0.4 + 0.07886 * excess)

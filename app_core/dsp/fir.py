"""Low-pass filters: a sinc under a Kaiser window, and the shortest there is.

Convention: frequencies are in cycles per sample of the rate that the filter runs at (0.5 is the Nyquist frequency),
positions in samples of that rate, the centre of the impulse response at position 0. The Kaiser filter's response is a
function of a continuous position, so that a polyphase resampler can ask for it between the samples; its pass band is as
flat as its stop band is deep, more than any signal here needs. The equiripple filter spends nothing on that and is a
quarter shorter.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_KAISER_FLOOR_DB = 21.0
"""Stop band of the plain rectangular window; below it Kaiser's formulas do not hold."""

_MAX_ORDER = 120
"""Taps on each side up to which an equiripple filter is designed: the time grows with the third power."""

_GRID_DENSITY = 16
_MAX_EXCHANGES = 50
_CONVERGED = 1e-3
"""Share of the ripple by which its peaks may differ in the end."""


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


@functools.lru_cache(maxsize=64)
def equiripple_taps(passband: float, stopband: float, ripple_db: float, attenuation_db: float) -> NDArray[np.float64]:
    """Make the shortest symmetric filter that keeps `passband` and suppresses everything from `stopband` up.

    Parameters
    ----------
    passband
        Upper edge of the pass band. [cycles per sample]
    stopband
        Lower edge of the stop band, below 0.5. [cycles per sample]
    ripple_db
        Most by which the gain differs from 1 in the pass band. [dB]
    attenuation_db
        Attenuation in the stop band. [dB]

    Returns
    -------
    taps
        Shape (2 k + 1,), symmetric; read-only. Where `k` would be above 120, those of the Kaiser filter.

    Raises
    ------
    ValueError
        As `LowPass.design`, and if `ripple_db` is not positive or `stopband` is not below 0.5.
    """
    if not (ripple_db > 0.0 and stopband < 0.5):
        raise ValueError(f"no filter has a ripple of {ripple_db} dB and a stop band from {stopband}")
    taps = LowPass.design(passband, stopband, attenuation_db).taps()
    ripple, rejected = 10.0 ** (ripple_db / 20.0) - 1.0, 10.0 ** (-attenuation_db / 20.0)
    order = max(round(equiripple_order(passband, stopband, ripple_db, attenuation_db)), 1)
    step = 0
    while order <= min(_MAX_ORDER, taps.shape[0] // 2):
        found = _exchange(passband, stopband, ripple / rejected, order)
        is_good = found is not None and found[1] <= ripple
        if found is not None and is_good:
            taps = found[0]
        # From the estimate up to the first that is good enough, or down to the last.
        if (is_good and step > 0) or (not is_good and step < 0) or order == 1:
            break
        step = -1 if is_good else 1
        order += step
    taps.flags.writeable = False
    return taps


def equiripple_order(passband: float, stopband: float, ripple_db: float, attenuation_db: float) -> float:
    """Estimate the taps on each side of the centre of an equiripple filter, within a tenth (Kaiser 1974)."""
    ripple, rejected = 10.0 ** (ripple_db / 20.0) - 1.0, 10.0 ** (-attenuation_db / 20.0)
    return (-10.0 * math.log10(ripple * rejected) - 13.0) / (14.6 * (stopband - passband)) / 2.0


def _exchange(
    passband: float, stopband: float, stop_weight: float, order: int
) -> tuple[NDArray[np.float64], float] | None:
    """Filter of ``2 order + 1`` taps whose largest error is smallest: the exchange of Remez (Parks and McClellan 1972).

    Returns
    -------
    taps, error
        The error of the pass band, which is `stop_weight` times that of the stop band; None if it did not converge.
    """
    n_peaks = order + 2
    share = passband / (passband + 0.5 - stopband)
    n_pass = max(round(_GRID_DENSITY * n_peaks * share), _GRID_DENSITY)
    n_stop = max(round(_GRID_DENSITY * n_peaks * (1.0 - share)), _GRID_DENSITY)
    frequency = np.concatenate((np.linspace(0.0, passband, n_pass), np.linspace(stopband, 0.5, n_stop)))
    x = np.cos(2.0 * np.pi * frequency)
    wanted = (frequency <= passband).astype(np.float64)
    weight = np.where(wanted > 0.0, 1.0, stop_weight)
    peaks = np.round(np.linspace(0, x.shape[0] - 1, n_peaks)).astype(np.intp)
    signs = (-1.0) ** np.arange(n_peaks)
    for _ in range(_MAX_EXCHANGES):
        # The polynomial in x that errs by the same weighted amount, to either side in turn, at all peaks.
        distance = x[peaks][:, None] - x[peaks]
        np.fill_diagonal(distance, 1.0)
        size = -np.log(np.abs(distance)).sum(axis=1)
        share_of = np.sign(distance).prod(axis=1) * np.exp(size - size.max())
        error = (share_of @ wanted[peaks]) / (share_of @ (signs / weight[peaks]))
        values = wanted[peaks] - signs * error / weight[peaks]
        difference = weight * (wanted - _interpolate(x, x[peaks], share_of, values))
        worst = float(np.abs(difference).max())
        if worst - abs(error) <= _CONVERGED * worst:
            points = np.cos(2.0 * np.pi * np.arange(2 * order + 1) / (2 * order + 1))
            response = _interpolate(points, x[peaks], share_of, values)
            return np.fft.fftshift(np.fft.ifft(response).real), worst
        # The new peaks: the largest error of each stretch in which it has one sign.
        edges = np.flatnonzero(np.diff(np.signbit(difference))) + 1
        stretches = np.split(np.abs(difference), edges)
        found = [int(start + np.argmax(part)) for start, part in zip([0, *edges], stretches, strict=True)]
        while len(found) > n_peaks:
            found.pop(0 if abs(difference[found[0]]) < abs(difference[found[-1]]) else -1)
        if len(found) < n_peaks:
            return None
        peaks = np.array(found)
    return None


def _interpolate(
    x: NDArray[np.float64], nodes: NDArray[np.float64], shares: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Polynomial through `values` at `nodes`, by the barycentric formula (Berrut and Trefethen 2004)."""
    distance = x[:, None] - nodes
    is_node = np.abs(distance) < 1e-14
    parts = shares / np.where(is_node, 1.0, distance)
    result = (parts @ values) / parts.sum(axis=1)
    at, node = np.nonzero(is_node)
    result[at] = values[node]
    return np.asarray(result, dtype=np.float64)

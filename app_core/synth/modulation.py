"""PCM to modulation: what a weather radio transmitter does to audio before its FM stage.

Pre-emphasis of 6 dB an octave with its corner at 300 Hz and gain 1 at 1 kHz, band limit near 3.6 kHz, then a deviation
limiter. Its clipping is undone in part by the band limit that must follow, so both stand twice: what is left above
full deviation is rare in speech. ``modulation`` is the instantaneous deviation over `DEVIATION_HZ`; ±1 is full
deviation. It always stands at `LOW_RATE_HZ`. Stored modulation is int16, one unit being `MODULATION_STEP`. The filters
have no delay: sample 0 of the modulation belongs to sample 0 of the PCM.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

LOW_RATE_HZ = 25_000
"""Rate of modulation, and of one channel's FM signal before it is placed in the band."""

DEVIATION_HZ = 5_000.0
"""Frequency deviation of modulation 1; PCM of ±1 at 1 kHz reaches it."""

EMPHASIS_CORNER_HZ = 300.0
"""Corner of the pre-emphasis; the receiver's de-emphasis is the exact inverse."""

AUDIO_PASS_HZ = 3_400.0
AUDIO_STOP_HZ = 4_000.0
"""Edges of the audio band limit; its -6 dB point lies half-way."""

LOWEST_RATE_HZ = 4_000
HIGHEST_RATE_HZ = 768_000
"""Rates of PCM that can be taken."""

MODULATION_STEP = 1.5 / 32767.0
"""Modulation of one unit of the int16 form, so that the limiter's overshoot has room."""

_OVERLAP_S = 0.016
_HOP_S = 0.128


def emphasis_gain(frequency_hz: float) -> float:
    """Gain of the pre-emphasis at `frequency_hz`, 1 at 1 kHz."""
    return math.hypot(1.0, frequency_hz / EMPHASIS_CORNER_HZ) / math.hypot(1.0, 1_000.0 / EMPHASIS_CORNER_HZ)


def smooth_edge(frequency_hz: NDArray[np.float64], pass_hz: float, stop_hz: float) -> NDArray[np.float64]:
    """Low-pass gain that falls from 1 to 0 between two frequencies.

    The edge is a raised cosine of a raised cosine: its impulse response fades faster than that of a plain one, and so
    fits into a short overlap.

    Parameters
    ----------
    frequency_hz
        Shape (n,), of either sign. [Hz]
    pass_hz, stop_hz
        Where the edge begins and ends.

    Returns
    -------
    gain
        Shape (n,), 0..1.
    """
    along = np.clip((np.abs(frequency_hz) - pass_hz) / (stop_hz - pass_hz), 0.0, 1.0)
    once = 0.5 - 0.5 * np.cos(np.pi * along)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * once))


def _band_limit(frequency_hz: NDArray[np.float64]) -> NDArray[np.complex64]:
    return smooth_edge(frequency_hz, AUDIO_PASS_HZ, AUDIO_STOP_HZ).astype(np.complex64)


def _emphasis_and_band_limit(frequency_hz: NDArray[np.float64]) -> NDArray[np.complex64]:
    unity = math.hypot(1.0, 1_000.0 / EMPHASIS_CORNER_HZ)
    emphasis = (1.0 + 1j * frequency_hz / EMPHASIS_CORNER_HZ) / unity
    return (emphasis * smooth_edge(frequency_hz, AUDIO_PASS_HZ, AUDIO_STOP_HZ)).astype(np.complex64)


class OverlapSaveResampler:
    """A filter given by its response, and a change of rate, in one pass of FFTs; streaming, without delay.

    Parameters
    ----------
    rate_in_hz, rate_out_hz
        Whole rates of input and output. [samples per second]
    response
        Gives the complex gain at frequencies of shape (n,) [Hz]; shall be 0 from the lower of the two Nyquist
        frequencies on, and its impulse response shall fade within 16 ms.
    """

    def __init__(
        self, rate_in_hz: int, rate_out_hz: int, response: Callable[[NDArray[np.float64]], NDArray[np.complex64]]
    ) -> None:
        # The shortest time in which both rates have a whole number of samples is the unit of all lengths.
        units_per_s = math.gcd(rate_in_hz, rate_out_hz)
        self._unit_in = rate_in_hz // units_per_s
        self._unit_out = rate_out_hz // units_per_s
        self._overlap = math.ceil(_OVERLAP_S * units_per_s)
        self._hop = math.ceil(_HOP_S * units_per_s)
        n_in = (2 * self._overlap + self._hop) * self._unit_in
        self._n_out = (2 * self._overlap + self._hop) * self._unit_out
        frequency_hz = np.arange(n_in // 2 + 1, dtype=np.float64) * (rate_in_hz / n_in)
        self._gain = response(frequency_hz) * np.float32(rate_out_hz / rate_in_hz)
        self._n_in = n_in
        self._pending = np.zeros(self._overlap * self._unit_in, np.float32)
        self._taken = 0
        self._given = 0

    def push(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take PCM of shape (n,) and give what is ready, shape (m,), m >= 0."""
        self._taken += pcm.size
        out = self._run(np.concatenate((self._pending, pcm)))
        self._given += out.size
        return out

    def flush(self) -> NDArray[np.float32]:
        """Give the rest, shape (m,), so that the whole lasts as long as the input, rounded up to a sample."""
        n_rest = -(-self._taken * self._unit_out // self._unit_in) - self._given
        padding = np.zeros(self._n_in + self._overlap * self._unit_in, np.float32)
        out = self._run(np.concatenate((self._pending, padding)))[:n_rest]
        self._given += out.size
        return out

    def _run(self, pending: NDArray[np.float32]) -> NDArray[np.float32]:
        hop_in = self._hop * self._unit_in
        kept = slice(self._overlap * self._unit_out, (self._overlap + self._hop) * self._unit_out)
        pieces = []
        start = 0
        while pending.size - start >= self._n_in:
            spectrum = np.fft.rfft(pending[start : start + self._n_in]) * self._gain
            pieces.append(np.fft.irfft(spectrum, self._n_out)[kept])
            start += hop_in
        self._pending = pending[start:].copy()
        return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)


class Modulator:
    """Streaming PCM to stored modulation.

    Parameters
    ----------
    sample_rate_hz
        Rate of the PCM. [samples per second]

    Raises
    ------
    ValueError
        If `sample_rate_hz` is outside `LOWEST_RATE_HZ` … `HIGHEST_RATE_HZ`.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        if not LOWEST_RATE_HZ <= sample_rate_hz <= HIGHEST_RATE_HZ:
            raise ValueError(f"PCM at {sample_rate_hz} Hz: only {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz can be taken")
        self._emphasis = OverlapSaveResampler(sample_rate_hz, LOW_RATE_HZ, _emphasis_and_band_limit)
        self._limiters = [OverlapSaveResampler(LOW_RATE_HZ, LOW_RATE_HZ, _band_limit) for _ in range(2)]

    def push(self, pcm: NDArray[np.float32]) -> NDArray[np.int16]:
        """Take PCM of shape (n,) [full scale = ±1], give the modulation that is ready, shape (m,) [MODULATION_STEP]."""
        modulation = self._emphasis.push(pcm)
        for limiter in self._limiters:
            modulation = limiter.push(np.clip(modulation, -1.0, 1.0))
        return _stored(modulation)

    def flush(self) -> NDArray[np.int16]:
        """Give the rest of the modulation, shape (m,). [MODULATION_STEP]"""
        modulation = self._emphasis.flush()
        for limiter in self._limiters:
            modulation = np.concatenate((limiter.push(np.clip(modulation, -1.0, 1.0)), limiter.flush()))
        return _stored(modulation)


def modulate(pcm: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.int16]:
    """Turn a whole piece of PCM into stored modulation.

    Parameters
    ----------
    pcm
        Shape (n,). [full scale = ±1]
    sample_rate_hz
        Rate of `pcm`. [samples per second]

    Returns
    -------
    modulation
        Shape (m,), m = ceil(n * LOW_RATE_HZ / sample_rate_hz), at `LOW_RATE_HZ`. [MODULATION_STEP]

    Raises
    ------
    ValueError
        If `sample_rate_hz` cannot be taken; see `Modulator`.
    """
    modulator = Modulator(sample_rate_hz)
    return np.concatenate((modulator.push(pcm), modulator.flush()))


def _stored(modulation: NDArray[np.float32]) -> NDArray[np.int16]:
    stored: NDArray[np.int16] = np.clip(np.rint(modulation / MODULATION_STEP), -32767.0, 32767.0).astype(np.int16)
    return stored

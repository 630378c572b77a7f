"""PCM of any rate to the decoder's own rate, in hops that stand at fixed places whatever the blocks pushed were.

At 25000/3 Hz a bit lasts 16 samples. Everything behind this stage works hop by hop, so that cutting the input elsewhere
cannot change a result. Positions are counted in samples of the decoder's rate from the stream's first sample.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._same_kernels import filter_sections, resample, tone_balance

RATE = Fraction(25000, 3)
"""The decoder's own rate: 16 samples a bit. [Hz]"""

SAMPLES_PER_BIT = 16

HOP = 800
"""Samples in a hop: 50 bits, 96 ms."""

QUARTERS_PER_HOP = HOP // 4

DELAY = 1.1
"""By how much the decoder's samples lag, the low cut's delay between the tones. [samples at the decoder's rate]"""

_PASS_HZ = 2950.0  # the outer side tone, with its sideband and 3 % of clock error
_N_PHASES = 64
_KAISER_BETA = 5.0
_LOW_CUT_HZ = 800.0  # two octaves over any hum that matters, and 0.05 dB at space; the lower side tone loses half a dB
_LARGEST = 1e6  # beyond any PCM scale; larger samples would overflow float32 when squared


def tone_mixer() -> NDArray[np.float32]:
    """Cosine and sine of mark, and of space, over 16 samples, shape (4, 16)."""
    turn = 2.0 * np.pi * np.arange(16) / 16.0
    return np.array([np.cos(4 * turn), np.sin(4 * turn), np.cos(3 * turn), np.sin(3 * turn)], np.float32)


def low_cut() -> NDArray[np.float64]:
    """Design the fourth-order Butterworth high-pass at the decoder's rate, shape (2, 6), by the bilinear transform."""
    turn = 2.0 * np.pi * _LOW_CUT_HZ / float(RATE)
    sections = []
    for quality in (0.5 / np.cos(np.pi / 8), 0.5 / np.cos(3 * np.pi / 8)):
        alpha, c = np.sin(turn) / (2.0 * quality), np.cos(turn)
        b = (1.0 + c) / 2.0
        sections.append(np.array([b, -2.0 * b, b, 1.0 + alpha, -2.0 * c, 1.0 - alpha]) / (1.0 + alpha))
    return np.array(sections)


def interpolation_table(sample_rate_hz: float) -> NDArray[np.float32]:
    """Design the filters that take PCM to the decoder's rate.

    Returns
    -------
    table
        Shape (n_phases + 1, n_taps), n_taps even: row p delays by p / n_phases input samples; gain 1 at 0 Hz.
    """
    stop_hz = min(float(RATE), sample_rate_hz) - _PASS_HZ
    cutoff = (stop_hz + _PASS_HZ) / 2.0 / sample_rate_hz
    half = int(np.ceil(1.6 * sample_rate_hz / (stop_hz - _PASS_HZ)))
    fraction = np.arange(_N_PHASES + 1)[:, None] / _N_PHASES
    tau = np.arange(2 * half) - half + 1 - fraction
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0.0, 1.0 - (tau / half) ** 2)))
    table = np.sinc(2.0 * cutoff * tau) * window
    return np.asarray(table / table.sum(axis=1, keepdims=True), np.float32)


class FrontEnd:
    """Collects PCM and hands out hops at the decoder's rate.

    Parameters
    ----------
    sample_rate_hz
        Rate of the PCM.

    Raises
    ------
    ValueError
        If the rate is not within 8 to 192 kHz.
    """

    def __init__(self, sample_rate_hz: float) -> None:
        if not 8000.0 <= sample_rate_hz <= 192_000.0:
            raise ValueError(f"sample_rate_hz must be within 8000 to 192000, got {sample_rate_hz}")
        self.step = Fraction(sample_rate_hz).limit_denominator(1000) / RATE
        self._step = float(self.step)
        self._table = interpolation_table(sample_rate_hz)
        self._half = int(self._table.shape[1]) // 2
        self._mixer = tone_mixer()
        self._low_cut = low_cut()
        self._low_cut_state = np.zeros((2, 2))
        self._pcm = np.zeros(self._half - 1, np.float32)
        self._pcm_start = 1 - self._half
        self._parts: list[NDArray[np.float32]] = []
        self._n_parts = 0
        self._hops = 0
        self._tail = np.zeros(12, np.float32)
        self._need = self._input_needed()

    def _input_needed(self) -> int:
        """Samples of PCM, counted from the stream's start, that the next hop needs."""
        return (self._hops + 1) * HOP * self.step.numerator // self.step.denominator + self._half + 1

    def samples_to_next_hop(self) -> int:
        """Count the samples of PCM that are missing for the next hop; at least 1 after `pop` gave None."""
        return self._need - (self._pcm_start + len(self._pcm) + self._n_parts)

    def push(self, pcm: NDArray[np.float32]) -> None:
        """Append samples, shape (n,); those that are not finite, or absurdly large, count as zero."""
        clean = np.where(np.abs(pcm) < _LARGEST, pcm, np.float32(0.0)).astype(np.float32, copy=False)
        self._parts.append(clean)
        self._n_parts += len(clean)

    def pop(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Take the next hop, if its samples are there.

        Returns
        -------
        samples
            Shape (HOP,), float32, at the decoder's rate.
        balance
            Shape (QUARTERS_PER_HOP,): the tones' balance four times a bit; ``balance[i]`` belongs to the bit's length
            that starts at the hop's sample ``4 * i - 12``. [-1 to 1]
        """
        if self.samples_to_next_hop() > 0:
            return None
        if self._parts:
            self._pcm = np.concatenate([self._pcm, *self._parts])
            self._parts, self._n_parts = [], 0
        # Whole numbers, so that years of samples lose no precision.
        whole, part = divmod(self._hops * HOP * self.step.numerator, self.step.denominator)
        start = whole - (self._pcm_start + self._half - 1) + part / self.step.denominator
        plain = resample(self._pcm, start, self._step, self._table, HOP)
        samples = filter_sections(plain, self._low_cut, self._low_cut_state)
        extended = np.concatenate([self._tail, samples])
        balance = tone_balance(extended, self._mixer, QUARTERS_PER_HOP)
        self._tail = samples[-12:]
        self._hops += 1
        self._need = self._input_needed()
        drop = self._need - HOP * self.step.numerator // self.step.denominator - 2 * self._half - 2 - self._pcm_start
        if drop > 0:
            self._pcm = self._pcm[drop:]
            self._pcm_start += drop
        return samples, balance


class SampleHistory:
    """The last samples at the decoder's rate, addressed by position.

    Parameters
    ----------
    capacity
        Samples that are kept at least.
    """

    def __init__(self, capacity: int) -> None:
        self._store = np.zeros(2 * capacity + HOP, np.float32)
        self._capacity = capacity
        self._fill = 0
        self.end = 0

    @property
    def oldest(self) -> int:
        """Position of the oldest sample that is kept."""
        return self.end - self._fill

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add the samples that follow, shape (n,), n <= HOP."""
        if self._fill + len(samples) > len(self._store):
            self._store[: self._capacity] = self._store[self._fill - self._capacity : self._fill]
            self._fill = self._capacity
        self._store[self._fill : self._fill + len(samples)] = samples
        self._fill += len(samples)
        self.end += len(samples)

    def cut(self, start: int, stop: int) -> NDArray[np.float32]:
        """Copy samples `start` to `stop`, shape (stop - start,); zeros where they are gone or yet to come."""
        result = np.zeros(max(0, stop - start), np.float32)
        oldest = self.oldest
        low, high = max(start, oldest), min(stop, self.end)
        if high > low:
            result[low - start : high - start] = self._store[low - oldest : high - oldest]
        return result

"""One burst as it was received: where its bits lie, and how they correlate with the tones.

A burst lies on a straight bit clock, unless it is clearly better followed bit by bit: tape and some streams do not run
evenly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._bit_kernels import TONE_CYCLES, correlate_bits, follow_bits
from app_core.eas.matched_filter import SAMPLES_PER_BIT, SampleHistory
from app_core.eas.timing import (
    KNOWN_BITS,
    N_PREAMBLE_BITS,
    data_phase,
    drift_power,
    fit_bit_clock,
    peak_position,
    uniform_edges,
)
from app_core.eas.waveform import MAX_HEADER_BYTES

if TYPE_CHECKING:
    from app_core.eas.evidence import Evidence
    from app_core.eas.noise import SideNoise

MAX_BURST_BITS = N_PREAMBLE_BITS + 8 * (MAX_HEADER_BYTES + 2)

MARGIN = 32
"""Samples that are kept around a burst."""

Gaps = list[tuple[float, float]]
"""Spans of lost samples, in order. [samples at the decoder's rate]"""

_PULL = 0.12  # a loop of some 16 Hz, which follows flutter of 8 Hz, damped by 0.7
_BEND = 0.5 * _PULL**2
_CLEARLY_BETTER = 0.02  # of all bits must be told better by the followed clock than by the straight one


@dataclass(slots=True)
class Burst:
    """A header burst: where it lies, and its bits' correlations.

    Attributes
    ----------
    start
        First sample of the preamble. [samples at the decoder's rate]
    clock
        Error of the sender's bit clock.
    detuning
        How much higher its tones are than its bit clock says.
    limit
        No bit of the burst lies beyond this position. [samples at the decoder's rate]
    samples
        Shape (n,), from `origin` on.
    origin
        Position of ``samples[0]``.
    gaps
        Spans of lost samples.
    followed
        Shape (n_bits + 1,): edges of the bits when the clock was followed bit by bit, else None. [samples]
    correlation
        Shape (n_bits, 4): mark, space, upper and lower side tone; the first bit is the preamble's.
    valid
        Shape (n_bits,): False where samples were lost.
    first_evidence, noise
        The noncoherent evidence and the side tones' noise, once they were asked for.
    fresh
        Whether `noise` is of this very `correlation`.
    """

    start: float
    clock: float
    detuning: float
    limit: float
    samples: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    origin: int = 0
    gaps: Gaps = field(default_factory=list)
    followed: NDArray[np.float64] | None = None
    correlation: NDArray[np.complex128] = field(default_factory=lambda: np.zeros((0, 4), np.complex128))
    valid: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    first_evidence: Evidence | None = None
    noise: SideNoise | None = None
    fresh: bool = False

    @property
    def samples_per_bit(self) -> float:
        """Mean length of the sender's bits at the decoder's rate."""
        return SAMPLES_PER_BIT / (1.0 + self.clock)

    def position_of_bit(self, bit: int) -> float:
        """Position of the start of `bit`, counted from the preamble's first."""
        if self.followed is None:
            return self.start + bit * self.samples_per_bit
        last = len(self.followed) - 1
        return self.origin + float(self.followed[min(bit, last)]) + max(0, bit - last) * self.samples_per_bit

    def receive(self, history: SampleHistory, gaps: Gaps, *, straight: bool = False) -> None:
        """Take the samples, as far as they are there, and correlate the bits; `straight`: on a straight clock."""
        self.origin = int(self.start) - MARGIN
        self.samples = history.cut(self.origin, min(history.end, int(self.limit) + MARGIN))
        self.gaps = list(gaps)
        self.followed = self.noise = None
        if self.detuning:
            self._fit_bit_clock()
        else:
            self.correlate()
            if not straight:
                self._follow()

    def correlate(self) -> None:
        """Correlate all bits that `samples` and `limit` hold; those that meet one of `gaps` are not valid."""
        end = min(self.limit, self.origin + len(self.samples) - 1.0)
        n_bits = int(np.clip((end - self.start) / self.samples_per_bit, 0, MAX_BURST_BITS))
        if self.followed is None:
            edges = uniform_edges(self.start - self.origin, self.samples_per_bit, n_bits)
        else:
            edges = self.followed[: n_bits + 1]
        self.correlation = correlate_bits(self.samples, edges, TONE_CYCLES * (1.0 + self.detuning))
        self.valid = np.abs(self.correlation).max(axis=1) > 1e-9
        self.first_evidence, self.fresh = None, False
        begin, close = edges[:-1] + self.origin, edges[1:] + self.origin
        for low, high in self.gaps:
            self.valid &= (close < low) | (begin > high)

    def _preamble_gains(self) -> NDArray[np.complex128]:
        known = KNOWN_BITS[0][:N_PREAMBLE_BITS][: len(self.correlation)]
        here = self.correlation[: len(known)]
        return np.array([here[known == 1, 0].mean(), here[known == 0, 1].mean()])

    def _follow(self, bits: NDArray[np.int8] | None = None) -> None:
        """Follow the clock bit by bit, and keep to that if it fits clearly better; `bits` are known or guessed."""
        n_bits = len(self.correlation)
        if n_bits < N_PREAMBLE_BITS:
            return
        gains = self._preamble_gains()
        known = np.full(n_bits, -1, np.int64)
        given = KNOWN_BITS[0] if bits is None else bits
        known[: min(n_bits, len(given))] = given[:n_bits]
        straight = self.clearness(gains)
        edges = follow_bits(
            self.samples, self.start - self.origin, self.samples_per_bit, known, gains, TONE_CYCLES[:2], _PULL, _BEND
        )
        before, self.followed = self.followed, edges
        self.correlate()
        if before is None and self.clearness(gains) < straight + _CLEARLY_BETTER:
            self.followed = None
            self.correlate()

    def clearness(self, gains: NDArray[np.complex128]) -> float:
        """How well either tone of all bits stands out, levels aside: 1 is perfect, noise has a half."""
        power = np.abs(self.correlation[:, :2]) ** 2 / np.maximum(np.abs(gains) ** 2, 1e-30)
        total = np.maximum(power.sum(axis=1), 1e-30)
        return float((np.abs(power[:, 0] - power[:, 1]) / total).mean()) if len(total) else 0.0

    def _fit_bit_clock(self) -> None:
        """Fit the bit clock of a detuned sender, further and further into the burst by its own hard decisions."""
        n_bits = 2 * N_PREAMBLE_BITS
        tones = (1.0 + self.clock) * (1.0 + self.detuning)
        while True:
            self.correlate()
            n = min(n_bits, len(self.correlation))
            bits = (np.abs(self.correlation[:n, 0]) > np.abs(self.correlation[:n, 1])).astype(np.int8)
            known = KNOWN_BITS[0][:n]
            bits[: len(known)] = np.where(known >= 0, known, bits[: len(known)])
            bits[~self.valid[:n]] = -1
            start, self.clock = fit_bit_clock(self.samples, self.start - self.origin, self.clock, bits, 0.05, 0.15)
            self.start = self.origin + start
            self.detuning = tones / (1.0 + self.clock) - 1.0
            if n < n_bits or n_bits > 8 * N_PREAMBLE_BITS:
                break
            n_bits = n_bits * 3 // 2
        self.correlate()

    def untwisted(self, bits: NDArray[np.int8]) -> NDArray[np.complex128]:
        """Correlations without the phase that a detuned sender's data bring about, given its bits, shape (n_bits,)."""
        if not self.detuning:
            return self.correlation
        turn = np.exp(-2j * np.pi * self.detuning * (data_phase(bits) - 3.5 / 2))
        return np.asarray(self.correlation * turn[:, None])

    def refine_clock(self, bits: NDArray[np.int8]) -> None:
        """Fit the clock to all bits that are known or guessed, shape (n_bits,); -1 is unknown."""
        if self.detuning:
            return
        if self.followed is not None:
            self._follow(bits)
            return
        n_bits = min(len(bits), len(self.correlation))
        step = 0.06 / max(n_bits, 1)
        power = drift_power(self.correlation[None, :n_bits], bits[:n_bits], -12 * step, step, 25)
        drift = step * (peak_position(power[0]) - 12)
        middle = self.position_of_bit(N_PREAMBLE_BITS // 2)
        self.clock += drift
        self.start = middle - N_PREAMBLE_BITS // 2 * self.samples_per_bit
        self._refine_start(bits[:n_bits])
        self.correlate()

    def _refine_start(self, bits: NDArray[np.int8]) -> None:
        shifts = np.arange(-2, 3) * 0.4
        edges = uniform_edges(self.start - self.origin, self.samples_per_bit, len(bits))
        sets = [correlate_bits(self.samples, edges + shift, TONE_CYCLES[:2]) for shift in shifts]
        power = drift_power(np.array(sets), bits, 0.0, 1.0, 1)[:, 0]
        self.start += float(np.interp(peak_position(power), np.arange(len(shifts)), shifts))

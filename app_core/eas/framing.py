"""One burst to evidence: for every bit of the header, how well the signal speaks for 1, for 0, and for no burst at all.

Evidence is ln p(received | bit) - ln p(received | no signal). It adds up over bursts and over bits; the difference of
its two columns is the bit's log-likelihood ratio; its sum tells where a header ends. The first evidence is
noncoherent and needs no decisions. The later ones are coherent: a tentative header wipes off the data, both tones'
complex gains are followed through the burst (each bit leaves itself out), and what is left over is the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._same_kernels import TONE_CYCLES, correlate_bits
from app_core.eas.matched_filter import SAMPLES_PER_BIT, SampleHistory
from app_core.eas.timing import (
    KNOWN_BITS,
    N_PREAMBLE_BITS,
    data_phase,
    drift_power,
    fit_bit_clock,
    peak_position,
)
from app_core.eas.waveform import MAX_HEADER_BYTES

MAX_BURST_BITS = N_PREAMBLE_BITS + 8 * (MAX_HEADER_BYTES + 2)

MARGIN = 32
"""Samples that are kept around a burst."""

Gaps = list[tuple[float, float]]
"""Spans of lost samples, in order. [samples at the decoder's rate]"""

_LARGEST_EVIDENCE = 20.0  # Eb/N0 of 13 dB: no model of the noise is worth more trust than this
_LARGEST_RATIO = (
    18.0  # nats for one bit of one burst: one in a hundred million is a click or a fade that no model foresaw
)
_LOUD = ((0, 4.0), (1, 2.7), (2, 2.1))  # half-widths in bits, and how far above the usual a local noise is believed
_WIDTHS = (10, 30, 100)  # bits on either side over which the gains may be averaged


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one burst says.

    Attributes
    ----------
    bits
        Shape (n_bits, 2), from the start word's first bit on: evidence for 0 and for 1. [nats]
    spread
        Mean square of what is left over, in units of the noise that was assumed; 1 is as expected.
    residual
        Shape (n_bits,): what is left over of the decided tone, in units of its gain and noise; 0 where nothing is.
    snr_db
        Eb/N0. [dB]
    """

    bits: NDArray[np.float64]
    spread: float
    residual: NDArray[np.complex128]
    snr_db: float


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
    correlation
        Shape (n_bits, 4): mark, space, upper and lower side tone; the first bit is the preamble's.
    valid
        Shape (n_bits,): False where samples were lost.
    first_evidence
        The noncoherent evidence of `correlation`, once it was asked for.
    """

    start: float
    clock: float
    detuning: float
    limit: float
    samples: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    origin: int = 0
    correlation: NDArray[np.complex128] = field(default_factory=lambda: np.zeros((0, 4), np.complex128))
    valid: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    first_evidence: Evidence | None = None

    @property
    def samples_per_bit(self) -> float:
        """Length of the sender's bits at the decoder's rate."""
        return SAMPLES_PER_BIT / (1.0 + self.clock)

    def position_of_bit(self, bit: int) -> float:
        """Position of the start of `bit`, counted from the preamble's first."""
        return self.start + bit * self.samples_per_bit

    def receive(self, history: SampleHistory, gaps: Gaps) -> None:
        """Take the burst's samples, as far as they are there, and correlate its bits."""
        self.origin = int(self.start) - MARGIN
        self.samples = history.cut(self.origin, min(history.end, int(self.limit) + MARGIN))
        if self.detuning:
            self._follow_bit_clock(gaps)
        else:
            self.correlate(gaps)

    def correlate(self, gaps: Gaps) -> None:
        """Correlate all bits that `samples` and `limit` hold; those that meet one of `gaps` are not valid."""
        end = min(self.limit, self.origin + len(self.samples) - 1.0)
        n_bits = int(np.clip((end - self.start) / self.samples_per_bit, 0, MAX_BURST_BITS))
        cycles = TONE_CYCLES * (1.0 + self.detuning)
        self.correlation = correlate_bits(self.samples, self.start - self.origin, self.samples_per_bit, cycles, n_bits)
        if self.detuning:
            # The templates' phases then refer to each bit's own start.
            self.correlation *= np.exp(2j * np.pi * self.detuning * TONE_CYCLES * np.arange(n_bits)[:, None])
        self.valid = np.abs(self.correlation).max(axis=1) > 1e-9
        self.first_evidence = None
        begin = self.start + np.arange(n_bits) * self.samples_per_bit
        for low, high in gaps:
            self.valid &= (begin + self.samples_per_bit < low) | (begin > high)

    def _follow_bit_clock(self, gaps: Gaps) -> None:
        """Fit the bit clock of a detuned sender, further and further into the burst by its own hard decisions."""
        n_bits = 2 * N_PREAMBLE_BITS
        tones = (1.0 + self.clock) * (1.0 + self.detuning)
        while True:
            self.correlate(gaps)
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
        self.correlate(gaps)

    def untwisted(self, bits: NDArray[np.int8]) -> NDArray[np.complex128]:
        """Correlations without the phase that a detuned sender's data bring about, given its bits, shape (n_bits,)."""
        if not self.detuning:
            return self.correlation
        turn = np.exp(-2j * np.pi * self.detuning * (data_phase(bits) - 3.5 / 2))
        return np.asarray(self.correlation * turn[:, None])

    def refine_clock(self, bits: NDArray[np.int8], gaps: Gaps) -> None:
        """Fit the clock to all bits that are known or guessed, shape (n_bits,); -1 is unknown."""
        if self.detuning:
            return
        n_bits = min(len(bits), len(self.correlation))
        step = 0.06 / max(n_bits, 1)
        power = drift_power(self.correlation[None, :n_bits], bits[:n_bits], -12 * step, step, 25)
        drift = step * (peak_position(power[0]) - 12)
        middle = self.position_of_bit(N_PREAMBLE_BITS // 2)
        self.clock += drift
        self.start = middle - N_PREAMBLE_BITS // 2 * self.samples_per_bit
        self._refine_start(bits[:n_bits])
        self.correlate(gaps)

    def _refine_start(self, bits: NDArray[np.int8]) -> None:
        shifts = np.arange(-2, 3) * 0.4
        begin = self.start - self.origin
        sets = [
            correlate_bits(self.samples, begin + s, self.samples_per_bit, TONE_CYCLES[:2], len(bits)) for s in shifts
        ]
        power = drift_power(np.array(sets), bits, 0.0, 1.0, 1)[:, 0]
        self.start += float(np.interp(peak_position(power), np.arange(len(shifts)), shifts))


def _running_sum(values: NDArray[np.generic], width: int) -> NDArray[np.generic]:
    """Sum of each value of shape (n,) and its `width` neighbours on either side."""
    total = np.concatenate([[0], np.cumsum(values)])
    index = np.arange(len(values))
    result: NDArray[np.generic] = (
        total[np.minimum(index + width + 1, len(values))] - total[np.maximum(index - width, 0)]
    )
    return result


def _local_noise(burst: Burst, n_used: int) -> NDArray[np.float64]:
    """Noise power of each bit from the side tones: the burst's usual one, or more where it is louder; (n_bits,)."""
    side = np.where(burst.valid, (np.abs(burst.correlation[:, 2:]) ** 2).mean(axis=1), 0.0)
    quiet = side[:n_used][burst.valid[:n_used]]
    # 0.84 is the median of the mean of two squared magnitudes, for a mean of 1.
    usual = float(np.median(quiet)) / 0.84 if len(quiet) else 0.0
    noise = np.full(len(side), usual)
    valid = burst.valid.astype(float)
    for width, factor in _LOUD:
        local = _running_sum(side, width) / np.maximum(_running_sum(valid, width), 1.0)
        noise = np.where(local > factor * usual, np.maximum(noise, local), noise)
    return noise


def _tone_noise(burst: Burst, bits: NDArray[np.int8], side: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise power at mark and space, shape (n_bits, 2): the side tones' scaled by what the silent tone shows."""
    noise = np.empty((len(side), 2))
    n = len(bits)
    for tone, silent in ((0, 0), (1, 1)):
        where = (bits == silent) & burst.valid[:n]
        ratio = 1.0
        if where.sum() > 8:
            ratio = (np.abs(burst.correlation[:n][where, tone]) ** 2 / np.maximum(side[:n][where], 1e-30)).mean()
        noise[:, tone] = side * np.clip(ratio, 0.3, 100.0)
    return noise


def _limited(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evidence, shape (n_bits, 2), with the difference of its columns held within `_LARGEST_RATIO`."""
    middle = evidence.mean(axis=1)
    ratio = np.clip(evidence[:, 1] - evidence[:, 0], -60.0, 60.0)
    ratio = np.logaddexp(ratio, -_LARGEST_RATIO) - np.logaddexp(0.0, ratio - _LARGEST_RATIO)
    return np.stack([middle - ratio / 2, middle + ratio / 2], axis=1)


def _ln_i0(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of I0(x), within 0.01, without overflow."""
    large = np.maximum(x, 8.0)
    asymptotic = x - 0.5 * np.log(2 * np.pi * large) + 0.125 / large
    return np.asarray(np.where(x < 8.0, np.log(np.i0(np.minimum(x, 8.0))), asymptotic))


def noncoherent_evidence(burst: Burst) -> Evidence:
    """Evidence of a burst whose bits are not known yet: levels and noise come from the preamble and ``ZCZC``."""
    if burst.first_evidence is None:
        burst.first_evidence = _noncoherent_evidence(burst)
    return burst.first_evidence


def _noncoherent_evidence(burst: Burst) -> Evidence:
    known = KNOWN_BITS[0][: len(burst.correlation)]
    n = len(known)
    side = _local_noise(burst, n)
    noise = _tone_noise(burst, known, side)
    evidence = np.zeros((len(side), 2))
    snr = []
    for tone, value in ((0, 1), (1, 0)):
        where = (known == value) & burst.valid[:n]
        power = (np.abs(burst.correlation[:n][where, tone]) ** 2).mean() if where.any() else 0.0
        level = max(power - noise[:n, tone].mean(), power / 20.0)
        floor = np.maximum(noise[:, tone], level / _LARGEST_EVIDENCE + 1e-30)
        magnitude = np.abs(burst.correlation[:, tone])
        evidence[:, value] = _ln_i0(2.0 * np.sqrt(level) * magnitude / floor) - level / floor
        snr.append(level / max(noise[:n, tone].mean(), 1e-30))
    evidence[~burst.valid] = 0.0
    decibels = 10.0 * np.log10(max(float(np.mean(snr)), 1e-3))
    return Evidence(
        _limited(evidence[N_PREAMBLE_BITS:]), 1.0, np.zeros(len(evidence) - N_PREAMBLE_BITS, complex), decibels
    )


def _gains(
    values: NDArray[np.complex128], where: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Mean of the `values` at `where` within `width` bits, each bit leaving itself out; and their number."""
    wiped = np.where(where, values, 0.0)
    total = _running_sum(wiped, width) - wiped
    count = _running_sum(where.astype(float), width) - where
    return np.asarray(total / np.maximum(count, 1.0)), np.asarray(count, np.float64)


def coherent_evidence(burst: Burst, bits: NDArray[np.int8]) -> Evidence:
    """Evidence of a burst, given a tentative header.

    Parameters
    ----------
    burst
        The burst.
    bits
        Shape (n,): preamble and tentative header; -1 is unknown.
    """
    n_bits = len(burst.correlation)
    known = np.full(n_bits, -1, np.int8)
    n = min(n_bits, len(bits))
    known[:n] = bits[:n]
    side = _local_noise(burst, n)
    noise = _tone_noise(burst, known, side)
    trials = [_with_width(burst, known, noise, width) for width in _WIDTHS]
    _, evidence, spread, residual, snr = max(trials, key=lambda trial: trial[0])
    decibels = 10.0 * np.log10(max(snr, 1e-3))
    return Evidence(_limited(evidence[N_PREAMBLE_BITS:]), spread, residual[N_PREAMBLE_BITS:], decibels)


def _with_width(
    burst: Burst, known: NDArray[np.int8], noise: NDArray[np.float64], width: int
) -> tuple[float, NDArray[np.float64], float, NDArray[np.complex128], float]:
    """Evidence with gains averaged over `width` bits on either side.

    Returns
    -------
    fit
        Sum of the evidence for the known bits: the width with the largest one predicts the signal best. [nats]
    evidence, spread, residual
        As in `Evidence`, for all bits from the preamble on.
    snr
        Eb/N0, as a ratio.
    """
    n_bits = len(known)
    correlation = burst.untwisted(known)
    evidence = np.zeros((n_bits, 2))
    residual = np.zeros(n_bits, complex)
    fit = 0.0
    square, total = 0.0, 0
    snr = []
    for tone, value in ((0, 1), (1, 0)):
        received = correlation[:, tone]
        where = (known == value) & burst.valid
        gain, count = _gains(received, where, width)
        power = np.abs(gain) ** 2
        mean_power = float(power[where].mean()) if where.any() else 0.0
        floor = np.maximum(
            noise[:, tone] * (1.0 + 1.0 / np.maximum(count, 1.0)), mean_power / _LARGEST_EVIDENCE + 1e-30
        )
        evidence[:, value] = np.where(count > 0, (2.0 * (gain.conj() * received).real - power) / floor, 0.0)
        fit += float(evidence[where, value].sum())
        left = received[where] - gain[where]
        residual[where] = left / np.sqrt(floor[where]) * np.exp(-1j * np.angle(gain[where]))
        silent = (known == 1 - value) & burst.valid
        square += float((np.abs(residual[where]) ** 2).sum() + (np.abs(received[silent]) ** 2 / floor[silent]).sum())
        total += int(where.sum() + silent.sum())
        snr.append(mean_power / max(float(noise[where, tone].mean()) if where.any() else 1.0, 1e-30))
    evidence[~burst.valid] = 0.0
    return fit, evidence, square / max(total, 1), residual, float(np.mean(snr))

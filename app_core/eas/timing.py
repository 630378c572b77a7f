"""Where a burst starts and how fast its clock runs: a search over everything, then a fit of what was found.

A burst announces itself by sixteen bytes 0xAB and ``ZCZC`` or ``NNNN``: 156 bits that are known (the eighth bit of a
character may be either). The search compares their pattern with the balance of the two tones, which knows no level and
no phase, at 13 clock errors. What it finds is fitted coherently: mark and space have constant phases when time and
clock are right, each its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._bit_kernels import TONE_CYCLES, coherent_power, correlate_bits
from app_core.dsp._same_kernels import search_start
from app_core.eas.matched_filter import QUARTERS_PER_HOP, SAMPLES_PER_BIT
from app_core.eas.waveform import END_OF_MESSAGE, HEADER_START, PREAMBLE

N_PREAMBLE_BITS = 8 * len(PREAMBLE)
N_KNOWN_BITS = N_PREAMBLE_BITS + 32
WORDS = (HEADER_START, END_OF_MESSAGE)

CLOCKS = np.linspace(-0.033, 0.033, 13)
"""Clock errors that are searched; 0.55 % apart is 0.2 bits of slip from the middle of the known bits to their ends."""

_THRESHOLD = 0.40  # mean of the balance along the pattern; 0.25 is five standard deviations of noise
_FULL_SCORE = 156.0
_SETTLE_QUARTERS = 600  # a better match within 150 bits replaces a candidate; real bursts start 0.6 s apart at least
_CLEAR_QUARTERS = 60  # the same for one that leaves no doubt: a byte before a burst's start still reaches 0.85
_CLEAR_SHARE = 0.93
_SHARE_OF_ACTIVITY = 0.70  # header text reaches half of what its signal would give, a burst nearly all

_LOCKED_SHARE = 0.85  # of the power of the free fit that a fit with tones at the bit clock must reach
_MAX_ERRORS = 6  # of the start word's 28 bits
_SMALL_DETUNING = 6e-4  # the free fit's own uncertainty


def known_bits(word: bytes) -> NDArray[np.int8]:
    """Bits of preamble and `word` in the order sent, shape (160,); eighth bits of the word are -1, unknown."""
    bits = np.unpackbits(np.frombuffer(PREAMBLE + word, np.uint8), bitorder="little").astype(np.int8)
    bits[N_PREAMBLE_BITS + 7 :: 8] = -1
    return bits


KNOWN_BITS = tuple(known_bits(word) for word in WORDS)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that may be the start of a burst.

    Attributes
    ----------
    start
        First sample of the preamble. [samples at the decoder's rate]
    clock
        Sender's clock error; 0.01 is 1 % fast.
    score
        Match with the known bits; 1 is perfect.
    """

    start: float
    clock: float
    score: float


@dataclass(slots=True)
class _Peak:
    """The best match of late; `position` in quarter bits, `clock` an index into `CLOCKS`."""

    score: float
    position: int
    clock: int
    clear: bool
    told: bool = False


def _offsets() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    quarters_per_bit = 4.0 / (1.0 + CLOCKS[:, None])
    byte_offsets = np.rint(np.arange(0, N_PREAMBLE_BITS + 8, 8) * quarters_per_bit).astype(np.int64)
    # Within a byte or word, clocks that are close share their offsets, so that their sums are made once.
    coarse = 4.0 / (1.0 + np.array([-0.022] * 4 + [0.0] * 5 + [0.022] * 4)[:, None])
    bit_offsets = np.rint(np.arange(32) * coarse).astype(np.int64)
    return byte_offsets, bit_offsets


class BurstSearch:
    """Looks for starts of bursts in the balance of the tones, hop by hop."""

    def __init__(self) -> None:
        self._byte_offsets, self._bit_offsets = _offsets()
        self._span = int(np.ceil((N_KNOWN_BITS + 1) * 4.0 / (1.0 + CLOCKS[0]))) + 1
        preamble = KNOWN_BITS[0][:8]
        # Weights sum to zero, so that a tone that is always the stronger one (twist) matches nothing.
        self._preamble = np.where(preamble == 1, 8 / 10, -8 / 6).astype(np.float32)
        signs = [np.where(bits < 0, 0, 2 * bits - 1)[N_PREAMBLE_BITS:] for bits in KNOWN_BITS]
        self._words = np.array(signs, np.float32)
        self._balance = np.zeros(0, np.float32)
        self._position = -3  # of the first value kept; quarter bits
        self._best: _Peak | None = None

    def push(self, balance: NDArray[np.float32]) -> list[Candidate]:
        """Take one hop's balance, shape (QUARTERS_PER_HOP,), and give the candidates that are settled by it."""
        self._balance = np.concatenate([self._balance, balance])
        n_out = len(self._balance) - self._span
        if n_out < QUARTERS_PER_HOP:
            return []
        score, clock, _ = search_start(
            self._balance,
            self._byte_offsets,
            self._bit_offsets,
            self._preamble,
            self._words,
            _THRESHOLD * _FULL_SCORE,
            n_out,
        )
        found: list[Candidate] = []
        for i in self._peaks(score):
            position = self._position + i
            self._settle(position, found)
            if self._best is None or score[i] > self._best.score:
                share = self._share(float(score[i]), int(clock[i]), i)
                if share > _SHARE_OF_ACTIVITY:
                    self._best = _Peak(float(score[i]), position, int(clock[i]), clear=share > _CLEAR_SHARE)
        self._position += n_out
        self._balance = self._balance[n_out:]
        self._settle(self._position, found)
        return found

    def _settle(self, position: int, found: list[Candidate]) -> None:
        """Give the best match once nothing better can follow, and forget it when its burst's known bits are over."""
        best = self._best
        if best is None:
            return
        age = position - best.position
        if not best.told and age > (_CLEAR_QUARTERS if best.clear else _SETTLE_QUARTERS):
            best.told = True
            found.append(Candidate(4.0 * best.position, float(CLOCKS[best.clock]), best.score / _FULL_SCORE))
        if age > _SETTLE_QUARTERS:
            self._best = None

    @property
    def pending(self) -> bool:
        """Whether a candidate waits for a better one."""
        return self._best is not None and not self._best.told

    @staticmethod
    def _peaks(score: NDArray[np.float32]) -> list[int]:
        if score.max() < _THRESHOLD * _FULL_SCORE:
            return []
        return [int(i) for i in np.flatnonzero(score >= _THRESHOLD * _FULL_SCORE)]

    def _share(self, score: float, clock: int, i: int) -> float:
        """How much of what either tone stands out fits the pattern, at place `i`: 1 is all."""
        bits = np.rint(np.arange(N_KNOWN_BITS) * (4.0 / (1.0 + CLOCKS[clock]))).astype(np.int64)
        activity = float(np.abs(self._balance[i + bits]).mean())
        return score / (_FULL_SCORE * max(activity, 1e-9))


@dataclass(frozen=True, slots=True)
class Fit:
    """A burst's start, fitted.

    Attributes
    ----------
    start
        First sample of the preamble, within the samples fitted. [samples at the decoder's rate]
    clock
        Error of the bit clock.
    detuning
        How much higher the tones are than the bit clock says: 0, except with encoders whose bits are whole samples.
    word
        Index into `WORDS`, or -1 when the start word is neither.
    errors
        Hard errors among the 28 known bits of the nearer word.
    snr_db
        Eb/N0 of the preamble. [dB]
    """

    start: float
    clock: float
    detuning: float
    word: int
    errors: int
    snr_db: float


def uniform_edges(start: float, length: float, n_bits: int) -> NDArray[np.float64]:
    """Edges of `n_bits` bits of one length, shape (n_bits + 1,). [samples]"""
    return np.asarray(start + length * np.arange(n_bits + 1), np.float64)


def data_phase(bits: NDArray[np.int8]) -> NDArray[np.float64]:
    """Cycles that the carrier has run at the middle of each bit, shape (n_bits,); -1 counts as an average bit."""
    cycles = np.where(bits == 1, TONE_CYCLES[0], np.where(bits == 0, TONE_CYCLES[1], 3.5))
    return np.asarray(np.cumsum(cycles) - cycles / 2)


def drift_power(
    correlation: NDArray[np.complex128], bits: NDArray[np.int8], first: float, step: float, n_drifts: int
) -> NDArray[np.float64]:
    """Power that adds up coherently, for each of several errors of the tones that the bits were correlated with.

    Parameters
    ----------
    correlation
        Shape (n_sets, n_bits, >= 2): mark and space.
    bits
        Shape (n_bits,): 0, 1, or -1 for unknown.
    first, step, n_drifts
        The relative errors that are tried.

    Returns
    -------
    power
        Shape (n_sets, n_drifts).
    """
    use = np.where(bits < 0, -1, 1 - bits.astype(np.int64))
    return coherent_power(correlation, use, data_phase(bits), first, step, n_drifts)


def peak_position(values: NDArray[np.float64]) -> float:
    """Index of the largest value, shape (n,), n >= 3, refined by a parabola through its neighbours."""
    i = int(np.clip(values.argmax(), 1, len(values) - 2))
    left, middle, right = values[i - 1 : i + 2]
    bend = left - 2.0 * middle + right
    return i + float(np.clip(0.5 * (left - right) / bend, -1.0, 1.0)) if bend < 0 else float(values.argmax())


def fit_bit_clock(
    samples: NDArray[np.float32], start: float, clock: float, bits: NDArray[np.int8], reach: float, slip: float
) -> tuple[float, float]:
    """Fit start and bit clock to the changes of the tones alone, whatever their phases do.

    Parameters
    ----------
    samples
        Shape (n,).
    start, clock
        First guess.
    bits
        Shape (n_bits,), -1 is unknown.
    reach
        Largest shift of the middle that is tried. [bits]
    slip
        Largest slip of the ends against the middle that is tried. [bits]
    """
    n_bits = len(bits)
    sign = np.where(bits < 0, 0, 2.0 * bits - 1.0)
    length = SAMPLES_PER_BIT / (1.0 + clock)
    middle = start + n_bits / 2 * length
    lengths = length * (1.0 + np.linspace(-slip, slip, 5) / (n_bits / 2))
    shifts = np.linspace(-reach, reach, 3) * length
    score = np.empty((len(lengths), len(shifts)))
    for i, trial in enumerate(lengths):
        for j, shift in enumerate(shifts):
            begin = middle + shift - n_bits / 2 * trial
            power = np.abs(correlate_bits(samples, uniform_edges(begin, trial, n_bits), TONE_CYCLES[:2])) ** 2
            score[i, j] = (sign * (power[:, 0] - power[:, 1])).sum()
    length = float(np.interp(peak_position(score.max(axis=1)), np.arange(5), lengths))
    middle += float(np.interp(peak_position(score.max(axis=0)), np.arange(3), shifts))
    return middle - n_bits / 2 * length, SAMPLES_PER_BIT / length - 1.0


def fit_start(samples: NDArray[np.float32], start: float, clock: float) -> Fit:
    """Fit time and clock of a burst to its known bits, and tell which word starts it.

    Parameters
    ----------
    samples
        Shape (n,): at least a bit before and after the known bits.
    start
        Where the candidate starts in `samples`.
    clock
        The candidate's clock error.
    """
    preamble = KNOWN_BITS[0][:N_PREAMBLE_BITS]
    start, clock = fit_bit_clock(samples, start, clock, preamble, 0.25, 0.3)
    word, _, _ = _which_word(samples, start, clock)
    bits = KNOWN_BITS[word]
    start, clock = fit_bit_clock(samples, start, clock, bits, 0.1, 0.12)
    middle = start + N_KNOWN_BITS / 2 * SAMPLES_PER_BIT / (1.0 + clock)
    detuning, _, _ = _tune(samples, middle, clock, bits, (0.0, 4e-4, 61), locked=False)
    detuning, free_power, _ = _tune(samples, middle, clock, bits, (detuning, 3e-5, 21), locked=False)
    drift, locked_power, locked_middle = _tune(samples, middle, clock + detuning, bits, (0.0, 2e-5, 21), locked=True)
    if locked_power > _LOCKED_SHARE * free_power or abs(detuning) < _SMALL_DETUNING:
        clock, detuning, middle = clock + detuning + drift, 0.0, locked_middle
    start = middle - N_KNOWN_BITS / 2 * SAMPLES_PER_BIT / (1.0 + clock)
    word, errors, snr_db = _which_word(samples, start, clock)
    return Fit(start, clock, detuning, word if errors <= _MAX_ERRORS else -1, errors, snr_db)


def _tune(
    samples: NDArray[np.float32],
    middle: float,
    clock: float,
    bits: NDArray[np.int8],
    trial: tuple[float, float, int],
    *,
    locked: bool,
) -> tuple[float, float, float]:
    """Best tone error, its power, and the middle; `locked` fits the middle too, for tones that are the bit clock's.

    `trial` holds the middle, the step and the number of the tone errors that are tried.
    """
    length = SAMPLES_PER_BIT / (1.0 + clock)
    shifts = np.arange(-2, 3) * (0.06 * length) if locked else np.zeros(1)
    edges = uniform_edges(middle - len(bits) / 2 * length, length, len(bits))
    sets = np.array([correlate_bits(samples, edges + shift, TONE_CYCLES[:2]) for shift in shifts])
    around, step, n_drifts = trial
    first = around - step * (n_drifts // 2)
    powers = drift_power(sets, bits, first, step, n_drifts)
    best = powers[int(powers.max(axis=1).argmax())]
    drift = first + step * peak_position(best)
    if locked:
        middle += float(np.interp(peak_position(powers.max(axis=1)), np.arange(len(shifts)), shifts))
    return drift, float(best.max()), middle


def _which_word(samples: NDArray[np.float32], start: float, clock: float) -> tuple[int, int, float]:
    """Nearer start word, its hard errors by the tones' magnitudes against the preamble's, and Eb/N0 in dB."""
    length = SAMPLES_PER_BIT / (1.0 + clock)
    power = np.abs(correlate_bits(samples, uniform_edges(start, length, N_KNOWN_BITS), TONE_CYCLES[:2])) ** 2
    ones = KNOWN_BITS[0][:N_PREAMBLE_BITS] == 1
    lead = power[:N_PREAMBLE_BITS]
    mark, space = lead[ones, 0].mean(), lead[~ones, 1].mean()
    tail = power[N_PREAMBLE_BITS:]
    metric = np.sqrt(mark * tail[:, 0]) - np.sqrt(space * tail[:, 1]) - (mark - space) / 2
    hard = (metric > 0).astype(np.int8)
    wrong = [(known[N_PREAMBLE_BITS:] >= 0) & (known[N_PREAMBLE_BITS:] != hard) for known in KNOWN_BITS]
    errors = [int(w.sum()) for w in wrong]
    word = int(np.argmin(errors))
    if min(errors) > _MAX_ERRORS and not wrong[1][:16].any():
        # The first two letters are enough for an end of message.
        word, errors[1] = 1, _MAX_ERRORS
    silent = max(float(lead[~ones, 0].mean() + lead[ones, 1].mean()), 1e-30)
    snr_db = 10.0 * float(np.log10(max((mark + space) / silent - 1.0, 1e-3)))
    return word, errors[word], snr_db

"""Bursts without a preamble that could be heard: found by what their message's other bursts say.

A first burst may be cut short, a fade may swallow a preamble, an impulse a start word. The rest of such a burst is as
good as any other's, and where it lies is told by the text itself: the log-odds of the bursts that were heard, laid over
the balance of the tones at every place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._same_kernels import tone_balance
from app_core.eas.framing import Burst, Gaps
from app_core.eas.matched_filter import SAMPLES_PER_BIT, SampleHistory, tone_mixer
from app_core.eas.timing import N_PREAMBLE_BITS, fit_bit_clock

_LEAST_BITS = 120  # that must be there of the text: a quarter of a short header
_SURE = 7.0  # standard deviations of noise; some 10 000 places are tried
_LEAST_SHARE = 0.65  # other headers have much in common with it: 0.5; a burst of the same has 0.8 at 5 dB
_CERTAIN_BIT = 4.0  # nats from which on a bit counts fully


def find_burst(
    history: SampleHistory, gaps: Gaps, like: Burst, soft_bits: NDArray[np.float32], span: tuple[float, float]
) -> Burst | None:
    """Look for a burst of the same text.

    Parameters
    ----------
    history, gaps
        The samples, and what is missing of them.
    like
        A burst of the message: its clock is that of the burst looked for.
    soft_bits
        Shape (n_bits,): log-odds of the text. [nats]
    span
        Where the burst may lie; its text may begin before and end behind. [samples]

    Returns
    -------
    burst
        With its samples received; None when there is none.
    """
    low, high = max(int(span[0]), history.oldest), min(int(span[1]), history.end)
    length = like.samples_per_bit
    if high - low < _LEAST_BITS * length or len(soft_bits) < _LEAST_BITS or like.detuning or like.followed is not None:
        return None
    low -= low % SAMPLES_PER_BIT
    n_places = (high - low - SAMPLES_PER_BIT) // 4
    balance = tone_balance(history.cut(low, low + 4 * n_places + 12), tone_mixer(), n_places)
    weight = np.tanh(soft_bits.astype(np.float64) / _CERTAIN_BIT)
    offset = np.rint(np.arange(len(weight)) * (length / 4.0)).astype(np.int64)
    # Texts that begin before the span or end behind it are laid over zeros.
    margin = int(offset[-1])
    padded = np.concatenate([np.zeros(margin), balance, np.zeros(margin + 1)])
    n_tries = len(balance) + margin
    laid = np.zeros(margin + 1)
    laid[offset] = weight
    score = _correlated(padded, laid)[:n_tries]
    square = _correlated(padded**2, laid**2)[:n_tries]
    # How many of the text's bits lie where something was received.
    received = np.concatenate([[0], np.cumsum(padded != 0.0)])
    n_heard = (received[margin + 1 : margin + 1 + n_tries] - received[:n_tries]) * (len(weight) / (margin + 1))
    # In units of what the same balances would give with signs by chance.
    sigmas = np.where(n_heard >= _LEAST_BITS, score / np.sqrt(np.maximum(square, 1e-9)), 0.0)
    best = int(sigmas.argmax())
    if sigmas[best] < _SURE:
        return None
    burst = _placed(history, gaps, like, soft_bits, low + 4.0 * (best - margin), (low, high))
    return burst if _share(burst, weight) > _LEAST_SHARE else None


def _share(burst: Burst, weight: NDArray[np.float64]) -> float:
    """How much of what either tone stands out in a burst agrees with a text, `weight` of shape (n_bits,): 1 is all."""
    here = slice(N_PREAMBLE_BITS, N_PREAMBLE_BITS + len(weight))
    magnitude = np.abs(burst.correlation[here, :2])
    magnitude[~burst.valid[here]] = 0.0
    agreeing = (magnitude[:, 0] - magnitude[:, 1]) * weight[: len(magnitude)]
    return float(agreeing.sum() / max(float(np.abs(agreeing).sum()), 1e-30))


def _correlated(values: NDArray[np.float64], pattern: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of `values`, shape (n,), times `pattern`, shape (m,), laid over every place of it; shape (n - m + 1,)."""
    n = 1 << (len(values) - 1).bit_length()
    spectrum = np.fft.rfft(values, n) * np.fft.rfft(pattern, n).conj()
    return np.asarray(np.fft.irfft(spectrum, n)[: len(values) - len(pattern) + 1], np.float64)


def _placed(
    history: SampleHistory,
    gaps: Gaps,
    like: Burst,
    soft_bits: NDArray[np.float32],
    text_start: float,
    span: tuple[int, int],
) -> Burst:
    """Fit the start of a burst that was found to a quarter of a bit."""
    bits = np.full(N_PREAMBLE_BITS + len(soft_bits), -1, np.int8)
    bits[N_PREAMBLE_BITS:] = np.where(np.abs(soft_bits) < _CERTAIN_BIT, -1, soft_bits > 0)
    burst = Burst(text_start - N_PREAMBLE_BITS * like.samples_per_bit, like.clock, 0.0, float(span[1]))
    burst.receive(history, [*gaps, (-np.inf, float(span[0]))], straight=True)
    at = burst.start - burst.origin
    start, burst.clock = fit_bit_clock(burst.samples, at, burst.clock, bits, 0.3, 0.1)
    burst.start = burst.origin + start
    burst.correlate()
    return burst

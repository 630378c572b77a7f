"""Evidence against a header that was read: what no calibrated model of the noise lets happen to a right one.

If the model of a burst holds, the evidence for any one other explanation over the one that is true exceeds a nats with
a probability of at most exp(-a), whatever the noise (Markov's inequality for a likelihood ratio, A. Wald, *Sequential
Analysis*, 1947). So a burst that speaks against the header by more than the logarithm of all explanations tried, over a
chance that may be neglected, either says another text or is not what the model takes it for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app_core.eas.evidence import Evidence

F64 = NDArray[np.float64]

_NEGLIGIBLE_CHANCE = 1e-3
"""Of a right header's bursts to be taken for contradictory. The three of a message wait for each other at most."""

_LEAST_CHARACTER = 5.0
"""Evidence that the weakest character must have: silence looks so much like one with a chance of 1 in 150. [nats]"""


def _of_characters(values: F64) -> F64:
    """Values of bits, shape (8 * n,), as shape (n, 7), without eighth bits."""
    return values[: len(values) // 8 * 8].reshape(-1, 8)[:, :7]


def contradiction(evidence: Evidence, bits: NDArray[np.int8]) -> float:
    """Give the most that one burst says for another character, or for a bit of another phase. [nats]

    Parameters
    ----------
    evidence
        Of the burst, by the header that was read.
    bits
        Shape (n,): that header's bits.
    """
    n = min(len(evidence.bits), len(bits)) // 8 * 8
    if not n:
        return 0.0
    ratio = evidence.bits[:n, 1] - evidence.bits[:n, 0]
    against = _of_characters(np.maximum(np.where(bits[:n] == 1, -ratio, ratio), 0.0)).sum(axis=1)
    return float(max(against.max(), evidence.turned[:n].max()))


def least_character(total: F64, bits: NDArray[np.int8]) -> float:
    """Give the evidence for the character that has the least of it, over no signal at all. [nats]

    Parameters
    ----------
    total
        Shape (n_bits, 2), n_bits >= n: evidence of all bursts for 0 and for 1.
    bits
        Shape (n,): the bits of the header that was read.
    """
    return float(_of_characters(total[np.arange(len(bits)), bits]).sum(axis=1).min())


def is_heard(total: F64, bits: NDArray[np.int8]) -> bool:
    """Whether every character was heard itself, so that none stands there for its place's sake alone."""
    return least_character(total, bits) > _LEAST_CHARACTER


def are_consistent(contradictions: Sequence[float], n_bits: int) -> bool:
    """Whether bursts may all be of one text, by what each says against it.

    Each burst has a chance p of its contradiction, at most the number of explanations (each bit may be another, or of
    another phase) times exp(-contradiction). By R. A. Fisher's method the sum of -ln p over k bursts exceeds t with a
    chance of exp(-t) (1 + t + ... + t^(k-1) / (k-1)!).

    Parameters
    ----------
    contradictions
        From `contradiction`, of each burst. [nats]
    n_bits
        Of the header.
    """
    explanations = math.log(2.0 * max(n_bits, 1))
    excess = [max(0.0, value - explanations) for value in contradictions]
    allowed = -math.log(_NEGLIGIBLE_CHANCE / max(len(excess), 1))
    if any(value > allowed for value in excess):
        return False
    total, term, chance = sum(excess), 1.0, 0.0
    for k in range(len(excess)):
        chance += term
        term *= total / (k + 1)
    return not excess or chance * math.exp(-total) > _NEGLIGIBLE_CHANCE

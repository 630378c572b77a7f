"""How far the odds of a message's bits can be trusted, told by the bits themselves.

No model of the noise is exact: below its threshold, FM takes the signal away with a click, which side tones hardly
show. But half of a header's bits are fixed by its format, and the other half are told by all bursts together far better
than by one. Against these each burst's log-odds L are held: the scale b for which sigma(b L) tells best how often L is
right multiplies them (J. Platt, *Probabilistic Outputs for Support Vector Machines*, 1999). Bits that are not certain
count with both their values, by what all bursts say; so a burst alone confirms nothing but itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app_core.eas.evidence import LARGEST_RATIO, Evidence

F64 = NDArray[np.float64]

_SCALES = np.exp(np.linspace(-1.2, 0.3, 16))
_SPREAD = 0.25  # of ln b, as found over white noise, FM, fading and codecs
_PRIOR = -0.5 * (np.log(_SCALES) / _SPREAD) ** 2


def certain_bits(text: str) -> NDArray[np.bool_]:
    """Tell which bits of a header's text hold whatever it says, shape (8 * len(text),).

    A digit's upper bits are 011, a letter's 10; start and separators stand where they stand.
    """
    certain = np.zeros((len(text), 8), np.bool_)
    for i, c in enumerate(text):
        if i < 4 or c in "-+":
            certain[i, :7] = True
        elif c.isdigit():
            certain[i, 4:7] = True
        elif c.isalpha():
            certain[i, 5:7] = True
    return certain.ravel()


def scale_of(evidences: Sequence[Evidence], text: str, bits: NDArray[np.int8]) -> float:
    """Find the scale of all bursts' log-odds; 1 when they are worth what they say, and at most that behind a codec.

    Parameters
    ----------
    evidences
        Of every burst.
    text, bits
        What they say together, and its bits, shape (8 * len(text),).
    """
    n = min(len(bits), *(len(e.bits) for e in evidences))
    sign = 2.0 * bits[:n] - 1.0
    ratios = [(e.bits[:n, 1] - e.bits[:n, 0]) * sign for e in evidences]
    certain = certain_bits(text)[:n]
    right = np.where(certain, 1.0, 1.0 / (1.0 + np.exp(-np.clip(np.sum(ratios, axis=0), -40.0, 40.0))))
    counts = np.arange(n) % 8 < 7
    score = _PRIOR.copy()
    for ratio in ratios:
        told = counts & (ratio != 0.0)
        scaled = _SCALES[:, None] * ratio[told]
        wrong = np.logaddexp(0.0, scaled)
        score -= ((wrong - scaled) * right[told] + wrong * (1.0 - right[told])).sum(axis=1)
    scale = float(_SCALES[int(score.argmax())])
    return min(scale, 1.0) if any(e.is_coded for e in evidences) else scale


def scaled(evidence: Evidence, scale: float) -> Evidence:
    """Multiply a burst's log-odds; what it says of a signal at all stays."""
    middle = evidence.bits.mean(axis=1)
    ratio = np.clip(scale * (evidence.bits[:, 1] - evidence.bits[:, 0]), -LARGEST_RATIO, LARGEST_RATIO)
    return replace(evidence, bits=np.stack([middle - ratio / 2, middle + ratio / 2], axis=1))

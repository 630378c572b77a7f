"""Bursts of one message to one header: soft values add up, the grammar reads them, and a rule refuses what is doubtful.

There is no checksum in SAME. A header is accepted when its posterior probability of error is small *and* the evidence
behaves as the model says: no bit contradicts the header strongly, little contradicts it at all, the noise is not larger
than assumed (else all evidence is scaled down), and what is left over does not repeat from burst to burst (else the
bursts are not worth their number).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import WireError
from app_core.eas.events import SoftBits
from app_core.eas.framing import Burst, Evidence, Gaps, coherent_evidence, noncoherent_evidence
from app_core.eas.grammar import N_CHARS, Reading, read_header
from app_core.eas.header import SameHeader, parse_header
from app_core.eas.timing import KNOWN_BITS, N_PREAMBLE_BITS

_ROUNDS = 3
_MAX_ERROR_EARLY = 3e-5  # while more bursts may come, waiting costs little
_MAX_ERROR_FEW = 1e-4  # one or two bursts, and no more to come: a model of the noise that is wrong is wrong in all
_MAX_ERROR = 5e-4
_MAX_MISFIT = 0.02
_MAX_CONTRADICTION = 12.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the bursts of a message say together.

    Attributes
    ----------
    reading
        The likeliest header.
    bursts
        Number of bursts that were combined.
    error_probability
        Probability that it is wrong, after all allowances.
    misfit
        Share of the evidence that contradicts it.
    contradiction
        Largest evidence of one bit against it. [nats]
    snr_db
        Mean Eb/N0 of the bursts. [dB]
    sound
        The header is well-formed and its evidence behaves as it should.
    soft_bits
        What all bursts together say, as far as the reading goes.
    """

    reading: Reading
    bursts: int
    error_probability: float
    misfit: float
    contradiction: float
    snr_db: float
    sound: bool
    soft_bits: SoftBits

    def header(self, *, early: bool) -> SameHeader | None:
        """The header, if it is certain enough to be given: more is asked `early`, while other bursts may come.

        A lone burst is never given early. A click of an FM receiver may flip one bit with all the looks of a clean one.
        """
        if early and self.bursts < 2:
            return None
        largest = _MAX_ERROR if self.bursts >= 3 else _MAX_ERROR_FEW
        if self.sound and self.error_probability < (_MAX_ERROR_EARLY if early else largest):
            return parse_header(self.reading.text)
        return None


def _sum(evidences: list[Evidence], scale: float = 1.0) -> NDArray[np.float64]:
    total = np.zeros((8 * N_CHARS, 2))
    for evidence in evidences:
        n = min(len(total), len(evidence.bits))
        total[:n] += evidence.bits[:n] * (scale / max(1.0, evidence.spread))
    return total


def _repetition(evidences: list[Evidence]) -> float:
    """Correlation of what is left over between bursts, 0 to 1: noise that repeats is counted once only."""
    if len(evidences) < 2:
        return 0.0
    n = min(len(e.residual) for e in evidences)
    cross, power = 0.0, 0.0
    for i, first in enumerate(evidences):
        for second in evidences[i + 1 :]:
            cross += float((first.residual[:n] * second.residual[:n].conj()).real.sum())
            power += float(np.abs(first.residual[:n] * second.residual[:n]).sum())
    return max(0.0, cross / power) if power > 0 else 0.0


def assemble(bursts: list[Burst], gaps: Gaps) -> Verdict:
    """Combine the bursts, read the header, and judge it.

    Parameters
    ----------
    bursts
        One or more bursts, correlated.
    gaps
        Spans of lost samples.
    """
    evidences = [noncoherent_evidence(burst) for burst in bursts]
    total = _sum(evidences)
    reading = read_header(total)
    preamble = KNOWN_BITS[0][:N_PREAMBLE_BITS]
    settled = False
    for turn in range(_ROUNDS):
        bits = np.concatenate([preamble, reading.bits])
        if turn == 0:
            for burst in bursts:
                burst.refine_clock(bits, gaps)
        evidences = [coherent_evidence(burst, bits) for burst in bursts]
        total = _sum(evidences, 1.0 / (1.0 + (len(bursts) - 1) * _repetition(evidences)))
        previous, reading = reading, read_header(total)
        settled = reading.text == previous.text
        if settled:
            break
    return _judge(reading, total, evidences, settled=settled)


def _judge(reading: Reading, total: NDArray[np.float64], evidences: list[Evidence], *, settled: bool) -> Verdict:
    ratio = (total[: len(reading.bits), 1] - total[: len(reading.bits), 0]).reshape(-1, 8)[:, :7]
    agreeing = np.where(reading.bits.reshape(-1, 8)[:, :7] == 1, ratio, -ratio)
    against = np.maximum(-agreeing, 0.0)
    misfit = float(against.sum() / max(float(np.abs(agreeing).sum()), 1e-9))
    contradiction = float(against.max())
    snr_db = 10.0 * float(np.log10(np.mean([10.0 ** (e.snr_db / 10.0) for e in evidences])))
    sound = settled and misfit < _MAX_MISFIT and contradiction < _MAX_CONTRADICTION
    if sound:
        try:
            parse_header(reading.text)
        except WireError:
            sound = False
    # A certain reading's is -0.0, which the sum makes +0.0. In this order max lets nan through: it is never accepted.
    error_probability = max(reading.error_probability, 0.0) + 0.0
    soft_bits = (total[: len(reading.bits), 1] - total[: len(reading.bits), 0]).astype(np.float32)
    return Verdict(reading, len(evidences), error_probability, misfit, contradiction, snr_db, sound, soft_bits)


def agreement(burst: Burst, bits: NDArray[np.int8]) -> tuple[float, float]:
    """Compare a burst with a header's bits, shape (n,).

    Returns
    -------
    share
        1 if all evidence agrees, 0.6 or so for another header, 0 for noise.
    contradiction
        Largest evidence of one bit against the header. [nats]
    """
    evidence = noncoherent_evidence(burst).bits
    n = min(len(evidence), len(bits))
    ratio = evidence[:n, 1] - evidence[:n, 0]
    ratio[7::8] = 0.0
    agreeing = ratio * (2.0 * bits[:n] - 1.0)
    weight = float(np.abs(ratio).sum())
    return (float(agreeing.sum()) / weight, float(-agreeing.min())) if weight > 0 else (0.0, 0.0)


def likeness(first: Burst, second: Burst, n_bits: int) -> float:
    """How well two bursts agree over their header's first `n_bits`: a share as in `agreement`."""
    a, b = noncoherent_evidence(first).bits, noncoherent_evidence(second).bits
    n = min(len(a), len(b), n_bits)
    product = (a[:n, 1] - a[:n, 0]) * (b[:n, 1] - b[:n, 0])
    weight = float(np.abs(product).sum())
    return float(product.sum()) / weight if weight > 0 else 0.0

"""Bursts of one message to one header: soft values add up, the grammar reads them, and a rule refuses what is doubtful.

There is no checksum in SAME. A header is accepted when its posterior probability of error is small *and* the evidence
behaves as the model says: no bit contradicts the header strongly, little contradicts it at all, and what is left over
does not repeat from burst to burst (else the bursts are not worth their number). The bursts may come from several
receivers of one transmission: each brings its own channel and noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import WireError
from app_core.eas.calibration import scale_of, scaled
from app_core.eas.event_codes import event_codes
from app_core.eas.events import SoftBits
from app_core.eas.evidence import Evidence, coherent_evidence, noncoherent_evidence
from app_core.eas.framing import Burst
from app_core.eas.grammar import N_CHARS, ORIGINATORS, Reading, read_header
from app_core.eas.header import SameHeader, parse_header
from app_core.eas.refusal import are_consistent, is_heard
from app_core.eas.refusal import contradiction as contradiction_of
from app_core.eas.timing import KNOWN_BITS, N_PREAMBLE_BITS

_ROUNDS = 5  # two or three settle nearly everything; a strong echo takes more
_MAX_ERROR_STRONG = 1e-5  # of a lone burst before the others come: what follows could only confirm it
_MAX_ERROR_EARLY = 3e-5  # while more bursts may come, waiting costs little
_MAX_ERROR_FEW = 1e-4  # one or two bursts, and no more to come: a model of the noise that is wrong is wrong in all
_MAX_ERROR = 5e-4
_STRONG_DB = 11.0  # Eb/N0, under the 13 dB beyond which no noise is measured
_MAX_MISFIT = 0.02
_MAX_CONTRADICTION = 12.0
_CALLSIGN_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/ ")  # of the usual
_OTHER_TEXT = 0.12  # misfit before the channel is fitted: at most 0.06 in headers that could be told, 0.12 with echo
ALIKE = 0.75
"""Likeness and agreement of bursts of one text: two headers that differ reach some 0.6, noisy bursts of one 0.9."""

_CLEAR_TEXT = 2.0  # nats a bit over no signal; what is clear and does not fit is another text


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the bursts of a message say together.

    Attributes
    ----------
    reading
        The likeliest header.
    bursts
        Number of bursts that were combined, without those that were set aside.
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
        Shape (n_bits,): log-odds of every bit of the reading. [nats]
    each
        The same of each burst alone.
    contradictions
        What each burst that was combined says against the reading. [nats]
    is_consistent
        Whether that may be chance.
    is_other_text
        There is no header in them.
    """

    reading: Reading
    bursts: int
    error_probability: float
    misfit: float
    contradiction: float
    snr_db: float
    sound: bool
    soft_bits: SoftBits
    each: tuple[SoftBits, ...]
    contradictions: tuple[float, ...]
    is_consistent: bool
    is_other_text: bool = False

    def header(self, *, early: bool) -> SameHeader | None:
        """The header, if it is certain enough to be given: more is asked `early`, while other bursts may come.

        A lone burst must also have the usual form: one character that was cut out of a stream leaves a callsign of
        seven, or an issue time of six, which only another burst can contradict. And early it must be all that is usual,
        since one bit that was sent wrong has all the looks of a right one.
        """
        if not self.sound:
            return None
        header = parse_header(self.reading.text)
        if self.bursts >= 2:
            largest = _MAX_ERROR_EARLY if early else _MAX_ERROR_FEW if self.bursts == 2 else _MAX_ERROR
            return header if self.error_probability < largest else None
        if len(header.issue_time) != 7 or len(header.callsign) != 8 or not set(header.callsign) <= _CALLSIGN_ALPHABET:
            return None
        if early and not (self.snr_db > _STRONG_DB and is_usual(header)):
            return None
        return header if self.error_probability < (_MAX_ERROR_STRONG if early else _MAX_ERROR_FEW) else None


def is_usual(header: SameHeader) -> bool:
    """Whether every field says what 47 CFR 11.31 provides for, so that most bits sent wrong would show."""
    day, hour, minute = int(header.issue_time[:-4]), int(header.issue_time[-4:-2]), int(header.issue_time[-2:])
    purge = header.purge_minutes
    return (
        header.originator in ORIGINATORS
        and header.event_code in event_codes()
        and all(place.isdigit() for place in header.locations)
        and (purge in (15, 30, 45) or (purge >= 60 and int(header.purge_time[2:]) in (0, 30)))
        and 1 <= day <= 366
        and hour < 24
        and minute < 60
    )


def _sum(evidences: Sequence[Evidence], scale: float = 1.0) -> NDArray[np.float64]:
    total = np.zeros((8 * N_CHARS, 2))
    for evidence in evidences:
        n = min(len(total), len(evidence.bits))
        total[:n] += evidence.bits[:n] * scale
    return total


def _repetition(evidences: Sequence[Evidence]) -> float:
    """Correlation of what is left over between bursts, 0 to 1, as far as it is no chance: noise that repeats."""
    if len(evidences) < 2:
        return 0.0
    n = min(len(e.residual) for e in evidences)
    correlations, n_told = [], 0
    for i, first in enumerate(evidences):
        for second in evidences[i + 1 :]:
            a, b = first.residual[:n], second.residual[:n]
            n_told += int(np.count_nonzero(a * b))
            power = float(np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum()))
            correlations.append(float((a * b.conj()).real.sum()) / power if power > 0.0 else 0.0)
    # Of independent noise the real part has a variance of a half over the number of bits.
    chance = 2.0 * np.sqrt(0.5 / max(n_told, 1))
    return float(np.clip(np.mean(correlations) - chance, 0.0, 1.0))


def log_odds(burst: Burst, n: int) -> SoftBits:
    """Log-odds of the first `n` bits as a burst says them by itself, noncoherently; shape (n,)."""
    return _ratio(noncoherent_evidence(burst).bits, n)


def _ratio(bits: NDArray[np.float64], n: int) -> SoftBits:
    """Log-odds of the first `n` bits of evidence, shape (n,); 0 where there is none."""
    ratio = np.zeros(n, np.float32)
    here = bits[:n]
    ratio[: len(here)] = here[:, 1] - here[:, 0]
    return ratio


def assemble(bursts: Sequence[Burst], start: Reading | None = None) -> Verdict:
    """Combine the bursts, read the header, and judge it.

    A burst that contradicts what all of them say together is set aside; when that leaves no majority, the header is not
    sound: nobody can tell which of them was spoilt.

    Parameters
    ----------
    bursts
        One or more bursts of one message, correlated, of one receiver or of several.
    start
        What they are thought to say, if that is known; else they say it themselves, noncoherently.
    """
    verdict = _assemble(bursts, start)
    kept = list(range(len(bursts)))
    best = verdict
    while not best.is_consistent and 2 * (len(kept) - 1) > len(bursts):
        del kept[int(np.argmax(best.contradictions))]
        best = _assemble([bursts[i] for i in kept])
    if best is verdict or not best.sound:
        return verdict
    n = len(best.reading.bits)
    each = tuple(best.each[kept.index(i)] if i in kept else log_odds(burst, n) for i, burst in enumerate(bursts))
    return replace(best, each=each)


def _assemble(bursts: Sequence[Burst], start: Reading | None = None) -> Verdict:
    """As `assemble`, of all the bursts."""
    preamble = KNOWN_BITS[0][:N_PREAMBLE_BITS]
    reading = start
    if reading is None:
        evidences = [noncoherent_evidence(burst) for burst in bursts]
        total = _sum(evidences)
        reading = read_header(total)
        if _is_other_text(reading, total):
            return replace(_judge(reading, total, evidences, evidences, settled=False), is_other_text=True)
    settled = False
    for turn in range(_ROUNDS):
        bits = np.concatenate([preamble, reading.bits])
        if turn == 0:
            for burst in bursts:
                burst.refine_clock(bits)
        plain = [coherent_evidence(burst, bits) for burst in bursts]
        scale = scale_of(plain, reading.text, reading.bits)
        evidences = [scaled(evidence, scale) for evidence in plain]
        total = _sum(evidences, 1.0 / (1.0 + (len(bursts) - 1) * _repetition(evidences)))
        previous, reading = reading, read_header(total)
        settled = reading.text == previous.text
        if settled:
            break
    # A burst that contradicts strongly also makes the odds seem worth little, which must not hide it.
    return _judge(reading, total, evidences, plain, settled=settled)


@dataclass(frozen=True, slots=True, eq=False)
class SoftMessage:
    """A message as one receiver heard it, for others to help with.

    Attributes
    ----------
    bursts
        Its bursts.
    verdict
        What they say together.
    start_sample, end_sample
        Its extent in the receiver's stream.
    """

    bursts: tuple[Burst, ...]
    verdict: Verdict
    start_sample: int
    end_sample: int


def assemble_receivers(messages: Sequence[SoftMessage]) -> Verdict:
    """Combine what several receivers heard of one transmission.

    Parameters
    ----------
    messages
        One or more, of about the same time. The surest leads; bursts that do not look like its bursts are of another
        transmission, and left out.
    """
    lead = min(messages, key=lambda message: message.verdict.error_probability)
    n_bits = N_PREAMBLE_BITS + len(lead.verdict.reading.bits)
    bursts = list(lead.bursts)
    for message in messages:
        if message is not lead:
            bursts += [b for b in message.bursts if max(likeness(own, b, n_bits) for own in lead.bursts) >= ALIKE]
    return assemble(bursts)


def _against(reading: Reading, total: NDArray[np.float64]) -> tuple[float, float]:
    """Misfit and contradiction, as in `Verdict`; eighth bits do not count."""
    ratio = (total[: len(reading.bits), 1] - total[: len(reading.bits), 0]).reshape(-1, 8)[:, :7]
    agreeing = np.where(reading.bits.reshape(-1, 8)[:, :7] == 1, ratio, -ratio)
    against = np.maximum(-agreeing, 0.0)
    return float(against.sum() / max(float(np.abs(agreeing).sum()), 1e-9)), float(against.max())


def _is_other_text(reading: Reading, total: NDArray[np.float64]) -> bool:
    """Whether there is no header in the bursts, so that fitting the channel to one would be in vain."""
    clearness = float(total[np.arange(len(reading.bits)), reading.bits].mean())
    misfit, _ = _against(reading, total)
    return clearness < 0.0 or (clearness > _CLEAR_TEXT and misfit > _OTHER_TEXT)


def _judge(
    reading: Reading,
    total: NDArray[np.float64],
    evidences: Sequence[Evidence],
    plain: Sequence[Evidence],
    *,
    settled: bool,
) -> Verdict:
    """Judge a reading by the sum of the bursts' evidence, by each one's, and by what that was before it was scaled."""
    misfit, contradiction = _against(reading, total)
    snr_db = 10.0 * float(np.log10(np.mean([10.0 ** (e.snr_db / 10.0) for e in evidences])))
    contradictions = tuple(contradiction_of(e, reading.bits) for e in plain)
    is_consistent = are_consistent(contradictions, len(reading.bits))
    sound = settled and is_consistent and misfit < _MAX_MISFIT and contradiction < _MAX_CONTRADICTION
    if sound and is_heard(total, reading.bits):
        try:
            parse_header(reading.text)
        except WireError:
            sound = False
    else:
        sound = False
    # A certain reading's is -0.0, which the sum makes +0.0. In this order max lets nan through: it is never accepted.
    error_probability = max(reading.error_probability, 0.0) + 0.0
    n = len(reading.bits)
    each = tuple(_ratio(e.bits, n) for e in evidences)
    return Verdict(
        reading,
        len(evidences),
        error_probability,
        misfit,
        contradiction,
        snr_db,
        sound,
        _ratio(total, n),
        each,
        contradictions,
        is_consistent,
    )


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

"""What a campaign has seen so far: counts for every condition, wrong headers, predicted errors beside observed ones.

Calibration: a decoder says of each header with which probability it is wrong. Of headers that share a decade of that
probability, the sum of the probabilities is the number of wrong ones that it predicts; beside it stands how many were.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.campaigns.judge import Claim, Outcome, outcome_of

LOWEST_DECADE = -9
"""Errors below 10^-9 share one bin."""

MOST_PREDICTED = 0.1
"""Sum of the predicted errors of the given headers, for 10,000 transmissions, that is asked for."""


@dataclass(slots=True)
class Bin:
    """Headers whose predicted error lies in one decade.

    Attributes
    ----------
    headers
        How many.
    predicted
        Sum of their predicted errors.
    wrong
        How many were wrong.
    """

    headers: int = 0
    predicted: float = 0.0
    wrong: int = 0

    def add(self, claim: Claim) -> None:
        """Count one header."""
        self.headers += 1
        self.predicted += claim.error
        self.wrong += not claim.right


@dataclass(slots=True)
class Tally:
    """Counts of a campaign, of one decoder.

    Attributes
    ----------
    counts
        By condition and level: ``sent``, ``verified``, ``guess``, ``wrong``, ``repeated``, ``failed`` transmissions.
    bins
        By decade of the predicted error; those of given headers, and those of all.
    wrong
        Every wrong header with what it takes to repeat it.
    failures
        Every transmission at which the decoder raised an exception.
    after_first_s, after_third_s
        Delays of all given headers where they are known.
    audio_s, cpu_s
        Audio that was decoded, and what that took.
    """

    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    bins: dict[str, dict[int, Bin]] = field(default_factory=lambda: {"given": {}, "all": {}})
    wrong: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    audio_s: float = 0.0
    cpu_s: float = 0.0

    def add(self, number: int, condition: str, level: str, outcome: Outcome) -> None:
        """Count one transmission."""
        count = self.counts.setdefault((condition, level), Counter())
        count["sent"] += 1
        count["verified"] += outcome.verified
        count["guess"] += outcome.guessed
        count["wrong"] += bool(outcome.wrong)
        count["repeated"] += outcome.repeated
        for claim in outcome.claims:
            self.bins["all"].setdefault(decade(claim.error), Bin()).add(claim)
            if claim.verified:
                self.bins["given"].setdefault(decade(claim.error), Bin()).add(claim)
        for text in outcome.wrong:
            error = next(claim.error for claim in outcome.claims if claim.verified and claim.text == text)
            where = {"case": number, "condition": condition, "level": level}
            self.wrong.append({**where, "wrong": text, "sent": list(outcome.sent), "predicted": error})
        self.audio_s += outcome.audio_s
        self.cpu_s += outcome.cpu_s

    def count(self, result: dict[str, Any], condition: str, level: str) -> None:
        """Count what `runner.tried` has given."""
        if "failure" in result:
            self.fail(result["case"], condition, level, result["failure"])
        else:
            self.add(result["case"], condition, level, outcome_of(result["outcome"]))

    def fail(self, number: int, condition: str, level: str, reason: str) -> None:
        """Count a transmission at which the decoder raised an exception."""
        count = self.counts.setdefault((condition, level), Counter())
        count["sent"] += 1
        count["failed"] += 1
        self.failures.append({"case": number, "condition": condition, "level": level, "reason": reason})

    def total(self, what: str) -> int:
        """Sum of one of the counts over all conditions."""
        return sum(count[what] for count in self.counts.values())

    def predicted(self, which: str = "given") -> float:
        """Sum of the predicted errors of headers, ``given`` or ``all``."""
        return sum(b.predicted for b in self.bins[which].values())

    def observed(self, which: str = "given") -> int:
        """How many of these headers were wrong."""
        return sum(b.wrong for b in self.bins[which].values())

    def as_json(self) -> dict[str, Any]:
        """Give all of it as JSON knows it."""
        return {
            "transmissions": self.total("sent"),
            "verified": self.total("verified"),
            "guess": self.total("guess"),
            "wrong_headers": len(self.wrong),
            "headers_repeated": self.total("repeated"),
            "predicted_errors_of_given_headers": self.predicted(),
            "audio_s": round(self.audio_s, 1),
            "audio_s_per_cpu_s": round(self.audio_s / max(self.cpu_s, 1e-9), 1),
            "conditions": _nested(self.counts),
            "calibration": {which: calibration(bins) for which, bins in self.bins.items()},
            "wrong": self.wrong,
            "failures": self.failures,
        }


def decade(error: float) -> int:
    """Exponent of the decade: -3 for 0.001 up to below 0.01, and `LOWEST_DECADE` for anything smaller.

    An error that is not a number counts as 1: who does not know is not sure.
    """
    if math.isnan(error):
        return 0
    return (
        0 if error >= 1.0 else LOWEST_DECADE if error < 10.0**LOWEST_DECADE else math.floor(math.log10(error) + 1e-12)
    )


def calibration(bins: dict[int, Bin]) -> list[dict[str, Any]]:
    """Give bins as lines of a table, the surest headers first."""
    return [
        {
            "from": 0.0 if exponent == LOWEST_DECADE else 10.0**exponent,
            "headers": bins[exponent].headers,
            "predicted": bins[exponent].predicted,
            "wrong": bins[exponent].wrong,
        }
        for exponent in sorted(bins)
    ]


def _nested(counts: dict[tuple[str, str], Counter[str]]) -> dict[str, dict[str, dict[str, int]]]:
    table: dict[str, dict[str, dict[str, int]]] = {}
    for (condition, level), count in counts.items():
        table.setdefault(condition, {})[level] = dict(count)
    return table

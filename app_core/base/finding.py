"""What one check of this machine or station found: a verdict, what was seen, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended.

    A warning is something that works and may not for ever, or that may work and could not be tried; a failure keeps the
    station, as it is configured, from its work.
    """

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    check
        Its name, the same on every machine.
    verdict
        How it ended.
    seen
        What was seen, in one line.
    remedy
        The command that mends it, or the setting to change; empty where nothing is to be done.

    Raises
    ------
    ValueError
        If it is a failure or a warning without a remedy.
    """

    check: str
    verdict: Verdict
    seen: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.verdict in (Verdict.FAILURE, Verdict.WARNING) and not self.remedy:
            raise ValueError(f"{self.check}: {self.verdict} without a remedy: {self.seen}")


def ok(check: str, seen: str) -> Finding:
    """Give the finding of a check that is content."""
    return Finding(check, Verdict.OK, seen)


def warning(check: str, seen: str, remedy: str) -> Finding:
    """Give the finding of a check that is not content, and can live with it."""
    return Finding(check, Verdict.WARNING, seen, remedy)


def failure(check: str, seen: str, remedy: str) -> Finding:
    """Give the finding of a check that found what must be mended."""
    return Finding(check, Verdict.FAILURE, seen, remedy)


def not_applicable(check: str, seen: str) -> Finding:
    """Give the finding of a check that has nothing to look at here, or may not."""
    return Finding(check, Verdict.NOT_APPLICABLE, seen)

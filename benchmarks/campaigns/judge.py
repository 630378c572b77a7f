"""One transmission to one decoder, and what came of it: exact headers, guesses, wrong ones, their errors, the delay.

A header is right when it is exact, trailing blanks of its callsign included. A decoder that gives anything else has
given a wrong header.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from app_core.eas.events import HeaderDecoded, HeaderUnverified, SameEvent
from app_core.eas.listener import SameListener
from benchmarks.campaigns.transmissions import Pcm, Trial

BLOCK_S = 0.05
"""The trial is pushed in blocks of this length, and so delays are known to this."""


class Listener(Protocol):
    """What is tried: a `SameListener`, or whatever says the same events."""

    def push(self, pcm: Pcm) -> list[SameEvent]:
        """Take the samples that follow, and give the events that they decide."""

    def finish(self) -> list[SameEvent]:
        """Give what was pending at the end."""


MakeListener = Callable[[float], Listener]
"""Makes a listener for a sample rate. [Hz]"""


def make_listener(sample_rate_hz: float) -> Listener:
    """Make the project's own."""
    return SameListener(sample_rate_hz)


@dataclass(frozen=True, slots=True)
class Claim:
    """A header that was said.

    Attributes
    ----------
    text
        From ``ZCZC`` to the last dash; a best guess may be anything.
    verified
        It was given as one that may be relied upon.
    right
        It is exactly one that was sent.
    error
        Its own estimate of the probability that it is not.
    after_s
        Time of the stream at which it was said.
    """

    text: str
    verified: bool
    right: bool
    error: float
    after_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one trial.

    Attributes
    ----------
    sent
        The headers.
    claims
        All that was said, in order.
    after_first_s, after_third_s
        When the first header was given, after the end of its first and its last burst; None where it was not given or
        the bursts' places are not known.
    audio_s, cpu_s
        Length of the trial, and processor time of its decoding.
    """

    sent: tuple[str, ...]
    claims: tuple[Claim, ...]
    after_first_s: float | None
    after_third_s: float | None
    audio_s: float
    cpu_s: float

    @property
    def verified(self) -> bool:
        """Whether every header was given, exactly."""
        return set(self.sent) <= {claim.text for claim in self.claims if claim.verified}

    @property
    def guessed(self) -> bool:
        """Whether every header was given or guessed, exactly."""
        return set(self.sent) <= {claim.text for claim in self.claims}

    @property
    def wrong(self) -> tuple[str, ...]:
        """Headers that were given and never sent."""
        return tuple(claim.text for claim in self.claims if claim.verified and not claim.right)

    @property
    def repeated(self) -> int:
        """How often a header was given that had been given before."""
        given = [claim.text for claim in self.claims if claim.verified]
        return len(given) - len(set(given))

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON knows it; `outcome_of` reads it."""
        return asdict(self)


def outcome_of(table: dict[str, Any]) -> Outcome:
    """Read what `Outcome.as_json` has given."""
    claims = tuple(Claim(**claim) for claim in table["claims"])
    return Outcome(**{**table, "sent": tuple(table["sent"]), "claims": claims})


def hear(trial: Trial, make: MakeListener = make_listener) -> list[tuple[float, SameEvent]]:
    """Play a trial to a new listener, and give what it says with the times of the stream at which it was said. [s]"""
    listener = make(float(trial.sample_rate_hz))
    block = round(BLOCK_S * trial.sample_rate_hz)
    heard: list[tuple[float, SameEvent]] = []
    for first in range(0, len(trial.pcm), block):
        piece = trial.pcm[first : first + block]
        now_s = (first + len(piece)) / trial.sample_rate_hz
        heard += [(now_s, event) for event in listener.push(piece)]
    return heard + [(len(trial.pcm) / trial.sample_rate_hz, event) for event in listener.finish()]


def judge(trial: Trial, make: MakeListener = make_listener) -> Outcome:
    """Play a trial to a new listener, and say what came of it."""
    began = time.process_time()
    heard = hear(trial, make)
    cpu_s = time.process_time() - began
    claims = []
    for now_s, event in heard:
        if isinstance(event, HeaderDecoded | HeaderUnverified):
            verified = isinstance(event, HeaderDecoded)
            text = event.header.text if isinstance(event, HeaderDecoded) else event.best_guess
            claims.append(Claim(text, verified, text in trial.headers, float(event.error_probability), now_s))
    first = trial.headers[0] if trial.headers else None
    given_s = next((claim.after_s for claim in claims if claim.verified and claim.text == first), None)
    ends_s = [end / trial.sample_rate_hz for _, end in trial.bursts]
    after_first_s = given_s - ends_s[0] if given_s is not None and ends_s else None
    after_third_s = given_s - ends_s[-1] if given_s is not None and ends_s else None
    audio_s = len(trial.pcm) / trial.sample_rate_hz
    return Outcome(trial.headers, tuple(claims), after_first_s, after_third_s, audio_s, cpu_s)

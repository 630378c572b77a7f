"""Decoders that are not to be trusted, to see whether a campaign notices."""

from __future__ import annotations

from functools import partial

from app_core.eas.events import HeaderDecoded, HeaderUnverified, SameEvent
from app_core.eas.header import parse_header
from benchmarks.campaigns.judge import Listener, MakeListener
from benchmarks.campaigns.transmissions import Pcm

LIE = "ZCZC-CIV-EVI-012345+0100-0010000-LIAR/FM -"


def given(text: str, error: float = 1e-6) -> HeaderDecoded:
    """A header as a decoder gives it."""
    return HeaderDecoded(parse_header(text), 0, 100, 3, error, 20.0)


def guessed(text: str, error: float = 0.4) -> HeaderUnverified:
    """A header as a decoder shows it that does not trust it."""
    return HeaderUnverified(text, 0, 100, 3, error, 20.0)


class Scripted:
    """Says the same whatever it hears: the first part when `after_s` of sound have passed, the rest at the end."""

    def __init__(self, said: tuple[SameEvent, ...], after_s: float, sample_rate_hz: float) -> None:
        self._said = list(said)
        self._left = round(after_s * sample_rate_hz)

    def push(self, pcm: Pcm) -> list[SameEvent]:
        """Count the samples."""
        self._left -= len(pcm)
        return [self._said.pop(0)] if self._left <= 0 and self._said else []

    def finish(self) -> list[SameEvent]:
        """Say the rest."""
        return self._said


class Failing(Scripted):
    """Raises an exception."""

    def push(self, pcm: Pcm) -> list[SameEvent]:
        """Fail."""
        raise ZeroDivisionError("by intent")


def saying(*said: SameEvent, after_s: float = 0.0) -> MakeListener:
    """Make decoders that say this."""
    return partial(Scripted, said, after_s)


def failing(sample_rate_hz: float) -> Listener:
    """Make a decoder that raises an exception."""
    return Failing((), 0.0, sample_rate_hz)

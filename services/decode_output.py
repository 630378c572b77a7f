"""What ``herald decode`` prints: for people, bare headers, or JSON; and the progress of long files.

Every line is flushed at once, since the command stands in pipes that run for days. Below a text stands how sure each
of its characters is, as a count of nines: 0 is below 90 %, 3 is 99.9 %, 9 is as good as certain.
"""

from __future__ import annotations

import os
import sys
import time
from typing import IO, TYPE_CHECKING, Protocol

from app_core.alerts.wording import Language, join_words
from app_core.audio.heard import Heard, Recording, confidence_of, event_text, in_words, to_dict
from app_core.eas.confidence import nines
from app_core.eas.events import (
    AttentionHeard,
    BurstHeard,
    CarrierLost,
    EndOfMessage,
    HeaderDecoded,
    HeaderUnverified,
    MessageTimedOut,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PROGRESS_AFTER_S = 2.0
"""A file that takes less work than this shows no progress."""

_REFRESH_S = 0.2
_INDENT = " " * 13
_COLORS = ((1, "\x1b[31m"), (3, "\x1b[33m"))  # below this many nines: red, yellow
_PLAIN_COLOR = "\x1b[0m"


def printable(text: str) -> str:
    """Replace what could steer a terminal or be mistaken for a line of its own."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class Output(Protocol):
    """Prints what was heard."""

    def begin(self, name: str, recording: Recording) -> None:
        """Say that a recording was opened."""

    def tell(self, heard: Heard) -> None:
        """Print one entry of it."""

    def end(self, length_s: float) -> None:
        """Say that it was read to its end."""


class RawOutput:
    """``== FILE``, then headers and ``NNNN`` as they were sent; unverified headers never."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def begin(self, name: str, recording: Recording) -> None:
        """As `Output.begin`."""
        print(f"== {printable(name)}", file=self._stream, flush=True)

    def tell(self, heard: Heard) -> None:
        """As `Output.tell`."""
        if isinstance(heard.event, HeaderDecoded | EndOfMessage):
            print(event_text(heard.event), file=self._stream, flush=True)

    def end(self, length_s: float) -> None:
        """As `Output.end`."""


class MessageFilter:
    """What is printed unless every burst is asked for: the messages, and the tones that belong to one."""

    def __init__(self) -> None:
        self._open: set[str] = set()

    def passes(self, heard: Heard) -> bool:
        """Whether an entry is printed; they come in order."""
        match heard.event:
            case HeaderDecoded() | HeaderUnverified():
                self._open |= set(heard.channels)
            case EndOfMessage() | MessageTimedOut():
                self._open -= set(heard.channels)
            case AttentionHeard() | CarrierLost():
                return bool(self._open & set(heard.channels))
            case BurstHeard():
                return False
        return True


class JsonOutput:
    """One JSON object a line.

    Parameters
    ----------
    stream
        Where to.
    bursts
        Print every burst and tone, and how sure each character is.
    language
        Of the text.
    """

    def __init__(self, stream: IO[str], *, bursts: bool = False, language: Language = "en") -> None:
        import orjson

        self._dumps = orjson.dumps
        self._stream = stream
        self._bursts = bursts
        self._language: Language = language
        self._filter = MessageFilter()
        self._recording: Recording | None = None
        self._name = ""

    def begin(self, name: str, recording: Recording) -> None:
        """As `Output.begin`."""
        # A name that is not UTF-8 cannot stand in JSON as it is.
        self._name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self._recording = recording
        self._filter = MessageFilter()

    def tell(self, heard: Heard) -> None:
        """As `Output.tell`."""
        assert self._recording is not None  # noqa: S101
        if not self._filter.passes(heard) and not self._bursts:
            return
        fields = to_dict(heard, self._recording, self._name, in_detail=self._bursts, language=self._language)
        line = self._dumps(fields)
        print(line.decode(), file=self._stream, flush=True)

    def end(self, length_s: float) -> None:
        """As `Output.end`."""


class PlainOutput:
    """For people: what it says, where it stands, how well it was heard.

    Parameters
    ----------
    stream, bursts, language
        As for `JsonOutput`.
    """

    def __init__(self, stream: IO[str], *, bursts: bool = False, language: Language = "en") -> None:
        self._stream = stream
        self._bursts = bursts
        self._language: Language = language
        self._colored = stream.isatty() and not os.environ.get("NO_COLOR")
        self._recording: Recording | None = None
        self._filter = MessageFilter()
        self._said = False

    def begin(self, name: str, recording: Recording) -> None:
        """As `Output.begin`."""
        self._recording = recording
        self._filter = MessageFilter()
        self._said = False
        print("standard input" if name == "-" else printable(name), file=self._stream, flush=True)

    def tell(self, heard: Heard) -> None:
        """As `Output.tell`."""
        assert self._recording is not None  # noqa: S101
        if not self._filter.passes(heard) and not self._bursts:
            return
        self._said = self._said or not isinstance(heard.event, BurstHeard | AttentionHeard)
        lines = self._lines(heard, self._recording)
        lines[0] = channel_words(heard.channels) + lines[0]
        began = self._recording.began_at
        if began is not None:
            from datetime import timedelta

            lines[-1] += f"{', ' if len(lines) > 1 else ' '}at {began + timedelta(seconds=heard.start_s):%F %T} UTC"
        text = f"\n{_INDENT}".join(lines)
        # Where a message was given up, and not where it began, which has been said.
        place_s = heard.end_s if isinstance(heard.event, MessageTimedOut) else heard.start_s
        print(f"  {clock_text(place_s):>9}  {text}", file=self._stream, flush=True)

    def _lines(self, heard: Heard, recording: Recording) -> list[str]:
        event = heard.event
        extent = f", {place_text(heard)}" if self._bursts else ""
        match event:
            case HeaderDecoded():
                words = in_words(heard, recording, self._language)
                return [words, *self._text_lines(heard), quality(event) + extent]
            case HeaderUnverified():
                what = "heard, unverified: a header that cannot be relied upon"
                return [what, *self._text_lines(heard), quality(event) + extent]
            case EndOfMessage():
                return ["end of message" + extent]
            case MessageTimedOut():
                return [f"no end of message within {heard.end_s - heard.start_s:.0f} s of its header"]
            case CarrierLost():
                return ["the carrier is lost" + extent]
            case AttentionHeard():
                tones = " and ".join(f"{hz:.1f}" for hz in event.frequencies_hz)
                length_s = heard.end_s - heard.start_s
                return [f"attention signal: {tones} Hz for {length_s:.1f} s, {event.level_dbfs:.1f} dBFS{extent}"]
            case BurstHeard():
                clock = f"clock {100.0 * event.clock_error:+.3f} %"
                first = f"{'header' if event.kind == 'header' else 'end'} burst, {event.snr_db:.1f} dB, {clock}{extent}"
                return [first, *(self._text_lines(heard) if len(event.soft_bits) else [])]

    def _text_lines(self, heard: Heard) -> list[str]:
        """Give what was sent and, where it is known and asked for, how sure each character is."""
        text = printable(event_text(heard.event))
        if not text:
            return ["(nothing readable)"]
        confidence = confidence_of(heard.event)
        if not confidence or not (self._bursts or isinstance(heard.event, HeaderUnverified)):
            return [text]
        counts = [nines(one) for one in confidence]
        shown = colored(text, counts) if self._colored else text
        return [shown, "".join(str(count) for count in counts)]

    def end(self, length_s: float) -> None:
        """As `Output.end`."""
        if not self._said:
            print(f"{_INDENT}no SAME header in {clock_text(length_s)}", file=self._stream, flush=True)


def channel_words(channels: tuple[str, ...]) -> str:
    """Name the channels before what they said; nothing where a recording has but one."""
    if channels == ("mono",):
        return ""
    numbered = "" if not channels[0].isdigit() else "channel " if len(channels) == 1 else "channels "
    return f"{numbered}{join_words(channels)}: "


def colored(text: str, counts: list[int]) -> str:
    """Color a text by how sure each of its characters is, for a terminal."""
    pieces: list[str] = []
    last = _PLAIN_COLOR
    for character, count in zip(text, counts, strict=True):
        color = next((color for below, color in _COLORS if count < below), _PLAIN_COLOR)
        pieces.append(character if color == last else color + character)
        last = color
    return "".join(pieces) + (_PLAIN_COLOR if last != _PLAIN_COLOR else "")


def place_text(heard: Heard) -> str:
    """Give an extent to the millisecond: ``0.500 to 1.420 s``."""
    return f"{heard.start_s:.3f} to {heard.end_s:.3f} s"


def clock_text(position_s: float) -> str:
    """Give a place in a recording: ``0:02.1``, ``1:00:07.5``."""
    tenths = round(position_s * 10.0)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def quality(event: HeaderDecoded | HeaderUnverified) -> str:
    """Say how well a header was heard."""
    bursts = f"{event.bursts} burst" + ("" if event.bursts == 1 else "s")
    return f"{bursts}, {event.snr_db:.1f} dB"


class ProgressLine:
    """How far a file has been read, on standard error; shown only on a terminal, and only where it takes long."""

    def __init__(self, name: str, duration_s: float | None) -> None:
        self._name = printable(name)
        self._duration_s = duration_s
        self._enabled = name != "-" and sys.stderr.isatty()
        self._started_s = time.monotonic()
        self._shown_s = 0.0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def show(self, position_s: float) -> None:
        """Tell how far it is."""
        now_s = time.monotonic()
        if not self._enabled or now_s < self._started_s + PROGRESS_AFTER_S or now_s < self._shown_s + _REFRESH_S:
            return
        self._shown_s = now_s
        if self._progress is None:
            self._make()
        assert self._progress is not None  # noqa: S101
        assert self._task is not None  # noqa: S101
        self._progress.start()
        self._progress.update(self._task, completed=position_s, at=clock_text(position_s))
        self._progress.refresh()

    def hide(self) -> None:
        """Clear the line, so that something else can be printed; the next `show` brings it back."""
        if self._progress is not None:
            self._progress.stop()

    def _make(self) -> None:
        # rich takes longer to import than a short file to decode.
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn(escape(self._name)),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[at]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=self._duration_s, at="0:00.0")

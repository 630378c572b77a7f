"""What ``herald decode`` prints: for people, bare headers, or JSON; and the progress of long files.

Every line is flushed at once, since the command stands in pipes that run for days.
"""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING, Protocol

from app_core.alerts.text import join_words
from app_core.audio.heard import Heard, Recording, event_text, in_words, to_dict
from app_core.eas.events import EndOfMessage, HeaderDecoded, HeaderUnverified

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PROGRESS_AFTER_S = 2.0
"""A file that takes less work than this shows no progress."""

_REFRESH_S = 0.2
_INDENT = " " * 13


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
        if not isinstance(heard.event, HeaderUnverified):
            print(event_text(heard.event), file=self._stream, flush=True)

    def end(self, length_s: float) -> None:
        """As `Output.end`."""


class JsonOutput:
    """One JSON object a line."""

    def __init__(self, stream: IO[str]) -> None:
        import orjson

        self._dumps = orjson.dumps
        self._stream = stream
        self._recording: Recording | None = None
        self._name = ""

    def begin(self, name: str, recording: Recording) -> None:
        """As `Output.begin`."""
        # A name that is not UTF-8 cannot stand in JSON as it is.
        self._name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self._recording = recording

    def tell(self, heard: Heard) -> None:
        """As `Output.tell`."""
        assert self._recording is not None  # noqa: S101
        line = self._dumps(to_dict(heard, self._recording, self._name))
        print(line.decode(), file=self._stream, flush=True)

    def end(self, length_s: float) -> None:
        """As `Output.end`."""


class PlainOutput:
    """For people: what it says, where it stands, how well it was heard."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._recording: Recording | None = None
        self._said = False

    def begin(self, name: str, recording: Recording) -> None:
        """As `Output.begin`."""
        self._recording = recording
        self._said = False
        print("standard input" if name == "-" else printable(name), file=self._stream, flush=True)

    def tell(self, heard: Heard) -> None:
        """As `Output.tell`."""
        assert self._recording is not None  # noqa: S101
        self._said = True
        event = heard.event
        where = channel_words(heard.channels)
        match event:
            case EndOfMessage():
                lines = [f"{where}end of message"]
            case HeaderDecoded():
                lines = [f"{where}{in_words(heard, self._recording)}", event.header.text, quality(event)]
            case HeaderUnverified():
                guess = printable(event.best_guess) or "(nothing readable)"
                lines = [f"{where}heard, unverified: a header that cannot be relied upon", guess, quality(event)]
        began = self._recording.began_at
        if began is not None:
            from datetime import timedelta

            lines[-1] += f"{', ' if len(lines) > 1 else ' '}at {began + timedelta(seconds=heard.start_s):%F %T} UTC"
        text = f"\n{_INDENT}".join(lines)
        print(f"  {clock_text(heard.start_s):>9}  {text}", file=self._stream, flush=True)

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

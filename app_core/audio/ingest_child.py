"""An FFmpeg that decodes a source: its pipes, its words, its end.

One thread, the one that started it, reads both of its outputs; another may write to its input. Nobody waits for it
without an end: a write gives up when it is told to, and a look at the outputs lasts a quarter of a second at most.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from app_core.base.child import open_pipe
from app_core.base.errors import LinkError
from app_core.network.icy import readable

LAST_LINES = 50
"""Lines of its errors that are kept."""

_LOOK_MS = 200
_END_LOOKS, _END_LOOK_S = 100, 0.02
_PIECE_BYTES = 64 * 1024
_LONGEST_LINE = 2000
_CODEC = re.compile(r"Stream #\d+:\d+.*?: Audio: (.+)")
_QUERY = re.compile(rb"""(https?://[^\s?#'"]*)[?#][^\s'"]*""", re.IGNORECASE)
"""What follows the path of an address: it may hold a key."""
_TITLE = re.compile(r"\s+(?:title|StreamTitle)\s*: (.+)")


class IngestChild:
    """One FFmpeg.

    Parameters
    ----------
    argv
        See `app_core.audio.ingest_argv`.
    with_input
        Whether it is fed by `write`.

    Attributes
    ----------
    codec
        What it decodes, in FFmpeg's words; empty before it is known.
    title
        The stream's title where its format carries one; empty otherwise.

    Raises
    ------
    LifecycleError
        If it cannot be started.
    """

    def __init__(self, argv: Sequence[str], *, with_input: bool) -> None:
        self.codec = ""
        self.title = ""
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._rest = b""
        self._input: int | None = None
        errors, errors_end = os.pipe()
        input_end: int | None = None
        try:
            if with_input:
                input_end, self._input = os.pipe()
                os.set_blocking(self._input, False)
            self._process = open_pipe(argv, stdin=input_end, stderr=errors_end)
        except BaseException:
            os.close(errors)
            self.end_input()
            raise
        finally:
            os.close(errors_end)
            if input_end is not None:
                os.close(input_end)
        assert self._process.stdout is not None  # noqa: S101  (open_pipe always makes it)
        self._output = self._process.stdout.fileno()
        self._errors: int | None = errors
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._poll.register(errors, select.POLLIN)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def last_lines(self) -> list[str]:
        """The last lines of its errors, oldest first."""
        return list(self._lines)

    def write(self, piece: bytes, should_stop: Callable[[], bool]) -> None:
        """Feed it, however long it takes.

        Raises
        ------
        LinkError
            If it has ended, or `should_stop` says so.
        """
        descriptor = self._input
        if descriptor is None:
            raise LinkError("FFmpeg takes no more")
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        left = memoryview(piece)
        while left:
            if should_stop():
                raise LinkError("given up")
            if not poll.poll(_LOOK_MS):
                continue
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise LinkError("FFmpeg has ended") from error

    def end_input(self) -> None:
        """Tell it that nothing more comes; for the thread that writes, or after its end."""
        descriptor, self._input = self._input, None
        if descriptor is not None:
            os.close(descriptor)

    def read(self) -> bytes | None:
        """Give PCM: None when there is none for a moment, empty when it has ended."""
        ready = [descriptor for descriptor, _ in self._poll.poll(_LOOK_MS)]
        if self._errors in ready:
            self._listen()
        if self._output not in ready:
            return None
        return os.read(self._output, _PIECE_BYTES)

    def wait_reason(self) -> str:
        """Say why it ended; called after `read` gave its end."""
        for _ in range(_END_LOOKS):
            if (code := self._process.poll()) is not None:
                break
            time.sleep(_END_LOOK_S)
        else:
            return "FFmpeg hangs at its end"
        while self._errors is not None:
            self._listen()
        if code == 0:
            return ""
        lines = [line for line in self._lines if not line.startswith(" ")] or ["it gives no reason"]
        return f"FFmpeg was killed (signal {-code})" if code < 0 else f"FFmpeg: {lines[-1].strip()}"

    def close(self) -> None:
        """End it at once. The thread that writes must have ended."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if self._errors is not None:
            os.close(self._errors)
            self._errors = None
        self.end_input()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        """Take what it says; it would stand still if nobody did."""
        assert self._errors is not None  # noqa: S101
        piece = os.read(self._errors, 4096)
        if not piece:
            self._poll.unregister(self._errors)
            os.close(self._errors)
            self._errors = None
            self._note(self._rest)
            self._rest = b""
            return
        *lines, rest = (self._rest + piece).replace(b"\r", b"\n").split(b"\n")
        self._rest = rest[-_LONGEST_LINE:]
        for line in lines:
            self._note(line)

    def _note(self, line: bytes) -> None:
        line = _QUERY.sub(rb"\1?...", line)
        text = line.decode("utf-8", "replace").rstrip()
        if not text:
            return
        indent = " " if text[0] == " " else ""
        self._lines.append(indent + readable(line))
        if (codec := _CODEC.search(text)) and not self.codec:
            self.codec = codec[1][:120]
        if title := _TITLE.match(text):
            self.title = readable(title[1].encode())

"""One FFmpeg between two pipes, none of which is ever waited for.

A write to a full pipe blocks for as long as FFmpeg likes, and an FFmpeg whose output or errors nobody reads stands
still. So our ends of all three pipes are non-blocking: `write` gives what the pipe did not take back, and `read` takes
what is there of the output and of the errors.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections import deque
from collections.abc import Sequence

from app_core.base.child import open_pipe

STDERR_LINES = 50
"""Last lines of its errors that are kept."""

_READ_BYTES = 65536
_LONGEST_LINE = 500
_CHATTER = re.compile(r"Guessed Channel Layout|\[Parsed_pan_\d+ @ \w+\] .*ignoring layout", re.IGNORECASE)
"""What FFmpeg warns of whenever it is given PCM, or brings one channel to two."""

_CAUSE = "cannot open"
"""Stands in the line that says why a device or a file is not there; those after it say what comes of it."""


class ErrorLines:
    """The last lines that some FFmpegs, one after the other, wrote to their standard error."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=STDERR_LINES)
        self._begun = b""
        self._n_present = 0

    @property
    def lines(self) -> list[str]:
        """The last `STDERR_LINES` of them, the oldest first."""
        return list(self._lines)

    @property
    def last(self) -> str:
        """The last one; empty when there is none."""
        return self._lines[-1] if self._lines else ""

    def cause(self) -> str:
        """Give the first line of the present FFmpeg that says what cannot be opened, else the last line."""
        lines = list(self._lines)[-self._n_present :] if self._n_present else []
        return next((line for line in lines if _CAUSE in line.lower()), self.last)

    def begin(self) -> None:
        """Take what follows as another FFmpeg's."""
        self._begun, self._n_present = b"", 0

    def take(self, piece: bytes) -> None:
        """Take what was read; the end of a line may come with the next piece."""
        *whole, self._begun = (self._begun + piece).replace(b"\r", b"\n").split(b"\n")
        if len(self._begun) > _LONGEST_LINE:
            whole, self._begun = [*whole, self._begun], b""
        for line in whole:
            text = line[:_LONGEST_LINE].decode("utf-8", "replace").strip()
            if text and not _CHATTER.match(text):
                self._lines.append(text)
                self._n_present += 1


class FfmpegProcess:
    """A child that reads PCM and writes a stream.

    Started by the thread that uses it, which has to live longer: the kernel ends the child with that thread.

    Parameters
    ----------
    argv
        Program and arguments; it reads ``pipe:0`` and writes ``pipe:1``.
    errors
        Gets what it writes to its standard error.

    Attributes
    ----------
    pid
        Of the child.
    has_ended
        Whether its output has ended.

    Raises
    ------
    LifecycleError
        If it cannot be started.
    """

    def __init__(self, argv: Sequence[str], errors: ErrorLines) -> None:
        self._errors = errors
        errors.begin()
        input_read, self._input = os.pipe()
        errors_read, errors_write = os.pipe()
        try:
            self._process = open_pipe(argv, stdin=input_read, stderr=errors_write)
        except BaseException:
            os.close(self._input)
            os.close(errors_read)
            raise
        finally:
            os.close(input_read)
            os.close(errors_write)
        assert self._process.stdout is not None  # noqa: S101  (open_pipe always makes it)
        self._output = self._process.stdout.fileno()
        self._stderr = errors_read
        self._poll = select.poll()
        for descriptor in (self._output, self._stderr):
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        os.set_blocking(self._input, False)
        self.pid = self._process.pid
        self.has_ended = False

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def write(self, pcm: memoryview) -> int:
        """Give it PCM without waiting.

        Returns
        -------
        n_bytes
            How much it took, 0 when the pipe is full.

        Raises
        ------
        BrokenPipeError
            If it reads no more.
        """
        try:
            return os.write(self._input, pcm)
        except BlockingIOError:
            return 0

    def read(self) -> bytes:
        """Take what it has written so far, and its errors; at the end of its output `has_ended` becomes true."""
        pieces: list[bytes] = []
        for descriptor, _ in self._poll.poll(0):
            while piece := _read_some(descriptor):
                if descriptor == self._stderr:
                    self._errors.take(piece)
                else:
                    pieces.append(piece)
                if len(piece) < _READ_BYTES:
                    break
            if piece == b"":
                self._poll.unregister(descriptor)
                self.has_ended = self.has_ended or descriptor == self._output
        return b"".join(pieces)

    def finish(self, timeout_s: float) -> bytes:
        """Give it the end of the PCM, and take the rest of its output, waiting no longer than `timeout_s`."""
        self._close_input()
        pieces: list[bytes] = []
        deadline_s = time.monotonic() + timeout_s
        while not self.has_ended and (left_s := deadline_s - time.monotonic()) > 0.0:
            self._poll.poll(1000.0 * left_s)
            pieces.append(self.read())
        return b"".join(pieces)

    def close(self) -> None:
        """End it at once, and let everything go; what it still had to say of itself is heard."""
        self._close_input()
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError, ValueError):
            self.read()
        os.close(self._stderr)
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdout.close()

    def _close_input(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1


def _read_some(descriptor: int) -> bytes | None:
    """Read what is there: empty at the end, None when there is nothing now."""
    try:
        return os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return None

"""The last seconds of a receiver, kept in memory, and tapes that take from them what a capture wants.

Threads: the publisher's thread calls `CaptureMemory.append`, which does not wait; a capture's threads make tapes and
take from them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any

from app_core.base.blocks import IqBlock
from app_core.base.iq_file import IqFormat
from app_core.radio.capture_samples import Packer, Piece

log = logging.getLogger(__name__)


class Tape:
    """The samples of one capture, on their way to its file; made by `CaptureMemory.tape`.

    Where its samples begin is found by time, once; from there on samples are counted, so that a capture of a second
    holds a second of samples whatever the clocks do meanwhile.

    Parameters
    ----------
    start, seconds
        Extent. [UTC seconds; seconds]
    max_waiting_bytes
        Beyond this the samples that come are left out, and are a gap: the disk is too slow.

    Attributes
    ----------
    dropped_samples
        Left out for this reason.
    missing_before
        Samples that were asked for, and were past when the tape began.
    missing_after
        Samples that are missing behind the last piece taken.
    """

    def __init__(self, start: float, seconds: float, max_waiting_bytes: int) -> None:
        self.start = start
        self.end = start + seconds
        self._seconds = seconds
        self._max_waiting_bytes = max_waiting_bytes
        self._pieces: deque[tuple[Piece, int]] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._complete = False
        # The last piece that came, and where the capture begins and ends by its counter; None before it begins.
        self._last: Piece | None = None
        self._extent: tuple[int, int] | None = None
        self.dropped_samples = 0
        self.missing_before = 0
        self.missing_after = 0

    @property
    def is_complete(self) -> bool:
        """Whether all that belongs to it has come; what has not been taken yet may still wait."""
        return self._complete

    def put(self, piece: Piece) -> None:
        """Take what belongs to this tape; does not wait."""
        with self._lock:
            self._extent = self._extent_by(piece)
            self._last = piece
            if self._extent is None:
                return
            first, end = self._extent
            part = piece.between(first, end)
            if part is not None and self._waiting_bytes + part.components.nbytes > self._max_waiting_bytes:
                self.dropped_samples += part.n_samples
            elif part is not None:
                self._pieces.append((part, end - part.end_sample))
                self._waiting_bytes += part.components.nbytes
            self._complete = piece.end_sample >= end

    def take(self) -> Piece | None:
        """Give the oldest piece that waits."""
        with self._lock:
            if not self._pieces:
                return None
            piece, self.missing_after = self._pieces.popleft()
            self._waiting_bytes -= piece.components.nbytes
            return piece

    def _extent_by(self, piece: Piece) -> tuple[int, int] | None:
        """Give where the capture begins and ends, by the counter of `piece`; None when it begins behind it."""
        last, rate_hz = self._last, piece.sample_rate_hz
        goes_on = last is not None and piece.follows(last)
        if self._extent is not None:
            if goes_on:
                return self._extent
            # Another reader counts anew, or at another rate: what is left is told by time.
            return piece.first_sample, piece.first_sample + round((self.end - piece.timestamp) * rate_hz)
        first = piece.first_sample + round((self.start - piece.timestamp) * rate_hz)
        if first >= piece.end_sample:
            return None
        if goes_on and last is not None and piece.first_sample == last.end_sample:
            # Times of pieces are rounded, and follow the clocks: nothing is missing between these two.
            first = max(first, piece.first_sample)
        self.missing_before = max(piece.first_sample - first, 0)
        return first, first + round(self._seconds * rate_hz)


class CaptureMemory:
    """The last seconds of one receiver.

    Parameters
    ----------
    receiver_id
        For the log.
    memory_s, max_bytes
        How much is kept; the smaller one holds. [seconds; bytes]

    Attributes
    ----------
    limit_s
        How much is kept at the present rate. [seconds]
    """

    def __init__(self, receiver_id: str, memory_s: float, max_bytes: int) -> None:
        self._receiver_id = receiver_id
        self._memory_s = memory_s
        self._max_bytes = max_bytes
        self._packer = Packer()
        self._pieces: deque[Piece] = deque()
        self._bytes = 0
        self._tapes: list[Tape] = []
        self._lock = threading.Lock()
        self._said: tuple[float, int] | None = None
        self.limit_s = memory_s

    @property
    def ends(self) -> tuple[Piece, Piece] | None:
        """The oldest and the newest piece; None before the first."""
        with self._lock:
            return (self._pieces[0], self._pieces[-1]) if self._pieces else None

    def status(self) -> dict[str, Any]:
        """Give its size, for the metrics."""
        with self._lock:
            held_s = sum(piece.n_samples / piece.sample_rate_hz for piece in self._pieces)
            n_bytes = self._bytes
        return {
            "memory_s": round(held_s, 2),
            "memory_limit_s": round(self.limit_s, 2),
            "memory_wanted_s": self._memory_s,
            "memory_bytes": n_bytes,
        }

    def append(self, block: IqBlock, iq_format: IqFormat) -> None:
        """Keep a block, in a copy, and hand it to the open tapes."""
        piece = self._packer.pack(block, iq_format)
        self._say_limit(piece)
        with self._lock:
            self._pieces.append(piece)
            self._bytes += piece.components.nbytes
            # One piece always stays: it says what the receiver's time is now.
            while len(self._pieces) > 1 and (
                self._bytes > self._max_bytes or self._pieces[0].end_timestamp < piece.end_timestamp - self._memory_s
            ):
                self._bytes -= self._pieces.popleft().components.nbytes
            self._tapes = [tape for tape in self._tapes if not tape.is_complete]
            for tape in self._tapes:
                tape.put(piece)

    def tape(self, start: float, seconds: float) -> Tape:
        """Begin a tape: what is in memory goes onto it at once, what comes later as it comes. [UTC seconds; seconds]

        The pieces in memory are shared, so they do not count against the tape's limit.
        """
        with self._lock:
            tape = Tape(start, seconds, max_waiting_bytes=self._bytes + max(self._max_bytes, 1))
            for piece in self._pieces:
                tape.put(piece)
            if not tape.is_complete:
                self._tapes.append(tape)
        return tape

    def drop(self, tape: Tape) -> None:
        """Give nothing more to a tape."""
        with self._lock:
            self._tapes = [other for other in self._tapes if other is not tape]

    def _say_limit(self, piece: Piece) -> None:
        """Say once for each rate when the bytes do not hold the seconds that are wanted."""
        sample_bytes = piece.components.nbytes // piece.n_samples
        if self._said == (piece.sample_rate_hz, sample_bytes):
            return
        self._said = (piece.sample_rate_hz, sample_bytes)
        holds_s = self._max_bytes / (piece.sample_rate_hz * sample_bytes)
        self.limit_s = min(self._memory_s, holds_s)
        if holds_s < self._memory_s:
            log.warning(
                "captures of %s reach back %.1f s and not %.0f s: capture_memory_max_bytes is %d",
                self._receiver_id,
                holds_s,
                self._memory_s,
                self._max_bytes,
            )

"""The last seconds of a receiver, kept in memory, and tapes that take from them what a capture wants.

Samples are kept as the device gave them (`Tuning.iq_format`): two bytes a sample from an 8-bit dongle and not the eight
of complex64. A piece is never changed once it is kept, so a tape holds on to pieces without copying them.

Threads: the publisher's thread calls `CaptureMemory.append`, which does not wait; a capture's threads make tapes and
take from them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.base.iq_file import IqFormat

log = logging.getLogger(__name__)

SAMPLE_BYTES: dict[IqFormat, int] = {"cu8": 2, "cs16": 4, "cf32": 8}

_HALF_A_SAMPLE = 0.5


def pack_samples(iq: NDArray[np.complex64], iq_format: IqFormat) -> NDArray[Any]:
    """Give samples of shape (n,) [full scale = 1] as they are stored, shape (2 n,); the inverse of `base.iq_file`.

    What lies beyond full scale is clipped in the integer formats.
    """
    components = np.ascontiguousarray(iq).view(np.float32)
    if iq_format == "cf32":
        return components.astype("<f4")
    offset, scale = (127.5, 127.5) if iq_format == "cu8" else (0.0, 32768.0)
    codes = components * np.float32(scale)
    if offset:
        codes += np.float32(offset)
    np.rint(codes, out=codes)
    lowest, highest, kind = (0.0, 255.0, "u1") if iq_format == "cu8" else (-32768.0, 32767.0, "<i2")
    np.clip(codes, np.float32(lowest), np.float32(highest), out=codes)
    return codes.astype(kind)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Consecutive samples, packed.

    Attributes
    ----------
    components
        Shape (2 n,), as `pack_samples` gives them.
    iq_format, sample_rate_hz, center_frequency_hz, first_sample, timestamp, config_epoch
        As in `IqBlock`.
    """

    components: NDArray[Any]
    iq_format: IqFormat
    sample_rate_hz: float
    center_frequency_hz: float
    first_sample: int
    timestamp: float
    config_epoch: int

    @property
    def n_samples(self) -> int:
        """Samples in it."""
        return len(self.components) // 2

    @property
    def end_timestamp(self) -> float:
        """Time right after its last sample. [UTC seconds]"""
        return self.timestamp + self.n_samples / self.sample_rate_hz

    def between(self, start: float, end: float) -> Piece | None:
        """Give the part of it that was captured from `start` to `end`; None when there is none. [UTC seconds]"""
        first = max(0, round((start - self.timestamp) * self.sample_rate_hz))
        last = min(self.n_samples, round((end - self.timestamp) * self.sample_rate_hz))
        if last <= first:
            return None
        return replace(
            self,
            components=self.components[2 * first : 2 * last],
            first_sample=self.first_sample + first,
            timestamp=self.timestamp + first / self.sample_rate_hz,
        )


class Tape:
    """The samples of one capture, on their way to its file; made by `CaptureMemory.tape`.

    Parameters
    ----------
    start, end
        Extent. [UTC seconds]
    max_waiting_bytes
        Beyond this the samples that come are left out, and are a gap: the disk is too slow.

    Attributes
    ----------
    dropped_samples
        Left out for this reason.
    """

    def __init__(self, start: float, end: float, max_waiting_bytes: int) -> None:
        self.start = start
        self.end = end
        self._max_waiting_bytes = max_waiting_bytes
        self._pieces: deque[Piece] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._complete = False
        self.dropped_samples = 0

    @property
    def is_complete(self) -> bool:
        """Whether all that belongs to it has come; what has not been taken yet may still wait."""
        return self._complete

    def put(self, piece: Piece) -> None:
        """Take what belongs to this tape; does not wait."""
        part = piece.between(self.start, self.end)
        with self._lock:
            if part is not None and self._waiting_bytes + part.components.nbytes > self._max_waiting_bytes:
                self.dropped_samples += part.n_samples
            elif part is not None:
                self._pieces.append(part)
                self._waiting_bytes += part.components.nbytes
            # Half a sample less: the times of pieces are rounded.
            self._complete = piece.end_timestamp >= self.end - _HALF_A_SAMPLE / piece.sample_rate_hz

    def take(self) -> Piece | None:
        """Give the oldest piece that waits."""
        with self._lock:
            if not self._pieces:
                return None
            piece = self._pieces.popleft()
            self._waiting_bytes -= piece.components.nbytes
            return piece


class CaptureMemory:
    """The last seconds of one receiver.

    Parameters
    ----------
    receiver_id
        For the log.
    memory_s, max_bytes
        How much is kept; the smaller one holds. [seconds; bytes]
    """

    def __init__(self, receiver_id: str, memory_s: float, max_bytes: int) -> None:
        self._receiver_id = receiver_id
        self._memory_s = memory_s
        self._max_bytes = max_bytes
        self._pieces: deque[Piece] = deque()
        self._bytes = 0
        self._tapes: list[Tape] = []
        self._lock = threading.Lock()
        self._said: tuple[float, IqFormat] | None = None
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
        return {"memory_s": round(held_s, 2), "memory_limit_s": round(self.limit_s, 2), "memory_bytes": n_bytes}

    def append(self, block: IqBlock, iq_format: IqFormat) -> None:
        """Keep a block, in a copy, and hand it to the open tapes."""
        piece = Piece(
            pack_samples(block.iq, iq_format),
            iq_format,
            block.sample_rate_hz,
            block.center_frequency_hz,
            block.first_sample,
            block.timestamp,
            block.config_epoch,
        )
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

    def tape(self, start: float, end: float) -> Tape:
        """Begin a tape: what is in memory goes onto it at once, what comes later as it comes. [UTC seconds]

        The pieces in memory are shared, so they do not count against the tape's limit.
        """
        with self._lock:
            tape = Tape(start, end, max_waiting_bytes=self._bytes + max(self._max_bytes, 1))
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
        if self._said == (piece.sample_rate_hz, piece.iq_format):
            return
        self._said = (piece.sample_rate_hz, piece.iq_format)
        holds_s = self._max_bytes / (piece.sample_rate_hz * SAMPLE_BYTES[piece.iq_format])
        self.limit_s = min(self._memory_s, holds_s)
        if holds_s < self._memory_s:
            log.warning(
                "captures of %s reach back %.1f s and not %.0f s: capture_memory_max_bytes is %d",
                self._receiver_id,
                holds_s,
                self._memory_s,
                self._max_bytes,
            )

"""The last seconds of a receiver's samples, in Redis: the stream ``sdr:history:{receiver_id}``.

Each entry has one field, ``frame``: a samples message, byte by byte as it was published. Its id is
``{config_epoch}-{first_sample}``, so entries stand in the order of capture whatever any clock says, one message stands
there once however often it is sent, and a reader asks for exactly what he lacks.

This module says where a message stands, and reads; `app_core.bridge.history_writer` writes.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any, NamedTuple

import redis

from app_core.bridge.connection import RedisLink, RedisSettings

FIELD = "frame"
"""Name of an entry's only field."""

_CHUNK_BYTES = 2 * 1024 * 1024
"""About what a reader asks for at once."""

_MAX_CHUNK_ENTRIES = 64


class Position(NamedTuple):
    """Where a message stands among all of its receiver; messages of one receiver are ordered by it."""

    config_epoch: int
    first_sample: int

    @property
    def entry_id(self) -> str:
        """Id of its entry."""
        return f"{self.config_epoch}-{self.first_sample}"


class HistoryReader:
    """Read a stream from a position to its end, a chunk at a time.

    Parameters
    ----------
    settings
        Where Redis is.
    key
        Name of the stream.
    """

    def __init__(self, settings: RedisSettings, key: str) -> None:
        self._link = RedisLink(settings)
        self._key = key
        self._start = "-"
        self._waiting: deque[bytes] = deque()
        self._chunk_entries = 4

    def begin(self, position: Position | None) -> None:
        """Go to the first entry at or behind `position`; None is the oldest one."""
        self._start = "-" if position is None else position.entry_id
        self._waiting.clear()

    def next_frame(self) -> bytes | None:
        """Give the next frame; None at the end of the stream, and where there is no stream.

        Raises
        ------
        LinkError
            If Redis cannot be reached, or refuses.
        """
        if not self._waiting:
            self._read_chunk()
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        self._link.close()

    def _read_chunk(self) -> None:
        entries = self._link.call(partial(_read_range, self._key, self._start, self._chunk_entries))
        n_bytes = 0
        for entry_id, fields in entries:
            self._start = "(" + entry_id.decode("ascii")
            frame = fields.get(FIELD.encode("ascii"))
            if isinstance(frame, bytes):
                self._waiting.append(frame)
                n_bytes += len(frame)
        if self._waiting:
            mean = n_bytes // len(self._waiting) + 1
            self._chunk_entries = min(max(_CHUNK_BYTES // mean, 1), _MAX_CHUNK_ENTRIES)


def _read_range(key: str, start: str, n_entries: int, client: redis.Redis) -> list[tuple[bytes, dict[bytes, bytes]]]:
    entries: Any = client.xrange(key, min=start, count=n_entries)
    # An entry that was deleted while it was read has no fields.
    return [(entry_id, fields or {}) for entry_id, fields in entries]

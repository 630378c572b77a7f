"""The last seconds of a receiver's samples, in Redis: the stream ``sdr:history:{receiver_id}``.

Each entry has one field, ``frame``: a samples message, byte by byte as it was published. Its id is
``{config_epoch}-{first_sample}``, so entries stand in the order of capture whatever any clock says, one message stands
there once however often it is sent, and a reader asks for exactly what he lacks.

The writer counts what he has put in, by age and by bytes, and gives the stream's length with every entry; so its memory
is bounded although Redis has no notion of seconds. Threads: `HistoryWriter` belongs to the outbox, `HistoryReader` to a
decoder.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import redis
from redis.client import Pipeline

from app_core.base.telemetry import RateLimitedLog
from app_core.bridge.connection import RedisLink, RedisSettings

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log, interval_s=10.0)

FIELD = "frame"
"""Name of an entry's only field."""

SHARE_OF_MAXMEMORY = 0.6
"""Most of Redis's ``maxmemory`` that all histories together may take; the rest is for what waits for subscribers."""

SHARE_OF_MACHINE = 0.25
"""The same of the memory of Redis's machine, where no ``maxmemory`` is set."""

UNKNOWN_LIMIT_BYTES = 64 * 1024 * 1024
"""What all histories together may take in a Redis that does not say what it has."""

ENTRY_OVERHEAD_BYTES = 256
"""What Redis spends on an entry beside its frame."""

_CHUNK_BYTES = 2 * 1024 * 1024
"""About what a reader asks for at once."""

_MAX_CHUNK_ENTRIES = 64
_REWRITE_BATCH = 16


class Position(NamedTuple):
    """Where a message stands among all of its receiver; messages of one receiver are ordered by it."""

    config_epoch: int
    first_sample: int

    @property
    def entry_id(self) -> str:
        """Id of its entry."""
        return f"{self.config_epoch}-{self.first_sample}"


class _Kept(NamedTuple):
    position: Position
    payload: bytes
    created_s: float


class HistoryWriter:
    """Keep the frames of one channel in a stream, and remember the last of them in case Redis forgets.

    Parameters
    ----------
    key
        Name of the stream.
    history_s
        How far back it shall reach. [seconds]
    memory_bytes
        What may be remembered here for a Redis that comes back empty.

    Attributes
    ----------
    limit_bytes
        What the stream may take in Redis.
    refused_count
        Frames that are missing in it because Redis had no memory.
    rewritten_count
        Frames that were written again.
    """

    def __init__(self, key: str, history_s: float, memory_bytes: int) -> None:
        self.key = key
        self._history_s = history_s
        self._memory_bytes = memory_bytes
        self.limit_bytes = UNKNOWN_LIMIT_BYTES
        # What stands in the stream: when it was made, and its bytes.
        self._entries: deque[tuple[float, int]] = deque()
        self._entries_bytes = 0
        self._memory: deque[_Kept] = deque()
        self._memorized_bytes = 0
        self._foreign_epoch = 0
        self._has_written = False
        self._said: set[str] = set()
        self.refused_count = 0
        self.rewritten_count = 0

    @property
    def held_s(self) -> float:
        """How far back the stream reaches. [seconds]"""
        return max(self._entries[-1][0] - self._entries[0][0], 0.0) if self._entries else 0.0

    def status(self) -> dict[str, object]:
        """Give its size, for the metrics; may be called from any thread."""
        try:
            held_s = self.held_s
        except IndexError:  # its own thread took the last one in this moment
            held_s = 0.0
        return {
            "wanted_s": self._history_s,
            "held_s": round(held_s, 1),
            "entries": len(self._entries),
            "bytes": self._entries_bytes,
            "limit_bytes": self.limit_bytes,
            "memory_bytes": self._memorized_bytes,
            "refused_count": self.refused_count,
            "rewritten_count": self.rewritten_count,
        }

    # With a connection that has just been made ---------------------------------------------------------------------

    def attach(self, client: redis.Redis, limit_bytes: int) -> None:
        """Take up what stands in the stream, and write it again where Redis has lost it.

        Where Redis refuses (another kind of key, no right to it) there is no history, and nothing else suffers.

        Raises
        ------
        redis.ConnectionError, redis.TimeoutError, OSError
            If the connection fails.
        """
        self.limit_bytes = limit_bytes
        now_s = time.monotonic()
        try:
            n_entries = int(client.xlen(self.key))
        except redis.ResponseError as error:
            log.warning("there is no history %s: %s", self.key, error)
            return
        if n_entries:
            if not self._has_written:
                self._adopt(client, n_entries, now_s)
            return
        self._clear()
        if self._memory:
            self._rewrite(client)

    def _adopt(self, client: redis.Redis, n_entries: int, now_s: float) -> None:
        """Count the entries of an earlier process; they stay for `history_s` from now on."""
        try:
            facts: Any = client.xinfo_stream(self.key)
            n_bytes: Any = client.memory_usage(self.key) or 0
        except redis.ResponseError:
            facts, n_bytes = {}, 0
        top = facts.get("last-generated-id", b"0-0")
        self._foreign_epoch = int(top.split(b"-")[0])
        self._clear()
        self._entries.extend((now_s, int(n_bytes) // n_entries) for _ in range(n_entries))
        self._entries_bytes = n_entries * (int(n_bytes) // n_entries)

    def _rewrite(self, client: redis.Redis) -> None:
        kept = list(self._memory)
        for start in range(0, len(kept), _REWRITE_BATCH):
            pipeline = client.pipeline(transaction=False)
            for item in kept[start : start + _REWRITE_BATCH]:
                self._xadd(pipeline, item)
            self._expire(pipeline)
            refused = [answer for answer in pipeline.execute(raise_on_error=False) if _is_refusal(answer)]
            self.refused_count += len(refused)
        self.rewritten_count += len(kept)
        span_s = kept[-1].created_s - kept[0].created_s
        log.info("Redis has lost %s: %d frames (%.1f s) were written again", self.key, len(kept), span_s)

    # With every batch of frames ------------------------------------------------------------------------------------

    def add(self, pipeline: Pipeline, position: Position, payload: bytes, created_s: float) -> None:
        """Append the command that adds a frame."""
        if not self._has_written:
            self._has_written = True
            if self._foreign_epoch > position.config_epoch:
                # The clock was set back between two processes: such a stream would refuse all that is new.
                pipeline.delete(self.key)
                self._clear()
        self._xadd(pipeline, _Kept(position, payload, created_s))

    def close_batch(self, pipeline: Pipeline) -> None:
        """Append what is due after the last frame of a batch."""
        self._expire(pipeline)

    def remember(self, position: Position, payload: bytes, created_s: float) -> None:
        """Keep a frame that Redis has taken, for the case that it loses it."""
        self._memory.append(_Kept(position, payload, created_s))
        self._memorized_bytes += len(payload)
        while self._memory and (
            self._memorized_bytes > self._memory_bytes or created_s - self._memory[0].created_s > self._history_s
        ):
            oldest = self._memory.popleft()
            self._memorized_bytes -= len(oldest.payload)
            if created_s - oldest.created_s <= self._history_s:
                self._say_once("memory", "after a loss of Redis", created_s - oldest.created_s, "history_memory_bytes")

    def shorten(self, client: redis.Redis, refused: Sequence[tuple[Position, bytes, float]]) -> None:
        """Halve the stream: Redis has no memory left. What it refused is offered once more.

        Raises
        ------
        redis.RedisError
            If the connection fails.
        """
        self.limit_bytes = max(self._entries_bytes // 2, ENTRY_OVERHEAD_BYTES)
        _limited_log.warning(
            self.key, "Redis is out of memory: %s is shortened to %d bytes; raise maxmemory", self.key, self.limit_bytes
        )
        self._drop_surplus(time.monotonic())
        pipeline = client.pipeline(transaction=False)
        pipeline.xtrim(self.key, maxlen=len(self._entries), approximate=False)
        for position, payload, created_s in refused:
            self._xadd(pipeline, _Kept(position, payload, created_s))
        answers = pipeline.execute(raise_on_error=False)[1:]
        self.refused_count += sum(map(_is_refusal, answers))

    def _xadd(self, pipeline: Pipeline, item: _Kept) -> None:
        self._entries.append((item.created_s, len(item.payload) + ENTRY_OVERHEAD_BYTES))
        self._entries_bytes += len(item.payload) + ENTRY_OVERHEAD_BYTES
        self._drop_surplus(item.created_s)
        maxlen = max(len(self._entries), 1)
        pipeline.xadd(self.key, {FIELD: item.payload}, id=item.position.entry_id, maxlen=maxlen, approximate=False)

    def _drop_surplus(self, now_s: float) -> None:
        entries = self._entries
        while len(entries) > 1 and (self._entries_bytes > self.limit_bytes or now_s - entries[0][0] > self._history_s):
            created_s, n_bytes = entries.popleft()
            self._entries_bytes -= n_bytes
            if now_s - created_s < 0.9 * self._history_s:
                self._say_once("stream", "in Redis", now_s - created_s, "Redis's maxmemory")

    def _expire(self, pipeline: Pipeline) -> None:
        # A service that is gone for good leaves nothing behind.
        pipeline.pexpire(self.key, round(2000.0 * self._history_s))

    def _clear(self) -> None:
        self._entries.clear()
        self._entries_bytes = 0

    def _say_once(self, what: str, where: str, held_s: float, limit: str) -> None:
        if what not in self._said:
            self._said.add(what)
            wanted_s = self._history_s
            log.warning("%s: the last %.1f s %s, not %.0f s: %s is the limit", self.key, held_s, where, wanted_s, limit)


def is_out_of_memory(answer: object) -> bool:
    """Whether an answer of Redis says that there is no memory for what was sent."""
    return isinstance(answer, redis.RedisError) and str(answer).startswith(("OOM", "command not allowed when used"))


def is_double(answer: object) -> bool:
    """Whether an answer of Redis says that an entry stands in its stream already."""
    return isinstance(answer, redis.ResponseError) and "equal or smaller" in str(answer)


def _is_refusal(answer: object) -> bool:
    return isinstance(answer, redis.RedisError) and not is_double(answer)


def history_limit_bytes(client: redis.Redis) -> int:
    """Give what all histories together may take in this Redis.

    Raises
    ------
    redis.RedisError
        If the connection fails.
    """
    try:
        memory: Any = client.info("memory")
    except redis.ResponseError:
        return UNKNOWN_LIMIT_BYTES
    if int(memory.get("maxmemory", 0)) > 0:
        return int(SHARE_OF_MAXMEMORY * int(memory["maxmemory"]))
    if int(memory.get("total_system_memory", 0)) > 0:
        return int(SHARE_OF_MACHINE * int(memory["total_system_memory"]))
    return UNKNOWN_LIMIT_BYTES


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

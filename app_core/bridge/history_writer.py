"""Writing the last seconds of samples to Redis, and writing them again where Redis has lost them.

A writer counts what it has put in, by age and by bytes, and gives the stream's length with every entry; so the stream's
memory is bounded although Redis has no notion of seconds. Everything here belongs to the outbox's thread; `status` may
be called from any.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis
from redis.client import Pipeline

from app_core.base.telemetry import RateLimitedLog
from app_core.bridge.history import FIELD, Position

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log, interval_s=10.0)

ENTRY_OVERHEAD_BYTES = 256
"""What Redis spends on an entry beside its frame."""

UNKNOWN_LIMIT_BYTES = 64 * 1024 * 1024
"""What all histories together may take in a Redis that does not say what it has."""

SHORT_SHARE = 0.9
"""A history that reaches back less than this share of its seconds is said to be short."""

GROWTH = 1.1
"""How much a history that Redis had no room for grows at each look, where Redis does not say how much it has."""

_REWRITE_BATCH = 16


class _Kept(NamedTuple):
    position: Position
    payload: bytes
    created_s: float


class _Reach:
    """Whether what is kept reaches as far back as it shall; the log tells when it does no more, and when it does again.

    Parameters
    ----------
    history_s
        How far it shall reach. [seconds]
    key, where, limit
        Words for the log: whose, kept where, and bounded by what.
    """

    def __init__(self, history_s: float, key: str, where: str, limit: str) -> None:
        self._history_s = history_s
        self._words = (key, where, limit)
        self.is_short = False

    def note_dropped(self, age_s: float) -> None:
        """Take in how old the entry was that gave way to a new one."""
        key, where, limit = self._words
        if age_s < SHORT_SHARE * self._history_s and not self.is_short:
            self.is_short = True
            log.warning(
                "%s: the last %.1f s %s, not %.0f s: %s is the limit", key, age_s, where, self._history_s, limit
            )
        elif age_s >= self._history_s and self.is_short:
            self.is_short = False
            log.info("%s: the last %.0f s %s again", key, self._history_s, where)


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
        What the stream may take in Redis now.
    is_refused
        Whether Redis lets nothing be written under this key.
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
        # What it may take while Redis is not out of memory.
        self._full_limit_bytes = UNKNOWN_LIMIT_BYTES
        # What stands in the stream: when it was made, and its bytes.
        self._entries: deque[tuple[float, int]] = deque()
        self._entries_bytes = 0
        self._memory: deque[_Kept] = deque()
        self._memorized_bytes = 0
        self._foreign_epoch = 0
        self._has_written = False
        self._must_rewrite = False
        self.is_refused = False
        self._reach = _Reach(history_s, key, "in Redis", "Redis's maxmemory")
        self._memory_reach = _Reach(history_s, key, "after a loss of Redis", "history_memory_bytes")
        self.refused_count = 0
        self.rewritten_count = 0

    @property
    def held_s(self) -> float:
        """How far back the stream reaches. [seconds]"""
        return max(self._entries[-1][0] - self._entries[0][0], 0.0) if self._entries else 0.0

    @property
    def memory_s(self) -> float:
        """How far back reaches what is remembered here. [seconds]"""
        return self._memory[-1].created_s - self._memory[0].created_s if self._memory else 0.0

    @property
    def is_short(self) -> bool:
        """Whether Redis has no room for all of it, or takes none of it."""
        return self.is_refused or self._reach.is_short

    @property
    def is_lowered(self) -> bool:
        """Whether it may take less than its share, since Redis was out of memory."""
        return self.limit_bytes < self._full_limit_bytes

    def status(self) -> dict[str, object]:
        """Give its size, for the metrics; may be called from any thread."""
        try:
            held_s, memory_s = self.held_s, self.memory_s
        except IndexError:  # its own thread took the last one in this moment
            held_s = memory_s = 0.0
        return {
            "wanted_s": self._history_s,
            "held_s": round(held_s, 1),
            "short": self.is_short,
            "entries": len(self._entries),
            "bytes": self._entries_bytes,
            "limit_bytes": self.limit_bytes,
            "memory_s": round(memory_s, 1),
            "memory_short": self._memory_reach.is_short,
            "memory_bytes": self._memorized_bytes,
            "refused_count": self.refused_count,
            "rewritten_count": self.rewritten_count,
        }

    # When Redis is looked at ---------------------------------------------------------------------------------------

    def attach(self, client: redis.Redis, limit_bytes: int) -> None:
        """Take up what stands in the stream, and write it again where Redis has lost it.

        Where Redis refuses (another kind of key, no right to it) there is no history, and nothing else suffers.

        Raises
        ------
        redis.ConnectionError, redis.TimeoutError, OSError
            If the connection fails. What was not yet written again then is at the next call.
        """
        self.limit_bytes = self._full_limit_bytes = limit_bytes
        now_s = time.monotonic()
        try:
            n_entries = int(client.xlen(self.key))
        except redis.ResponseError as error:
            self.is_refused = True
            log.warning("there is no history %s: %s", self.key, error)
            return
        self.is_refused = False
        if n_entries and not self._must_rewrite:
            if not self._has_written:
                self._adopt(client, n_entries, now_s)
            return
        self._clear()
        if self._memory:
            # Until all of it stands there, a stream that is not empty proves nothing.
            self._must_rewrite = True
            self._rewrite(client, now_s)
        self._must_rewrite = False

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

    def _rewrite(self, client: redis.Redis, now_s: float) -> None:
        # What has grown too old while Redis was away would only hold up what waits.
        kept = [item for item in self._memory if now_s - item.created_s <= self._history_s]
        for start in range(0, len(kept), _REWRITE_BATCH):
            pipeline = client.pipeline(transaction=False)
            for item in kept[start : start + _REWRITE_BATCH]:
                self._xadd(pipeline, item)
            self._expire(pipeline)
            answers = pipeline.execute(raise_on_error=False)[:-1]
            self.refused_count += sum(map(_is_refusal, answers))
            self.rewritten_count += sum(not isinstance(answer, redis.RedisError) for answer in answers)
        if kept:
            span_s = kept[-1].created_s - kept[0].created_s
            log.info("Redis has lost %s: the last %.1f s (%d frames) were written again", self.key, span_s, len(kept))

    def grow(self, full_limit_bytes: int, room_bytes: int | None) -> None:
        """Take up what Redis has for it by now.

        Parameters
        ----------
        full_limit_bytes
            As the limit of `attach`.
        room_bytes
            What Redis has left for this history, negative when it has less than nothing; None when it does not say. A
            history that was shortened takes half of it, so that it comes near the end of the room and never beyond.
        """
        if not self.is_lowered:
            self.limit_bytes = full_limit_bytes
        elif room_bytes is None:
            self.limit_bytes = min(full_limit_bytes, int(GROWTH * self.limit_bytes))
        elif room_bytes > 0:
            wanted_bytes = max(self.limit_bytes, self._entries_bytes + room_bytes // 2)
            self.limit_bytes = min(full_limit_bytes, wanted_bytes)
        if self.is_lowered and self.limit_bytes >= full_limit_bytes:
            log.info("Redis has memory again: %s may take its %d bytes", self.key, full_limit_bytes)
        self._full_limit_bytes = full_limit_bytes

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
            self._memory_reach.note_dropped(created_s - oldest.created_s)

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
            self._reach.note_dropped(now_s - created_s)

    def _expire(self, pipeline: Pipeline) -> None:
        # A service that is gone for good leaves nothing behind.
        pipeline.pexpire(self.key, round(2000.0 * self._history_s))

    def _clear(self) -> None:
        self._entries.clear()
        self._entries_bytes = 0


def is_out_of_memory(answer: object) -> bool:
    """Whether an answer of Redis says that there is no memory for what was sent."""
    return isinstance(answer, redis.RedisError) and str(answer).startswith(("OOM", "command not allowed when used"))


def is_double(answer: object) -> bool:
    """Whether an answer of Redis says that an entry stands in its stream already."""
    return isinstance(answer, redis.ResponseError) and "equal or smaller" in str(answer)


def _is_refusal(answer: object) -> bool:
    return isinstance(answer, redis.RedisError) and not is_double(answer)

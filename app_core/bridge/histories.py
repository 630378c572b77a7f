"""The histories that one outbox writes: the memory that they share, here and in Redis.

Redis is asked what it has at every new connection, and now and then while a history is shorter than it shall be: it may
have been out of memory for a moment, or somebody has raised its ``maxmemory`` since.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import redis

from app_core.bridge.history_writer import UNKNOWN_LIMIT_BYTES, HistoryWriter

SHARE_OF_MAXMEMORY = 0.6
"""Most of Redis's ``maxmemory`` that all histories together may take; the rest is for what waits for subscribers."""

SHARE_OF_MACHINE = 0.25
"""The same of the memory of Redis's machine, where no ``maxmemory`` is set."""

FILLED_SHARE = 0.9
"""Share of its ``maxmemory`` up to which a Redis that was out of memory is filled again."""

LOOK_INTERVAL_S = 20.0
"""How often Redis is asked what it has, while a history is short. [seconds]"""


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """What a Redis has for all histories together.

    Attributes
    ----------
    limit_bytes
        What they may take.
    room_bytes
        What is left until Redis is as full as it may be, negative beyond; None when it does not say.
    """

    limit_bytes: int
    room_bytes: int | None


def read_redis_memory(client: redis.Redis) -> RedisMemory:
    """Ask a Redis what it has.

    Raises
    ------
    redis.RedisError
        If the connection fails.
    """
    try:
        memory: Any = client.info("memory")
    except redis.ResponseError:
        return RedisMemory(UNKNOWN_LIMIT_BYTES, None)
    maxmemory = int(memory.get("maxmemory", 0))
    if maxmemory > 0:
        room_bytes = int(FILLED_SHARE * maxmemory) - int(memory.get("used_memory", 0))
        return RedisMemory(int(SHARE_OF_MAXMEMORY * maxmemory), room_bytes)
    system_bytes = int(memory.get("total_system_memory", 0))
    if system_bytes > 0:
        # Without a maxmemory it refuses nothing.
        return RedisMemory(int(SHARE_OF_MACHINE * system_bytes), system_bytes)
    return RedisMemory(UNKNOWN_LIMIT_BYTES, None)


class Histories:
    """The writers of all histories of one outbox.

    Parameters
    ----------
    memory_bytes
        Sum of the payloads that are remembered for a Redis that comes back empty; each history has an equal share.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._writers: dict[str, HistoryWriter] = {}
        self._wanted: dict[str, tuple[str, float]] = {}
        self._is_attached = False
        self._looked_s = 0.0

    def keep(self, channel: str, key: str, history_s: float) -> None:
        """Write the frames of `channel` also to the stream `key`, for `history_s` seconds; before anything is sent."""
        self._wanted[channel] = (key, history_s)
        share_bytes = self._memory_bytes // len(self._wanted)
        self._writers = {
            name: HistoryWriter(stream, seconds, share_bytes) for name, (stream, seconds) in self._wanted.items()
        }

    def writer(self, channel: str) -> HistoryWriter | None:
        """Give the writer of a channel; None for one that has no history."""
        return self._writers.get(channel)

    def status(self) -> dict[str, dict[str, object]]:
        """Give the size of each by its key, for the metrics; may be called from any thread."""
        return {writer.key: writer.status() for writer in self._writers.values()}

    def note_loss(self) -> None:
        """Take in that the connection is lost: what Redis has of the histories is not known any more."""
        self._is_attached = False

    def wants_look(self, now_s: float) -> bool:
        """Whether `look` is due. [monotonic seconds]"""
        if not self._writers:
            return False
        if not self._is_attached:
            return True
        return now_s - self._looked_s > LOOK_INTERVAL_S and any(
            writer.is_short or writer.is_lowered for writer in self._writers.values()
        )

    def look(self, client: redis.Redis) -> None:
        """See what this Redis has of the histories and for them; give it back what it has lost.

        Raises
        ------
        redis.RedisError, OSError
            If the connection fails; it is due again then.
        """
        memory, n_writers = read_redis_memory(client), len(self._writers)
        room_bytes = None if memory.room_bytes is None else memory.room_bytes // n_writers
        for writer in self._writers.values():
            if self._is_attached and not writer.is_refused:
                writer.grow(memory.limit_bytes // n_writers, room_bytes)
            else:
                writer.attach(client, memory.limit_bytes // n_writers)
        self._is_attached = True
        self._looked_s = time.monotonic()

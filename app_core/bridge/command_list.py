"""Taking commands off a service's list, such as ``sdr:commands``, in the order in which they were pushed.

A command moves to a second list, ``sdr:commands:under_way``, until it has been answered. One that is still there when
the service starts was under way when the service died: it is answered as failed and not tried again, since it may be
what killed it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import redis

from app_core.base.errors import LinkError, WireError
from app_core.base.lifecycle import Backoff, Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge import keys
from app_core.bridge.commands import read_command_id
from app_core.bridge.connection import RedisLink, RedisSettings

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log, interval_s=10.0)

_TAKE_WAIT_S = 0.25


class CommandReader(Worker):
    """Take commands off the list, one after the other, through any number of losses of the connection.

    Parameters
    ----------
    settings
        Where Redis is.
    take
        Called in this worker's thread with what stood on the list. It must not wait for a receiver and must not raise.
    answered
        What was taken and has been answered since: any thread puts it here.
    interrupted
        Called once for each command that was under way when an earlier process died; as `take`. None: this process
        has asked before.
    names
        Which service's commands.
    """

    def __init__(
        self,
        settings: RedisSettings,
        take: Callable[[bytes], None],
        answered: deque[bytes],
        interrupted: Callable[[bytes], None] | None = None,
        names: keys.CommandKeys = keys.TO_SDR,
    ) -> None:
        super().__init__("CommandReader")
        self._link = RedisLink(settings, blocking_s=_TAKE_WAIT_S)
        self._take = take
        self._answered = answered
        self._interrupted = interrupted
        self._names = names

    def run(self, stopping: threading.Event) -> None:
        """Take until stopped."""
        backoff = Backoff(0.1, 2.0)
        while not stopping.is_set():
            try:
                self._tell_interrupted()
                self._forget_answered()
                asked_s = time.monotonic()
                payload = self._link.call(partial(_take_oldest, self._names))
            except WireError as error:
                _limited_log.warning("kind", "commands are not taken: %s", error)
                stopping.wait(backoff.next_wait_s())
                continue
            except LinkError:
                stopping.wait(backoff.next_wait_s())
                continue
            backoff.reset()
            if payload is not None:
                self._take(payload)
            else:
                # Redis has waited; an imitation of it may not have.
                stopping.wait(max(0.0, asked_s + _TAKE_WAIT_S - time.monotonic()))
        with contextlib.suppress(LinkError):
            self._forget_answered()
        self._link.close()

    def _tell_interrupted(self) -> None:
        if self._interrupted is None:
            return
        left: list[bytes] = self._link.call(partial(_take_under_way, self._names))
        interrupted, self._interrupted = self._interrupted, None
        for payload in left:
            interrupted(payload)

    def _forget_answered(self) -> None:
        while self._answered:
            self._link.call(partial(_forget, self._names, self._answered[0]))
            self._answered.popleft()


def forget_answered(settings: RedisSettings, answered: deque[bytes], names: keys.CommandKeys = keys.TO_SDR) -> None:
    """Take what was answered off the list of commands under way, when no reader is left to do so.

    Where Redis is away they stay, and are answered once more by the next process.
    """
    if not answered:
        return
    link = RedisLink(settings)
    with contextlib.suppress(LinkError):
        while answered:
            link.call(partial(_forget, names, answered[0]))
            answered.popleft()
    link.close()


def _forget(names: keys.CommandKeys, payload: bytes, client: redis.Redis) -> None:
    client.lrem(names.under_way, 1, payload)  # type: ignore[arg-type]  # bytes are right


def _take_oldest(names: keys.CommandKeys, client: redis.Redis) -> bytes | None:
    wait_s: Any = _TAKE_WAIT_S  # Redis takes fractions
    try:
        answer: Any = client.blmove(names.commands, names.under_way, wait_s, "RIGHT", "LEFT")
    except redis.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise WireError(f"{names.commands} or {names.under_way} is not a list; type: redis-cli DEL <key>") from error
    return answer if isinstance(answer, bytes) else None


def _take_under_way(names: keys.CommandKeys, client: redis.Redis) -> list[bytes]:
    """Take what an earlier process left unanswered, the oldest first; a key of another kind is put out of the way."""
    pipeline = client.pipeline(transaction=True)
    pipeline.lrange(names.under_way, 0, -1)
    pipeline.delete(names.under_way)
    left: Any = pipeline.execute(raise_on_error=False)[0]
    payloads = list(reversed(left)) if isinstance(left, list) else []
    return [payload for payload in payloads if not _has_result(names, client, payload)]


def _has_result(names: keys.CommandKeys, client: redis.Redis, payload: bytes) -> bool:
    """Whether the process that died had answered, and only not said so on the list."""
    command_id = read_command_id(payload)
    return command_id is not None and bool(client.exists(names.result(command_id)))

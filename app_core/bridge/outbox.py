"""The way out to Redis: frames wait here while Redis is away, and go out in order when it is back.

A producer never waits: `Outbox.put` only appends. The queue is bounded in seconds and in bytes; what does not fit any
more is dropped from its old end and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import partial

import redis

from app_core.base.errors import LinkError
from app_core.base.lifecycle import Backoff, Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge.connection import RedisLink, RedisSettings

_limited_log = RateLimitedLog(logging.getLogger(__name__), interval_s=10.0)

_BATCH_FRAMES = 16
"""Frames that one round trip carries at the most."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message on its way.

    Attributes
    ----------
    channel
        Where it is published.
    payload
        What is published.
    ttl_s
        When not None, the payload is also written to the key of the same name, to live this long. [seconds]
    created_s
        When it was made. [monotonic seconds]
    """

    channel: str
    payload: bytes
    ttl_s: int | None
    created_s: float


class Outbox(Worker):
    """Publish frames in the order in which they were put.

    Parameters
    ----------
    settings
        Where Redis is.
    longest_wait_s
        Age at which a frame that could not be sent is dropped. [seconds]
    max_bytes
        Sum of the payloads that may wait.
    """

    def __init__(
        self,
        settings: RedisSettings,
        *,
        name: str = "Outbox",
        longest_wait_s: float = 30.0,
        max_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        super().__init__(name)
        self._link = RedisLink(settings)
        self._longest_wait_s = longest_wait_s
        self._max_bytes = max_bytes
        self._frames: deque[Frame] = deque()
        self._frames_lock = threading.Lock()
        self._waiting = threading.Event()
        self._bytes = 0
        self.sent_count = 0
        self.dropped_count = 0
        self.refused_count = 0
        self.last_sent_s: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the last exchange with Redis succeeded."""
        return self._link.connected

    def put(self, channel: str, payload: bytes, *, ttl_s: int | None = None) -> None:
        """Hand over one frame; never waits for Redis."""
        now_s = time.monotonic()
        with self._frames_lock:
            self._frames.append(Frame(channel, payload, ttl_s, now_s))
            self._bytes += len(payload)
            self._drop_surplus(now_s)
        self._waiting.set()

    def status(self) -> dict[str, object]:
        """Give depth, age and drops of the queue, for the metrics."""
        with self._frames_lock:
            depth, waiting_bytes = len(self._frames), self._bytes
            age_s = time.monotonic() - self._frames[0].created_s if self._frames else 0.0
        return {
            "connected": self.connected,
            "depth": depth,
            "waiting_bytes": waiting_bytes,
            "oldest_age_s": round(age_s, 3),
            "sent_count": self.sent_count,
            "dropped_count": self.dropped_count,
            "refused_count": self.refused_count,
        }

    def run(self, stopping: threading.Event) -> None:
        """Send until stopped; what waits at the stop is given one last try."""
        backoff = Backoff(0.05, 2.0)
        while not stopping.is_set():
            if not self._waiting.wait(0.2):
                continue
            try:
                self._send_waiting()
                backoff.reset()
            except LinkError:
                stopping.wait(backoff.next_wait_s())
        try:
            self._send_waiting()
        except LinkError:
            self.dropped_count += len(self._frames)
        self._link.close()

    def _drop_surplus(self, now_s: float) -> None:
        while self._frames and (
            self._bytes > self._max_bytes or now_s - self._frames[0].created_s > self._longest_wait_s
        ):
            self._bytes -= len(self._frames.popleft().payload)
            self.dropped_count += 1

    def _send_waiting(self) -> None:
        while True:
            with self._frames_lock:
                batch = [self._frames[index] for index in range(min(_BATCH_FRAMES, len(self._frames)))]
                if not batch:
                    self._waiting.clear()
                    return
            self.refused_count += self._link.call(partial(_send, batch))
            with self._frames_lock:
                # Some of the batch may have been dropped as too old while it was on its way.
                sent = set(map(id, batch))
                while self._frames and id(self._frames[0]) in sent:
                    self._bytes -= len(self._frames.popleft().payload)
            self.sent_count += len(batch)
            self.last_sent_s = time.monotonic()


def _send(batch: list[Frame], client: redis.Redis) -> int:
    """Send some frames. Give how many commands Redis refused, of which at least one other was taken.

    A refusal of all of them is the connection's fault (no password, still loading) and is raised; a single one (no
    right to that key, no memory left) would be refused for ever, and must not hold back what stands behind it.
    """
    now_s = time.monotonic()
    pipeline = client.pipeline(transaction=False)
    for frame in batch:
        if frame.ttl_s is not None:
            # A value that has waited lives only for the rest of its time: a key that is there is fresh.
            left_ms = round(1000.0 * (frame.ttl_s - (now_s - frame.created_s)))
            if left_ms > 0:
                pipeline.set(frame.channel, frame.payload, px=left_ms)
        pipeline.publish(frame.channel, frame.payload)
    answers: list[object] = pipeline.execute(raise_on_error=False)
    refusals = [answer for answer in answers if isinstance(answer, redis.RedisError)]
    if refusals and len(refusals) == len(answers):
        raise refusals[0]
    for refusal in refusals:
        _limited_log.warning("refused", "Redis refuses a message: %s", refusal)
    return len(refusals)

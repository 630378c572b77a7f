"""What waits for Redis: frames in the order in which they came, bounded in seconds and in bytes.

What does not fit any more is dropped from the old end, counted, and told by the log as it begins and when it is over.
Values with a time to live are no queue: of each key only the newest waits while Redis is away.

Any thread may put; one thread takes, and calls `FrameQueue.watch`, so that a producer never waits for the log either.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from app_core.bridge.history import Position

log = logging.getLogger(__name__)

BATCH_FRAMES = 16
"""Frames that one round trip carries at the most."""

DROPPING_OVER_S = 10.0
"""Time without a drop after which the dropping is over. [seconds]

As long as this, so that the metrics that go out first when Redis is back still say it.
"""

RATE_WINDOW_S = 10.0
"""Time over which the rate of what is put is measured, at least. [seconds]"""

HELD_SHARE = 0.9
"""A queue that holds less than this share of its seconds at the present rate is said to be too small."""


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
    position
        Where it stands in the channel's history; None for what has no place in one.
    is_pushed
        Whether it is pushed onto the list of that name instead of being published.
    """

    channel: str
    payload: bytes
    ttl_s: int | None
    created_s: float
    position: Position | None = None
    is_pushed: bool = False


class RateMeter:
    """The rate at which something comes, over the last `RATE_WINDOW_S`. [per second]"""

    def __init__(self) -> None:
        self._total = 0.0
        self._points: deque[tuple[float, float]] = deque()

    def note(self, amount: float, now_s: float) -> None:
        """Take in what came now."""
        if not self._points or now_s - self._points[-1][0] >= RATE_WINDOW_S / 10.0:
            self._points.append((now_s, self._total))
            while len(self._points) > 2 and now_s - self._points[1][0] >= RATE_WINDOW_S:
                self._points.popleft()
        self._total += amount

    def rate(self, now_s: float) -> float | None:
        """Give the rate; None before there is one."""
        if not self._points or now_s - self._points[0][0] < RATE_WINDOW_S / 2.0:
            return None
        return (self._total - self._points[0][1]) / (now_s - self._points[0][0])


@dataclass(slots=True)
class _Dropping:
    """Drops without a longer pause between them."""

    began_s: float
    first_created_s: float
    last_created_s: float
    last_drop_s: float
    n_frames: int = 0
    n_bytes: int = 0
    was_told: bool = False

    @property
    def seconds(self) -> float:
        """Time that the dropped frames span."""
        return self.last_created_s - self.first_created_s


class FrameQueue:
    """Frames and values that wait for one thread to send them.

    Parameters
    ----------
    name
        For the log.
    longest_wait_s
        Age at which a frame that could not be sent is dropped. [seconds]
    max_bytes
        Sum of the payloads that may wait.
    monotonic
        Clock. [seconds]

    Attributes
    ----------
    filled
        Set while something waits.
    is_away
        Whether Redis is: then values take each other's place.
    dropped_count, dropped_bytes
        Frames that were too old or too many.
    superseded_count
        Values that were not sent because a newer one of their key came while Redis was away.
    """

    def __init__(
        self,
        name: str,
        longest_wait_s: float,
        max_bytes: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._monotonic = monotonic
        self._longest_wait_s = longest_wait_s
        self._max_bytes = max_bytes
        self._frames: deque[Frame] = deque()
        self._values: dict[str, Frame] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._rate = RateMeter()
        self._dropping: _Dropping | None = None
        self._is_small = False
        self.filled = threading.Event()
        self.is_away = False
        self.dropped_count = 0
        self.dropped_bytes = 0
        self.superseded_count = 0

    def put(self, frame: Frame) -> None:
        """Append a frame; never waits."""
        with self._lock:
            if frame.ttl_s is None:
                self._rate.note(len(frame.payload), frame.created_s)
            if self.is_away and frame.ttl_s is not None:
                self._keep_newest(frame)
            else:
                self._frames.append(frame)
                self._bytes += len(frame.payload)
            self._drop_surplus(frame.created_s)
        self.filled.set()

    def note_loss(self) -> None:
        """Redis is away: of what has a time to live, only the newest of each key is worth waiting."""
        with self._lock:
            if self.is_away:
                return
            self.is_away = True
            waiting, self._frames = self._frames, deque()
            self._bytes = 0
            for frame in waiting:
                if frame.ttl_s is not None:
                    self._keep_newest(frame)
                else:
                    self._frames.append(frame)
                    self._bytes += len(frame.payload)

    def next_batch(self) -> tuple[list[Frame], list[Frame]]:
        """Give the values and the oldest frames that wait; they stay until `remove`.

        Where nothing waits any more, Redis is not away any more.
        """
        with self._lock:
            values = list(self._values.values())
            batch = [self._frames[index] for index in range(min(BATCH_FRAMES, len(self._frames)))]
            if not batch and not values:
                self.is_away = False
                self.filled.clear()
        return values, batch

    def remove(self, values: list[Frame], batch: list[Frame]) -> None:
        """Take away what `next_batch` gave: it was sent."""
        sent = set(map(id, batch))
        with self._lock:
            # Some of the batch may have been dropped as too old while it was on its way.
            while self._frames and id(self._frames[0]) in sent:
                self._bytes -= len(self._frames.popleft().payload)
            for value in values:
                if self._values.get(value.channel) is value:
                    del self._values[value.channel]

    def drop_all(self) -> int:
        """Drop everything, and give how much that was: nobody will send it."""
        with self._lock:
            n_frames = len(self._frames) + len(self._values)
            self.dropped_count += n_frames
            self.dropped_bytes += self._bytes
            self._frames.clear()
            self._values.clear()
            self._bytes = 0
        return n_frames

    def status(self) -> dict[str, object]:
        """Give depth, age and drops, for the metrics; for any thread."""
        now_s = self._monotonic()
        with self._lock:
            return {
                "depth": len(self._frames) + len(self._values),
                "waiting_bytes": self._bytes,
                "limit_bytes": self._max_bytes,
                "oldest_age_s": round(now_s - self._frames[0].created_s, 3) if self._frames else 0.0,
                "longest_wait_s": self._longest_wait_s,
                "holds_s": round(self._holds_s(now_s), 1),
                "dropping": self._dropping is not None,
                "dropped_count": self.dropped_count,
                "dropped_bytes": self.dropped_bytes,
                "superseded_count": self.superseded_count,
            }

    def watch(self) -> None:
        """Tell what has changed: called again and again by the thread that takes."""
        now_s = self._monotonic()
        with self._lock:
            dropping, told = self._dropping, False
            if dropping is not None:
                told, dropping.was_told = dropping.was_told, True
                if now_s - dropping.last_drop_s > DROPPING_OVER_S:
                    self._dropping = None
            is_over = dropping is not None and self._dropping is None
            n_waiting, holds_s = len(self._frames), self._holds_s(now_s)
        if dropping is not None and not told:
            log.warning(
                "%s: Redis is away or too slow: %d messages wait, and the oldest are dropped beyond %.0f s or %d bytes",
                self._name,
                n_waiting,
                self._longest_wait_s,
                self._max_bytes,
                extra={"event": "redis_dropping"},
            )
        if dropping is not None and is_over:
            log.warning(
                "%s: %d messages (%d bytes, of %.1f s) were dropped in %.1f s; none since",
                self._name,
                dropping.n_frames,
                dropping.n_bytes,
                dropping.seconds,
                dropping.last_drop_s - dropping.began_s,
                extra={"event": "redis_dropping_over"},
            )
        self._tell_size(holds_s)

    def _tell_size(self, holds_s: float) -> None:
        """Say when the bytes hold fewer seconds than are wanted, and when they hold them again."""
        if holds_s < HELD_SHARE * self._longest_wait_s and not self._is_small:
            self._is_small = True
            log.warning(
                "%s: at the present rate it holds %.1f s without Redis, not %.0f s: outbox_memory_bytes is %d",
                self._name,
                holds_s,
                self._longest_wait_s,
                self._max_bytes,
            )
        elif holds_s >= self._longest_wait_s and self._is_small:
            self._is_small = False
            log.info("%s: it holds %.0f s without Redis again", self._name, self._longest_wait_s)

    def _holds_s(self, now_s: float) -> float:
        """Give the time without Redis after which frames would be dropped at the present rate. [seconds]"""
        rate = self._rate.rate(now_s)
        return min(self._longest_wait_s, self._max_bytes / rate) if rate else self._longest_wait_s

    def _keep_newest(self, frame: Frame) -> None:
        self.superseded_count += frame.channel in self._values
        self._values[frame.channel] = frame

    def _drop_surplus(self, now_s: float) -> None:
        while self._frames and (
            self._bytes > self._max_bytes or now_s - self._frames[0].created_s > self._longest_wait_s
        ):
            dropped = self._frames.popleft()
            n_bytes = len(dropped.payload)
            self._bytes -= n_bytes
            self.dropped_count += 1
            self.dropped_bytes += n_bytes
            if self._dropping is None:
                self._dropping = _Dropping(now_s, dropped.created_s, dropped.created_s, now_s)
            self._dropping.n_frames += 1
            self._dropping.n_bytes += n_bytes
            self._dropping.last_created_s = dropped.created_s
            self._dropping.last_drop_s = now_s

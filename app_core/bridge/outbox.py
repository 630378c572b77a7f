"""The way out to Redis: frames wait here while Redis is away, and go out in order when it is back.

A producer never waits: `Outbox.put` only appends. The queue is bounded in seconds and in bytes; what does not fit any
more is dropped from its old end and counted. Values with a time to live are no queue: of each key only the newest waits
while Redis is away.

Frames of a channel that has a history (`Outbox.keep_history`) are also written to it, in the same round trip and
before they are published: who hears a message finds it, and all before it, in the history.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import redis

from app_core.base.errors import LinkError
from app_core.base.lifecycle import Backoff, Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.history import (
    HistoryWriter,
    Position,
    history_limit_bytes,
    is_double,
    is_out_of_memory,
)

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
    history_memory_bytes
        Sum of the payloads that are remembered for a Redis that comes back empty, shared by all histories; None for
        what the settings say.

    Attributes
    ----------
    sent_count, dropped_count, refused_count
        Frames that went out, that were too old or too many, and that Redis refused.
    superseded_count
        Values that were not sent because a newer one of their key came while Redis was away.
    last_sent_s
        When Redis last took something. [monotonic seconds]
    """

    def __init__(
        self,
        settings: RedisSettings,
        *,
        name: str = "Outbox",
        longest_wait_s: float = 30.0,
        max_bytes: int = 256 * 1024 * 1024,
        history_memory_bytes: int | None = None,
    ) -> None:
        super().__init__(name)
        self._link = RedisLink(settings)
        self._longest_wait_s = longest_wait_s
        self._max_bytes = max_bytes
        self._history_memory_bytes = (
            settings.history_memory_bytes if history_memory_bytes is None else history_memory_bytes
        )
        self._histories: dict[str, HistoryWriter] = {}
        self._wanted_histories: dict[str, tuple[str, float]] = {}
        self._frames: deque[Frame] = deque()
        self._values: dict[str, Frame] = {}
        self._frames_lock = threading.Lock()
        self._waiting = threading.Event()
        self._bytes = 0
        self._is_away = False
        self._is_attached = False
        self.sent_count = 0
        self.dropped_count = 0
        self.refused_count = 0
        self.superseded_count = 0
        self.last_sent_s: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the last exchange with Redis succeeded."""
        return self._link.connected

    def keep_history(self, channel: str, key: str, history_s: float) -> None:
        """Write the frames of `channel` also to the stream `key`, for `history_s` seconds; called before the start."""
        self._wanted_histories[channel] = (key, history_s)
        memory_bytes = self._history_memory_bytes // len(self._wanted_histories)
        self._histories = {
            name: HistoryWriter(stream, seconds, memory_bytes)
            for name, (stream, seconds) in self._wanted_histories.items()
        }

    def put(self, channel: str, payload: bytes, *, ttl_s: int | None = None, position: Position | None = None) -> None:
        """Hand over one frame; never waits for Redis."""
        self._take(Frame(channel, payload, ttl_s, time.monotonic(), position))

    def push(self, list_key: str, payload: bytes) -> None:
        """Hand over one item for the left end of a list; never waits. After a lost connection it may come twice."""
        self._take(Frame(list_key, payload, None, time.monotonic(), is_pushed=True))

    def status(self) -> dict[str, object]:
        """Give depth, age and drops of the queue, for the metrics."""
        with self._frames_lock:
            depth, waiting_bytes = len(self._frames) + len(self._values), self._bytes
            age_s = time.monotonic() - self._frames[0].created_s if self._frames else 0.0
        status: dict[str, object] = {
            "connected": self.connected,
            "depth": depth,
            "waiting_bytes": waiting_bytes,
            "oldest_age_s": round(age_s, 3),
            "sent_count": self.sent_count,
            "dropped_count": self.dropped_count,
            "refused_count": self.refused_count,
            "superseded_count": self.superseded_count,
        }
        if self._histories:
            status["histories"] = {writer.key: writer.status() for writer in self._histories.values()}
        return status

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
                self._note_loss()
                stopping.wait(backoff.next_wait_s())
        try:
            self._send_waiting()
        except LinkError:
            self.dropped_count += len(self._frames) + len(self._values)
        self._link.close()

    def _take(self, frame: Frame) -> None:
        with self._frames_lock:
            if self._is_away and frame.ttl_s is not None:
                self._keep_newest(frame)
            else:
                self._frames.append(frame)
                self._bytes += len(frame.payload)
            self._drop_surplus(frame.created_s)
        self._waiting.set()

    def _note_loss(self) -> None:
        """Redis is away: of what has a time to live, only the newest of each key is worth waiting."""
        self._is_attached = False
        with self._frames_lock:
            if self._is_away:
                return
            self._is_away = True
            waiting, self._frames = self._frames, deque()
            self._bytes = 0
            for frame in waiting:
                if frame.ttl_s is not None:
                    self._keep_newest(frame)
                else:
                    self._frames.append(frame)
                    self._bytes += len(frame.payload)

    def _keep_newest(self, frame: Frame) -> None:
        self.superseded_count += frame.channel in self._values
        self._values[frame.channel] = frame

    def _drop_surplus(self, now_s: float) -> None:
        while self._frames and (
            self._bytes > self._max_bytes or now_s - self._frames[0].created_s > self._longest_wait_s
        ):
            self._bytes -= len(self._frames.popleft().payload)
            self.dropped_count += 1

    def _send_waiting(self) -> None:
        if self._histories and not self._is_attached:
            self._link.call(self._attach)
            self._is_attached = True
        while True:
            with self._frames_lock:
                values = list(self._values.values())
                batch = [self._frames[index] for index in range(min(_BATCH_FRAMES, len(self._frames)))]
                if not batch and not values:
                    self._is_away = False
                    self._waiting.clear()
                    return
            # The values first: they say that the service is well, while a long queue is still on its way.
            self._link.call(partial(self._send, [*values, *batch]))
            with self._frames_lock:
                # Some of the batch may have been dropped as too old while it was on its way.
                sent = set(map(id, batch))
                while self._frames and id(self._frames[0]) in sent:
                    self._bytes -= len(self._frames.popleft().payload)
                for value in values:
                    if self._values.get(value.channel) is value:
                        del self._values[value.channel]
            self.sent_count += len(values) + len(batch)
            self.last_sent_s = time.monotonic()

    def _attach(self, client: redis.Redis) -> None:
        """See what this Redis has of the histories; give back what it has lost."""
        limit_bytes = history_limit_bytes(client) // len(self._histories)
        for writer in self._histories.values():
            writer.attach(client, limit_bytes)

    def _send(self, batch: list[Frame], client: redis.Redis) -> None:
        """Send some frames, and count the commands that Redis refused while it took others.

        A refusal of all of them is the connection's fault (no password, still loading) and is raised; a single one (no
        right to that key, no memory left) would be refused for ever, and must not hold back what stands behind it.
        """
        now_s = time.monotonic()
        pipeline = client.pipeline(transaction=False)
        kept: list[tuple[int, HistoryWriter, Position, Frame]] = []
        for frame in batch:
            if frame.is_pushed:
                pipeline.lpush(frame.channel, frame.payload)
                continue
            if frame.ttl_s is not None:
                # A value that has waited lives only for the rest of its time: a key that is there is fresh.
                left_ms = round(1000.0 * (frame.ttl_s - (now_s - frame.created_s)))
                if left_ms > 0:
                    pipeline.set(frame.channel, frame.payload, px=left_ms)
            writer = self._histories.get(frame.channel)
            if writer is not None and frame.position is not None:
                writer.add(pipeline, frame.position, frame.payload, frame.created_s)
                kept.append((len(pipeline) - 1, writer, frame.position, frame))
            pipeline.publish(frame.channel, frame.payload)
        writers = {id(writer): writer for _, writer, _, _ in kept}.values()
        for writer in writers:
            writer.close_batch(pipeline)
        answers: list[object] = pipeline.execute(raise_on_error=False)
        refusals = [answer for answer in answers if isinstance(answer, redis.RedisError) and not is_double(answer)]
        if refusals and len(refusals) == len(answers):
            raise refusals[0]
        self._note_refusals(answer for answer in refusals if not is_out_of_memory(answer) or not writers)
        for writer in writers:
            refused = [
                (position, frame.payload, frame.created_s)
                for index, other, position, frame in kept
                if other is writer and is_out_of_memory(answers[index])
            ]
            if refused:
                writer.shorten(client, refused)
        for _, writer, position, frame in kept:
            writer.remember(position, frame.payload, frame.created_s)

    def _note_refusals(self, refusals: Iterable[redis.RedisError]) -> None:
        for refusal in refusals:
            self.refused_count += 1
            _limited_log.warning("refused", "Redis refuses a message: %s", refusal)

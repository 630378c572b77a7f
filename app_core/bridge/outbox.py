"""The way out to Redis: frames wait here while Redis is away, and go out in order when it is back.

A producer never waits: `Outbox.put` only appends to a `FrameQueue`, which is bounded in seconds and in bytes.

Frames of a channel that has a history (`Outbox.keep_history`) are also written to it, in the same round trip and
before they are published: who hears a message finds it, and all before it, in the history.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from functools import partial

import redis

from app_core.base.errors import LinkError
from app_core.base.lifecycle import Backoff, Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.frame_queue import Frame, FrameQueue
from app_core.bridge.histories import Histories
from app_core.bridge.history import Position
from app_core.bridge.history_writer import HistoryWriter, is_double, is_out_of_memory

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log, interval_s=10.0)


class Outbox(Worker):
    """Publish frames in the order in which they were put.

    Parameters
    ----------
    settings
        Where Redis is.
    longest_wait_s
        Age at which a frame that could not be sent is dropped. [seconds]
    max_bytes
        Sum of the payloads that may wait; None for what the settings say.
    history_memory_bytes
        Sum of the payloads that are remembered for a Redis that comes back empty, shared by all histories; None for
        what the settings say.

    Attributes
    ----------
    sent_count, refused_count
        Frames that went out, and that Redis refused.
    last_sent_s
        When Redis last took something. [monotonic seconds]
    """

    def __init__(
        self,
        settings: RedisSettings,
        *,
        name: str = "Outbox",
        longest_wait_s: float = 30.0,
        max_bytes: int | None = None,
        history_memory_bytes: int | None = None,
    ) -> None:
        super().__init__(name)
        self._link = RedisLink(settings)
        self._queue = FrameQueue(name, longest_wait_s, settings.outbox_memory_bytes if max_bytes is None else max_bytes)
        self._histories = Histories(
            settings.history_memory_bytes if history_memory_bytes is None else history_memory_bytes
        )
        self.sent_count = 0
        self.refused_count = 0
        self.last_sent_s: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the last exchange with Redis succeeded."""
        return self._link.connected

    @property
    def dropped_count(self) -> int:
        """Frames that were too old or too many."""
        return self._queue.dropped_count

    @property
    def superseded_count(self) -> int:
        """Values that were not sent because a newer one of their key came while Redis was away."""
        return self._queue.superseded_count

    def keep_history(self, channel: str, key: str, history_s: float) -> None:
        """Write the frames of `channel` also to the stream `key`, for `history_s` seconds; called before the start."""
        self._histories.keep(channel, key, history_s)

    def put(self, channel: str, payload: bytes, *, ttl_s: int | None = None, position: Position | None = None) -> None:
        """Hand over one frame; never waits for Redis."""
        self._queue.put(Frame(channel, payload, ttl_s, time.monotonic(), position))

    def push(self, list_key: str, payload: bytes) -> None:
        """Hand over one item for the left end of a list; never waits. After a lost connection it may come twice."""
        self._queue.put(Frame(list_key, payload, None, time.monotonic(), is_pushed=True))

    def status(self) -> dict[str, object]:
        """Give depth, age and drops of the queue, and the size of the histories, for the metrics."""
        status: dict[str, object] = {
            "connected": self.connected,
            **self._queue.status(),
            "sent_count": self.sent_count,
            "refused_count": self.refused_count,
        }
        histories = self._histories.status()
        if histories:
            status["histories"] = histories
        return status

    def run(self, stopping: threading.Event) -> None:
        """Send until stopped; what waits at the stop is given one last try."""
        backoff = Backoff(0.05, 2.0)
        while not stopping.is_set():
            self._queue.watch()
            if not self._queue.filled.wait(0.2):
                continue
            try:
                self._send_waiting(stopping)
                backoff.reset()
            except LinkError:
                self._histories.note_loss()
                self._queue.note_loss()
                stopping.wait(backoff.next_wait_s())
        try:
            self._send_waiting()
        except LinkError:
            log.warning("%s: %d messages could not be sent before the end", self.name, self._queue.drop_all())
        self._link.close()

    def _send_waiting(self, stopping: threading.Event | None = None) -> None:
        """Send until nothing waits, or until stopped; each batch is a look at `stopping`, and so a sign of life."""
        while stopping is None or not stopping.is_set():
            if self._histories.wants_look(time.monotonic()):
                self._link.call(self._histories.look)
            values, batch = self._queue.next_batch()
            if not batch and not values:
                return
            # The values first: they say that the service is well, while a long queue is still on its way.
            self._link.call(partial(self._send, [*values, *batch]))
            self._queue.remove(values, batch)
            self._queue.watch()
            self.sent_count += len(values) + len(batch)
            self.last_sent_s = time.monotonic()

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
            writer = self._histories.writer(frame.channel)
            if writer is not None and frame.position is not None:
                writer.add(pipeline, frame.position, frame.payload, frame.created_s)
                kept.append((len(pipeline) - 1, writer, frame.position, frame))
            pipeline.publish(frame.channel, frame.payload)
        writers = {id(writer): writer for _, writer, _, _ in kept}.values()
        for writer in writers:
            writer.close_batch(pipeline)
        answers: list[object] = pipeline.execute(raise_on_error=False)
        refusals = {
            index: answer
            for index, answer in enumerate(answers)
            if isinstance(answer, redis.RedisError) and not is_double(answer)
        }
        if refusals and len(refusals) == len(answers):
            raise refusals[0]
        # What a history had no memory for is offered again below.
        offered_again = {index for index, _, _, _ in kept if is_out_of_memory(answers[index])}
        self._note_refusals(answer for index, answer in refusals.items() if index not in offered_again)
        for writer in writers:
            refused = [
                (position, frame.payload, frame.created_s)
                for index, other, position, frame in kept
                if other is writer and index in offered_again
            ]
            if refused:
                writer.shorten(client, refused)
        for _, writer, position, frame in kept:
            writer.remember(position, frame.payload, frame.created_s)

    def _note_refusals(self, refusals: Iterable[redis.RedisError]) -> None:
        for refusal in refusals:
            self.refused_count += 1
            _limited_log.warning("refused", "Redis refuses a message: %s", refusal)

"""The audio of all sources as it comes from the decode job, in one queue per source for any number of takers.

One subscription brings every source. A frame is looked at only when somebody takes that source.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from typing import Any

from app_core.audio.broadcast_queue import BroadcastQueue
from app_core.base.errors import WireError
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge import keys
from app_core.bridge.connection import RedisSettings
from app_core.bridge.pcm_frame import decode_pcm
from app_core.bridge.pubsub import Subscriber

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log)


FORGET_AFTER_S = 60.0
"""A queue that nobody takes or names is kept for so long after it was last asked for. [seconds]"""


class PcmFeed:
    """Every source's audio, by its id.

    Parameters
    ----------
    redis
        Where Redis is.

    Attributes
    ----------
    malformed_count
        Frames that could not be read.
    subscriber
        The thread that receives; a supervisor may have it replaced by `renew`.
    """

    def __init__(self, redis: RedisSettings) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._queues: dict[str, BroadcastQueue] = {}
        # When each was last asked for, for between that and the subscription it must not go. [monotonic seconds]
        self._asked_s: dict[str, float] = {}
        self.malformed_count = 0
        self.subscriber = self._fresh_subscriber()

    def queue(self, channel_id: str) -> BroadcastQueue:
        """Give the queue of one source, which need not have audio yet; for any thread."""
        with self._lock:
            self._asked_s[channel_id] = time.monotonic()
            queue = self._queues.get(channel_id)
            if queue is None:
                queue = self._queues[channel_id] = BroadcastQueue(channel_id)
            return queue

    def forget(self, named: Collection[str]) -> None:
        """Let go the queues of sources that are gone.

        Parameters
        ----------
        named
            Ids of the sources that there are; their queues are kept, and so are those that somebody takes.
        """
        longest_ago_s = time.monotonic() - FORGET_AFTER_S
        with self._lock:
            for channel_id, queue in list(self._queues.items()):
                if channel_id not in named and not queue.has_subscribers and self._asked_s[channel_id] < longest_ago_s:
                    del self._queues[channel_id], self._asked_s[channel_id]

    def renew(self) -> Subscriber:
        """Give a fresh subscriber in place of one that has died."""
        if self.subscriber.was_started:
            self.subscriber = self._fresh_subscriber()
        return self.subscriber

    def take(self, name: str, frame: bytes) -> None:
        """Take one frame that came on a channel of Redis."""
        channel_id = keys.channel_of_pcm(name)
        # Without the lock: a dictionary's look-up is whole, and a queue that is taken stays.
        queue = self._queues.get(channel_id)
        if queue is None or not queue.has_subscribers:
            return
        try:
            block = decode_pcm(frame)
        except WireError as error:
            self.malformed_count += 1
            _limited_log.warning(channel_id, "audio of %s: %s", channel_id, error)
            return
        queue.put(block)

    def status(self) -> dict[str, Any]:
        """Give the health of the subscription, and of every source its last audio and the queues behind it."""
        now_s = time.monotonic()
        with self._lock:
            queues = dict(self._queues)
        return {
            "connected": self.subscriber.connected,
            "messages": self.subscriber.message_count,
            "malformed": self.malformed_count,
            "sources": {
                channel_id: {
                    "last_pcm_age_s": None if queue.last_put_s is None else round(now_s - queue.last_put_s, 3),
                    "blocks": queue.block_count,
                    "longest_put_s": round(queue.longest_put_s, 6),
                    "queues": queue.status(),
                }
                for channel_id, queue in queues.items()
            },
        }

    def _fresh_subscriber(self) -> Subscriber:
        return Subscriber(self._redis, (), self.take, name="PcmFeed", patterns=(keys.EVERY_PCM,))

"""The way in from Redis: subscriptions that come back for ever."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import redis

from app_core.base.errors import LinkError
from app_core.base.lifecycle import Backoff, Worker
from app_core.bridge.connection import RedisLink, RedisSettings

log = logging.getLogger(__name__)

_PING_AFTER_S = 1.0
"""A connection that was silent this long is asked whether it lives. [seconds]"""

_DEAD_AFTER_S = 5.0
"""A connection that does not answer this long is closed and made anew. [seconds]"""


class Subscriber(Worker):
    """Receive the messages of some channels, through any number of losses of the connection.

    Parameters
    ----------
    settings
        Where Redis is.
    channels
        Names of the channels.
    patterns
        Patterns of further channels, as Redis's PSUBSCRIBE takes them.
    on_message
        Called in this worker's thread with the channel and the payload. It must not wait and must not raise.
    """

    def __init__(
        self,
        settings: RedisSettings,
        channels: Sequence[str],
        on_message: Callable[[str, bytes], None],
        *,
        name: str = "Subscriber",
        patterns: Sequence[str] = (),
    ) -> None:
        super().__init__(name)
        self._link = RedisLink(settings)
        self._channels = list(channels)
        self._patterns = list(patterns)
        self._on_message = on_message
        self.message_count = 0
        self.subscription_count = 0
        self.last_message_s: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the subscription stands."""
        return self._link.connected

    def run(self, stopping: threading.Event) -> None:
        """Subscribe, hand messages over, subscribe again when the connection is lost."""
        backoff = Backoff(0.05, 2.0)
        while not stopping.is_set():
            try:
                self._link.call(lambda client: self._listen(client, stopping, backoff))
            except LinkError:
                stopping.wait(backoff.next_wait_s())
        self._link.close()

    def _listen(self, client: redis.Redis, stopping: threading.Event, backoff: Backoff) -> None:
        """Receive until stopped; a lost connection leaves as redis-py's own error."""
        with client.pubsub() as subscription:  # type: ignore[no-untyped-call]
            if self._channels:
                subscription.subscribe(*self._channels)
            if self._patterns:
                subscription.psubscribe(*self._patterns)
            heard_s = pinged_s = time.monotonic()
            while not stopping.is_set():
                message = subscription.get_message(timeout=0.2)
                now_s = time.monotonic()
                if message is not None:
                    heard_s = now_s
                    self._take(message, backoff)
                elif now_s - heard_s > _DEAD_AFTER_S:
                    raise redis.ConnectionError(f"no answer for {_DEAD_AFTER_S:.0f} s")
                elif now_s - heard_s > _PING_AFTER_S and now_s - pinged_s > _PING_AFTER_S:
                    pinged_s = now_s
                    subscription.ping()

    def _take(self, message: dict[str, object], backoff: Backoff) -> None:
        kind = message["type"]
        if kind in ("subscribe", "psubscribe"):
            if not self._link.connected:
                self._link.connected = True
                log.info("subscribed to %s", _text(message["channel"]))
            self.subscription_count += 1
            backoff.reset()
        elif kind in ("message", "pmessage"):
            self.message_count += 1
            self.last_message_s = time.monotonic()
            payload = message["data"]
            if isinstance(payload, bytes):
                self._on_message(_text(message["channel"]), payload)


def _text(channel: object) -> str:
    return channel.decode("utf-8", "replace") if isinstance(channel, bytes) else str(channel)

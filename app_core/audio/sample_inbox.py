"""The messages of one receiver in their order: live while all is well, from the history where some are missing.

A subscriber thread only appends to a queue that is bounded in seconds and bytes. The decode thread takes from it. After
every subscription, and where the next message does not follow the last one, it reads the history first, a chunk at a
time and at its own pace, until the history has no more; what waits in the queue then came before, or is next. So a
queue that overflows loses nothing that the history still has.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

from app_core.base.errors import LinkError
from app_core.bridge.history import HistoryReader, Position

log = logging.getLogger(__name__)

QUEUE_S = 30.0
"""Age at which a message that could not be decoded yet is left to the history. [seconds]"""

QUEUE_BYTES = 64 * 1024 * 1024
"""Sum of the messages that may wait."""

HISTORY_PATIENCE_S = 5.0
"""A history that cannot be read for this long is given up: what is live goes on without. [seconds]"""

_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message.

    Attributes
    ----------
    payload
        As published.
    arrived_s
        When it came; None for what the history gave. [monotonic seconds]
    """

    payload: bytes
    arrived_s: float | None


class SampleInbox:
    """Give the messages of one receiver to its decode thread.

    Parameters
    ----------
    history
        The receiver's history.

    Attributes
    ----------
    overflow_count
        Messages that found no room in the queue; the history may have them.
    history_count
        Messages that came out of the history.
    """

    def __init__(self, history: HistoryReader) -> None:
        self._history = history
        self._live: deque[Arrival] = deque()
        self._live_bytes = 0
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._is_catching_up = False
        self._began_s = 0.0
        self._retry_s = 0.0
        self.overflow_count = 0
        self.history_count = 0

    @property
    def is_catching_up(self) -> bool:
        """Whether the history is being read."""
        return self._is_catching_up

    @property
    def depth(self) -> int:
        """Messages in the queue."""
        return len(self._live)

    @property
    def oldest_age_s(self) -> float:
        """Age of the oldest message in the queue. [seconds]"""
        with self._lock:
            arrived_s = self._live[0].arrived_s if self._live else None
        return 0.0 if arrived_s is None else time.monotonic() - arrived_s

    def put(self, payload: bytes) -> None:
        """Append a live message; never waits. The oldest one goes where there is no room."""
        now_s = time.monotonic()
        with self._lock:
            self._live.append(Arrival(payload, now_s))
            self._live_bytes += len(payload)
            while self._live and (
                self._live_bytes > QUEUE_BYTES or now_s - (self._live[0].arrived_s or now_s) > QUEUE_S
            ):
                self._live_bytes -= len(self._live.popleft().payload)
                self.overflow_count += 1
        self._arrived.set()

    def put_back(self, arrival: Arrival) -> None:
        """Give back what `take` gave: it shall come again, after what the history has."""
        with self._lock:
            self._live.appendleft(arrival)
            self._live_bytes += len(arrival.payload)

    def catch_up(self, position: Position | None) -> None:
        """Read the history from `position` on, None for all of it, before the next live message."""
        self._history.begin(position)
        self._is_catching_up = True
        self._began_s = time.monotonic()
        self._retry_s = 0.0

    def take(self, timeout_s: float) -> Arrival | None:
        """Give the next message; None when there was none within `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            if self._is_catching_up and time.monotonic() >= self._retry_s:
                payload = self._from_history()
                if payload is not None:
                    self.history_count += 1
                    return Arrival(payload, None)
            if not self._is_catching_up:
                with self._lock:
                    if self._live:
                        arrival = self._live.popleft()
                        self._live_bytes -= len(arrival.payload)
                        return arrival
                    self._arrived.clear()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            if self._is_catching_up:
                time.sleep(min(left_s, _RETRY_S))
            elif not self._arrived.wait(left_s):
                return None

    def close(self) -> None:
        """Close the way to the history."""
        self._history.close()

    def _from_history(self) -> bytes | None:
        """Give its next frame; None at its end, after which the live messages follow, and while it cannot be read."""
        try:
            payload = self._history.next_frame()
        except LinkError as error:
            now_s = time.monotonic()
            self._retry_s = now_s + _RETRY_S
            if now_s - self._began_s > HISTORY_PATIENCE_S:
                self._is_catching_up = False
                log.warning("the history cannot be read: %s; what is live goes on without it", error)
            return None
        self._began_s = time.monotonic()
        if payload is None:
            self._is_catching_up = False
        return payload

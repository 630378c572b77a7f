"""The queue between the decode loop and the keeper. The decode loop only appends; what is too much is counted.

Audio and events share one queue, so that they are met in the order in which they came. Audio is bounded by each
channel's seconds, so that a disk that hangs costs the recording and nothing else; events have a bound that no real
station reaches.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app_core.eas.events import AttentionHeard, EndOfMessage, HeaderDecoded


@dataclass(frozen=True, slots=True)
class QueuedPcm:
    """Audio of one channel.

    Attributes
    ----------
    channel_id
        Whose audio.
    pcm
        Shape (n,), a copy of our own. [full scale = ±32767]
    sample_rate_hz, first_sample, timestamp, config_epoch
        As in `PcmBlock`.
    monotonic_s
        When it came. [seconds of the monotonic clock]
    """

    channel_id: str
    pcm: NDArray[np.int16]
    sample_rate_hz: float
    first_sample: int
    timestamp: float
    config_epoch: int
    monotonic_s: float

    @property
    def seconds(self) -> float:
        """Duration. [seconds]"""
        return len(self.pcm) / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class QueuedEvent:
    """A header, an attention signal or an end of message.

    Attributes
    ----------
    channel_id, receiver_id
        Where it was heard.
    event
        As the decoder gave it.
    start_s, end_s
        Its extent. [UTC seconds]
    monotonic_s
        When it came. [seconds of the monotonic clock]
    """

    channel_id: str
    receiver_id: str
    event: HeaderDecoded | AttentionHeard | EndOfMessage
    start_s: float
    end_s: float
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class QueuedEnd:
    """The end of a channel: there will be no more of it."""

    channel_id: str


Queued = QueuedPcm | QueuedEvent | QueuedEnd


class Intake:
    """The queue. Every method may be called from any thread and returns at once.

    Parameters
    ----------
    pcm_s
        Most audio of one channel that waits. [seconds]
    n_events
        Most events that wait.

    Attributes
    ----------
    dropped_pcm_s
        Audio that found no place, by channel. [seconds]
    dropped_events
        Events that found none.
    arrived
        Set whenever an event came; audio does not set it, for it can wait.
    """

    def __init__(self, pcm_s: float, n_events: int) -> None:
        self.dropped_pcm_s: dict[str, float] = {}
        self.dropped_events = 0
        self.arrived = threading.Event()
        self._pcm_s = pcm_s
        self._n_events = n_events
        self._queue: deque[Queued] = deque()
        self._queued_s: dict[str, float] = {}
        self._queued_events = 0
        # Held for a few instructions only, never while anything is done with an item.
        self._lock = threading.Lock()

    def put_pcm(self, item: QueuedPcm) -> None:
        """Append audio, or drop it: the newest goes, and shows as a jump of the sample counter."""
        with self._lock:
            queued_s = self._queued_s.get(item.channel_id, 0.0) + item.seconds
            if queued_s > self._pcm_s:
                self.dropped_pcm_s[item.channel_id] = self.dropped_pcm_s.get(item.channel_id, 0.0) + item.seconds
            else:
                self._queued_s[item.channel_id] = queued_s
                self._queue.append(item)

    def put_event(self, item: QueuedEvent) -> None:
        """Append an event."""
        with self._lock:
            if self._queued_events >= self._n_events:
                self.dropped_events += 1
                return
            self._queued_events += 1
            self._queue.append(item)
        self.arrived.set()

    def put_end(self, item: QueuedEnd) -> None:
        """Append the end of a channel, behind all that came of it."""
        with self._lock:
            self._queue.append(item)
        self.arrived.set()

    def take(self) -> Queued | None:
        """Give the next item, or None."""
        with self._lock:
            if not self._queue:
                return None
            item = self._queue.popleft()
            if isinstance(item, QueuedPcm):
                self._queued_s[item.channel_id] -= item.seconds
            elif isinstance(item, QueuedEvent):
                self._queued_events -= 1
            return item

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._queue

    @property
    def queued_events(self) -> int:
        """Events that wait."""
        return self._queued_events

    @property
    def queued_pcm_s(self) -> float:
        """Audio that waits, of the channel that has the most. [seconds]"""
        with self._lock:
            return max(self._queued_s.values(), default=0.0)

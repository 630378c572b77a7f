"""One source's audio for any number of takers, each with a queue of its own, bounded in seconds.

A taker that is slow loses its own oldest audio, which is counted, and touches nobody else; whoever puts never waits.
Audio that is late by more than a queue's length is of no use to a listener, so the bound is a time and no number of
blocks: a number means 5 s of one source and 14 minutes of another.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from app_core.base.blocks import PcmBlock

ICECAST_LONGEST_S = 5.0
"""What an Icecast mount may lag before it loses audio. [seconds]"""

WEB_LONGEST_S = 2.0
"""The same for a listener on the web. [seconds]"""

CHUNK_S = 0.05
"""The chunk in which the classic chain of buffers counts: 50 ms, 1,200 samples at 24 kHz. [seconds]"""

ADAPTER_CHUNKS = round(ICECAST_LONGEST_S / CHUNK_S)
"""`ICECAST_LONGEST_S` in chunks, 100: the classic ``_audio_chunk_queue`` (5 s)."""

BROADCAST_CHUNKS = 10_000
"""The classic ``_source_broadcast``: 8 to 14 minutes of stale audio. No queue here is as long; it is named so that who
looks for it finds what took its place."""

FEED_CHUNKS = round(30.0 / CHUNK_S)
"""The classic feed loop's ``deque``, 600 chunks (30 s). Here FFmpeg is fed straight from its `Subscription`."""


SHORTEST_BLOCK_S = 0.001
"""No source has shorter blocks: what waits is also bounded by the number of blocks that this makes. [seconds]"""

_ROUNDING_S = 1e-6
"""What sums of durations may be off by. [seconds]"""


class Subscription:
    """The queue of one taker; made by `BroadcastQueue.subscribe`.

    Parameters
    ----------
    name
        Who takes.
    longest_s
        Audio that may wait; beyond it the oldest goes, as it does beyond `longest_s` / `SHORTEST_BLOCK_S` blocks. One
        block always fits, however long. [seconds]

    Attributes
    ----------
    dropped_count
        Blocks that went unheard.
    dropped_s
        The audio in them. [seconds]
    """

    def __init__(self, name: str, longest_s: float) -> None:
        self.name = name
        self.longest_s = longest_s
        self.dropped_count = 0
        self.dropped_s = 0.0
        self._most_blocks = max(1, round(longest_s / SHORTEST_BLOCK_S))
        self._blocks: deque[tuple[PcmBlock, float, float]] = deque()
        self._depth_s = 0.0
        self._closed = False
        self._filled = threading.Condition(threading.Lock())

    @property
    def depth_s(self) -> float:
        """Audio that waits. [seconds]"""
        return self._depth_s

    @property
    def age_s(self) -> float:
        """Time for which the oldest block has waited; 0 when none does. [seconds]"""
        with self._filled:
            return time.monotonic() - self._blocks[0][2] if self._blocks else 0.0

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    def get(self, timeout_s: float) -> PcmBlock | None:
        """Take the oldest block, waiting for one no longer than `timeout_s`; None when there is none, or it is closed.

        What was queued before it was closed can still be taken.
        """
        with self._filled:
            if not self._blocks and not self._closed and timeout_s > 0.0:
                self._filled.wait(timeout_s)
            if not self._blocks:
                return None
            block, duration_s, _ = self._blocks.popleft()
            self._depth_s = self._depth_s - duration_s if self._blocks else 0.0
            return block

    def clear(self) -> None:
        """Let go what waits; it is not counted as dropped, since its taker wants it so."""
        with self._filled:
            self._blocks.clear()
            self._depth_s = 0.0

    def close(self) -> None:
        """Take no more, and wake who waits."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()

    def put(self, block: PcmBlock) -> None:
        """Append one block; the oldest ones go when it grows too long. For the `BroadcastQueue`."""
        duration_s = len(block.pcm) / block.sample_rate_hz
        with self._filled:
            if self._closed:
                return
            self._blocks.append((block, duration_s, time.monotonic()))
            self._depth_s += duration_s
            while self._is_too_much() and len(self._blocks) > 1:
                _, lost_s, _ = self._blocks.popleft()
                # Not by a difference where one block is left: that of an endless one would be no number.
                self._depth_s = self._depth_s - lost_s if len(self._blocks) > 1 else duration_s
                self.dropped_count += 1
                self.dropped_s += lost_s
            self._filled.notify()

    def _is_too_much(self) -> bool:
        return self._depth_s > self.longest_s + _ROUNDING_S or len(self._blocks) > self._most_blocks

    def status(self) -> dict[str, Any]:
        """Give depth, age and drops."""
        return {
            "depth_s": round(self.depth_s, 3),
            "age_s": round(self.age_s, 3),
            "longest_s": self.longest_s,
            "dropped_count": self.dropped_count,
            "dropped_s": round(self.dropped_s, 3),
        }


class BroadcastQueue:
    """The audio of one source, for all who subscribed.

    Parameters
    ----------
    name
        Id of the source.

    Attributes
    ----------
    block_count
        Blocks that were put.
    last_put_s
        When the last one was, None before the first. [monotonic seconds]
    longest_put_s
        Longest time that `put` took. [seconds]
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.block_count = 0
        self.last_put_s: float | None = None
        self.longest_put_s = 0.0
        self._lock = threading.Lock()
        # Replaced as a whole, never changed, so that `put` goes through it without a lock.
        self._subscriptions: tuple[Subscription, ...] = ()

    @property
    def has_subscribers(self) -> bool:
        """Whether anybody takes."""
        return bool(self._subscriptions)

    def subscribe(self, name: str, longest_s: float) -> Subscription:
        """Begin to take, from the next block on; end it with `Subscription.close`."""
        subscription = Subscription(name, longest_s)
        with self._lock:
            self._subscriptions = (*(other for other in self._subscriptions if not other.is_closed), subscription)
        return subscription

    def put(self, block: PcmBlock) -> None:
        """Give one block to all; never waits for any of them."""
        began_s = time.monotonic()
        closed = False
        for subscription in self._subscriptions:
            subscription.put(block)
            closed = closed or subscription.is_closed
        if closed:
            with self._lock:
                self._subscriptions = tuple(other for other in self._subscriptions if not other.is_closed)
        self.block_count += 1
        self.last_put_s = time.monotonic()
        self.longest_put_s = max(self.longest_put_s, self.last_put_s - began_s)

    def status(self) -> dict[str, dict[str, Any]]:
        """Give `Subscription.status` of each, by its name."""
        return {
            subscription.name: subscription.status()
            for subscription in self._subscriptions
            if not subscription.is_closed
        }

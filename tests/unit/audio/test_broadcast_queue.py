from __future__ import annotations

import threading

import numpy as np
import pytest

from app_core.audio import broadcast_queue
from app_core.audio.broadcast_queue import BroadcastQueue
from app_core.base.blocks import PcmBlock


def block(number: int, seconds: float = 0.1, rate_hz: float = 8000.0) -> PcmBlock:
    return PcmBlock(np.zeros(round(seconds * rate_hz), np.float32), rate_hz, number, 0.0, 0)


def test_everybody_gets_every_block_in_order() -> None:
    queue = BroadcastQueue("wx")
    takers = [queue.subscribe(name, 5.0) for name in ("one", "two")]
    for number in range(5):
        queue.put(block(number))
    for taker in takers:
        got = [taker.get(0.0) for _ in range(5)]
        assert [each.first_sample for each in got if each is not None] == [0, 1, 2, 3, 4]
        assert taker.get(0.0) is None


def test_a_slow_taker_loses_its_oldest_audio_and_touches_nobody_else() -> None:
    queue = BroadcastQueue("wx")
    slow, well = queue.subscribe("slow", 0.5), queue.subscribe("well", 5.0)
    for number in range(20):
        queue.put(block(number))
    assert slow.depth_s == pytest.approx(0.5)
    assert slow.dropped_count == 15
    assert slow.dropped_s == pytest.approx(1.5)
    oldest = slow.get(0.0)
    assert oldest is not None
    assert oldest.first_sample == 15
    assert well.dropped_count == 0
    assert well.depth_s == pytest.approx(2.0)


def test_the_bound_is_a_time_whatever_the_rate() -> None:
    queue = BroadcastQueue("wx")
    taker = queue.subscribe("taker", 1.0)
    for number in range(100):
        queue.put(block(number, 0.1, 48_000.0))
    assert taker.depth_s == pytest.approx(1.0)


def test_a_block_without_end_is_dropped_like_another() -> None:
    queue = BroadcastQueue("wx")
    taker = queue.subscribe("taker", 0.5)
    queue.put(PcmBlock(np.zeros(1, np.float32), 5e-324, 0, 0.0, 0))
    for number in range(1, 20):
        queue.put(block(number))
    assert taker.depth_s == pytest.approx(0.5)
    assert taker.dropped_count == 15


def test_a_block_longer_than_the_bound_is_kept() -> None:
    queue = BroadcastQueue("wx")
    taker = queue.subscribe("taker", 1.0)
    queue.put(block(7, 3.0))
    kept = taker.get(0.0)
    assert kept is not None
    assert kept.first_sample == 7
    assert taker.depth_s == 0.0


@pytest.mark.parametrize("rate_hz", [1e-308, 1e-200])
def test_a_block_of_an_absurd_length_leaves_the_bound_as_it_was(rate_hz: float) -> None:
    queue = BroadcastQueue("wx")
    taker = queue.subscribe("taker", 1.0)
    queue.put(block(0))
    queue.put(PcmBlock(np.zeros(100, np.float32), rate_hz, 1, 0.0, 0))
    for number in range(2, 100):
        queue.put(block(number))
    assert taker.depth_s == pytest.approx(1.0)
    assert taker.dropped_count == 90
    while taker.get(0.0) is not None:
        pass
    assert taker.depth_s == 0.0


def test_tiny_blocks_are_bounded_by_their_number() -> None:
    queue = BroadcastQueue("wx")
    taker = queue.subscribe("taker", 1.0)
    for number in range(3000):
        queue.put(PcmBlock(np.zeros(1, np.float32), 384_000.0, number, 0.0, 0))
    assert taker.dropped_count == 2500
    kept = taker.get(0.0)
    assert kept is not None
    assert kept.first_sample == 2500


def test_who_waits_is_woken_by_the_next_block() -> None:
    queue = BroadcastQueue("wx")
    taker = queue.subscribe("taker", 1.0)
    got: list[PcmBlock | None] = []
    waiting = threading.Thread(target=lambda: got.append(taker.get(30.0)))
    waiting.start()
    queue.put(block(3))
    waiting.join(20.0)
    assert [each.first_sample for each in got if each is not None] == [3]


def test_closing_wakes_who_waits_and_ends_the_subscription() -> None:
    queue = BroadcastQueue("wx")
    taker = queue.subscribe("taker", 1.0)
    got: list[PcmBlock | None] = []
    waiting = threading.Thread(target=lambda: got.append(taker.get(30.0)))
    waiting.start()
    taker.close()
    waiting.join(20.0)
    assert got == [None]
    assert queue.status() == {}
    queue.put(block(0))
    assert not queue.has_subscribers
    assert taker.depth_s == 0.0


def test_the_status_names_each_taker_with_depth_age_and_drops() -> None:
    queue = BroadcastQueue("wx")
    taker = queue.subscribe("icecast /wx.mp3", 0.2)
    for number in range(3):
        queue.put(block(number))
    status = queue.status()["icecast /wx.mp3"]
    assert status["depth_s"] == pytest.approx(0.2)
    assert status["dropped_count"] == 1
    assert taker.age_s >= status["age_s"] >= 0.0
    assert queue.block_count == 3
    assert queue.last_put_s is not None


def test_a_cleared_queue_has_dropped_nothing() -> None:
    queue = BroadcastQueue("wx")
    taker = queue.subscribe("taker", 1.0)
    queue.put(block(0))
    taker.clear()
    assert (taker.depth_s, taker.age_s, taker.dropped_count) == (0.0, 0.0, 0)


def test_the_classic_lengths_follow_from_seconds() -> None:
    assert broadcast_queue.ADAPTER_CHUNKS == 100
    assert broadcast_queue.FEED_CHUNKS == 600
    assert broadcast_queue.BROADCAST_CHUNKS == 10_000

"""What waits for Redis: bounded, and what it drops is told."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app_core.bridge.frame_queue import BATCH_FRAMES, DROPPING_OVER_S, Frame, FrameQueue, RateMeter


@dataclass
class _Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _queue(clock: _Clock, *, longest_wait_s: float = 30.0, max_bytes: int = 1_000_000) -> FrameQueue:
    return FrameQueue("Outbox", longest_wait_s, max_bytes, monotonic=clock)


def _put(queue: FrameQueue, clock: _Clock, n_bytes: int = 100) -> None:
    queue.put(Frame("a", b"x" * n_bytes, None, clock.now_s))


def test_the_begin_and_the_end_of_a_drop_are_told_with_counts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = _Clock()
    queue = _queue(clock)
    # 45 s without Redis, ten messages a second: what is older than 30 s is dropped, for 15 s.
    for _ in range(450):
        _put(queue, clock)
        queue.watch()
        clock.now_s += 0.1
    assert caplog.text.count("Redis is away or too slow: 301 messages wait, and the oldest are dropped") == 1
    assert queue.status()["dropping"] is True
    assert queue.dropped_count == 149
    clock.now_s += DROPPING_OVER_S - 0.5
    queue.watch()
    assert queue.status()["dropping"] is True
    assert "were dropped in" not in caplog.text
    clock.now_s += 1.0
    queue.watch()
    assert caplog.text.count("149 messages (14900 bytes, of 14.8 s) were dropped in 14.8 s; none since") == 1
    status = queue.status()
    assert (status["dropping"], status["dropped_count"], status["dropped_bytes"]) == (False, 149, 14_900)
    clock.now_s += 60.0
    queue.watch()
    assert len(caplog.records) == 2
    _put(queue, clock)
    queue.watch()
    assert caplog.text.count("the oldest are dropped") == 2, "the next drop is told again"


def test_a_queue_that_drops_nothing_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = _Clock()
    queue = _queue(clock)
    for _ in range(290):
        _put(queue, clock)
        queue.watch()
        clock.now_s += 0.1
    assert (queue.status()["dropping"], queue.dropped_count, caplog.text) == (False, 0, "")


def test_it_says_how_many_seconds_it_holds_at_the_present_rate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = _Clock()
    queue = _queue(clock, max_bytes=100_000)
    assert queue.status()["holds_s"] == 30.0
    for _ in range(300):
        _put(queue, clock, 1000)
        queue.remove(*queue.next_batch())
        queue.watch()
        clock.now_s += 0.1
    assert queue.status()["holds_s"] == pytest.approx(10.0, rel=0.02)
    assert caplog.text.count("it holds 9.8 s without Redis, not 30 s: outbox_memory_bytes is 100000") == 1
    for _ in range(300):
        _put(queue, clock, 10)
        queue.remove(*queue.next_batch())
        queue.watch()
        clock.now_s += 0.1
    assert queue.status()["holds_s"] == 30.0
    assert caplog.text.count("it holds 30 s without Redis again") == 1
    assert len(caplog.records) == 2


def test_values_have_no_part_in_the_rate() -> None:
    # While Redis is away they take no room: only the newest of each waits.
    clock = _Clock()
    queue = _queue(clock, max_bytes=1000)
    for _ in range(200):
        queue.put(Frame("value", b"x" * 1000, 60, clock.now_s))
        queue.remove(*queue.next_batch())
        clock.now_s += 0.1
    assert queue.status()["holds_s"] == 30.0


def test_a_rate_is_that_of_the_last_seconds() -> None:
    meter = RateMeter()
    assert meter.rate(0.0) is None
    for step in range(1000):
        meter.note(7.0, 0.01 * step)
    assert meter.rate(10.0) == pytest.approx(700.0, rel=0.01)
    for step in range(1000, 4000):
        meter.note(1.0, 0.01 * step)
    assert meter.rate(40.0) == pytest.approx(100.0, rel=0.01)
    assert meter.rate(80.0) == pytest.approx(100.0 * 10.0 / 50.0, rel=0.2)


def test_a_batch_stays_until_it_was_sent_and_what_came_meanwhile_stays_too() -> None:
    clock = _Clock()
    queue = _queue(clock)
    for number in range(BATCH_FRAMES + 3):
        queue.put(Frame("a", b"%d" % number, None, clock.now_s))
    values, batch = queue.next_batch()
    assert [frame.payload for frame in batch] == [b"%d" % number for number in range(BATCH_FRAMES)]
    assert queue.next_batch() == (values, batch)
    queue.put(Frame("a", b"later", None, clock.now_s))
    queue.remove(values, batch)
    assert [frame.payload for frame in queue.next_batch()[1]] == [b"16", b"17", b"18", b"later"]


def test_what_nobody_will_send_is_counted() -> None:
    clock = _Clock()
    queue = _queue(clock)
    queue.note_loss()
    queue.put(Frame("value", b"x" * 10, 60, clock.now_s))
    _put(queue, clock)
    assert queue.drop_all() == 2
    assert (queue.dropped_count, queue.status()["depth"], queue.status()["waiting_bytes"]) == (2, 0, 0)

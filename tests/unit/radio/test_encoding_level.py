"""The level of compression: 1 while the budget holds, 0 when it is gone, and back."""

from __future__ import annotations

import pytest

from app_core.radio.encoding_level import COMPRESSED, STORED, LevelChooser


class _Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _play(chooser: LevelChooser, clock: _Clock, cost: float, length_s: float, fill: float = 0.0) -> list[int]:
    """Messages of 10 ms whose compression takes `cost` of their time; storing takes a tenth of it."""
    levels = []
    for _ in range(round(length_s / 0.01)):
        level = chooser.next_level(fill)
        chooser.note(level, 0.01 * (cost if level == COMPRESSED else cost / 10.0), 0.01)
        levels.append(level)
        clock.now_s += 0.01
    return levels


def test_within_the_budget_everything_is_compressed() -> None:
    clock = _Clock()
    chooser = LevelChooser("rx", 0.6, monotonic=clock)
    assert set(_play(chooser, clock, 0.5, 10.0)) == {COMPRESSED}
    assert chooser.share == pytest.approx(0.5, abs=0.01)


def test_beyond_the_budget_samples_are_stored_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    clock = _Clock()
    chooser = LevelChooser("rx", 0.6, monotonic=clock)
    levels = _play(chooser, clock, 0.9, 5.0)
    assert levels[-1] == chooser.level == STORED
    assert levels.index(STORED) < 200
    assert "not compressed any more: compressing takes" in caplog.text


def test_one_slow_message_is_no_reason() -> None:
    clock = _Clock()
    chooser = LevelChooser("rx", 0.6, monotonic=clock)
    _play(chooser, clock, 0.3, 3.0)
    chooser.note(COMPRESSED, 0.2, 0.01)
    assert chooser.level == COMPRESSED


def test_a_ring_that_fills_up_is_a_reason_at_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = _Clock()
    chooser = LevelChooser("rx", 0.6, monotonic=clock)
    assert set(_play(chooser, clock, 0.1, 1.0, fill=0.6)) == {STORED}
    assert "the ring is full to 60 %" in caplog.text
    # It is not tried again before the ring is empty, however long that takes.
    assert set(_play(chooser, clock, 0.1, 20.0, fill=0.4)) == {STORED}


def test_compression_is_tried_now_and_then_and_taken_up_when_there_is_room() -> None:
    clock = _Clock()
    chooser = LevelChooser("rx", 0.6, monotonic=clock)
    _play(chooser, clock, 0.9, 5.0)
    tries = _play(chooser, clock, 0.9, 60.0).count(COMPRESSED)
    assert 2 <= tries <= 5
    levels = _play(chooser, clock, 0.3, 70.0)
    assert levels[-1] == COMPRESSED
    assert chooser.level == COMPRESSED

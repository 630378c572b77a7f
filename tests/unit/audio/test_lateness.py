"""Lateness: how old what is decoded is, whether or not the clocks of two hosts agree."""

from __future__ import annotations

import pytest

from app_core.audio.lateness import LatenessMeter


class _Clocks:
    def __init__(self, utc_ahead_s: float = 0.0) -> None:
        self.now_s = 5000.0
        self.utc_ahead_s = utc_ahead_s

    def monotonic(self) -> float:
        return self.now_s

    def utc(self) -> float:
        return 1.7e9 + self.now_s + self.utc_ahead_s

    def captured(self, age_s: float) -> float:
        """Time that the capture's host, whose clock is right, gave what is that old now."""
        return 1.7e9 + self.now_s - age_s


def _meter(clocks: _Clocks) -> LatenessMeter:
    return LatenessMeter("rx", utc=clocks.utc, monotonic=clocks.monotonic)


def test_a_block_is_as_late_as_it_is_old() -> None:
    clocks = _Clocks()
    meter = _meter(clocks)
    meter.note(clocks.captured(0.1), clocks.now_s)
    assert meter.lateness_s == pytest.approx(0.1, abs=0.11)
    meter.note(clocks.captured(12.0), None)
    assert meter.lateness_s == pytest.approx(12.0, abs=0.11)


def test_more_than_two_seconds_is_an_alarm_that_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clocks = _Clocks()
    meter = _meter(clocks)
    with caplog.at_level("INFO"):
        for age_s in (10.0, 8.0, 6.0, 2.5, 1.0, 0.1, 0.1):
            meter.note(clocks.captured(age_s), None)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert (meter.is_late, meter.alarm_count) == (False, 1)


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_a_wrong_clock_makes_nobody_late(ahead_s: float) -> None:
    clocks = _Clocks(ahead_s)
    meter = _meter(clocks)
    for _ in range(200):
        meter.note(clocks.captured(0.2), clocks.now_s)
        clocks.now_s += 1.0
    assert not meter.is_late
    if ahead_s > 0:
        meter.note(clocks.captured(5.0), clocks.now_s)
        assert meter.is_late

"""Losses told from a device's time, and from ours."""

from __future__ import annotations

import random

import pytest

from app_core.radio.sample_gap import GapFinder

RATE_HZ = 250_000.0
READ = 12_500


class Device:
    """Reads of one stream: what the device's clock and ours say of them."""

    def __init__(self, *, jitter_s: float = 0.0) -> None:
        self.gaps = GapFinder(RATE_HZ)
        self._position = 0
        self._jitter_s = jitter_s
        self._random = random.Random(1)

    def read(
        self,
        *,
        lose: int = 0,
        overflowed: bool = False,
        has_time: bool = True,
        late_s: float = 0.0,
        time_is_early_s: float = 0.0,
    ) -> int:
        self._position += lose
        seconds = self._position / RATE_HZ + self._random.uniform(0.0, self._jitter_s) - time_is_early_s
        self._position += READ
        arrived_s = 1000.0 + self._position / RATE_HZ + late_s
        time_ns = int(seconds * 1e9) if has_time else None
        return self.gaps.lost_before(READ, time_ns, arrived_s, overflowed=overflowed)


def test_exact_time_shows_every_lost_sample_reported_or_not() -> None:
    device = Device()
    assert [device.read() for _ in range(10)] == [0] * 10
    assert device.read(lose=1) == 1
    assert device.read(lose=777, overflowed=True) == 777
    assert device.read(lose=10_000_000) == 10_000_000
    assert device.read() == 0


@pytest.mark.parametrize("jitter_s", [0.0005, 0.005])
def test_jitter_of_a_drivers_clock_is_no_loss(jitter_s: float) -> None:
    device = Device(jitter_s=jitter_s)
    assert sum(device.read() for _ in range(1000)) == 0
    lost = device.read(lose=50_000)
    assert abs(lost - 50_000) <= 2 * jitter_s * RATE_HZ
    assert abs(device.read(lose=1000, overflowed=True) - 1000) <= 2 * jitter_s * RATE_HZ


def test_time_that_went_back_once_is_never_taken_for_exact_again() -> None:
    device = Device()
    for _ in range(20):
        device.read()
    assert device.read(time_is_early_s=0.004) == 0
    assert device.read() == 0
    assert [device.read() for _ in range(20)] == [0] * 20
    assert device.read(lose=1000) == 0
    assert device.read(lose=1000, overflowed=True) == 1000


def test_time_that_has_not_proved_exact_shows_long_jumps_alone() -> None:
    device = Device()
    device.read()
    assert device.read(lose=10) == 0
    assert device.read(lose=2500) == 2500


def test_without_time_only_a_reported_overflow_is_a_loss() -> None:
    device = Device()
    for _ in range(20):
        assert device.read(has_time=False, late_s=0.001) == 0
    assert device.read(lose=5000, has_time=False) == 0
    device = Device()
    device.read(has_time=False)
    assert device.read(lose=5000, overflowed=True, has_time=False) == 5000
    assert device.read(has_time=False) == 0
    assert device.read(lose=200, overflowed=True, has_time=False) == 200


def test_lateness_of_ordinary_reads_is_not_taken_for_loss_later() -> None:
    device = Device()
    device.read(has_time=False)
    for _ in range(100):
        assert device.read(has_time=False, late_s=0.02) == 0
    # The reads were 20 ms late, and the shortest delay has followed them a little: 100 thousandths of the way.
    lost = device.read(lose=5000, overflowed=True, has_time=False, late_s=0.02)
    assert 5000 <= lost <= 5000 + 0.02 * RATE_HZ


def test_drift_of_the_crystal_is_no_loss() -> None:
    device = Device()
    for number in range(20_000):
        device.read(has_time=False, late_s=number * 0.05 * 20e-6)
    assert device.read(overflowed=True, has_time=False, late_s=20_000 * 0.05 * 20e-6) < 0.002 * RATE_HZ


def test_reported_overflow_is_a_gap_of_one_sample_at_least() -> None:
    device = Device()
    device.read()
    assert device.read(overflowed=True) == 1
    assert device.read(overflowed=True, has_time=False) == 1


def test_restart_forgets_where_the_stream_was() -> None:
    device = Device()
    for _ in range(10):
        device.read()
    device.gaps.restart()
    assert device.read(lose=100_000) == 0
    assert device.read() == 0

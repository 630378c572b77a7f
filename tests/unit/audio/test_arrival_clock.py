"""Times of audio that brings none."""

from __future__ import annotations

import random

import pytest

from app_core.audio.arrival_clock import WINDOW_S, ArrivalClock

RATE_HZ = 24_000.0
BLOCK = 2_400


class Machine:
    """Its clocks."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.utc_ahead_s = 1.75e9

    def clock(self) -> ArrivalClock:
        return ArrivalClock(RATE_HZ, utc=lambda: self.now_s + self.utc_ahead_s, monotonic=lambda: self.now_s)


def played(machine: Machine, clock: ArrivalClock, delays_s: list[float], first: int = 0) -> list[float]:
    """Stamp blocks that come a tenth of a second apart, each so much late; give the errors of their times."""
    began_s = machine.now_s
    errors = []
    for number, delay_s in enumerate(delays_s):
        captured_s = began_s + number * BLOCK / RATE_HZ
        machine.now_s = max(machine.now_s, captured_s + BLOCK / RATE_HZ + delay_s)
        errors.append(clock.stamp((first + number) * BLOCK, BLOCK) - machine.utc_ahead_s - captured_s)
    return errors


def test_in_time_means_the_time_of_its_first_sample() -> None:
    machine = Machine()
    assert played(machine, machine.clock(), [0.0] * 20) == pytest.approx([0.0] * 20, abs=1e-6)


def test_jitter_of_the_network_is_not_in_the_times() -> None:
    machine, source = Machine(), random.Random(1)
    errors = played(machine, machine.clock(), [0.0] + [source.uniform(0.0, 0.5) for _ in range(200)])
    assert max(map(abs, errors)) < 0.05


def test_a_pause_that_is_made_up_for_leaves_no_trace() -> None:
    machine = Machine()
    # Five seconds of silence; then everything comes at once.
    delays_s = [0.0] * 20 + [max(0.0, 5.0 - 0.1 * number) for number in range(60)] + [0.0] * 20
    assert max(map(abs, played(machine, machine.clock(), delays_s))) < 1e-6


def test_what_the_sender_left_out_is_seen_in_the_end() -> None:
    machine = Machine()
    errors = played(machine, machine.clock(), [0.0] * 20 + [3.0] * 200)
    assert errors[25] == pytest.approx(0.0, abs=1e-6)
    assert errors[20 + round(WINDOW_S * 10) + 2] == pytest.approx(3.0, abs=0.2)


def test_times_do_not_go_back_when_a_long_block_comes_early() -> None:
    machine = Machine()
    clock = machine.clock()
    first = clock.stamp(0, BLOCK)
    machine.now_s += 0.01
    assert clock.stamp(BLOCK, 3 * BLOCK) == first


def test_a_clock_that_is_set_back_is_followed() -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock.stamp(0, BLOCK)
    machine.utc_ahead_s -= 3600.0
    machine.now_s += 0.1
    assert clock.stamp(BLOCK, BLOCK) == pytest.approx(before - 3600.0 + 0.1)

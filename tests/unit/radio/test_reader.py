"""The reader: device to ring, losses marked, failures outlived."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.base.errors import ConfigError, DeviceError
from app_core.base.lifecycle import Backoff
from app_core.radio import reader as reader_module
from app_core.radio.reader import CaptureClock, Reader
from app_core.radio.receiver import Reading
from app_core.radio.ring_buffer import Anchor, RingBuffer
from tests.support.programs import eventually
from tests.unit.radio.scripted import FREQUENCY_HZ, RATE_HZ, ScriptedReceiver, numbered, receiver_settings


def _runs(ring: RingBuffer) -> list[tuple[Anchor, NDArray[np.complex64]]]:
    """Take everything out of a ring: each run with its anchor."""
    runs = []
    while ring.readable:
        anchor = ring.anchor_at_read()
        assert anchor is not None
        view = ring.read_view(ring.size)
        runs.append((anchor, view.copy()))
        ring.release(len(view))
    return runs


def _ring_of(reader: Reader) -> RingBuffer:
    eventually(lambda: reader.ring is not None, "the ring")
    assert reader.ring is not None
    return reader.ring


def test_samples_come_into_the_ring_as_the_device_gave_them() -> None:
    receiver = ScriptedReceiver(deque([1000, 500, 0, 3000]))
    before = time.time_ns()
    with Reader(receiver_settings(), receiver) as reader:
        ring = _ring_of(reader)
        eventually(lambda: ring.readable == 4500, "the samples")
        [(anchor, iq)] = _runs(ring)
        assert (anchor.first_sample, anchor.sample_rate_hz, anchor.center_frequency_hz) == (0, RATE_HZ, FREQUENCY_HZ)
        assert before <= anchor.config_epoch <= time.time_ns()
        assert np.array_equal(iq, numbered(0, 4500))
        assert reader.last_sample_s is not None
        assert reader.tuning is not None
        eventually(lambda: reader.timeout_count > 1, "timeouts")
    assert (receiver.opened, receiver.closed) == (1, 1)
    assert reader.tuning is None


def test_a_ring_holds_the_seconds_that_were_asked_for_within_its_limits() -> None:
    for settings, size in (
        (receiver_settings(ring_seconds=4.0), 1_000_448),
        (receiver_settings(), 262_144),
        (receiver_settings(ring_seconds=60.0), 4_194_304),
        (receiver_settings(ring_seconds=60.0, ring_max_samples=20_000_000), 15_000_064),
    ):
        with Reader(settings, ScriptedReceiver()) as reader:
            assert _ring_of(reader).size == size


def test_samples_that_the_device_lost_are_a_jump_and_no_restart() -> None:
    receiver = ScriptedReceiver(deque([1000, Reading(200, time.time(), lost_samples=77), 100]))
    with Reader(receiver_settings(), receiver) as reader:
        ring = _ring_of(reader)
        eventually(lambda: ring.readable == 1300, "the samples")
        (first, before), (second, after) = _runs(ring)
        assert (first.first_sample, len(before)) == (0, 1000)
        assert (second.first_sample, len(after)) == (1077, 300)
        assert second.config_epoch == first.config_epoch
        assert np.array_equal(after, numbered(1077, 300))
        assert reader.lost_samples == 77
        assert receiver.opened == 1


def test_a_full_ring_loses_the_newest_samples_and_marks_where(caplog: pytest.LogCaptureFixture) -> None:
    receiver = ScriptedReceiver(deque([12_500] * 30))
    with Reader(receiver_settings(id="full"), receiver) as reader:
        ring = _ring_of(reader)
        eventually(lambda: receiver.next_sample == 375_000 and reader.timeout_count > 0, "that all is read")
        assert ring.readable == ring.size
        lost = 375_000 - ring.size
        assert reader.lost_samples == lost == ring.statistics().dropped_samples
        assert ring.statistics().overflow_count >= 2
        assert len(ring._anchors) == 2
        [(_, before)] = _runs(ring)
        assert np.array_equal(before, numbered(0, ring.size))
        receiver.steps.append(100)
        eventually(lambda: ring.readable == 100, "samples after the overflow")
        [(anchor, after)] = _runs(ring)
        assert anchor.first_sample == 375_000
        assert np.array_equal(after, numbered(375_000, 100))
    assert len([line for line in caplog.messages if "Ring buffer overflow on full" in line]) == 1


def test_a_receiver_that_can_wait_loses_nothing_to_a_full_ring() -> None:
    receiver = ScriptedReceiver(deque([400_000, Reading(0, 0.0, ended=True)]), waits=True)
    with Reader(receiver_settings(), receiver) as reader:
        ring = _ring_of(reader)
        got: list[NDArray[np.complex64]] = []

        def take() -> bool:
            got.extend(iq for _, iq in _runs(ring))
            return reader.ended and not ring.readable

        eventually(take, "the end of the recording")
        assert np.array_equal(np.concatenate(got), numbered(0, 400_000))
        assert reader.lost_samples == 0
        assert ring.statistics().overflow_count == 0
        assert reader.is_alive, "an end is no failure"


def test_a_device_that_fails_is_opened_again_and_the_time_away_is_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = ScriptedReceiver(deque([1000, DeviceError("unplugged")]))
    receiver.open_errors = deque()
    with Reader(receiver_settings(), receiver) as reader:
        eventually(lambda: reader.last_error == "unplugged", "the failure")
        assert reader.tuning is None
        receiver.open_errors.append(DeviceError("not there"))
        eventually(lambda: receiver.opened == 2, "the second opening")
        receiver.next_sample = 0
        receiver.steps.append(500)
        ring = _ring_of(reader)
        eventually(lambda: ring.readable == 1500, "samples again")
        (first, _), (second, _) = _runs(ring)
        # It was away for the two shortest pauses at the least: 0.1 s and 0.2 s, less what a scheduler rounds.
        assert second.first_sample - 1000 == reader.lost_samples
        assert 0.25 * RATE_HZ < reader.lost_samples < 15 * RATE_HZ
        assert second.config_epoch > first.config_epoch
        assert reader.reopen_count == 2
        assert reader.last_error == ""
        assert reader.failure is None


def test_an_epoch_grows_although_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = ScriptedReceiver(deque([10]))
    with Reader(receiver_settings(), receiver) as reader:
        ring = _ring_of(reader)
        eventually(lambda: ring.readable == 10, "samples")
        epoch = _runs(ring)[0][0].config_epoch
        monkeypatch.setattr(time, "time_ns", lambda: 1_000)
        receiver.steps.extend([DeviceError("unplugged")])
        eventually(lambda: receiver.opened == 2, "the second opening")
        receiver.steps.append(10)
        eventually(lambda: ring.readable == 10, "samples again")
        assert _runs(ring)[0][0].config_epoch > epoch


def test_a_device_that_opens_and_fails_at_once_is_left_alone_for_longer_and_longer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Recorded(Backoff):
        def next_wait_s(self) -> float:
            waits.append(self._next_s)
            super().next_wait_s()
            return 0.0

    monkeypatch.setattr(reader_module, "Backoff", Recorded)
    receiver = ScriptedReceiver(deque([DeviceError("hung up") for _ in range(6)]))
    with Reader(receiver_settings(), receiver) as reader:
        eventually(lambda: receiver.opened == 7, "seven openings")
        assert waits == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
        assert reader.reopen_count == 6


def test_the_same_failure_is_logged_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_wait_s", lambda self: 0.0)
    receiver = ScriptedReceiver(open_errors=deque(DeviceError("no such device") for _ in range(50)))
    with Reader(receiver_settings(), receiver):
        eventually(lambda: receiver.opened == 1, "the opening")
    assert [line for line in caplog.messages if "no such device" in line] == ["receiver rx: no such device"]


def test_a_wrong_setting_ends_the_reader() -> None:
    reader = Reader(receiver_settings(), ScriptedReceiver(open_errors=deque([ConfigError("no such rate")])))
    reader.start()
    eventually(lambda: not reader.is_alive, "its end")
    assert isinstance(reader.failure, ConfigError)


def test_a_spectrum_that_cannot_be_new_ten_times_a_second_is_refused() -> None:
    reader = Reader(receiver_settings(fft_size=65_536), ScriptedReceiver(deque([1000])))
    reader.start()
    eventually(lambda: not reader.is_alive, "its end")
    assert isinstance(reader.failure, ConfigError)
    assert "fft_size 65536 at 250000 samples a second" in reader.last_error
    assert "the largest is 25000" in reader.last_error


def test_another_rate_brings_another_ring() -> None:
    receiver = ScriptedReceiver(deque([100, DeviceError("retuned")]))
    with Reader(receiver_settings(), receiver) as reader:
        eventually(lambda: reader.last_error == "retuned", "the failure")
        first = reader.ring
        receiver.rate_hz = 1_000_000.0
        eventually(lambda: reader.ring is not first, "another ring")
        ring = _ring_of(reader)
        assert ring.size == 1_000_448
        receiver.steps.append(10)
        eventually(lambda: ring.readable == 10, "samples")
        anchor = ring.anchor_at_read()
        assert anchor is not None
        assert anchor.sample_rate_hz == 1_000_000.0


def test_the_capture_clock_is_steady_against_jitter_and_follows_drift_and_steps() -> None:
    clock = CaptureClock(1000.0)
    jitter = np.random.default_rng(1).uniform(-0.02, 0.02, 2000)
    errors = []
    for number in range(2000):
        true_s = 1e9 + number * 0.05 * (1 + 50e-6)  # a crystal 50 ppm off
        clock.note(number * 50, true_s + jitter[number])
        errors.append(clock.timestamp_of(number * 50) - true_s)
    assert max(map(abs, errors[300:])) < 0.006
    clock.note(100_000, 2e9)
    assert clock.timestamp_of(100_010) == pytest.approx(2e9 + 0.01, abs=1e-6)


def test_time_away_is_counted_once_however_often_the_device_opens_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_wait_s", lambda self: 0.05)
    receiver = ScriptedReceiver(deque([1000, *(DeviceError("silent") for _ in range(8))]))
    with Reader(receiver_settings(), receiver) as reader:
        eventually(lambda: receiver.opened == 9, "nine openings")
        assert reader.last_sample_s is not None
        longest = (time.monotonic() - reader.last_sample_s) * RATE_HZ
        assert 0.3 * RATE_HZ < reader.lost_samples <= longest
        ring = _ring_of(reader)
        ring.release(1000)
        receiver.steps.append(10)
        eventually(lambda: ring.readable == 10, "samples again")
        anchor = ring.anchor_at_read()
        assert anchor is not None
        assert anchor.first_sample == 1000 + reader.lost_samples


def test_a_device_that_comes_back_with_other_limits_is_tried_again_and_one_that_never_ran_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Backoff, "next_wait_s", lambda self: 0.0)
    receiver = ScriptedReceiver(deque([100, DeviceError("unplugged")]))
    with Reader(receiver_settings(), receiver) as reader:
        eventually(lambda: reader.last_sample_s is not None, "samples")
        receiver.open_errors.extend(ConfigError("it lists no such rate") for _ in range(3))
        eventually(lambda: receiver.opened == 2, "another opening")
        assert reader.is_alive
        receiver.steps.append(10)
        eventually(lambda: reader.last_error == "", "samples again")


def test_an_opening_counts_as_one_when_the_first_sample_comes() -> None:
    receiver = ScriptedReceiver(deque([DeviceError("silent"), DeviceError("silent")]))
    with Reader(receiver_settings(), receiver) as reader:
        eventually(lambda: receiver.opened == 3, "three openings")
        assert (reader.failed_opens, reader.flowing_since_s, reader.last_error) == (2, None, "silent")
        receiver.steps.append(10)
        eventually(lambda: reader.failed_opens == 0, "samples")
        assert reader.flowing_since_s is not None
        assert reader.last_error == ""


def test_a_device_that_has_run_for_a_while_is_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Recorded(Backoff):
        def next_wait_s(self) -> float:
            waits.append(self._next_s)
            super().next_wait_s()
            return 0.0

    monkeypatch.setattr(reader_module, "Backoff", Recorded)
    monkeypatch.setattr(reader_module, "STEADY_AFTER_S", -1.0)
    receiver = ScriptedReceiver(deque([DeviceError("unplugged") for _ in range(4)]))
    with Reader(receiver_settings(), receiver):
        eventually(lambda: receiver.opened == 5, "five openings")
    assert waits == [0.2] * 4


def test_gaps_are_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    receiver = ScriptedReceiver(deque([100, Reading(100, time.time(), 50), Reading(100, time.time(), 7)]))
    with Reader(receiver_settings(id="gappy"), receiver) as reader:
        eventually(lambda: reader.gap_count == 2, "two gaps")
        assert reader.lost_samples == 57
        assert reader.stream_errors == {}, "this device says nothing of its stream"
    assert "receiver gappy lost 50 samples" in caplog.messages


def test_a_reader_goes_on_where_a_dead_one_ended() -> None:
    first = Reader(receiver_settings(), ScriptedReceiver(deque([1000, Reading(500, time.time(), 20)])))
    with first:
        eventually(lambda: _ring_of(first).readable == 1500, "samples")
    second = Reader(receiver_settings(), ScriptedReceiver(deque([100])))
    second.inherit(first)
    # What nobody took out of the dead one's ring is lost.
    assert (second.lost_samples, second.gap_count, second.reopen_count) == (1520, 1, 1)
    with second:
        ring = _ring_of(second)
        eventually(lambda: ring.readable == 100, "samples")
        anchor = ring.anchor_at_read()
        assert anchor is not None
        assert anchor.first_sample >= 1520

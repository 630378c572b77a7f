"""Recordings as receivers: paced by the clock or as fast as they are taken, round and round or once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.base.errors import ConfigError, DeviceError
from app_core.radio import replay
from app_core.radio.receiver import Reading, ReplaySettings
from app_core.radio.replay import ReplayReceiver

_RATE_HZ = 1000.0


class _Clock:
    """Time as the receiver sees it, moved by its own waits and by the test."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waits_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return 1_700_000_000.0 + self.now_s

    def sleep(self, wait_s: float) -> None:
        assert wait_s > 0
        self.waits_s.append(wait_s)
        self.now_s += wait_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Clock]:
    """Replace the receiver's clock."""
    clock = _Clock()
    monkeypatch.setattr(replay, "time", clock)
    return clock  # type: ignore[return-value]


def _receiver(path: Path, n_samples: int, **changes: Any) -> ReplayReceiver:
    _samples(n_samples).tofile(path)
    settings = ReplaySettings(
        id="rec",
        driver="replay",
        path=path,
        iq_format="cf32",
        sample_rate_hz=_RATE_HZ,
        center_frequency_hz=1e8,
        **changes,
    )
    return ReplayReceiver(settings)


def _samples(n_samples: int) -> NDArray[np.complex64]:
    return (np.arange(n_samples) + 1j).astype(np.complex64)


def _read(receiver: ReplayReceiver, n_samples: int, timeout_s: float = 0.1) -> tuple[Reading, NDArray[np.complex64]]:
    iq = np.zeros(n_samples, dtype=np.complex64)
    reading = receiver.read_into(iq, timeout_s)
    return reading, iq[: reading.n_samples]


def test_a_recording_is_opened_with_its_rate_and_frequency(tmp_path: Path) -> None:
    tuning = _receiver(tmp_path / "rec", 10).open()
    assert (tuning.sample_rate_hz, tuning.center_frequency_hz) == (_RATE_HZ, 1e8)


def test_played_as_fast_as_possible_it_waits_for_nothing_and_may_be_kept_waiting(tmp_path: Path, clock: _Clock) -> None:
    receiver = _receiver(tmp_path / "rec", 100, realtime=False, loop=False)
    assert receiver.waits
    receiver.open()
    reading, iq = _read(receiver, 60)
    assert np.array_equal(iq, _samples(100)[:60])
    assert reading.timestamp == clock.time()
    reading, iq = _read(receiver, 60)
    assert np.array_equal(iq, _samples(100)[60:])
    assert reading.timestamp == clock.time() + 60 / _RATE_HZ
    assert not reading.ended
    assert _read(receiver, 60)[0].ended
    assert _read(receiver, 60)[0].ended
    assert clock.waits_s == []


def test_a_loop_is_seamless(tmp_path: Path) -> None:
    receiver = _receiver(tmp_path / "rec", 70, realtime=False)
    receiver.open()
    got = np.concatenate([_read(receiver, 32)[1] for _ in range(20)])
    assert len(got) > 300
    assert np.array_equal(got, np.resize(_samples(70), len(got)))


def test_in_real_time_each_read_comes_when_its_samples_are_due(tmp_path: Path, clock: _Clock) -> None:
    receiver = _receiver(tmp_path / "rec", 1000)
    assert not receiver.waits
    receiver.open()
    started_s = clock.now_s
    taken = 0
    for _ in range(100):
        reading, _ = _read(receiver, 50)
        assert reading.timestamp == pytest.approx(1_700_000_000.0 + started_s + taken / _RATE_HZ, abs=1e-6)
        assert reading.lost_samples == 0
        taken += reading.n_samples
        # Never ahead of the clock, and behind it by a fraction of a sample and what the recording's end cuts off.
        ahead = taken - (clock.now_s - started_s) * _RATE_HZ
        assert -52 <= ahead <= 0
    assert taken >= 4500


def test_in_real_time_a_read_waits_no_longer_than_it_is_told(tmp_path: Path, clock: _Clock) -> None:
    receiver = _receiver(tmp_path / "rec", 1000)
    receiver.open()
    reading, iq = _read(receiver, 500, timeout_s=0.1)
    assert clock.waits_s == [0.1]
    assert 99 <= reading.n_samples <= 100
    assert np.array_equal(iq, _samples(1000)[: reading.n_samples])


def test_in_real_time_the_loop_is_paced_across_its_seam_too(tmp_path: Path, clock: _Clock) -> None:
    receiver = _receiver(tmp_path / "rec", 64)
    receiver.open()
    started_s = clock.now_s
    got = np.concatenate([_read(receiver, 32)[1] for _ in range(50)])
    assert np.array_equal(got, np.resize(_samples(64), len(got)))
    assert len(got) <= (clock.now_s - started_s) * _RATE_HZ + 1e-6


def test_a_replay_that_was_held_up_skips_and_says_how_much(tmp_path: Path, clock: _Clock) -> None:
    receiver = _receiver(tmp_path / "rec", 10_000)
    receiver.open()
    first, _ = _read(receiver, 50)
    clock.now_s += 3.0
    reading, iq = _read(receiver, 50)
    assert reading.lost_samples >= 2900
    begin = first.n_samples + reading.lost_samples
    assert np.array_equal(iq, _samples(10_000)[begin : begin + len(iq)])
    assert reading.timestamp == pytest.approx(1_700_000_100.0 + begin / _RATE_HZ, abs=1e-6)
    assert _read(receiver, 50)[0].lost_samples == 0


def test_a_recording_played_once_that_was_held_up_beyond_its_end_has_ended(tmp_path: Path, clock: _Clock) -> None:
    receiver = _receiver(tmp_path / "rec", 1000, loop=False)
    receiver.open()
    _read(receiver, 50)
    clock.now_s += 5.0
    reading, _ = _read(receiver, 50)
    assert reading.ended
    assert reading.n_samples == 0


def test_a_small_delay_is_caught_up_without_loss(tmp_path: Path, clock: _Clock) -> None:
    receiver = _receiver(tmp_path / "rec", 10_000)
    receiver.open()
    clock.now_s += 0.8
    got = np.concatenate([_read(receiver, 50)[1] for _ in range(30)])
    assert np.array_equal(got, _samples(10_000)[: len(got)])


def test_opening_again_begins_at_the_start(tmp_path: Path) -> None:
    receiver = _receiver(tmp_path / "rec", 100, realtime=False)
    for _ in range(2):
        receiver.open()
        assert np.array_equal(_read(receiver, 10)[1], _samples(100)[:10])
        receiver.close()
        receiver.close()
    with pytest.raises(DeviceError, match="not open"):
        _read(receiver, 10)


def test_a_recording_that_is_not_there_may_come_back_and_one_of_another_kind_will_not(tmp_path: Path) -> None:
    missing = ReplayReceiver(ReplaySettings(id="a", driver="replay", path=tmp_path / "nothing.sigmf-meta"))
    with pytest.raises(DeviceError, match="No such file"):
        missing.open()
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(ConfigError, match="not a SigMF recording"):
        ReplayReceiver(ReplaySettings(id="a", driver="replay", path=tmp_path / "text.txt")).open()

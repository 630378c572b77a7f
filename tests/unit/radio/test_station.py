"""The radio half as a whole: what is refused, what is restarted, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app_core.base.errors import ConfigError
from app_core.bridge.connection import RedisSettings
from app_core.bridge.local_redis import free_port
from app_core.bridge.outbox import Outbox
from app_core.radio.receiver import ReplaySettings
from app_core.radio.station import RadioStation
from tests.support.programs import eventually
from tests.unit.radio.scripted import receiver_settings


def _outbox() -> Outbox:
    return Outbox(RedisSettings(port=free_port(), timeout_s=0.2))


def _replay(path: Path, **changes: object) -> ReplaySettings:
    np.full(50_000, 0.1, dtype=np.complex64).tofile(path)
    return ReplaySettings.model_validate(
        {
            "id": "rec",
            "driver": "replay",
            "path": path,
            "iq_format": "cf32",
            "sample_rate_hz": 250_000,
            "center_frequency_hz": 162_487_500,
            "samples_per_message": 1024,
            **changes,
        }
    )


def test_a_station_without_receivers_or_with_two_of_one_id_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[\[receivers\]\]"):
        RadioStation([], _outbox())
    with pytest.raises(ConfigError, match="two receivers have the id 'rx'"):
        RadioStation([receiver_settings(), receiver_settings()], _outbox())


def test_capture_goes_on_without_redis(tmp_path: Path) -> None:
    station = RadioStation([_replay(tmp_path / "rec")], _outbox())
    chain = station.chains[0]
    station.start()
    station.watch()
    eventually(lambda: chain.publisher.sequence > 20, "messages")
    status = chain.status()
    assert status["running"]
    assert (status["frequency_hz"], status["sample_rate"]) == (162_487_500, 250_000)
    assert status["level_dbfs"] == -20.0
    station.stop()


def test_a_recording_that_is_played_once_ends_the_station_when_all_of_it_is_published(tmp_path: Path) -> None:
    station = RadioStation([_replay(tmp_path / "rec", loop=False, realtime=False)], _outbox())
    station.start()
    chain = station.chains[0]

    def watched() -> bool:
        station.watch()
        return station.ended

    eventually(watched, "the end")
    assert chain.publisher.sequence == -(-50_000 // 1024)
    assert chain.reader.lost_samples == 0
    station.stop()


def test_a_reader_and_a_publisher_that_die_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    station = RadioStation([_replay(tmp_path / "rec")], _outbox())
    chain = station.chains[0]
    station.start()
    eventually(lambda: chain.publisher.sequence > 0, "messages")
    reader, publisher = chain.reader, chain.publisher

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(reader._receiver, "read_into", broken)
    monkeypatch.setattr(publisher, "_publish_samples", broken)

    def replaced() -> bool:
        station.watch()
        return chain.reader is not reader and chain.publisher is not publisher

    eventually(replaced, "fresh ones")
    sequence = chain.publisher.sequence
    assert sequence >= publisher.sequence, "a consumer takes a sequence that begins anew for a double"

    def publishes() -> bool:
        station.watch()
        return chain.publisher.sequence > sequence + 3

    eventually(publishes, "messages again")
    assert {stage.restarts for stage in chain.stages} == {1}
    station.stop()


def test_a_receiver_that_gives_no_samples_is_neither_running_nor_locked() -> None:
    station = RadioStation([receiver_settings(port=free_port())], _outbox())
    chain = station.chains[0]
    station.start()
    eventually(lambda: chain.reader.last_error != "", "the failure")
    status = chain.status()
    assert (status["running"], status["locked"], status["signal_strength"]) == (False, False, 0.0)
    assert "cannot be reached" in status["error"]
    assert chain.ring_message() is None
    station.stop()


def test_a_wrong_setting_of_a_receiver_ends_the_station(tmp_path: Path) -> None:
    settings = _replay(tmp_path / "rec", iq_format=None)
    station = RadioStation([settings], _outbox())
    station.start()

    def watched() -> bool:
        station.watch()
        return False

    with pytest.raises(ConfigError, match="not a SigMF recording"):
        eventually(watched, "the error")
    station.stop()


def test_a_reader_that_dies_alone_is_followed_by_its_publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    station = RadioStation([_replay(tmp_path / "rec")], _outbox())
    chain = station.chains[0]
    station.start()
    eventually(lambda: chain.publisher.sequence > 0, "messages")
    reader, publisher = chain.reader, chain.publisher

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(reader._receiver, "read_into", broken)

    def replaced() -> bool:
        station.watch()
        return chain.reader is not reader

    eventually(replaced, "a fresh reader")
    assert chain.publisher is publisher
    sequence = publisher.sequence
    eventually(lambda: publisher.sequence > sequence + 3, "messages again")
    station.stop()


def test_a_reader_that_dies_while_it_is_stopped_stays_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    station = RadioStation([_replay(tmp_path / "rec")], _outbox())
    chain = station.chains[0]

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    reader = chain.reader
    monkeypatch.setattr(reader, "_stay_closed", broken)
    station.start()
    eventually(lambda: reader.state == "running", "the start")
    reader.suspend()

    def replaced() -> bool:
        station.watch()
        return chain.reader is not reader

    eventually(replaced, "a fresh reader")
    eventually(lambda: chain.reader.state == "stopped", "that it is stopped")
    assert chain.reader.tuning is None
    station.stop()

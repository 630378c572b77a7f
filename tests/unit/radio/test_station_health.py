"""A station's own word on its health: hung threads, channels that decide the lock, levels that end with the samples."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from app_core.base import lifecycle
from app_core.base.errors import DeviceError
from app_core.bridge.connection import RedisSettings
from app_core.bridge.local_redis import free_port
from app_core.bridge.outbox import Outbox
from app_core.radio.publisher import Publisher
from app_core.radio.reader import Reader
from app_core.radio.receiver import RtlTcpSettings
from app_core.radio.station import RadioStation
from tests.support.programs import eventually
from tests.support.signals import complex_noise, complex_tone
from tests.unit.radio.scripted import FREQUENCY_HZ, RATE_HZ, Published, ScriptedReceiver, receiver_settings


def _station(settings: RtlTcpSettings) -> RadioStation:
    return RadioStation([settings], Outbox(RedisSettings(port=free_port(), timeout_s=1.0)))


@pytest.mark.parametrize("stage", ["reader", "publisher"])
def test_a_thread_that_hangs_is_named_while_it_does(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "HUNG_AFTER_S", 0.3)
    station = _station(receiver_settings(port=free_port()))
    chain = station.chains[0]
    let_go = threading.Event()

    def stick() -> None:
        let_go.wait(30.0)
        raise DeviceError("it had stuck")

    if stage == "reader":
        monkeypatch.setattr(chain.reader._receiver, "open", stick)
    else:
        monkeypatch.setattr(chain.publisher, "_work", lambda: float(let_go.wait(30.0)))
    station.start()
    worker = chain.reader if stage == "reader" else chain.publisher

    def is_named() -> bool:
        faults = chain.status()["faults"]
        return station.hung == [worker.name] and f"{stage}_hung" in {fault["name"] for fault in faults}

    eventually(is_named, "the name of the thread that hangs")
    assert station.summary().startswith("rx: ")
    let_go.set()
    eventually(lambda: not worker.is_hung, "that it goes on")
    station.stop()


def _locked_on(channels_hz: list[float], tone_hz: float) -> Publisher:
    """Publish a tone in noise, and give the publisher that has looked at it."""
    published = Published()
    reader = Reader(receiver_settings(), ScriptedReceiver())
    publisher = Publisher(receiver_settings(), reader, published.put, channels_hz=channels_hz)
    with reader, publisher:
        eventually(lambda: reader.ring is not None, "the ring")
        ring = reader.ring
        assert ring is not None
        iq = complex_tone(tone_hz, RATE_HZ, 60_000, 0.1) + complex_noise(60_000, 1e-4, 3)
        ring.write(iq.astype(np.complex64))
        eventually(lambda: len(published.payloads("sdr:spectrum:rx")) >= 2, "rows")
    return publisher


def test_a_channel_that_is_listened_to_locks_the_receiver() -> None:
    publisher = _locked_on([FREQUENCY_HZ + 50_000.0, FREQUENCY_HZ - 50_000.0], 50_000.0)
    assert publisher.locked_since_s is not None
    assert publisher.channel_snrs_db[FREQUENCY_HZ + 50_000.0] > 20.0
    assert publisher.channel_snrs_db[FREQUENCY_HZ - 50_000.0] < 3.0
    assert publisher.snr_db == max(publisher.channel_snrs_db.values())


def test_a_strong_signal_that_nobody_listens_to_does_not() -> None:
    publisher = _locked_on([FREQUENCY_HZ - 50_000.0], 50_000.0)
    assert publisher.locked_since_s is None
    assert publisher.snr_db < 3.0


def test_channels_outside_the_band_leave_it_to_the_strongest_signal() -> None:
    publisher = _locked_on([FREQUENCY_HZ + 124_000.0, 1e6], 50_000.0)
    assert publisher.channel_snrs_db == {}
    assert publisher.locked_since_s is not None


def test_levels_end_with_the_samples(tmp_path: Path) -> None:
    station = _station(receiver_settings(port=free_port()))
    chain = station.chains[0]
    chain.publisher.snr_db, chain.publisher.level_dbfs, chain.publisher.clipping = 30.0, -10.0, 0.5
    chain.reader.last_sample_s = 1.0
    status = chain.status()
    assert (status["running"], status["locked"], status["signal_strength"]) == (False, False, 0.0)
    assert (status["snr_db"], status["level_dbfs"], status["clipping"]) == (0.0, -200.0, 0.0)
    assert status["gain_advice"] == ""
    assert status["faults"][0]["name"] == "no_samples"

"""A station's own word on its health: hung threads, channels that decide the lock, levels that end with the samples."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from app_core.base import lifecycle
from app_core.base.errors import DeviceError
from app_core.bridge.connection import RedisSettings
from app_core.bridge.local_redis import free_port
from app_core.bridge.outbox import Outbox
from app_core.radio import health
from app_core.radio.publisher import Publisher
from app_core.radio.reader import Reader
from app_core.radio.receiver import RtlTcpSettings, Tuning
from app_core.radio.ring_buffer import RingBuffer
from app_core.radio.station import RadioStation, ReceiverChain
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


def _chain_that_flows(station: RadioStation) -> ReceiverChain:
    """Give the only chain, as it is when samples came just now."""
    chain = station.chains[0]
    now_s = time.monotonic()
    chain.reader.last_sample_s = now_s
    chain.reader.flowing_since_s = now_s - 60.0
    chain.reader.tuning = Tuning(RATE_HZ, FREQUENCY_HZ)
    chain.publisher.last_spectrum_s = now_s
    return chain


def test_the_correction_in_force_is_told() -> None:
    chain = _chain_that_flows(_station(receiver_settings(port=free_port())))
    assert chain.status()["frequency_correction_ppm"] is None
    chain.reader.tuning = Tuning(RATE_HZ, FREQUENCY_HZ, frequency_correction_ppm=-3.0)
    assert chain.status()["frequency_correction_ppm"] == -3.0


def _fault_names(chain: ReceiverChain) -> list[str]:
    return [fault["name"] for fault in chain.status()["faults"]]


def test_what_is_read_off_an_old_spectrum_is_not_told_as_the_present() -> None:
    chain = _chain_that_flows(_station(receiver_settings(port=free_port())))
    chain.publisher.snr_db, chain.publisher.level_dbfs, chain.publisher.clipping = 30.0, -80.0, 0.5
    chain.publisher._lock.note(30.0, time.monotonic() - 10.0)
    status = chain.status()
    assert (status["locked"], status["snr_db"], status["level_dbfs"]) == (True, 30.0, -80.0)
    chain.publisher.last_spectrum_s -= 5.0
    status = chain.status()
    assert (status["running"], status["locked"], status["snr_db"], status["gain_advice"]) == (True, False, 0.0, "")
    assert [fault["name"] for fault in status["faults"]] == ["spectrum_late"]
    assert status["faults"][0]["severity"] == "error"


def test_a_receiver_that_just_began_owes_no_spectrum_yet() -> None:
    chain = _chain_that_flows(_station(receiver_settings(port=free_port())))
    chain.publisher.last_spectrum_s = 0.0
    chain.reader.flowing_since_s = time.monotonic() - 0.5
    assert "spectrum_late" not in _fault_names(chain)
    chain.reader.flowing_since_s = time.monotonic() - 5.0
    assert "spectrum_late" in _fault_names(chain)


def test_a_device_that_keeps_losing_samples_is_a_fault_and_one_loss_a_warning() -> None:
    chain = _chain_that_flows(_station(receiver_settings(port=free_port())))
    assert "device_overflow" not in _fault_names(chain)
    for severity in ("warning", "warning", "error"):
        chain.reader.gap_count += 3
        chain.reader.lost_samples += 5000
        fault = next(fault for fault in chain.status()["faults"] if fault["name"] == "device_overflow")
        assert (fault["severity"], fault["stage"]) == (severity, "receiver")
    assert "device_overflow" not in _fault_names(chain)
    assert (chain.status()["gap_count"], chain.status()["overflow_count"]) == (9, 0)


def test_a_rate_that_is_off_is_found_by_the_station_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "RATE_WINDOW_S", 0.6)
    monkeypatch.setattr(health.RateMeter, "_STEP_S", 0.04)
    chain = _chain_that_flows(_station(receiver_settings(port=free_port())))
    began_s = time.monotonic()

    def is_named() -> bool:
        now_s = time.monotonic()
        chain.reader.last_sample_s = chain.publisher.last_spectrum_s = now_s
        chain.reader.progress = (1, round((now_s - began_s) * RATE_HZ * 0.98), now_s)
        return "sample_rate_off" in _fault_names(chain)

    eventually(is_named, "the fault")


def test_one_receiver_that_hangs_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "HUNG_AFTER_S", 0.2)
    ports = [free_port(), free_port()]
    receivers = [receiver_settings(id=f"rx{number}", port=port) for number, port in enumerate(ports)]
    station = RadioStation(receivers, Outbox(RedisSettings(port=free_port(), timeout_s=1.0)))
    let_go = threading.Event()

    def stick() -> None:
        let_go.wait(30.0)
        raise DeviceError("it had stuck")

    first, second = station.chains
    monkeypatch.setattr(first.reader._receiver, "open", stick)
    station.start()
    eventually(lambda: first.reader.is_hung, "that the first hangs")
    assert "reader_hung" in _fault_names(first)
    assert station.hung == []
    monkeypatch.setattr(second.publisher, "_work", lambda: float(let_go.wait(30.0)))
    eventually(lambda: station.hung == [first.reader.name, second.publisher.name], "that both hang")
    let_go.set()
    station.stop()


def test_a_ring_that_is_nearly_full_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    chain = _chain_that_flows(_station(receiver_settings(port=free_port())))
    ring = RingBuffer(262_144)
    chain.reader.ring = ring
    ring.mark(first_sample=0, config_epoch=1, sample_rate_hz=RATE_HZ, center_frequency_hz=FREQUENCY_HZ)
    ring.write(np.zeros(230_000, dtype=np.complex64))
    assert chain.ring_message() is not None
    chain.ring_message()
    told = [message for message in caplog.messages if message.startswith("ring of rx: fill_percentage is 8")]
    assert len(told) == 1
    assert "ring_nearly_full" in _fault_names(chain)


def test_what_goes_wrong_on_the_way_to_redis_is_a_warning_of_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    station = _station(receiver_settings(port=free_port()))
    chain = _chain_that_flows(station)
    history = {"short": True, "held_s": 4.2, "wanted_s": 30.0}
    told = station._outbox.status() | {
        "dropping": True,
        "dropped_count": 7,
        "holds_s": 12.0,
        "histories": {"sdr:history:rx": history},
    }
    monkeypatch.setattr(station._outbox, "status", lambda: told)
    faults = {fault["name"]: fault for fault in chain.status()["faults"]}
    assert faults["redis_dropping"]["text"].startswith("Redis does not take what is published: 7 messages dropped")
    assert faults["history_short"]["text"].startswith("the history in Redis reaches 4.2 s back, not 30 s")
    assert {faults[name]["severity"] for name in ("redis_dropping", "history_short")} == {"warning"}

"""Commands given out, carried out by the thread that owns the device, and answered."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import orjson
import pytest

from app_core.base.errors import ConfigError, DeviceError
from app_core.bridge.messages import SpectrumMessage
from app_core.radio import control
from app_core.radio.capture import CaptureWriter
from app_core.radio.control import CommandDesk
from app_core.radio.publisher import Publisher
from app_core.radio.reader import Reader
from app_core.radio.receiver import AnyReceiverSettings, Receiver, RtlTcpSettings, Tuning
from app_core.radio.rtl_tcp import RtlTcpReceiver
from tests.support.programs import eventually
from tests.unit.radio.scripted import FREQUENCY_HZ, RATE_HZ, Published, ScriptedReceiver, receiver_settings


@dataclass
class _Device(ScriptedReceiver):
    """A scripted receiver that can be tuned; `hold` keeps the thread that reads in a call."""

    frequencies: list[float] = field(default_factory=list)
    gains: list[float | str] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hold.set()

    def tune(self, frequency_hz: float) -> Tuning:
        self.entered.set()
        self.hold.wait(20.0)
        if frequency_hz > 1e9:
            raise ConfigError("it does not tune there")
        self.frequencies.append(frequency_hz)
        return Tuning(RATE_HZ, frequency_hz, "cu8")

    def set_gain(self, gain_db: float | Literal["auto"]) -> object:
        self.gains.append(gain_db)
        return None if gain_db == "auto" else round(gain_db)


class _Chain:
    """What the commands need of a receiver."""

    captures: CaptureWriter | None = None

    def __init__(self, receiver: Receiver, **settings: object) -> None:
        self.settings: AnyReceiverSettings = receiver_settings(**settings)
        self.reader = Reader(self.settings, receiver)
        self.publisher = Publisher(self.settings, self.reader, Published().put)


class _Answers:
    """The results, by id, in the order in which they came."""

    def __init__(self) -> None:
        self.given: list[tuple[str, dict[str, Any]]] = []

    def put(self, command_id: str, payload: bytes) -> None:
        self.given.append((command_id, orjson.loads(payload)))

    def wait(self, command_id: str) -> dict[str, Any]:
        eventually(lambda: any(name == command_id for name, _ in list(self.given)), f"the result of {command_id}")
        return next(result for name, result in self.given if name == command_id)


class _Control:
    def __init__(self, chains: dict[str, _Chain]) -> None:
        self.chains = chains
        self.answers = _Answers()
        self.utc = 1000.0
        self.desk = CommandDesk(chains, self.answers.put, utc=lambda: self.utc)

    def push(self, action: str, command_id: str, receiver_id: str = "rx", **arguments: object) -> None:
        fields = {"action": action, "receiver_id": receiver_id, "command_id": command_id, **arguments}
        self.desk.take(orjson.dumps(fields))

    def do(self, action: str, command_id: str, receiver_id: str = "rx", **arguments: object) -> dict[str, Any]:
        self.push(action, command_id, receiver_id, **arguments)
        return self.answers.wait(command_id)


@contextmanager
def _control(**receivers: Receiver) -> Iterator[_Control]:
    """Readers that run, and a worker for each receiver's commands."""
    chains = {name: _Chain(receiver, id=name) for name, receiver in receivers.items()}
    under_test = _Control(chains)
    workers = [under_test.desk.worker(name) for name in chains]
    for chain in chains.values():
        chain.reader.start()
    for worker in workers:
        worker.start()
    for chain in chains.values():
        eventually(lambda chain=chain: chain.reader.state == "running", "the reader")  # type: ignore[misc]
    yield under_test
    for worker in workers:
        worker.stop()
    for chain in chains.values():
        chain.reader.stop()


def test_stop_closes_the_device_and_start_opens_it_and_both_may_come_twice() -> None:
    device = _Device()
    with _control(rx=device) as station:
        assert station.do("start", "1")["message"] == "Receiver rx is already running"
        assert station.do("stop", "2")["message"] == "Receiver rx stopped"
        assert (device.opened, device.closed) == (1, 1)
        assert station.do("stop", "3") == {
            "command_id": "3",
            "success": True,
            "message": "Receiver rx is already stopped",
        }
        assert station.do("start", "4")["message"] == "Receiver rx started"
        assert station.do("restart", "5")["message"] == "Receiver rx restarted"
        assert (device.opened, device.closed) == (3, 2)
        assert station.chains["rx"].reader.reopen_count == 0, "what was asked for is no failure"


def test_the_time_of_a_stop_is_not_counted_as_lost_but_the_samples_number_goes_on() -> None:
    device = _Device()
    with _control(rx=device) as station:
        reader = station.chains["rx"].reader
        device.steps.append(1000)
        eventually(lambda: reader.ring is not None and reader.ring.readable == 1000, "samples")
        station.do("restart", "1")
        ring = reader.ring
        assert ring is not None
        first = ring.anchor_at_read()
        ring.release(1000)
        device.steps.append(10)
        eventually(lambda: ring.readable == 10, "more samples")
        second = ring.anchor_at_read()
        assert first is not None
        assert second is not None
        assert second.first_sample >= 1000
        assert second.config_epoch > first.config_epoch
        assert reader.lost_samples == 0


def test_a_restart_that_fails_leaves_the_receiver_to_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "STATE_TIMEOUT_S", 0.3)
    device = _Device()
    with _control(rx=device) as station:
        reader = station.chains["rx"].reader
        device.hold.clear()
        reader.retune(1e8)
        assert device.entered.wait(20.0)
        result = station.do("restart", "1")
        assert (result["success"], result["message"]) == (
            False,
            "receiver rx did not stop within 0 s: its device hangs",
        )
        device.hold.set()
        device.steps.append(100)
        eventually(lambda: reader.flowing_since_s is not None, "that it goes on")
        assert reader.is_wanted


def test_a_stop_that_takes_too_long_says_that_it_stays_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "STATE_TIMEOUT_S", 0.3)
    device = _Device()
    with _control(rx=device) as station:
        device.hold.clear()
        station.chains["rx"].reader.retune(1e8)
        assert device.entered.wait(20.0)
        result = station.do("stop", "1")
        assert not result["success"]
        assert result["message"].endswith("its device hangs; it stays to be stopped, and will be when it answers")
        device.hold.set()
        eventually(lambda: station.chains["rx"].reader.state == "stopped", "the stop")


def test_a_device_that_does_not_open_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "STATE_TIMEOUT_S", 0.3)
    device = _Device()
    with _control(rx=device) as station:
        station.do("stop", "1")
        device.open_errors.extend(DeviceError("no such dongle") for _ in range(100))
        result = station.do("start", "2")
        assert not result["success"]
        assert result["message"] == "receiver rx did not open within 0 s: no such dongle"
        assert not station.do("tune", "3", frequency_hz=1e8)["success"]
        device.open_errors.clear()
        eventually(lambda: station.chains["rx"].reader.state == "running", "it is tried again")


def test_a_retune_is_done_between_two_reads_and_marked_in_the_ring() -> None:
    device = _Device()
    with _control(rx=device) as station:
        reader = station.chains["rx"].reader
        device.steps.append(100)
        eventually(lambda: reader.ring is not None and reader.ring.readable == 100, "samples")
        result = station.do("tune", "1", frequency_hz=162_550_000)
        assert result["message"] == "Receiver rx tuned to 162.55 MHz"
        assert result["result"] == {"frequency_hz": 162_550_000, "sample_rate": 250_000}
        device.steps.append(50)
        ring = reader.ring
        assert ring is not None
        eventually(lambda: ring.readable == 150, "samples behind it")
        assert len(ring.read_view(1000)) == 100, "a message does not mix the two"
        before = ring.anchor_at_read()
        ring.release(100)
        after = ring.anchor_at_read()
        assert before is not None
        assert after is not None
        assert (before.center_frequency_hz, after.center_frequency_hz) == (FREQUENCY_HZ, 162_550_000)
        assert after.config_epoch > before.config_epoch
        assert after.first_sample == 100


def test_what_the_device_refuses_is_answered_in_its_words_and_capture_goes_on() -> None:
    device = _Device()
    with _control(rx=device, plain=ScriptedReceiver()) as station:
        assert station.do("tune", "1", frequency_hz=2e9)["message"] == "it does not tune there"
        assert "cannot be tuned" in station.do("tune", "2", "plain", frequency_hz=1e8)["message"]
        assert "has no gain to set" in station.do("gain", "3", "plain", gain_db=1)["message"]
        assert "captures are switched off" in station.do("capture", "4", seconds=1)["message"]
        device.steps.append(10)
        reader = station.chains["rx"].reader
        eventually(lambda: reader.ring is not None and reader.ring.readable == 10, "samples")
        assert device.opened == 1


def test_a_gain_that_the_device_rounds_is_told_as_it_is() -> None:
    device = _Device()
    with _control(rx=device) as station:
        assert station.do("gain", "1", gain_db=29.7)["result"] == {"gain_db": 30}
        assert station.do("gain", "2", gain_db="auto")["result"] == {"gain_db": "auto"}
        assert device.gains == [29.7, "auto"]


def test_a_hung_device_is_answered_and_what_nobody_waits_for_is_not_done_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "REQUEST_TIMEOUT_S", 0.05)
    device = _Device()
    with _control(rx=device) as station:
        device.hold.clear()
        assert "did not answer within" in station.do("tune", "1", frequency_hz=1e8)["message"]
        assert "did not answer within" in station.do("tune", "2", frequency_hz=2e8)["message"]
        device.hold.set()
        eventually(lambda: station.do("gain", f"g{time.monotonic_ns()}", gain_db=1)["success"], "it works again")
        assert device.frequencies == [1e8], "the first had begun; the second had not"


def test_a_slow_receiver_delays_no_other() -> None:
    slow, quick = _Device(), _Device()
    with _control(slow=slow, quick=quick) as station:
        slow.hold.clear()
        station.push("tune", "slow", "slow", frequency_hz=1e8)
        assert slow.entered.wait(20.0)
        for number in range(20):
            assert station.do("gain", f"quick-{number}", "quick", gain_db=number)["success"]
        assert "slow" not in [name for name, _ in station.answers.given]
        slow.hold.set()
        assert station.answers.wait("slow")["success"]


def test_commands_of_one_receiver_run_in_their_order_and_the_surplus_is_answered_busy() -> None:
    device = _Device()
    with _control(rx=device) as station:
        device.hold.clear()
        station.push("tune", "first", frequency_hz=1.0)
        assert device.entered.wait(20.0)
        for number in range(control.MAX_WAITING):
            station.push("tune", f"t{number}", frequency_hz=2.0 + number)
        surplus = station.do("tune", "surplus", frequency_hz=9.0)
        assert surplus["message"] == f"busy: {control.MAX_WAITING} commands wait for receiver rx"
        device.hold.set()
        station.answers.wait(f"t{control.MAX_WAITING - 1}")
        assert device.frequencies == [1.0 + number for number in range(control.MAX_WAITING + 1)]
        assert station.do("tune", "surplus", frequency_hz=9.0)
        eventually(lambda: device.frequencies[-1] == 9.0, "the same id, tried again")
        assert station.desk.status()["busy"] == 1


def test_the_same_id_is_answered_again_and_carried_out_once() -> None:
    device = _Device()
    with _control(rx=device) as station:
        device.hold.clear()
        station.push("tune", "1", frequency_hz=1e8)
        station.push("tune", "1", frequency_hz=1e8)
        device.hold.set()
        first = station.answers.wait("1")
        station.push("tune", "1", frequency_hz=5e8)
        station.desk.take(b'{"command_id":"1","action":')
        eventually(lambda: len(station.answers.given) == 3, "the answers")
        assert [result for _, result in station.answers.given] == [first] * 3
        assert device.frequencies == [1e8]
        assert station.desk.status()["repeated"] == 3


def test_what_is_taken_is_answered_in_the_end_whatever_it_is() -> None:
    device = _Device()
    with _control(rx=device) as station:
        bad = b'{"command_id":"bad"}'
        station.desk.take(bad)
        assert list(station.desk.answered) == [bad]
        device.hold.clear()
        station.push("tune", "1", frequency_hz=1e8)
        assert device.entered.wait(20.0)
        assert list(station.desk.answered) == [bad]
        device.hold.set()
        station.answers.wait("1")
        eventually(lambda: len(station.desk.answered) == 2, "the end of the command")
        assert orjson.loads(station.desk.answered[1])["command_id"] == "1"


def test_a_command_of_a_process_that_died_fails_and_is_not_tried_again() -> None:
    device = _Device()
    with _control(rx=device) as station:
        station.desk.take_interrupted(b'{"action":"tune","receiver_id":"rx","command_id":"1","frequency_hz":1e8}')
        station.desk.take_interrupted(b"\xff")
        result = station.answers.wait("1")
        assert (result["success"], result["message"][:40]) == (False, "the SDR service ended while this was und")
        station.push("tune", "1", frequency_hz=1e8)
        eventually(lambda: len(station.answers.given) == 2, "the second answer")
        assert device.frequencies == []
        status = station.desk.status()
        assert (status["interrupted"], status["repeated"]) == (2, 1)


def test_an_expired_command_is_not_carried_out_also_when_it_expires_while_it_waits() -> None:
    device = _Device()
    with _control(rx=device) as station:
        assert station.do("tune", "1", frequency_hz=1e8, expires_at=999.0)["message"] == "expired"
        device.hold.clear()
        station.push("tune", "2", frequency_hz=2e8)
        assert device.entered.wait(20.0)
        station.push("tune", "3", frequency_hz=3e8, expires_at=1001.0)
        station.utc = 1002.0
        device.hold.set()
        assert station.answers.wait("3") == {"command_id": "3", "success": False, "message": "expired"}
        assert device.frequencies == [2e8]
        assert station.desk.status()["expired"] == 2


def test_what_is_no_command_is_answered_or_counted() -> None:
    with _control(rx=_Device()) as station:
        for payload in (b"", b"[]", b"\xff", b'{"command_id":"bad","action":"dance","receiver_id":"rx"}'):
            station.desk.take(payload)
        assert station.answers.wait("bad")["message"].startswith("unknown action 'dance'")
        assert station.do("stop", "1", "nobody")["message"] == "unknown receiver 'nobody'; known are rx"
        status = station.desk.status()
        assert (status["malformed"], status["unknown_receiver"], len(station.answers.given)) == (4, 1, 2)


def test_the_latest_spectrum_is_given_while_it_is_fresh() -> None:
    with _control(rx=_Device()) as station:
        assert "gave no spectrum in the last 5 s" in station.do("get_spectrum", "1")["message"]
        publisher = station.chains["rx"].publisher
        publisher.last_spectrum = SpectrumMessage(
            identifier="rx",
            spectrum=[0.0, 1.0],
            fft_size=2,
            sample_rate=250_000,
            center_frequency=1e8,
            timestamp=1.0,
            status="available",
            dbfs_min=-120.0,
            dbfs_max=0.0,
        )
        publisher.last_spectrum_s = time.monotonic()
        result = station.do("get_spectrum", "2")
        assert SpectrumMessage.from_json(orjson.dumps(result["result"])) == publisher.last_spectrum
        publisher.last_spectrum_s -= 6.0
        assert not station.do("get_spectrum", "3")["success"]


def test_a_defect_in_one_command_is_answered_and_the_next_worker_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    device = _Device()
    chain = _Chain(device)
    station = _Control({"rx": chain})

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    worker = station.desk.worker("rx")
    monkeypatch.setattr(worker, "_get_spectrum", broken)
    station.push("get_spectrum", "1")
    station.push("stop", "2")
    worker.start()
    assert "the service's log says why" in station.answers.wait("1")["message"]
    eventually(lambda: not worker.is_alive, "its end")
    with chain.reader, station.desk.worker("rx"):
        assert station.answers.wait("2")["success"]


def test_rtl_tcp_is_tuned_by_its_bytes_and_what_came_before_is_thrown_away_in_pairs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = RtlTcpSettings(id="rx", driver="rtl_tcp", port=server.getsockname()[1])
        receiver = RtlTcpReceiver(settings)
        greeted = threading.Thread(target=lambda: accepted.append(_greet(server)))
        accepted: list[socket.socket] = []
        greeted.start()
        receiver.open()
        greeted.join(20.0)
        with accepted[0] as dongle:
            _read_commands(dongle, 5)
            dongle.sendall(bytes([1]) * 1001)
            eventually(lambda: _waiting(receiver) == 1001, "the old samples")
            tuning = receiver.tune(162_550_000.4)
            assert (tuning.center_frequency_hz, tuning.iq_format) == (162_550_000.0, "cu8")
            assert _read_commands(dongle, 1) == [(1, 162_550_000)]
            dongle.sendall(bytes([1]) + bytes([255, 255]) * 100)
            eventually(lambda: _waiting(receiver) == 201, "the new samples")
            iq = np.zeros(200, dtype=np.complex64)
            reading = receiver.read_into(iq, 0.05)
            assert (reading.lost_samples, reading.n_samples) == (500, 101)
            assert np.all(iq[1:101] == 1 + 1j), "I and Q are not mistaken for each other"
            receiver.set_gain(29.7)
            receiver.set_gain("auto")
            assert _read_commands(dongle, 5) == [(3, 1), (8, 0), (4, 297), (3, 0), (8, 1)]
            with pytest.raises(ConfigError, match="not to 5000000000 Hz"):
                receiver.tune(5e9)
            with pytest.raises(ConfigError, match="0 to 100 dB"):
                receiver.set_gain(-1.0)
            receiver.close()
        again = threading.Thread(target=lambda: accepted.append(_greet(server)))
        again.start()
        assert receiver.open().center_frequency_hz == 162_550_000.0, "a reopened device is tuned as it was"
        again.join(20.0)
        with accepted[1] as dongle:
            assert (1, 162_550_000) in _read_commands(dongle, 5)
        receiver.close()


def _greet(server: socket.socket) -> socket.socket:
    connection, _ = server.accept()
    connection.settimeout(20.0)
    connection.sendall(struct.pack(">4sII", b"RTL0", 5, 29))
    return connection


def _read_commands(dongle: socket.socket, count: int) -> list[tuple[int, int]]:
    received = b""
    while len(received) < 5 * count:
        received += dongle.recv(5 * count - len(received))
    return [struct.unpack(">BI", received[index : index + 5]) for index in range(0, len(received), 5)]


def _waiting(receiver: RtlTcpReceiver) -> int:
    """Bytes that stand in the receiver's socket."""
    connection = receiver._socket
    assert connection is not None
    try:
        return len(connection.recv(1 << 20, socket.MSG_PEEK))
    except BlockingIOError:
        return 0

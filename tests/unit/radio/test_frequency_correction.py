"""The correction of a receiver's crystal, changed while it runs, with the tuning that it belongs to."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, cast

import orjson
import pytest

from app_core.base.errors import ConfigError, DeviceError
from app_core.radio.control import CommandDesk, Controlled
from app_core.radio.publisher import Publisher
from app_core.radio.reader import Reader
from app_core.radio.receiver import AnyReceiverSettings, FrequencyCorrection, RtlTcpSettings, Tunable, Tuning
from app_core.radio.replay import ReplayReceiver
from app_core.radio.rtl_tcp import RtlTcpReceiver
from app_core.radio.soapy_receiver import SoapyReceiver
from tests.support.programs import PATIENCE_S, eventually
from tests.support.soapy_module import IqFileDevices
from tests.unit.radio.scripted import RATE_HZ, ScriptedReceiver, receiver_settings


class _Device(ScriptedReceiver):
    """A scripted receiver that notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, float]] = []

    def tune(self, frequency_hz: float) -> Tuning:
        self.asked.append(("tune", frequency_hz))
        return Tuning(RATE_HZ, frequency_hz, "cu8")

    def set_frequency_correction(self, correction_ppm: float) -> float:
        if correction_ppm > 500.0:
            raise ConfigError("it does not go so far")
        self.asked.append(("correct", correction_ppm))
        return float(round(correction_ppm))


class _Uncorrected(ScriptedReceiver):
    """One that can be tuned, and no more."""

    def tune(self, frequency_hz: float) -> Tuning:
        raise AssertionError("what is refused is not tuned either")


class _Chain:
    captures = None

    def __init__(self, receiver: ScriptedReceiver) -> None:
        self.settings: AnyReceiverSettings = receiver_settings(id="rx")
        self.reader = Reader(self.settings, receiver)
        self.publisher = Publisher(self.settings, self.reader, lambda *_: None)


def _tune(receiver: ScriptedReceiver, **arguments: object) -> dict[str, Any]:
    answers: list[dict[str, Any]] = []
    chain = _Chain(receiver)
    desk = CommandDesk({"rx": cast(Controlled, chain)}, lambda _, payload: answers.append(orjson.loads(payload)))
    with chain.reader, desk.worker("rx"):
        eventually(lambda: chain.reader.state == "running", "the reader")
        desk.take(orjson.dumps({"action": "tune", "receiver_id": "rx", "command_id": "c", **arguments}))
        eventually(lambda: bool(answers), "the answer")
    return answers[0]


def test_a_tuning_may_bring_another_correction_which_is_made_first() -> None:
    device = _Device()
    answer = _tune(device, frequency_hz=162_550_000, frequency_correction_ppm=12.4)
    assert answer["message"] == "Receiver rx tuned to 162.55 MHz, corrected by 12 ppm"
    assert answer["result"] == {
        "frequency_hz": 162_550_000,
        "sample_rate": 250_000,
        "frequency_correction_ppm": 12,
    }
    assert device.asked == [("correct", 12.4), ("tune", 162_550_000.0)]


def test_a_tuning_without_one_leaves_the_correction_alone() -> None:
    device = _Device()
    answer = _tune(device, frequency_hz=162_550_000)
    assert answer["message"] == "Receiver rx tuned to 162.55 MHz"
    assert "frequency_correction_ppm" not in answer["result"]
    assert device.asked == [("tune", 162_550_000.0)]


@pytest.mark.parametrize(
    ("correction_ppm", "words"),
    [
        (501.0, "it does not go so far"),
        (2000, "frequency_correction_ppm: Input should be less than or equal to 1000"),
        ("12", "frequency_correction_ppm must be a number, not '12'"),
    ],
)
def test_a_correction_that_cannot_be_is_refused_and_nothing_is_tuned(correction_ppm: object, words: str) -> None:
    device = _Device()
    answer = _tune(device, frequency_hz=162_550_000, frequency_correction_ppm=correction_ppm)
    assert (answer["success"], answer["message"]) == (False, words)
    assert device.asked == []


def test_a_receiver_that_has_no_correction_says_so() -> None:
    answer = _tune(_Uncorrected(), frequency_hz=162_550_000, frequency_correction_ppm=1)
    assert not answer["success"]
    assert answer["message"].startswith("receiver rx (driver ")
    assert answer["message"].endswith("has no frequency_correction_ppm to set")


def test_dongles_can_be_corrected_and_recordings_cannot() -> None:
    for kind in (RtlTcpReceiver, SoapyReceiver):
        assert issubclass(kind, FrequencyCorrection)
        assert issubclass(kind, Tunable)
    assert not issubclass(ReplayReceiver, FrequencyCorrection)


@pytest.fixture(name="server")
def make_server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def _visit(server: socket.socket, receiver: RtlTcpReceiver) -> list[tuple[int, int]]:
    """Open the receiver, and give the first commands that it sent."""
    greeted: list[socket.socket] = []

    def greet() -> None:
        connection, _ = server.accept()
        connection.sendall(struct.pack(">4sII", b"RTL0", 5, 29))
        greeted.append(connection)

    greeter = threading.Thread(target=greet)
    greeter.start()
    receiver.open()
    greeter.join(PATIENCE_S)
    with greeted[0] as dongle:
        opening = _commands(dongle, 5)
        receiver.set_frequency_correction(-36.6)
        assert _commands(dongle, 1) == [(5, 2**32 - 37)]
        assert receiver.tune(162_550_000.0).frequency_correction_ppm == -37.0
        with pytest.raises(ConfigError, match="-1000 to 1000 ppm, not 1001"):
            receiver.set_frequency_correction(1001.0)
    receiver.close()
    return opening


def _commands(dongle: socket.socket, count: int) -> list[tuple[int, int]]:
    received = b""
    while len(received) < 5 * count:
        received += dongle.recv(5 * count - len(received))
    return list(struct.iter_unpack(">BI", received))


def test_rtl_tcp_is_corrected_by_its_bytes_and_stays_so_over_a_reopening(server: socket.socket) -> None:
    receiver = RtlTcpReceiver(RtlTcpSettings(id="rx", driver="rtl_tcp", port=server.getsockname()[1]))
    assert (5, 0) in _visit(server, receiver)
    assert (5, 2**32 - 37) in _visit(server, receiver)


def test_a_soapy_device_is_corrected_and_stays_so_over_a_reopening(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    receiver = make()
    with pytest.raises(DeviceError, match="is not open"):
        receiver.set_frequency_correction(1.0)
    assert receiver.open().frequency_correction_ppm == 0.0
    assert receiver.set_frequency_correction(12.5) == 12.5
    assert receiver.tune(162_550_000.0).frequency_correction_ppm == 12.5
    assert receiver.open().frequency_correction_ppm == 12.5
    assert devices.calls().count("setFrequencyCorrection 12.500000") == 2


def test_a_soapy_device_without_a_correction_says_so(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1", model="plain")
    receiver = make(sample_rate_hz=1e6)
    assert receiver.open().frequency_correction_ppm is None
    with pytest.raises(ConfigError, match="iqfile A1 has no frequency correction"):
        receiver.set_frequency_correction(1.0)

"""A dongle behind ``rtl_tcp``, against a server of a few lines on a real socket."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.base.errors import DeviceError
from app_core.bridge.local_redis import free_port
from app_core.radio.receiver import RtlTcpSettings
from app_core.radio.rtl_tcp import RtlTcpReceiver
from tests.support.programs import PATIENCE_S

_GREETING = b"RTL0" + struct.pack(">II", 5, 29)


class _Server:
    """Listens; the test says what it does with its one visitor."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self.port: int = self._listener.getsockname()[1]
        self.visitor: socket.socket | None = None

    def accept(self) -> socket.socket:
        self.visitor, _ = self._listener.accept()
        self.visitor.settimeout(PATIENCE_S)
        self.visitor.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.visitor

    def receive(self, n_bytes: int) -> bytes:
        assert self.visitor is not None
        received = b""
        while len(received) < n_bytes:
            part = self.visitor.recv(n_bytes - len(received))
            assert part, "the receiver closed the connection"
            received += part
        return received

    def close(self) -> None:
        if self.visitor is not None:
            self.visitor.close()
        self._listener.close()


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server()
    yield server
    server.close()


def _settings(port: int, **changes: object) -> RtlTcpSettings:
    return RtlTcpSettings.model_validate({"id": "rtl", "driver": "rtl_tcp", "port": port, **changes})


def _opened(server: _Server, *, silent_after_s: float = PATIENCE_S, **changes: object) -> RtlTcpReceiver:
    """Open a receiver and greet it."""
    receiver = RtlTcpReceiver(_settings(server.port, **changes), silent_after_s=silent_after_s)
    greeter = threading.Thread(target=lambda: server.accept().sendall(_GREETING))
    greeter.start()
    receiver.open()
    greeter.join(PATIENCE_S)
    return receiver


def _read(receiver: RtlTcpReceiver, n_samples: int, timeout_s: float = PATIENCE_S) -> NDArray[np.complex64]:
    iq = np.full(n_samples, np.nan, dtype=np.complex64)
    reading = receiver.read_into(iq, timeout_s)
    assert np.isnan(iq[reading.n_samples :]).all()
    return iq[: reading.n_samples]


def _iq_of(raw: bytes) -> NDArray[np.complex64]:
    components = (np.frombuffer(raw, dtype=np.uint8).astype(np.float64) - 127.5) / 127.5
    return components.astype(np.float32).view(np.complex64)


def _commands(raw: bytes) -> list[tuple[int, int]]:
    return [(number, argument) for number, argument in struct.iter_unpack(">BI", raw)]


def test_automatic_gain_is_asked_for_in_the_protocols_bytes(server: _Server) -> None:
    receiver = _opened(server, sample_rate_hz=250_000, center_frequency_hz=162_487_500)
    assert _commands(server.receive(25)) == [(2, 250_000), (5, 0), (1, 162_487_500), (3, 0), (8, 1)]
    receiver.close()


def test_a_given_gain_is_asked_for_in_tenths_of_a_decibel(server: _Server) -> None:
    receiver = _opened(server, gain_db=28.0, frequency_correction_ppm=-37, sample_rate_hz=2_400_000)
    assert _commands(server.receive(30)) == [
        (2, 2_400_000),
        (5, 2**32 - 37),
        (1, 162_487_500),
        (3, 1),
        (8, 0),
        (4, 280),
    ]
    receiver.close()


def test_the_tuning_is_what_was_asked_for(server: _Server) -> None:
    receiver = RtlTcpReceiver(_settings(server.port, sample_rate_hz=1_024_000, center_frequency_hz=99_000_000))
    assert not receiver.waits, "live samples that find no room are lost"
    greeter = threading.Thread(target=lambda: server.accept().sendall(_GREETING))
    greeter.start()
    tuning = receiver.open()
    assert (tuning.sample_rate_hz, tuning.center_frequency_hz) == (1_024_000.0, 99_000_000.0)
    greeter.join(PATIENCE_S)
    receiver.close()


def test_every_byte_becomes_its_exact_value(server: _Server) -> None:
    receiver = _opened(server)
    raw = bytes(range(256)) + bytes(range(255, -1, -1))
    assert server.visitor is not None
    server.visitor.sendall(raw)
    got = _read(receiver, 256)
    assert got.tobytes() == _iq_of(raw).tobytes()
    assert (got.real.min(), got.real.max()) == (-1.0, 1.0)
    receiver.close()


def test_samples_split_across_packets_are_put_together(server: _Server) -> None:
    receiver = _opened(server)
    assert server.visitor is not None
    raw = bytes(np.random.default_rng(3).integers(0, 256, 4002, dtype=np.uint8))
    got: list[NDArray[np.complex64]] = []
    sent = 0
    for size in (1, 1, 3, 2, 5, 999, 1, 990):
        server.visitor.sendall(raw[sent : sent + size])
        sent += size
        # Asking for more than there is: what has come is given when the time is over, a half sample is kept.
        while sum(map(len, got)) < sent // 2:
            got.append(_read(receiver, 2000, timeout_s=0.02))
        assert sum(map(len, got)) == sent // 2
    assert np.concatenate(got).tobytes() == _iq_of(raw[: sent // 2 * 2]).tobytes()
    receiver.close()


def test_a_read_ends_when_it_is_full_and_the_rest_waits(server: _Server) -> None:
    receiver = _opened(server)
    assert server.visitor is not None
    raw = bytes(range(200))
    server.visitor.sendall(raw)
    got = np.concatenate([_read(receiver, 30), _read(receiver, 30), _read(receiver, 40)])
    assert got.tobytes() == _iq_of(raw).tobytes()
    receiver.close()


def test_a_read_without_samples_ends_in_time_with_none(server: _Server) -> None:
    receiver = _opened(server)
    assert len(_read(receiver, 100, timeout_s=0.01)) == 0
    receiver.close()


def test_a_server_that_is_silent_has_hung(server: _Server) -> None:
    receiver = _opened(server, silent_after_s=0.2)
    with pytest.raises(DeviceError, match=r"silent for 0\.2 s"):
        for _ in range(100):
            assert len(_read(receiver, 100, timeout_s=0.02)) == 0
    receiver.close()


def test_a_server_that_closes_is_gone_and_its_last_samples_are_not_made_up(server: _Server) -> None:
    receiver = _opened(server)
    assert server.visitor is not None
    server.visitor.close()
    with pytest.raises(DeviceError, match=r"closed|reset"):
        _read(receiver, 100)
    receiver.close()
    with pytest.raises(DeviceError, match="not open"):
        _read(receiver, 100)


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak rtl_tcp"),
        (b"RTL1" + bytes(8), "does not speak rtl_tcp"),
        (b"RTL0", "before its greeting"),
        (b"", "before its greeting"),
    ],
)
def test_a_server_that_talks_nonsense_is_said_to(server: _Server, greeting: bytes, reason: str) -> None:
    def visit() -> None:
        visitor = server.accept()
        visitor.sendall(greeting)
        # The receiver may have read enough and hung up: then there is nobody left to say it to.
        with contextlib.suppress(OSError):
            visitor.shutdown(socket.SHUT_WR)

    visit_thread = threading.Thread(target=visit)
    visit_thread.start()
    with pytest.raises(DeviceError, match=reason):
        RtlTcpReceiver(_settings(server.port)).open()
    visit_thread.join(PATIENCE_S)


def test_a_server_that_never_greets_is_given_up(server: _Server) -> None:
    receiver = RtlTcpReceiver(_settings(server.port), silent_after_s=0.05)
    with pytest.raises(DeviceError, match="cannot be reached: timed out"):
        receiver.open()


def test_nobody_there_is_a_device_error_with_the_address() -> None:
    port = free_port()
    with pytest.raises(DeviceError, match=rf"127\.0\.0\.1:{port} cannot be reached: .*refused"):
        RtlTcpReceiver(_settings(port)).open()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 100])
def test_a_host_that_cannot_be_resolved_is_a_device_error(host: str) -> None:
    with pytest.raises(DeviceError, match="cannot be reached"):
        RtlTcpReceiver(_settings(1234, host=host)).open()


def test_half_a_sample_of_a_lost_connection_does_not_shift_the_next_one(server: _Server) -> None:
    receiver = _opened(server)
    assert server.visitor is not None
    server.visitor.sendall(b"\x01\x02\x03")
    assert len(_read(receiver, 10, timeout_s=0.2)) == 1
    receiver.close()
    second = _Server()
    receiver._settings = _settings(second.port)
    greeter = threading.Thread(target=lambda: second.accept().sendall(_GREETING + b"\xff\x00"))
    greeter.start()
    receiver.open()
    assert _read(receiver, 1).tolist() == [1 - 1j]
    greeter.join(PATIENCE_S)
    receiver.close()
    second.close()

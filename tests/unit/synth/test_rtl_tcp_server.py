"""The generated dongle, over a real socket."""

from __future__ import annotations

import dataclasses
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.base.errors import ConfigError
from app_core.synth import rtl_tcp_server
from app_core.synth.plan import ChannelPlan, Impairments, ScheduledAlert, StationPlan
from app_core.synth.renderer import StationRenderer
from app_core.synth.rtl_tcp_server import LEAD_S, DongleControls, serve

PLAN = StationPlan((ChannelPlan(162_550e3, 40.0),), impairments=Impairments(noise_dbfs=-52.0))
RATE_HZ = 250_000


class Served:
    """A server in a thread of its own."""

    def __init__(self, station: StationPlan | StationRenderer = PLAN) -> None:
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        ports: queue.Queue[int] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, args=(station, ports), daemon=True)
        self._thread.start()
        self.port = ports.get(timeout=10.0)

    def _serve(self, station: StationPlan | StationRenderer, ports: queue.Queue[int]) -> None:
        try:
            serve(station, "127.0.0.1", 0, self.stopping, ports.put)
        except ConfigError as error:
            self.failure = error

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10.0)

    def join(self) -> bool:
        """Tell whether the server ended within 5 s."""
        self._thread.join(5.0)
        return not self._thread.is_alive()


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.stopping.set()
    assert server.join()


def receive(client: socket.socket, n_bytes: int) -> bytes:
    received = bytearray()
    while len(received) < n_bytes:
        piece = client.recv(n_bytes - len(received))
        assert piece, "the server closed the connection"
        received += piece
    return bytes(received)


def samples(client: socket.socket, n_samples: int) -> NDArray[np.complex128]:
    codes = np.frombuffer(receive(client, 2 * n_samples), np.uint8).astype(np.float64)
    return ((codes - 127.5) / 127.5).view(np.complex128)


def strongest_hz(iq: NDArray[np.complex128]) -> float:
    spectrum = np.abs(np.fft.fft(iq * np.hanning(iq.size)))
    return float(np.fft.fftfreq(iq.size, 1.0 / RATE_HZ)[spectrum.argmax()])


def command(code: int, argument: int) -> bytes:
    return struct.pack(">BI", code, argument & 0xFFFF_FFFF)


def until(client: socket.socket, holds: object, patience_s: float = 3.0) -> NDArray[np.complex128]:
    """Read on until `holds` is true of a piece: what was queued before a command is still on its way."""
    assert callable(holds)
    for _ in range(round(patience_s * RATE_HZ / 12_500)):
        iq = samples(client, 12_500)
        if holds(iq):
            return iq
    raise AssertionError("it never came to hold")


def test_a_client_gets_the_dongles_header_and_then_the_station(served: Served) -> None:
    with served.connect() as client:
        assert receive(client, 12) == b"RTL0" + struct.pack(">II", 5, 29)
        iq = samples(client, 25_000)
    assert strongest_hz(iq) == pytest.approx(62_500.0, abs=20.0)
    assert abs(iq.mean()) < 0.003


def test_samples_come_at_the_rate_of_their_clock_and_none_before_its_time(served: Served) -> None:
    began = time.monotonic()
    with served.connect() as client:
        receive(client, 12)
        samples(client, 150_000)
        assert 0.55 < time.monotonic() - began < 2.0


def test_the_stream_is_unbroken(served: Served) -> None:
    with served.connect() as client:
        receive(client, 12)
        iq = samples(client, 100_000) * np.exp(-2j * np.pi * 0.25 * np.arange(100_000))
    phase = np.angle(iq.reshape(-1, 500).mean(axis=1))
    assert np.abs(phase - phase[0]).max() < 0.1


def test_tuning_moves_the_station_and_away_from_it_is_noise(served: Served) -> None:
    with served.connect() as client:
        receive(client, 12)
        client.sendall(command(0x01, 162_525_000))
        until(client, lambda iq: abs(strongest_hz(iq) - 25_000.0) < 40.0)
        client.sendall(command(0x01, 433_920_000))
        iq = until(client, lambda iq: np.std(iq) < 0.03)
        assert np.abs(np.fft.fft(iq)).max() < 0.02 * iq.size


def test_gain_drives_the_converter_from_its_last_bits_into_clipping(served: Served) -> None:
    with served.connect() as client:
        receive(client, 12)
        client.sendall(command(0x03, 1) + command(0x04, 0))
        until(client, lambda iq: np.abs(iq).max() < 0.05)
        client.sendall(command(0x0D, 28))
        clipped = until(client, lambda iq: np.mean(np.abs(iq.real) == 1.0) > 0.3)
        assert strongest_hz(clipped) == pytest.approx(62_500.0, abs=40.0)
        client.sendall(command(0x08, 1))
        until(client, lambda iq: 0.4 < np.abs(iq).max() < 0.95)
        client.sendall(command(0x08, 0))
        until(client, lambda iq: np.mean(np.abs(iq.real) == 1.0) > 0.3)
        client.sendall(command(0x03, 0))
        until(client, lambda iq: 0.4 < np.abs(iq).max() < 0.95)


def test_commands_in_pieces_unknown_or_cut_off_do_no_harm(served: Served) -> None:
    with served.connect() as client:
        receive(client, 12)
        for byte in command(0x01, 162_500_000):
            client.sendall(bytes([byte]))
        until(client, lambda iq: abs(strongest_hz(iq) - 50_000.0) < 40.0)
        client.sendall(
            command(0xFF, 7) + command(0x0D, 999) + command(0x02, 2_048_000) + command(0x0E, 1) + b"\x01\x02"
        )
        assert strongest_hz(samples(client, 25_000)) == pytest.approx(50_000.0, abs=20.0)
    with served.connect() as client:
        assert receive(client, 4) == b"RTL0"
        receive(client, 8)
        client.sendall(command(0x01, 162_487_500))
        until(client, lambda iq: abs(strongest_hz(iq) - 62_500.0) < 40.0)


def test_a_rate_that_is_not_the_stations_is_refused_in_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with served.connect() as client:
        receive(client, 12)
        client.sendall(command(0x02, 250_000) + command(0x02, 2_048_000) + command(0x01, 162_500_000))
        until(client, lambda iq: abs(strongest_hz(iq) - 50_000.0) < 40.0)
    asked = [record.getMessage() for record in caplog.records if "asks for" in record.getMessage()]
    assert asked == ["a client asks for 2048000 S/s; the generated station has 250000 S/s only"]


def test_the_next_client_waits_and_an_abrupt_end_does_no_harm(served: Served) -> None:
    with served.connect() as first, served.connect() as second:
        receive(first, 12)
        samples(first, 10_000)
        second.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.recv(1)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        first.close()
        second.settimeout(10.0)
        assert receive(second, 12)[:4] == b"RTL0"
        assert strongest_hz(samples(second, 25_000)) == pytest.approx(62_500.0, abs=20.0)


def test_the_air_goes_on_without_a_client() -> None:
    alert = ScheduledAlert(162_550e3, 0.7, "ZCZC-WXR-TOR-029095+0045-3241845-KEAX/NWS-")
    on_the_air = threading.Event()
    plan = dataclasses.replace(PLAN, alerts=(alert,))
    began = time.monotonic()
    server = Served(StationRenderer(plan, on_alert=lambda _: on_the_air.set()))
    try:
        with server.connect() as client:
            receive(client, 12)
            samples(client, 10_000)
        assert not on_the_air.is_set()
        assert on_the_air.wait(10.0)
        assert 0.7 - LEAD_S - 0.05 < time.monotonic() - began < 2.0
    finally:
        server.stopping.set()
        assert server.join()


def test_what_a_client_does_not_read_in_time_is_dropped_in_whole_samples(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rtl_tcp_server, "QUEUE_S", 0.35)
    monkeypatch.setattr(rtl_tcp_server, "_SEND_BUFFER_BYTES", 8_192)
    alert = ScheduledAlert(162_550e3, 1.5, "ZCZC-WXR-TOR-029095+0045-3241845-KEAX/NWS-")
    late = threading.Event()
    renderer = StationRenderer(dataclasses.replace(PLAN, alerts=(alert,)), on_alert=lambda _: late.set())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        server = Served(renderer)
        try:
            client.settimeout(10.0)
            client.connect(("127.0.0.1", server.port))
            receive(client, 12)
            assert late.wait(10.0)
            iq = samples(client, 200_000)
        finally:
            server.stopping.set()
            assert server.join()
    assert "samples are dropped" in caplog.text
    # A lost single byte would swap I and Q, and with them the sign of the frequency.
    for piece in iq.reshape(8, -1):
        assert strongest_hz(piece) == pytest.approx(62_500.0, abs=5_000.0)


def test_it_stops_while_a_client_does_not_read() -> None:
    server = Served()
    with server.connect() as client:
        receive(client, 12)
        server.stopping.set()
        assert server.join()


def test_an_address_in_use_is_refused_by_name(served: Served) -> None:
    with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{served.port}"):
        serve(PLAN, "127.0.0.1", served.port, threading.Event(), lambda _: None)
    with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:70000"):
        serve(PLAN, "127.0.0.1", 70_000, threading.Event(), lambda _: None)


def test_a_schedule_that_fails_ends_the_server_with_its_reason() -> None:
    class Wrong:
        next_start_s = 0.0

        def take(self) -> ScheduledAlert:
            return ScheduledAlert(100e6, 0.0, "ZCZC-WXR-TOR-029095+0045-3241845-KEAX/NWS-")

    class Late(Wrong):
        next_start_s = 0.1

    server = Served(StationRenderer(PLAN, schedule=Late()))
    assert server.join()
    assert isinstance(server.failure, ConfigError)


def test_a_correction_is_signed_and_shifts_the_carriers() -> None:
    renderer = StationRenderer(PLAN)
    controls = DongleControls(renderer)
    controls.receive(command(0x05, -20))
    renderer.read(8_000)
    iq = renderer.read(25_000).astype(np.complex128)
    assert strongest_hz(iq) == pytest.approx(62_500.0 - 20e-6 * 162_550e3, abs=20.0)

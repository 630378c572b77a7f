"""From a receiver to Redis, with the real parts: what is heard at the other end, whatever dies between."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.bridge.history import Position
from app_core.bridge.messages import SamplesMessage, SpectrumMessage
from app_core.bridge.outbox import Outbox
from app_core.bridge.pubsub import Subscriber
from app_core.bridge.sample_codec import decode_samples
from app_core.radio.receiver import AnyReceiverSettings, ReplaySettings, RtlTcpSettings
from app_core.radio.station import RadioStation
from tests.support.programs import PATIENCE_S, eventually
from tests.support.redis_server import RedisServer

_RATE_HZ = 250_000
_RECORDED = 300_007


def _recorded_iq() -> NDArray[np.complex64]:
    return (np.random.default_rng(5).normal(0, 0.1, 2 * _RECORDED).astype(np.float32)).view(np.complex64)


def _replay(folder: Path, **changes: object) -> ReplaySettings:
    path = folder / "rec.cf32"
    _recorded_iq().tofile(path)
    return ReplaySettings.model_validate(
        {
            "id": "rec",
            "driver": "replay",
            "path": path,
            "iq_format": "cf32",
            "sample_rate_hz": _RATE_HZ,
            "center_frequency_hz": 162_487_500,
            "samples_per_message": 4096,
            **changes,
        }
    )


class _Heard:
    """What came out of Redis, by channel."""

    def __init__(self) -> None:
        self._frames: list[tuple[str, bytes]] = []

    def take(self, channel: str, payload: bytes) -> None:
        self._frames.append((channel, payload))

    def samples(self) -> list[SamplesMessage]:
        frames = [payload for channel, payload in list(self._frames) if channel.startswith("sdr:samples:")]
        return [SamplesMessage.from_json(payload) for payload in frames]

    def n_samples(self) -> int:
        return sum(channel.startswith("sdr:samples:") for channel, _ in list(self._frames))

    def rows(self) -> list[SpectrumMessage]:
        frames = [payload for channel, payload in list(self._frames) if channel.startswith("sdr:spectrum:")]
        return [SpectrumMessage.from_json(payload) for payload in frames]


@dataclass
class _Air:
    """What runs, and how it is stopped before its block ends."""

    station: RadioStation
    outbox: Outbox
    heard: _Heard
    subscriber: Subscriber
    stop: Callable[[], None]


@contextmanager
def _on_the_air(redis_server: RedisServer, settings: AnyReceiverSettings) -> Iterator[_Air]:
    """A station that runs and is watched, and a subscriber who was there before it."""
    heard = _Heard()
    channels = [f"sdr:samples:{settings.id}", f"sdr:spectrum:{settings.id}"]
    outbox = Outbox(redis_server.settings)
    station = RadioStation([settings], outbox)
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.02):
            station.watch()

    with Subscriber(redis_server.settings, channels, heard.take) as subscriber:
        eventually(lambda: subscriber.subscription_count == 2, "the subscription")
        station.start()
        watcher = threading.Thread(target=watch)
        watcher.start()

        def stop() -> None:
            watching.set()
            watcher.join(PATIENCE_S)
            station.stop()

        try:
            yield _Air(station, outbox, heard, subscriber, stop)
        finally:
            stop()


def _assert_unbroken(messages: list[SamplesMessage]) -> None:
    assert [message.sequence for message in messages] == list(range(messages[0].sequence, messages[-1].sequence + 1))
    for before, after in pairwise(messages):
        assert after.first_sample == before.first_sample + before.sample_count
        assert after.timestamp == pytest.approx(before.timestamp + before.sample_count / before.sample_rate, abs=0.02)
    assert len({message.config_epoch for message in messages}) == 1


def test_a_recording_arrives_whole_in_order_and_bit_by_bit(redis_server: RedisServer, tmp_path: Path) -> None:
    settings = _replay(tmp_path, realtime=False, loop=False)
    with _on_the_air(redis_server, settings) as air:
        station, heard = air.station, air.heard
        eventually(lambda: station.ended and heard.n_samples() == -(-_RECORDED // 4096), "the whole recording")
    messages = heard.samples()
    assert messages[0].first_sample == 0
    _assert_unbroken(messages)
    iq = np.concatenate([decode_samples(message).iq for message in messages])
    assert iq.tobytes() == _recorded_iq().tobytes()


def test_the_spectrum_comes_ten_times_a_second_and_more(redis_server: RedisServer, tmp_path: Path) -> None:
    with _on_the_air(redis_server, _replay(tmp_path)) as air:
        heard = air.heard
        eventually(lambda: len(heard.rows()) >= 25, "25 rows")
    rows = heard.rows()
    assert (len(rows) - 1) / (rows[-1].timestamp - rows[0].timestamp) >= 10.0
    assert {len(row.spectrum) for row in rows} == {2048}
    assert {(row.status, row.identifier) for row in rows} == {("available", "rec")}


def test_a_publisher_that_is_held_up_loses_samples_and_says_so(redis_server: RedisServer, tmp_path: Path) -> None:
    settings = _replay(tmp_path, ring_min_samples=16_384, ring_max_samples=16_384, ring_seconds=0.05)
    with _on_the_air(redis_server, settings) as air:
        station, outbox, heard = air.station, air.outbox, air.heard
        chain = station.chains[0]
        eventually(lambda: heard.n_samples() >= 2, "the first messages")
        put, free = outbox.put, threading.Event()

        def held_up(
            channel: str, payload: bytes, *, ttl_s: int | None = None, position: Position | None = None
        ) -> None:
            if channel.startswith("sdr:samples"):
                free.wait(PATIENCE_S)
            put(channel, payload, ttl_s=ttl_s, position=position)

        outbox.put = held_up  # type: ignore[method-assign]
        eventually(lambda: chain.reader.lost_samples > 20_000, "the overflow")
        free.set()
        beyond = chain.publisher.sequence + 12
        eventually(lambda: heard.samples()[-1].sequence > beyond, "messages after it")
        ring = chain.ring_message()
    messages = heard.samples()
    assert [message.sequence for message in messages] == list(range(len(messages)))
    jumps = [after.first_sample - before.first_sample - before.sample_count for before, after in pairwise(messages)]
    assert min(jumps) == 0
    assert sum(jumps) == chain.reader.lost_samples
    assert ring is not None
    assert ring.overflow_count >= 1
    assert ring.dropped_samples == sum(jumps)
    recorded = _recorded_iq()
    for message in messages:
        expected = recorded[np.arange(message.first_sample, message.first_sample + message.sample_count) % _RECORDED]
        # A loss in the ring is not a pause of the player: the stream's counter is the recording's place.
        assert np.array_equal(decode_samples(message).iq, expected)


def test_what_was_captured_while_redis_was_dead_comes_in_order(redis_server: RedisServer, tmp_path: Path) -> None:
    with _on_the_air(redis_server, _replay(tmp_path)) as air:
        station, outbox, heard, subscriber = air.station, air.outbox, air.heard, air.subscriber
        eventually(lambda: heard.n_samples() >= 5, "the first messages")
        publisher = station.chains[0].publisher
        redis_server.kill()
        eventually(lambda: not outbox.connected and not subscriber.connected, "that both notice")
        captured = publisher.sequence
        eventually(lambda: publisher.sequence >= captured + 40, "that capture goes on")
        assert outbox.status()["depth"] != 0
        redis_server.start()
        eventually(lambda: subscriber.connected and outbox.connected, "that both are back")
        back = publisher.sequence
        eventually(lambda: heard.samples()[-1].sequence >= back + 5, "messages of the present")
        assert station.chains[0].reader.lost_samples == 0
        assert outbox.dropped_count == 0
    messages = heard.samples()
    sequences = [message.sequence for message in messages]
    # Some of the waiting ones may have gone out before the subscriber was back; none twice, none out of order.
    assert sequences == sorted(set(sequences))
    after = [message for message in messages if message.sequence >= back]
    _assert_unbroken(after)
    for before, following in pairwise(messages):
        missing = following.sequence - before.sequence - 1
        assert following.first_sample == before.first_sample + (missing + 1) * 4096


class _RtlTcpServer(threading.Thread):
    """Serves noise to one visitor after another until it is closed; in real time, as a dongle does."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._closing = threading.Event()

    def run(self) -> None:
        self._listener.settimeout(0.05)
        while not self._closing.is_set():
            try:
                visitor, _ = self._listener.accept()
            except TimeoutError:
                continue
            with visitor:
                self._serve(visitor)
        self._listener.close()

    def _serve(self, visitor: socket.socket) -> None:
        noise = np.random.default_rng(1).integers(100, 156, 5000, dtype=np.uint8).tobytes()
        visitor.sendall(b"RTL0" + struct.pack(">II", 5, 29))
        while not self._closing.wait(0.01):
            try:
                visitor.sendall(noise)
            except OSError:
                return

    def close(self) -> None:
        self._closing.set()
        self.join(PATIENCE_S)


def test_a_dongle_that_goes_and_comes_back_is_received_again_within_ten_seconds(redis_server: RedisServer) -> None:
    server = _RtlTcpServer()
    server.start()
    settings = RtlTcpSettings(id="rtl", driver="rtl_tcp", port=server.port, samples_per_message=4096)
    with _on_the_air(redis_server, settings) as air:
        station, heard = air.station, air.heard
        chain = station.chains[0]
        eventually(lambda: heard.n_samples() >= 3, "the first messages")
        assert chain.status()["running"]
        server.close()
        eventually(lambda: chain.status()["error"] != "", "that it is missed")
        eventually(lambda: not chain.status()["running"], "that it is said not to run")
        before = heard.samples()[-1]
        again = _RtlTcpServer(server.port)
        again.start()
        returned_s = time.monotonic()
        eventually(lambda: heard.samples()[-1].config_epoch > before.config_epoch, "samples again", timeout_s=10.0)
        assert time.monotonic() - returned_s < 10.0
        eventually(lambda: bool(chain.status()["running"]), "that it is said to run")
        again.close()
    messages = heard.samples()
    first = next(message for message in messages if message.config_epoch > before.config_epoch)
    last = [message for message in messages if message.config_epoch == before.config_epoch][-1]
    # The time away is a jump of the counter, measured by the clock: no sample is made up for it.
    assert first.first_sample > last.first_sample + last.sample_count + 0.5 * _RATE_HZ
    away_s = first.timestamp - last.timestamp
    assert first.first_sample - last.first_sample == pytest.approx(away_s * _RATE_HZ, abs=0.25 * _RATE_HZ)


def test_samples_flow_until_the_stop_and_the_last_ones_still_go_out(redis_server: RedisServer, tmp_path: Path) -> None:
    with _on_the_air(redis_server, _replay(tmp_path)) as air:
        station, heard = air.station, air.heard
        eventually(lambda: heard.n_samples() >= 3, "messages")
        air.stop()
        publisher = station.chains[0].publisher
        eventually(lambda: heard.n_samples() == publisher.sequence, "the last messages")
    _assert_unbroken(heard.samples())

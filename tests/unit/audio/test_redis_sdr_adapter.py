"""The way in: every message once and in order, live or out of the history, whatever was missed."""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest

from app_core.audio import redis_sdr_adapter, sample_inbox
from app_core.audio.redis_sdr_adapter import RedisSDRSourceAdapter
from app_core.base.blocks import IqBlock
from app_core.bridge import keys
from app_core.bridge.history import Position
from app_core.bridge.outbox import Outbox
from app_core.bridge.sample_codec import encode_samples
from app_core.demod.channel import ChannelConfig
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer

RATE_HZ = 250_000.0
N = 2500
EPOCH = 1_795_204_869_456_538_574
CHANNEL = ChannelConfig(id="wx7", receiver_id="rx", frequency_hz=162_550_000.0)


@dataclass
class _Sender:
    """Publishes numbered blocks of 10 ms, as the SDR service does."""

    outbox: Outbox
    epoch: int = EPOCH

    def send(self, *numbers: int, to_history: bool = True) -> None:
        for number in numbers:
            block = IqBlock(
                np.zeros(N, dtype=np.complex64), RATE_HZ, 162_487_500.0, N * number, time.time(), self.epoch
            )
            position = Position(self.epoch, N * number) if to_history else None
            self.outbox.put(keys.samples("rx"), encode_samples(block, "rx", number), position=position)

    def wait(self) -> None:
        eventually(lambda: self.outbox.status()["depth"] == 0, "that all is sent")


@contextmanager
def _sender(redis_server: RedisServer) -> Iterator[_Sender]:
    outbox = Outbox(redis_server.settings)
    outbox.keep_history(keys.samples("rx"), keys.history("rx"), 30.0)
    with outbox:
        yield _Sender(outbox)


class _Taker:
    """An adapter, and the numbers of the blocks that it decoded."""

    def __init__(self, adapter: RedisSDRSourceAdapter) -> None:
        self.adapter = adapter
        self.taken: list[int] = []
        push = adapter.bank.push

        def note(block: IqBlock) -> list[tuple[str, object]]:
            self.taken.append(block.first_sample // N)
            return push(block)  # type: ignore[return-value]

        adapter.bank.push = note  # type: ignore[method-assign,assignment]

    def take_until(self, last: int) -> list[int]:
        """Read until block `last` has come; give what came."""

        def is_there() -> bool:
            self.adapter.read(0.05)
            return bool(self.taken) and self.taken[-1] == last

        eventually(is_there, f"block {last} after {self.taken[-5:]}")
        return self.taken


@contextmanager
def _taker(redis_server: RedisServer, *, subscribed: bool = True) -> Iterator[_Taker]:
    adapter = RedisSDRSourceAdapter(redis_server.settings, "rx", [CHANNEL])
    with adapter.subscriber:
        eventually(lambda: adapter.subscriber.subscription_count == 1, "the subscription")
        yield _Taker(adapter)
    adapter.close()


def test_a_start_reads_the_history_before_what_is_live(redis_server: RedisServer) -> None:
    with _sender(redis_server) as sender:
        sender.send(*range(40))
        sender.wait()
        with _taker(redis_server) as taker:
            taker.take_until(39)
            begun_before_live = taker.adapter.has_begun
            sender.send(*range(40, 60))
            assert taker.take_until(59) == list(range(60))
            assert not begun_before_live

            def has_begun() -> bool:
                taker.adapter.read(0.05)
                return taker.adapter.has_begun

            eventually(has_begun, "that it takes what is live")
            status = taker.adapter.status()
    assert (status["gaps"], status["lost_samples"], status["malformed"]) == (0, 0, 0)
    assert status["from_history"] >= 40  # type: ignore[operator]


def test_without_a_history_what_is_live_is_taken(redis_server: RedisServer) -> None:
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(*range(100, 120), to_history=False)
        assert taker.take_until(119) == list(range(100, 120))


def test_a_history_of_another_kind_holds_nothing_up_for_long(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sample_inbox, "HISTORY_PATIENCE_S", 0.3)
    redis_server.cli("SET", keys.history("rx"), "no stream")
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(*range(20), to_history=False)
        assert taker.take_until(19) == list(range(20))
    assert "the history cannot be read" in caplog.text


def test_messages_that_are_missing_live_come_out_of_the_history(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(0, 1, 2)
        taker.take_until(2)
        # The history gets all of them; the way of the live ones is cut for a while.
        with monkeypatch.context() as cut:
            cut.setattr(taker.adapter._inbox, "put", lambda payload: None)
            sender.send(*range(3, 30))
            eventually(lambda: taker.adapter.status()["messages"] == 30, "that the live ones are lost")
        sender.send(30, 31)
        assert taker.take_until(31) == list(range(32))
        status = taker.adapter.status()
    assert (status["gaps"], status["lost_samples"], status["dropped"]) == (0, 0, 0)


def test_a_queue_that_overflows_loses_nothing_that_the_history_has(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_inbox, "QUEUE_BYTES", 5000)
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(*range(5))
        taker.take_until(4)
        sender.send(*range(5, 300))
        sender.wait()
        eventually(lambda: taker.adapter.status()["messages"] == 300, "that all have come")
        assert taker.adapter.status()["queue_overflows"] > 100  # type: ignore[operator]
        sender.send(300)
        assert taker.take_until(300) == list(range(301))
        assert taker.adapter.dropped_count == 0


def test_what_the_history_does_not_have_either_is_a_gap_and_counted_as_dropped(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_inbox, "QUEUE_BYTES", 5000)
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(0, 1, to_history=False)
        taker.take_until(1)
        sender.send(*range(2, 200), to_history=False)
        sender.wait()
        eventually(lambda: taker.adapter.status()["messages"] == 200, "that all have come")
        taken = taker.take_until(199)
        adapter = taker.adapter
    assert adapter.gap_count == 1
    assert adapter.lost_samples == N * (200 - len(taken))
    assert adapter.dropped_count == 200 - len(taken)


def test_a_true_loss_is_one_gap_and_does_not_hold_the_stream_up(redis_server: RedisServer) -> None:
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(*range(10), *range(15, 20))
        assert taker.take_until(19) == [*range(10), *range(15, 20)]
        assert (taker.adapter.gap_count, taker.adapter.lost_samples) == (1, 5 * N)


def test_a_redis_that_was_away_and_lost_everything_leaves_no_gap(redis_server: RedisServer) -> None:
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(*range(10))
        taker.take_until(9)
        redis_server.kill()
        eventually(lambda: not taker.adapter.subscriber.connected, "that the subscriber notices")
        sender.send(*range(10, 100))
        redis_server.start()
        sender.wait()
        sender.send(*range(100, 110))
        assert taker.take_until(109) == list(range(110))
        status = taker.adapter.status()
    assert (status["gaps"], status["lost_samples"]) == (0, 0)


def test_doubles_are_dropped(redis_server: RedisServer) -> None:
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(0, 1, 2, 1, 2, 3, 3, 4)
        taker.take_until(4)
        sender.send(2, 3, 4, 5)
        assert taker.take_until(5) == [0, 1, 2, 3, 4, 5]

        def has_dropped() -> bool:
            taker.adapter.read(0.05)
            return taker.adapter.duplicate_count >= 3

        # Out of the history each comes once; the live ones wait until it has been read.
        eventually(has_dropped, "that doubles are dropped")
        assert taker.taken == [0, 1, 2, 3, 4, 5]


def test_a_new_epoch_follows_the_rest_of_the_old_one(redis_server: RedisServer) -> None:
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(0, 1)
        taker.take_until(1)
        sender.send(2, 3)
        again = replace(sender, epoch=EPOCH + 10**9)
        again.send(0, 1, 50)
        assert taker.take_until(50) == [0, 1, 2, 3, 0, 1, 50]
        assert taker.adapter.gap_count == 1


def test_a_clock_that_was_set_back_does_not_deafen_for_ever(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_sdr_adapter, "OLD_EPOCH_AFTER_S", 0.3)
    with _sender(redis_server) as sender, _taker(redis_server) as taker:
        sender.send(0, 1, 2, to_history=False)
        taker.take_until(2)
        before = replace(sender, epoch=EPOCH - 10**15)

        def is_heard() -> bool:
            before.send(70, to_history=False)
            taker.adapter.read(0.05)
            return taker.taken[-1] == 70

        eventually(is_heard, "the samples of the older epoch")
        assert taker.adapter.duplicate_count > 0
        before.send(71, 72, to_history=False)
        taker.take_until(72)


def test_an_entry_that_is_no_message_is_counted_and_passed_by(redis_server: RedisServer) -> None:
    with _sender(redis_server) as sender:
        sender.send(0, 1)
        sender.wait()
        redis_server.cli("XADD", keys.history("rx"), f"{EPOCH}-{2 * N - 1}", "frame", "{}")
        redis_server.cli("XADD", keys.history("rx"), f"{EPOCH}-{2 * N - 1}1", "something", "else")
        with _taker(redis_server) as taker:
            sender.send(2, to_history=False)
            assert taker.take_until(2) == [0, 1, 2]
            assert taker.adapter.malformed_count == 1


def _in_the_seeds_form(number: int, *, timestamp: float) -> bytes:
    """A message with the seed's fields alone."""
    iq = np.zeros(N, dtype="<c8")
    fields = {
        "receiver_id": "rx",
        "timestamp": timestamp,
        "sample_count": N,
        "sample_rate": 250000,
        "center_frequency": 162487500,
        "encoding": "zlib+base64",
        "samples": base64.b64encode(zlib.compress(iq.tobytes())).decode(),
    }
    return json.dumps(fields).encode()


def test_messages_in_the_seeds_own_form_are_all_decoded(redis_server: RedisServer) -> None:
    begun = time.time()
    with Outbox(redis_server.settings) as outbox, _taker(redis_server) as taker:
        for number in range(10):
            outbox.put(keys.samples("rx"), _in_the_seeds_form(number, timestamp=begun + number * N / RATE_HZ))
        assert taker.take_until(9) == list(range(10))
        assert (taker.adapter.gap_count, taker.adapter.duplicate_count) == (0, 0)


def test_a_jump_of_time_in_the_seeds_form_is_a_gap(redis_server: RedisServer) -> None:
    begun = time.time()
    with Outbox(redis_server.settings) as outbox, _taker(redis_server) as taker:
        for number in (0, 1, 201, 202):
            outbox.put(keys.samples("rx"), _in_the_seeds_form(number, timestamp=begun + number * N / RATE_HZ))
        assert taker.take_until(202) == [0, 1, 201, 202]
        assert (taker.adapter.gap_count, taker.adapter.lost_samples) == (1, 199 * N)

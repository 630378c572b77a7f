"""The history: the same frames, in order, once, bounded, and there again after Redis has lost them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import redis

from app_core.base.errors import LinkError
from app_core.bridge import keys
from app_core.bridge.connection import RedisSettings
from app_core.bridge.histories import read_redis_memory
from app_core.bridge.history import HistoryReader, Position
from app_core.bridge.history_writer import HistoryWriter
from app_core.bridge.local_redis import free_port
from app_core.bridge.outbox import Outbox
from app_core.bridge.pubsub import Subscriber
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer

CHANNEL, KEY = keys.samples("rx"), keys.history("rx")
EPOCH = 1_795_204_869_456_538_574


def _frame(number: int, size: int = 0) -> bytes:
    return b"%08d" % number + b"." * size


def _put(outbox: Outbox, numbers: range, *, epoch: int = EPOCH, size: int = 0) -> None:
    for number in numbers:
        outbox.put(CHANNEL, _frame(number, size), position=Position(epoch, 1000 * number))


@contextmanager
def _outbox(settings: RedisSettings, *, history_s: float = 30.0, memory_bytes: int = 1 << 20) -> Iterator[Outbox]:
    outbox = Outbox(settings, history_memory_bytes=memory_bytes)
    outbox.keep_history(CHANNEL, KEY, history_s)
    with outbox:
        yield outbox


def _writer(outbox: Outbox) -> HistoryWriter:
    writer = outbox._histories.writer(CHANNEL)
    assert writer is not None
    return writer


def _read(redis_server: RedisServer, position: Position | None = None) -> list[bytes]:
    reader = HistoryReader(redis_server.settings, KEY)
    reader.begin(position)
    frames = list(iter(reader.next_frame, None))
    reader.close()
    return frames


def _entry_ids(redis_server: RedisServer) -> list[str]:
    link = redis_server.link()
    entries = link.client.xrange(KEY)
    link.close()
    return [entry_id.decode() for entry_id, _ in entries]  # type: ignore[union-attr]


def test_the_history_holds_the_same_frames_under_epoch_and_first_sample(redis_server: RedisServer) -> None:
    heard: list[bytes] = []
    with (
        Subscriber(redis_server.settings, [CHANNEL], lambda _, payload: heard.append(payload)) as subscriber,
        _outbox(redis_server.settings) as outbox,
    ):
        eventually(lambda: subscriber.subscription_count == 1, "the subscription")
        _put(outbox, range(100))
        eventually(lambda: len(heard) == 100, "all frames")
    assert heard == [_frame(number) for number in range(100)]
    assert _read(redis_server) == heard
    assert _entry_ids(redis_server) == [f"{EPOCH}-{1000 * number}" for number in range(100)]
    assert "frame" in redis_server.cli("XRANGE", KEY, "-", "+", "COUNT", "1").splitlines()


def test_who_hears_a_message_finds_it_in_the_history(redis_server: RedisServer) -> None:
    absent: list[bytes] = []
    link = redis_server.link()

    def look(channel: str, payload: bytes) -> None:
        position = Position(EPOCH, 1000 * int(payload))
        if not link.client.xrange(KEY, min=position.entry_id, max=position.entry_id):
            absent.append(payload)

    with Subscriber(redis_server.settings, [CHANNEL], look) as subscriber, _outbox(redis_server.settings) as outbox:
        eventually(lambda: subscriber.subscription_count == 1, "the subscription")
        _put(outbox, range(200))
        eventually(lambda: subscriber.message_count == 200, "all frames")
    link.close()
    assert absent == []


def test_a_reader_begins_where_it_is_told_and_ends_at_the_end(redis_server: RedisServer) -> None:
    with _outbox(redis_server.settings) as outbox:
        _put(outbox, range(300))
        _put(outbox, range(300, 310), epoch=EPOCH + 1)
        eventually(lambda: outbox.sent_count == 310, "all frames")
    assert _read(redis_server, Position(EPOCH, 250_000)) == [_frame(number) for number in range(250, 310)]
    assert _read(redis_server, Position(EPOCH, 250_001)) == [_frame(number) for number in range(251, 310)]
    assert _read(redis_server, Position(EPOCH + 1, 309_001)) == []
    reader = HistoryReader(redis_server.settings, "sdr:history:nobody")
    assert reader.next_frame() is None
    reader.close()


def test_a_history_that_cannot_be_read_is_a_link_error(redis_server: RedisServer) -> None:
    redis_server.cli("SET", KEY, "no stream")
    reader = HistoryReader(redis_server.settings, KEY)
    with pytest.raises(LinkError):
        reader.next_frame()
    reader.close()
    reader = HistoryReader(RedisSettings(port=free_port()), KEY)
    with pytest.raises(LinkError):
        reader.next_frame()
    reader.close()


class _Commands:
    """Stands for a pipeline: keeps the lengths that the writer asks for."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def xadd(self, key: str, fields: object, *, id: str, maxlen: int, approximate: bool) -> None:
        assert not approximate
        self.lengths.append(maxlen)

    def pexpire(self, key: str, milliseconds: int) -> None:
        pass


def test_the_history_is_as_long_as_its_seconds(caplog: pytest.LogCaptureFixture) -> None:
    writer, commands = HistoryWriter(KEY, 30.0, 0), _Commands()
    for number in range(1000):
        writer.add(commands, Position(EPOCH, number), b"x" * 100, created_s=0.5 * number)  # type: ignore[arg-type]
    assert commands.lengths == [min(number + 1, 61) for number in range(1000)]
    assert writer.held_s == 30.0
    assert caplog.text == ""


def test_a_history_that_does_not_fit_is_shorter_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    writer, commands = HistoryWriter(KEY, 30.0, 0), _Commands()
    writer.limit_bytes = 20 * (1000 + 256)
    for number in range(100):
        writer.add(commands, Position(EPOCH, number), b"x" * 1000, created_s=0.5 * number)  # type: ignore[arg-type]
    assert max(commands.lengths) == 20
    assert writer.status()["held_s"] == 9.5
    assert caplog.text.count("Redis's maxmemory is the limit") == 1


def test_its_limit_is_a_share_of_what_redis_has(redis_server: RedisServer) -> None:
    link = redis_server.link()
    everything = link.client.info("memory")["total_system_memory"]
    assert read_redis_memory(link.client).limit_bytes == int(0.25 * everything)
    redis_server.cli("CONFIG", "SET", "maxmemory", "100000000")
    assert read_redis_memory(link.client).limit_bytes == 60_000_000
    redis_server.cli("ACL", "SETUSER", "default", "-info")
    assert read_redis_memory(link.client).limit_bytes == 64 * 1024 * 1024
    link.close()


def test_a_redis_without_memory_shortens_the_history_and_publishing_goes_on(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bytes] = []
    with (
        Subscriber(redis_server.settings, [CHANNEL], lambda _, payload: heard.append(payload[:8])) as subscriber,
        _outbox(redis_server.settings) as outbox,
    ):
        eventually(lambda: subscriber.subscription_count == 1, "the subscription")
        outbox.put("first", b"", ttl_s=1)
        eventually(lambda: outbox.sent_count == 1, "that the limit was taken from a Redis without one")
        link = redis_server.link()
        used = link.client.info("memory")["used_memory"]
        link.close()
        redis_server.cli("CONFIG", "SET", "maxmemory", str(used + 20_000_000))
        for start in range(0, 1000, 10):
            _put(outbox, range(start, start + 10), size=50_000)
            eventually(lambda end=start + 11: outbox.sent_count == end, "these frames")  # type: ignore[misc]
        eventually(lambda: len(heard) == 1000, "all frames at the subscriber")
        outbox.put("value", b"is there", ttl_s=60)
        eventually(lambda: outbox.sent_count == 1002, "the value")
    assert heard == [_frame(number) for number in range(1000)]
    assert redis_server.cli("GET", "value") == "is there"
    kept = [int(frame[:8]) for frame in _read(redis_server)]
    assert kept == list(range(kept[0], 1000))
    assert 50 <= len(kept) <= 400
    assert "out of memory" in caplog.text


def test_a_value_that_redis_has_no_memory_for_is_counted_also_beside_a_history(redis_server: RedisServer) -> None:
    redis_server.cli("CONFIG", "SET", "maxmemory", "1")
    outbox = Outbox(redis_server.settings)
    outbox.keep_history(CHANNEL, KEY, 30.0)
    outbox.put("value", b"1", ttl_s=60)
    _put(outbox, range(1))
    with outbox:
        eventually(lambda: outbox.sent_count == 2, "both")
    assert (outbox.refused_count, _writer(outbox).refused_count) == (1, 1)


def _fill(outbox: Outbox, start: int, n_frames: int) -> None:
    """Put frames of 50 kB, ten at a time, and wait until they are sent."""
    for first in range(start, start + n_frames, 10):
        _put(outbox, range(first, first + 10), size=50_000)
        eventually(lambda end=first + 10: outbox.sent_count == end, "these frames")  # type: ignore[misc]


def _set_maxmemory(redis_server: RedisServer, beyond_use: int) -> None:
    link = redis_server.link()
    used = link.client.info("memory")["used_memory"]
    link.close()
    redis_server.cli("CONFIG", "SET", "maxmemory", str(used + beyond_use))


@pytest.mark.parametrize("says_its_memory", [True, False])
def test_a_history_that_was_shortened_grows_back_while_the_connection_stands(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, says_its_memory: bool
) -> None:
    with _outbox(redis_server.settings) as outbox:
        _fill(outbox, 0, 10)
        writer = _writer(outbox)
        _set_maxmemory(redis_server, 5_000_000)
        _fill(outbox, 10, 300)
        assert (writer.is_lowered, writer.is_short) == (True, True)
        held = len(_read(redis_server))
        assert held < 100
        redis_server.cli("CONFIG", "SET", "maxmemory", "0")
        if not says_its_memory:
            redis_server.cli("ACL", "SETUSER", "default", "-info")
        monkeypatch.setattr("app_core.bridge.histories.LOOK_INTERVAL_S", 0.0)
        _fill(outbox, 310, 600)
        if says_its_memory:
            assert not writer.is_lowered
            assert len(_read(redis_server)) == held + 600
        else:
            assert len(_read(redis_server)) > 2 * held


def test_a_history_takes_no_more_than_half_of_the_room_that_redis_has_again() -> None:
    writer, commands = HistoryWriter(KEY, 30.0, 0), _Commands()
    writer.grow(100_000, None)
    for number in range(10):
        writer.add(commands, Position(EPOCH, number), b"x" * 1000, created_s=0.1 * number)  # type: ignore[arg-type]
    writer.limit_bytes = 6000
    writer.grow(100_000, -5000)
    assert writer.limit_bytes == 6000, "it grows where there is room alone"
    writer.grow(100_000, 20_000)
    assert writer.limit_bytes == 10 * 1256 + 10_000
    writer.grow(100_000, None)
    assert writer.limit_bytes == int(1.1 * 22_560)
    writer.grow(100_000, 10**9)
    assert (writer.limit_bytes, writer.is_lowered) == (100_000, False)
    writer.grow(50_000, 10**9)
    assert (writer.limit_bytes, writer.is_lowered) == (50_000, False)


def test_a_redis_that_was_given_more_memory_is_used_without_a_new_connection(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_core.bridge.histories.LOOK_INTERVAL_S", 0.0)
    redis_server.cli("CONFIG", "SET", "maxmemory", "10000000")
    with _outbox(redis_server.settings) as outbox:
        _fill(outbox, 0, 150)
        writer = _writer(outbox)
        assert writer.limit_bytes == 6_000_000
        assert writer.is_short
        redis_server.cli("CONFIG", "SET", "maxmemory", "300000000")
        _fill(outbox, 150, 50)
        assert writer.limit_bytes == 180_000_000


def test_a_history_is_short_until_it_reaches_back_its_seconds_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    writer, commands = HistoryWriter(KEY, 10.0, 0), _Commands()
    writer.limit_bytes = 20 * 1256
    frames = iter(range(1000))

    def fill(seconds: float) -> None:
        for _ in range(round(2 * seconds)):
            number = next(frames)
            position = Position(EPOCH, number)
            writer.add(commands, position, b"x" * 1000, created_s=0.5 * number)  # type: ignore[arg-type]

    fill(20.0)
    assert writer.status()["short"] is False, "9.5 of 10 s"
    writer.limit_bytes = 10 * 1256
    fill(10.0)
    assert writer.status()["short"] is True
    writer.limit_bytes = 100 * 1256
    fill(5.0)
    assert writer.status()["short"] is True, "it has not reached back far enough yet"
    fill(10.0)
    assert writer.status()["short"] is False
    assert caplog.text.count("Redis's maxmemory is the limit") == 1
    assert caplog.text.count("the last 10 s in Redis again") == 1


def test_a_key_of_another_kind_is_no_history_until_it_is_gone(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_core.bridge.histories.LOOK_INTERVAL_S", 0.0)
    redis_server.cli("SET", KEY, "no stream")
    with _outbox(redis_server.settings) as outbox:
        _put(outbox, range(10))
        eventually(lambda: outbox.sent_count == 10, "the frames are published")
        assert _writer(outbox).status()["short"] is True
        redis_server.cli("DEL", KEY)
        _put(outbox, range(10, 20))
        eventually(lambda: outbox.sent_count == 20, "more frames")
        assert _writer(outbox).status()["short"] is False
    assert [int(frame) for frame in _read(redis_server)] == list(range(20))


class _DyingRedis:
    """A client whose connection is lost with its n-th pipeline."""

    def __init__(self, client: Any, lost_at: int) -> None:
        self._client = client
        self._left = lost_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def pipeline(self, **arguments: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            raise redis.ConnectionError("gone in the middle")
        return self._client.pipeline(**arguments)


def test_a_connection_that_is_lost_in_the_middle_of_writing_again_leaves_nothing_out(redis_server: RedisServer) -> None:
    link = redis_server.link()
    writer = HistoryWriter(KEY, 30.0, 1 << 20)
    writer.attach(link.client, 1 << 20)
    for number in range(100):
        pipeline = link.client.pipeline(transaction=False)
        writer.add(pipeline, Position(EPOCH, 1000 * number), _frame(number), time.monotonic())
        pipeline.execute()
        writer.remember(Position(EPOCH, 1000 * number), _frame(number), time.monotonic())
    redis_server.cli("FLUSHALL")
    with pytest.raises(redis.ConnectionError):
        writer.attach(cast("redis.Redis", _DyingRedis(link.client, 3)), 1 << 20)
    assert redis_server.cli("XLEN", KEY) == "32"
    writer.attach(link.client, 1 << 20)
    assert _read(redis_server) == [_frame(number) for number in range(100)]
    assert (writer.rewritten_count, writer.refused_count, writer.status()["entries"]) == (100, 0, 100)
    # Now that all of it stands there, a new connection writes nothing.
    writer.attach(cast("redis.Redis", _DyingRedis(link.client, 1)), 1 << 20)
    link.close()


def test_what_has_grown_too_old_while_redis_was_away_is_not_written_again(redis_server: RedisServer) -> None:
    link = redis_server.link()
    writer = HistoryWriter(KEY, 30.0, 1 << 20)
    for number in range(10):
        writer.remember(Position(EPOCH, number), _frame(number), time.monotonic() - 60.0 + 5.0 * number)
    writer.attach(link.client, 1 << 20)
    link.close()
    # The last of them are 25, 20 and 15 s old; 30 s is not.
    assert _read(redis_server) == [_frame(number) for number in (7, 8, 9)]


def test_a_redis_that_comes_back_empty_gets_its_history_again(redis_server: RedisServer) -> None:
    heard: list[bytes] = []
    with (
        Subscriber(redis_server.settings, [CHANNEL], lambda _, payload: heard.append(payload)) as subscriber,
        _outbox(redis_server.settings) as outbox,
    ):
        eventually(lambda: subscriber.subscription_count == 1, "the subscription")
        _put(outbox, range(100))
        eventually(lambda: len(heard) == 100, "the frames before")
        redis_server.kill()
        _put(outbox, range(100, 130))
        eventually(lambda: outbox._queue.is_away, "that the outbox notices")
        redis_server.start()
        eventually(lambda: outbox.sent_count == 130, "the frames that waited")
        assert _writer(outbox).rewritten_count == 100
    assert _read(redis_server) == [_frame(number) for number in range(130)]
    # Nothing that was published before was published again.
    assert len(heard) == len(set(heard))


def test_the_memory_for_it_is_bounded_in_bytes(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with _outbox(redis_server.settings, memory_bytes=10 * 1008) as outbox:
        _put(outbox, range(50), size=1000)
        eventually(lambda: outbox.sent_count == 50, "the frames before")
        redis_server.kill()
        _put(outbox, range(50, 51), size=1000)
        eventually(lambda: outbox._queue.is_away, "that the outbox notices")
        redis_server.start()
        eventually(lambda: outbox.sent_count == 51, "the frame that waited")
    assert [int(frame[:8]) for frame in _read(redis_server)] == list(range(40, 51))
    assert caplog.text.count("history_memory_bytes is the limit") == 1


def test_frames_that_are_sent_twice_stand_there_once(redis_server: RedisServer) -> None:
    with _outbox(redis_server.settings) as outbox:
        _put(outbox, range(10))
        _put(outbox, range(5, 15))
        eventually(lambda: outbox.sent_count == 20, "all frames")
        assert outbox.refused_count == 0
    assert _read(redis_server) == [_frame(number) for number in range(15)]


def test_a_fresh_process_keeps_what_its_predecessor_wrote(redis_server: RedisServer) -> None:
    with _outbox(redis_server.settings) as outbox:
        _put(outbox, range(20))
        eventually(lambda: outbox.sent_count == 20, "the frames of the first process")
    with _outbox(redis_server.settings) as outbox:
        _put(outbox, range(5), epoch=EPOCH + 5)
        eventually(lambda: outbox.sent_count == 5, "the frames of the second")
        assert _writer(outbox).status()["entries"] == 25
    assert _read(redis_server) == [_frame(number) for number in [*range(20), *range(5)]]


def test_a_clock_that_was_set_back_begins_a_new_history(redis_server: RedisServer) -> None:
    with _outbox(redis_server.settings) as outbox:
        _put(outbox, range(20))
        eventually(lambda: outbox.sent_count == 20, "the frames of the first process")
    with _outbox(redis_server.settings) as outbox:
        _put(outbox, range(5), epoch=EPOCH - 10**15)
        eventually(lambda: outbox.sent_count == 5, "the frames of the second")
    assert _read(redis_server) == [_frame(number) for number in range(5)]


def test_the_history_of_a_service_that_is_gone_goes_too(redis_server: RedisServer) -> None:
    with _outbox(redis_server.settings, history_s=0.2) as outbox:
        _put(outbox, range(3))
        eventually(lambda: outbox.sent_count == 3, "the frames")
    eventually(lambda: redis_server.cli("EXISTS", KEY) == "0", "that it expires")


def test_status_can_be_asked_for_from_another_thread_all_the_time(redis_server: RedisServer) -> None:
    with _outbox(redis_server.settings, history_s=0.001) as outbox:
        done = threading.Event()

        def feed() -> None:
            _put(outbox, range(3000))
            done.set()

        thread = threading.Thread(target=feed)
        thread.start()
        deadline_s = time.monotonic() + 20
        while outbox.sent_count < 3000 and time.monotonic() < deadline_s:
            status = outbox.status()["histories"]
            assert isinstance(status, dict)
            assert status[KEY]["entries"] <= 3000
        thread.join()
        assert done.is_set()
        assert outbox.sent_count == 3000

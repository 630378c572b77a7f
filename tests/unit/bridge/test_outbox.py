"""The way out: in order, never waiting, bounded, through any death of Redis."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from app_core.base.errors import LinkError
from app_core.base.machine_memory import memory_share_bytes
from app_core.bridge.connection import RedisSettings
from app_core.bridge.local_redis import free_port
from app_core.bridge.outbox import Outbox
from app_core.bridge.pubsub import Subscriber
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer


class _Listener(Subscriber):
    """Keeps what it hears."""

    def __init__(self, settings: RedisSettings, channels: list[str]) -> None:
        self.heard: list[tuple[str, bytes]] = []
        super().__init__(settings, channels, lambda channel, payload: self.heard.append((channel, payload)))

    def payloads(self) -> list[bytes]:
        return [payload for _, payload in list(self.heard)]


def test_frames_go_out_in_order_under_their_channels(redis_server: RedisServer) -> None:
    with _Listener(redis_server.settings, ["a", "b"]) as listener, Outbox(redis_server.settings) as outbox:
        eventually(lambda: listener.subscription_count == 2, "the subscription")
        sent = [("ab"[number % 2], b"%d" % number) for number in range(100)]
        for channel, payload in sent:
            outbox.put(channel, payload)
        eventually(lambda: len(listener.heard) == 100, "all frames")
        assert listener.heard == sent
        eventually(lambda: outbox.sent_count == 100, "the count")
        status = outbox.status()
        assert (status["depth"], status["waiting_bytes"], status["dropped_count"]) == (0, 0, 0)


def test_a_frame_with_a_time_to_live_is_also_the_value_of_its_key(redis_server: RedisServer) -> None:
    with Outbox(redis_server.settings) as outbox:
        outbox.put("sdr:heartbeat", b'{"pid":1}', ttl_s=10)
        outbox.put("sdr:samples:x", b"no key")
        eventually(lambda: outbox.sent_count == 2, "both frames")
    assert redis_server.cli("GET", "sdr:heartbeat") == '{"pid":1}'
    assert 9 <= int(redis_server.cli("TTL", "sdr:heartbeat")) <= 10
    assert redis_server.cli("EXISTS", "sdr:samples:x") == "0"


def test_putting_never_waits_for_redis(redis_server: RedisServer) -> None:
    with Outbox(redis_server.settings) as outbox:
        outbox.put("a", b"0")
        eventually(lambda: outbox.sent_count == 1, "the first frame")
        redis_server.pause()
        started_s = time.monotonic()
        for number in range(1000):
            outbox.put("a", b"%d" % number)
        assert time.monotonic() - started_s < 1.0
        redis_server.resume()


def test_frames_that_waited_for_a_killed_redis_come_in_order(redis_server: RedisServer) -> None:
    with _Listener(redis_server.settings, ["a"]) as listener, Outbox(redis_server.settings) as outbox:
        eventually(lambda: listener.subscription_count == 1, "the subscription")
        for number in range(10):
            outbox.put("a", b"%03d" % number)
        eventually(lambda: len(listener.heard) == 10, "the frames before")
        redis_server.kill()
        eventually(lambda: not listener.connected, "that the listener notices")
        for number in range(10, 200):
            outbox.put("a", b"%03d" % number)
        eventually(lambda: not outbox.connected, "that the outbox notices")
        assert outbox.status()["depth"] == 190
        # What Redis hears before anybody has subscribed again is lost to him: let him be the first.
        hold = threading.Event()
        call = outbox._link.call

        def held(action):  # type: ignore[no-untyped-def]
            if not hold.is_set():
                raise LinkError("held back by the test")
            return call(action)

        outbox._link.call = held  # type: ignore[method-assign]
        redis_server.start()
        eventually(lambda: listener.subscription_count == 2, "the second subscription")
        hold.set()
        eventually(lambda: len(listener.heard) == 200, "the frames that waited")
        assert listener.payloads() == [b"%03d" % number for number in range(200)]
        assert outbox.dropped_count == 0


def test_what_is_too_old_or_too_much_is_dropped_from_the_old_end_and_counted() -> None:
    outbox = Outbox(RedisSettings(port=free_port()), max_bytes=100)
    for number in range(25):
        outbox.put("a", b"%010d" % number)
    assert outbox.dropped_count == 15
    assert outbox.status()["waiting_bytes"] == 100
    assert [frame.payload for frame in outbox._queue._frames] == [b"%010d" % number for number in range(15, 25)]

    brief = Outbox(RedisSettings(port=free_port()), longest_wait_s=-1.0)
    for _ in range(5):
        brief.put("a", b"x")
    assert (brief.dropped_count, brief.status()["depth"]) == (5, 0)


def test_drops_are_told_in_the_log_and_the_status_as_they_begin_and_when_they_are_over(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("app_core.bridge.frame_queue.DROPPING_OVER_S", 0.3)
    redis_server.kill()
    with Outbox(redis_server.settings, max_bytes=1000) as outbox:
        for number in range(150):
            outbox.put("a", b"%010d" % number)
        eventually(lambda: "the oldest are dropped" in caplog.text, "the begin in the log")
        eventually(lambda: "50 messages (500 bytes" in caplog.text, "the end in the log")
        assert outbox.status()["dropping"] is False
        assert outbox.dropped_count == 50


def test_what_may_wait_is_a_setting() -> None:
    outbox = Outbox(RedisSettings(port=free_port(), outbox_memory_bytes=100))
    for number in range(25):
        outbox.put("a", b"%010d" % number)
    status = outbox.status()
    assert (status["waiting_bytes"], status["limit_bytes"], status["dropping"]) == (100, 100, True)
    shares = RedisSettings()
    assert (shares.outbox_memory_bytes, shares.history_memory_bytes) == (
        memory_share_bytes(1 / 8),
        memory_share_bytes(1 / 16),
    )


def test_drops_while_redis_is_away_are_counted_and_the_newest_come(redis_server: RedisServer) -> None:
    with _Listener(redis_server.settings, ["a"]) as listener:
        eventually(lambda: listener.subscription_count == 1, "the subscription")
        redis_server.pause()
        outbox = Outbox(redis_server.settings, max_bytes=1000)
        for number in range(300):
            outbox.put("a", b"%010d" % number)
        assert outbox.dropped_count == 200
        redis_server.resume()
        with outbox:
            eventually(lambda: len(listener.heard) == 100, "the frames that were kept")
    assert listener.payloads() == [b"%010d" % number for number in range(200, 300)]


def test_of_a_value_only_the_newest_waits_for_redis(redis_server: RedisServer) -> None:
    redis_server.kill()
    with Outbox(redis_server.settings) as outbox:
        for number in range(20):
            outbox.put("value", b"before %d" % number, ttl_s=60)
        eventually(lambda: outbox._queue.is_away, "that the outbox notices")
        for number in range(100):
            outbox.put("value", b"%d" % number, ttl_s=60)
            outbox.put("other", b"x%d" % number, ttl_s=60)
        outbox.put("a", b"frame")
        assert outbox.status()["depth"] == 3
        assert outbox.superseded_count == 19 + 100 + 99
        redis_server.start()
        eventually(lambda: outbox.sent_count == 3, "the newest of each, and the frame")
        assert outbox.dropped_count == 0
        outbox.put("value", b"1", ttl_s=60)
        outbox.put("value", b"2", ttl_s=60)
        eventually(lambda: outbox.sent_count == 5, "every value while Redis is there")
    assert redis_server.cli("GET", "other") == "x99"


def test_what_is_pushed_waits_in_its_list(redis_server: RedisServer) -> None:
    with Outbox(redis_server.settings) as outbox:
        outbox.push("sdr:commands", b"1")
        outbox.push("sdr:commands", b"2")
        eventually(lambda: outbox.sent_count == 2, "both")
    assert redis_server.cli("LRANGE", "sdr:commands", "0", "-1").split() == ["2", "1"]


def test_a_value_that_has_waited_beyond_its_time_is_not_shown_as_fresh(redis_server: RedisServer) -> None:
    outbox = Outbox(redis_server.settings)
    outbox.put("old", b"stale", ttl_s=0)
    outbox.put("new", b"fresh", ttl_s=10)
    with outbox:
        eventually(lambda: outbox.sent_count == 2, "both frames")
    assert outbox.refused_count == 0
    assert redis_server.cli("EXISTS", "old") == "0"
    assert redis_server.cli("GET", "new") == "fresh"


def test_one_message_that_redis_refuses_does_not_hold_back_the_others(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.cli("ACL", "SETUSER", "default", "resetchannels", "&sdr:*")
    with Outbox(redis_server.settings) as outbox:
        numbers = itertools.count()
        for channel in ("sdr:a", "forbidden", "sdr:b"):
            outbox.put(channel, b"%d" % next(numbers), ttl_s=60)
        eventually(lambda: outbox.sent_count == 3, "that all are done with")
    assert outbox.refused_count == 1
    assert redis_server.cli("GET", "sdr:b") == "2"
    assert "Redis refuses a message" in caplog.text


def test_a_redis_that_refuses_everything_is_tried_again(redis_server: RedisServer) -> None:
    redis_server.cli("CONFIG", "SET", "requirepass", "secret")
    with Outbox(redis_server.settings) as outbox:
        outbox.put("value", b"1", ttl_s=60)
        eventually(lambda: outbox._link.failures > 1, "two refusals")
        assert outbox.sent_count == 0
        redis_server.cli("-a", "secret", "--no-auth-warning", "CONFIG", "SET", "requirepass", "")
        eventually(lambda: outbox.sent_count == 1, "the frame")
    assert redis_server.cli("GET", "value") == "1"


def test_what_waits_at_the_stop_is_still_sent(redis_server: RedisServer) -> None:
    outbox = Outbox(redis_server.settings)
    for number in range(100):
        outbox.put("value", b"%d" % number, ttl_s=60)
    outbox.start()
    outbox.stop()
    assert outbox.sent_count == 100
    assert redis_server.cli("GET", "value") == "99"


def test_what_cannot_be_sent_at_the_stop_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(RedisSettings(port=free_port()))
    outbox.put("a", b"x")
    outbox.start()
    outbox.stop()
    assert (outbox.sent_count, outbox.dropped_count) == (0, 1)
    assert "1 messages could not be sent before the end" in caplog.text


def test_an_outbox_that_is_never_empty_still_shows_that_it_lives(redis_server: RedisServer) -> None:
    outbox = Outbox(redis_server.settings)
    looks, call = itertools.count(), outbox._link.call
    seen: list[int] = []

    def call_and_put(action):  # type: ignore[no-untyped-def]
        if len(seen) < 50:
            outbox.put("a", b"x")
        seen.append(next(looks))
        return call(action)

    outbox._link.call = call_and_put  # type: ignore[method-assign]
    inner = outbox._stopping.is_set

    def counted() -> bool:
        next(looks)
        return inner()

    outbox._stopping.is_set = counted  # type: ignore[method-assign]
    outbox.put("a", b"x")
    with outbox:
        eventually(lambda: outbox.sent_count == 51, "all frames")
    # Between any two batches it looked whether it shall stop.
    assert all(after - before > 1 for before, after in itertools.pairwise(seen))

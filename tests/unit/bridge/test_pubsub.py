"""Subscriptions that come back for ever."""

from __future__ import annotations

import pytest

from app_core.bridge import pubsub
from app_core.bridge.connection import RedisSettings
from app_core.bridge.local_redis import free_port
from app_core.bridge.pubsub import Subscriber
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer


def test_messages_come_with_their_channel_bytes_for_bytes(redis_server: RedisServer) -> None:
    heard: list[tuple[str, bytes]] = []
    with Subscriber(redis_server.settings, ["one", "two"], lambda *message: heard.append(message)) as subscriber:
        eventually(lambda: subscriber.subscription_count == 2, "the subscription")
        assert subscriber.connected
        link = redis_server.link()
        link.call(lambda client: client.publish("one", bytes(range(256))))
        link.call(lambda client: client.publish("three", b"not for us"))
        link.call(lambda client: client.publish("two", b"2"))
        link.close()
        eventually(lambda: len(heard) == 2, "both messages")
    assert heard == [("one", bytes(range(256))), ("two", b"2")]
    assert subscriber.message_count == 2
    assert subscriber.last_message_s is not None


def test_a_subscription_comes_back_after_redis_was_killed(redis_server: RedisServer) -> None:
    heard: list[bytes] = []
    with Subscriber(redis_server.settings, ["one"], lambda _, payload: heard.append(payload)) as subscriber:
        eventually(lambda: subscriber.connected, "the subscription")
        redis_server.kill()
        eventually(lambda: not subscriber.connected, "that it notices")
        redis_server.start()
        eventually(lambda: subscriber.subscription_count == 2, "the second subscription")
        redis_server.cli("PUBLISH", "one", "again")
        eventually(lambda: heard == [b"again"], "the message")
    assert subscriber.failure is None


def test_a_subscriber_that_redis_cuts_off_comes_back(redis_server: RedisServer) -> None:
    with Subscriber(redis_server.settings, ["one"], lambda *_: None) as subscriber:
        eventually(lambda: subscriber.connected, "the subscription")
        assert redis_server.cli("CLIENT", "KILL", "TYPE", "pubsub") == "1"
        eventually(lambda: subscriber.subscription_count == 2, "the second subscription")


def test_a_redis_that_hangs_is_noticed_and_left(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "_PING_AFTER_S", 0.05)
    monkeypatch.setattr(pubsub, "_DEAD_AFTER_S", 0.5)
    settings = redis_server.settings.model_copy(update={"timeout_s": 0.5})
    with Subscriber(settings, ["one"], lambda *_: None) as subscriber:
        eventually(lambda: subscriber.connected, "the subscription")
        redis_server.pause()
        eventually(lambda: not subscriber.connected, "that it notices")
        redis_server.resume()
        eventually(lambda: subscriber.subscription_count == 2, "the second subscription")


def test_a_silent_connection_that_answers_is_kept(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "_PING_AFTER_S", 0.01)
    with Subscriber(redis_server.settings, ["one"], lambda *_: None) as subscriber:
        eventually(lambda: "cmd=ping" in redis_server.cli("CLIENT", "LIST", "TYPE", "pubsub"), "a ping")
        assert subscriber.subscription_count == 1


def test_a_subscriber_waits_for_a_redis_that_is_not_there_yet() -> None:
    with Subscriber(RedisSettings(port=free_port()), ["one"], lambda *_: None) as subscriber:
        eventually(lambda: subscriber._link.failures >= 2, "two failures")
        assert subscriber.is_alive
        assert not subscriber.connected

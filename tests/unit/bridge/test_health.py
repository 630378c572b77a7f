"""Reading the keys of the contract."""

from __future__ import annotations

import pytest

from app_core.base.errors import LinkError, WireError
from app_core.bridge import keys
from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.health import read_message
from app_core.bridge.local_redis import free_port
from app_core.bridge.messages import HeartbeatMessage
from tests.support.redis_server import RedisServer


def test_a_key_is_read_as_its_message(redis_server: RedisServer) -> None:
    link = redis_server.link()
    assert read_message(link, keys.HEARTBEAT, HeartbeatMessage) is None
    redis_server.cli("SET", keys.HEARTBEAT, '{"timestamp": 1701532800.5, "pid": 7, "receiver_count": 2}')
    assert read_message(link, keys.HEARTBEAT, HeartbeatMessage) == HeartbeatMessage(
        timestamp=1701532800.5, pid=7, receiver_count=2
    )
    link.close()


def test_what_is_not_such_a_message_is_a_wire_error(redis_server: RedisServer) -> None:
    link = redis_server.link()
    redis_server.cli("SET", keys.HEARTBEAT, "alive")
    with pytest.raises(WireError, match="HeartbeatMessage"):
        read_message(link, keys.HEARTBEAT, HeartbeatMessage)
    redis_server.cli("DEL", keys.HEARTBEAT)
    redis_server.cli("LPUSH", keys.HEARTBEAT, "alive")
    with pytest.raises(WireError, match="does not hold a string"):
        read_message(link, keys.HEARTBEAT, HeartbeatMessage)
    assert link.failures == 0
    link.close()


def test_a_redis_that_is_away_is_a_link_error() -> None:
    link = RedisLink(RedisSettings(port=free_port()))
    with pytest.raises(LinkError):
        read_message(link, keys.HEARTBEAT, HeartbeatMessage)
    link.close()

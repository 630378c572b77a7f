"""Acknowledging a fault with redis-cli, as the documentation says it."""

from __future__ import annotations

from app_core.bridge.acknowledgements import Acknowledgements
from tests.support.redis_server import RedisServer


def test_a_key_set_with_redis_cli_acknowledges_until_it_ends(redis_server: RedisServer) -> None:
    link = redis_server.link()
    acknowledgements = Acknowledgements(link)
    assert acknowledgements.read([]) == frozenset()
    assert acknowledgements.read(["wx1", "wx2"]) == frozenset()
    redis_server.cli("SET", "audio:dead_air_ack:wx2", "1", "EX", "3600")
    assert acknowledgements.read(["wx1", "wx2"]) == {"wx2"}
    acknowledgements.forget("wx2")
    assert redis_server.cli("EXISTS", "audio:dead_air_ack:wx2") == "0"
    assert acknowledgements.read(["wx1", "wx2"]) == frozenset()
    link.close()


def test_the_last_answer_holds_while_redis_is_away(redis_server: RedisServer) -> None:
    link = redis_server.link()
    acknowledgements = Acknowledgements(link)
    redis_server.cli("SET", "audio:dead_air_ack:wx2", "1")
    assert acknowledgements.read(["wx2"]) == {"wx2"}
    redis_server.kill()
    assert acknowledgements.read(["wx2"]) == {"wx2"}
    acknowledgements.forget("wx2")
    link.close()

"""A Redis of our own: alone, without persistence, and really ours."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

import pytest

from app_core.base.errors import LinkError
from app_core.bridge import local_redis
from app_core.bridge.local_redis import LocalRedis, find_redis, free_port
from tests.support.redis_server import RedisServer


def test_live_data_never_goes_to_disk_and_nothing_is_evicted(redis_server: RedisServer) -> None:
    expected = {"save": "", "appendonly": "no", "maxmemory-policy": "noeviction", "bind": "127.0.0.1"}
    for name, value in expected.items():
        assert redis_server.cli("CONFIG", "GET", name).split("\n") == [name, value]
    assert "pubsub 134217728 67108864 30" in redis_server.cli("CONFIG", "GET", "client-output-buffer-limit")


def test_a_port_that_another_server_holds_is_not_taken_for_ours(redis_server: RedisServer) -> None:
    second = LocalRedis(redis_server.port)
    second.start()
    with pytest.raises(LinkError, match=f"did not start on port {redis_server.port}"):
        second.wait_ready()
    second.stop()
    second.close()


def test_a_preferred_port_is_given_when_it_is_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_where_there_is_no_redis_the_command_that_mends_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_redis, "find_program", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LinkError, match="apt-get install redis-server"):
        find_redis()


def test_an_imitation_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local_redis, "find_program", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "fakeredis" else None)
    program = find_redis()
    assert not program.genuine
    assert "imitation" in program.description
    assert program.argv[0] == sys.executable

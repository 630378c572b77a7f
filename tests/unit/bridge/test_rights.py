"""What a user of Redis may, tried without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app_core.bridge.connection import RedisSettings
from app_core.bridge.rights import AUDIO_RIGHTS, SDR_RIGHTS, Right, refused_rights
from tests.support.redis_server import RedisServer

SERVICES = pytest.mark.parametrize("rights", [SDR_RIGHTS, AUDIO_RIGHTS], ids=["sdr", "audio"])


def log_in(server: RedisServer, folder: Path, *rules: str) -> RedisSettings:
    """Make the user ``service`` with these rules and no others."""
    server.cli("ACL", "SETUSER", "service", "reset", "on", ">word of a test", *rules)
    password = folder / "password"
    password.write_text("word of a test\n", encoding="utf-8")
    return server.settings.model_copy(update={"username": "service", "password_file": password})


def rules_of(rights: tuple[Right, ...] | list[Right]) -> list[str]:
    return ["+multi", *(f"({right.rule})" for right in rights)]


@SERVICES
def test_the_rules_of_all_rights_are_enough_and_each_is_needed(
    rights: tuple[Right, ...], redis_server: RedisServer, tmp_path: Path
) -> None:
    assert refused_rights(log_in(redis_server, tmp_path, *rules_of(rights)), rights) == []
    for left_out in rights:
        others = [right for right in rights if right.rule != left_out.rule]
        refused = refused_rights(log_in(redis_server, tmp_path, *rules_of(others)), rights)
        assert refused == [right for right in rights if right.rule == left_out.rule]


@SERVICES
def test_every_right_is_a_command_that_redis_takes(rights: tuple[Right, ...], redis_server: RedisServer) -> None:
    # A command that Redis does not understand is refused before its rights are looked at.
    link = redis_server.link()
    connection: Any = link.client.connection_pool.make_connection()
    connection.connect()
    for argv in [("multi",), *(right.argv for right in rights)]:
        connection.send_command(*argv)
        assert connection.read_response() in (b"OK", b"QUEUED"), argv
    connection.disconnect()
    link.close()


@SERVICES
def test_nothing_is_done_by_trying(rights: tuple[Right, ...], redis_server: RedisServer) -> None:
    assert refused_rights(redis_server.settings, rights) == []
    assert redis_server.cli("DBSIZE") == "0"
    stats = redis_server.cli("INFO", "commandstats")
    for name in ("set", "publish", "xadd", "subscribe", "lpush"):
        assert f"cmdstat_{name}:calls=0," in stats or f"cmdstat_{name}:" not in stats


def test_without_transactions_that_alone_is_said(redis_server: RedisServer, tmp_path: Path) -> None:
    assert refused_rights(log_in(redis_server, tmp_path, "+ping"), SDR_RIGHTS) == [Right(("multi",))]

"""The connection to Redis: one kind of error, for ever repeatable, and no secret in any text."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import redis
from pydantic import ValidationError

from app_core.base.errors import ConfigError, LinkError
from app_core.bridge.connection import RedisLink, RedisSettings, connect
from app_core.bridge.local_redis import free_port
from tests.support.programs import PATIENCE_S, eventually
from tests.support.redis_server import RedisServer

_SECRET = "s3cret-pass"  # noqa: S105 - of a server that lives for one test


def test_a_call_gives_redis_answer(redis_server: RedisServer) -> None:
    link = redis_server.link()
    connected = [link.connected]
    assert link.call(lambda client: client.set("key", "value")) is True
    connected.append(link.connected)
    assert connected == [False, True]
    assert redis_server.cli("GET", "key") == "value"
    link.close()


def test_the_database_is_the_one_that_was_asked_for(redis_server: RedisServer) -> None:
    link = RedisLink(redis_server.settings.model_copy(update={"db": 3}))
    link.call(lambda client: client.set("key", "three"))
    assert redis_server.cli("-n", "3", "GET", "key") == "three"
    assert redis_server.cli("GET", "key") == ""
    link.close()


@pytest.mark.parametrize("form", ["redis://127.0.0.1:{port}/3", "redis://user:wrong@127.0.0.1:{port}/3"])
def test_a_url_wins_over_host_and_port(redis_server: RedisServer, form: str) -> None:
    redis_server.cli("ACL", "SETUSER", "user", "on", ">wrong", "~*", "&*", "+@all")
    settings = RedisSettings(host="192.0.2.1", port=1, url=form.format(port=redis_server.port))
    link = RedisLink(settings)
    link.call(lambda client: client.set("key", "three"))
    assert redis_server.cli("-n", "3", "GET", "key") == "three"
    link.close()


def test_a_redis_that_is_not_there_is_a_link_error_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    link = RedisLink(RedisSettings(port=free_port()))
    for _ in range(5):
        with pytest.raises(LinkError, match="Connection refused"):
            link.call(lambda client: client.ping())
    assert link.failures == 5
    assert not link.connected
    assert len(caplog.messages) <= 1
    link.close()


def test_a_redis_that_hangs_is_a_link_error_in_time(redis_server: RedisServer) -> None:
    link = RedisLink(redis_server.settings.model_copy(update={"timeout_s": 0.1}))
    link.call(lambda client: client.ping())
    redis_server.pause()
    with pytest.raises(LinkError, match=r"[Tt]imeout"):
        link.call(lambda client: client.ping())
    redis_server.resume()
    link.close()


def test_a_refusal_by_redis_is_a_link_error(redis_server: RedisServer) -> None:
    redis_server.cli("SET", "key", "text")
    link = redis_server.link()
    with pytest.raises(LinkError, match="WRONGTYPE"):
        link.call(lambda client: client.lpush("key", "x"))
    link.close()


def test_a_call_is_repeated_until_redis_is_back(redis_server: RedisServer) -> None:
    link = redis_server.link()
    redis_server.kill()
    answers: list[object] = []
    stopping = threading.Event()
    thread = threading.Thread(
        target=lambda: answers.append(link.call_until_done(lambda client: client.ping(), stopping))
    )
    thread.start()
    eventually(lambda: link.failures >= 2, "two failures")
    redis_server.start()
    thread.join(PATIENCE_S)
    assert answers == [True]
    link.close()


def test_a_repeated_call_ends_when_it_is_stopped() -> None:
    link = RedisLink(RedisSettings(port=free_port()))
    stopping = threading.Event()
    stopping.set()
    assert link.call_until_done(lambda client: client.ping(), stopping) is None
    link.close()


def test_the_password_comes_from_its_file_and_is_shown_nowhere(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    redis_server.cli("CONFIG", "SET", "requirepass", _SECRET)
    with pytest.raises(LinkError, match=r"[Aa]uthentication"):
        RedisLink(redis_server.settings).call(lambda client: client.ping())
    password_path = tmp_path / "redis-password"
    password_path.write_text(_SECRET + "\n")
    settings = redis_server.settings.model_copy(update={"password_file": password_path})
    link = RedisLink(settings)
    assert link.call(lambda client: client.ping()) is True
    link.close()
    password_path.write_text(_SECRET + "-changed")
    with pytest.raises(LinkError) as refusal:
        RedisLink(settings).call(lambda client: client.ping())
    for text in (settings.describe(), repr(settings), str(refusal.value), caplog.text):
        assert _SECRET not in text


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing.*No such file.*REDIS_PASSWORD_FILE"):
        connect(RedisSettings(password_file=tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("settings", "described"),
    [
        (RedisSettings(host="redis", port=1234, db=2), "redis:1234/2"),
        (RedisSettings(url=f"redis://user:{_SECRET}@host:1234/5"), "redis://host:1234/5"),
        (RedisSettings(url=f"rediss://:{_SECRET}@host"), "rediss://host:6379"),
        (RedisSettings(url=f"redis://host?password={_SECRET}"), "redis://host:6379"),
        (RedisSettings(url="unix:///run/redis.sock"), "unix:///run/redis.sock"),
    ],
)
def test_a_description_says_where_and_no_secret(settings: RedisSettings, described: str) -> None:
    assert settings.describe() == described


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "host:6379",
        f"redis://:{_SECRET}/more@host/0",
        "redis://host/0?no_such_option=1",
        "redis://host/0?socket_timeout=soon",
    ],
)
def test_a_malformed_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match="URL is malformed") as refusal:
        RedisLink(RedisSettings(url=url))
    assert _SECRET not in str(refusal.value)


@pytest.mark.parametrize("change", [{"port": 0}, {"port": 65536}, {"db": -1}, {"timeout_s": 0}, {"hots": "x"}])
def test_senseless_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RedisSettings.model_validate(change)


def test_pub_sub_speaks_resp2(redis_server: RedisServer) -> None:
    client = connect(redis_server.settings)
    assert isinstance(client, redis.Redis)
    assert client.connection_pool.connection_kwargs["protocol"] == 2
    client.close()

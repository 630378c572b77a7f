"""Redis's users: a station does all its work as they, and each is refused whatever is not his."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from app_core.base.child import Child, run_quietly
from app_core.bridge import keys
from app_core.bridge.acknowledgements import dead_air_acknowledgement
from app_core.bridge.audio_commands import ChannelCommandMessage
from app_core.bridge.commands import AnyCommand, CommandMessage, CommandResultMessage, send_command, wait_for_result
from app_core.bridge.connection import RedisLink
from app_core.bridge.diagnosis import diagnose, read_station_health
from app_core.bridge.local_redis import free_port
from app_core.bridge.pubsub import Subscriber
from tests.support.acl_redis import ADMIN, REDIS_FILES, AclRedis, running_acl_redis
from tests.support.programs import eventually

START_S = 90.0
"""Longest wait for the first audio: the first start on a machine compiles. [seconds]"""

_STATION = """
[station]
name = "test"
demo = true

[[receivers]]
id = "noaa-1"
driver = "rtl_tcp"
port = {port}
center_frequency_hz = 162487500

[[channels]]
id = "wx7"
receiver_id = "noaa-1"
frequency_hz = 162550000

[web_audio]
port = {web_port}

[loudspeaker]
alerts_only = true

[dead_air]
no_audio_s = 2
"""

_SAMPLES = "sdr:samples:noaa-1"
_HISTORY = "sdr:history:noaa-1"

REFUSED = {
    "sdr": [
        ("SUBSCRIBE", _SAMPLES),
        ("PSUBSCRIBE", "audio:pcm:*"),
        ("PUBLISH", "audio:pcm:wx7", "x"),
        ("PUBLISH", "eas:alerts", "x"),
        ("XADD", "eas:alerts", "*", "alert", "{}"),
        ("XRANGE", "eas:alerts", "-", "+"),
        ("DEL", "eas:alerts"),
        ("SET", "audio:heartbeat", "x"),
        ("SET", "sdr:commands", "x"),
        ("SET", "sdr:metrics", "x", "GET"),
        ("LPUSH", "sdr:commands", "{}"),
        ("LPUSH", "audio:commands", "{}"),
        ("BLMOVE", "audio:commands", "sdr:commands:under_way", "RIGHT", "LEFT", "0.01"),
        ("GET", "sdr:heartbeat"),
        ("XRANGE", _HISTORY, "-", "+"),
    ],
    "audio": [
        ("PUBLISH", _SAMPLES, "x"),
        ("PSUBSCRIBE", "*"),
        ("SUBSCRIBE", "sdr:spectrum:noaa-1"),
        ("XADD", _HISTORY, "*", "frame", "x"),
        ("DEL", _HISTORY),
        ("SET", "sdr:metrics", "x"),
        ("SET", "sdr:command_result:c1", "x"),
        ("DEL", "sdr:commands"),
        ("LRANGE", "sdr:commands", "0", "-1"),
        ("RPOP", "sdr:commands"),
        ("LPUSH", "audio:commands", "{}"),
        ("DEL", "eas:alerts"),
        ("XTRIM", "eas:alerts", "MAXLEN", "0"),
        ("XADD", "eas:other", "*", "alert", "{}"),
        ("SET", "audio:dead_air_ack:wx7", "1"),
        ("INFO",),
    ],
    "operator": [
        ("PUBLISH", _SAMPLES, "x"),
        ("SET", "sdr:metrics", "x"),
        ("SET", "sdr:command_result:c1", "x"),
        ("XADD", "eas:alerts", "*", "alert", "{}"),
        ("DEL", "eas:alerts"),
        ("DEL", _HISTORY),
        ("BLMOVE", "sdr:commands", "sdr:commands:under_way", "RIGHT", "LEFT", "0.01"),
        ("GET", "other"),
    ],
}
"""What each user must not do, beside `REFUSED_TO_ALL`."""

REFUSED_TO_ALL = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "mallory", "on", "nopass", "+@all", "~*"),
    ("CLIENT", "KILL", "TYPE", "pubsub"),
    ("EVAL", "return 1", "0"),
    ("FUNCTION", "LIST"),
    ("MODULE", "LIST"),
    ("REPLICAOF", "203.0.113.1", "6379"),
    ("MIGRATE", "203.0.113.1", "6379", "sdr:metrics", "0", "1000"),
    ("MONITOR",),
    ("SAVE",),
    ("SHUTDOWN", "NOSAVE"),
    ("SET", "mallory", "x"),
    ("RENAME", "sdr:metrics", "sdr:heartbeat"),
    ("COPY", "eas:alerts", "sdr:metrics"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AclRedis]:
    with running_acl_redis(tmp_path_factory.mktemp("users")) as running:
        yield running


@pytest.mark.parametrize(
    ("user", "words"),
    [(user, words) for user, table in REFUSED.items() for words in [*table, *REFUSED_TO_ALL]],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_each_user_is_refused_what_is_not_his(server: AclRedis, user: str, words: tuple[str, ...]) -> None:
    link = server.link(user)
    try:
        assert link.client.ping() is True
        with pytest.raises(redis.exceptions.NoPermissionError):
            link.client.execute_command(*words)  # type: ignore[no-untyped-call]
    finally:
        link.close()


def test_who_gives_no_name_and_who_gives_a_wrong_password_stays_outside(server: AclRedis, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64, encoding="ascii")
    without = server.settings("sdr").model_copy(update={"username": None, "password_file": None})
    guessed = server.settings("sdr").model_copy(update={"password_file": wrong})
    by_default = server.settings("sdr").model_copy(update={"username": "default"})
    for settings in (without, guessed, by_default):
        link = RedisLink(settings)
        with pytest.raises(redis.exceptions.AuthenticationError):
            link.client.ping()
        link.close()


@pytest.mark.parametrize("content", [None, "", "short\n"], ids=["missing", "empty", "short"])
def test_no_file_of_users_is_made_with_a_missing_or_weak_password(tmp_path: Path, content: str | None) -> None:
    for user in ("sdr", "audio", "operator"):
        (tmp_path / f"redis-{user}").write_text("a" * 64, encoding="ascii")
    assert run_quietly([str(REDIS_FILES / "make-acl"), str(tmp_path)], timeout_s=20.0) is not None
    (tmp_path / "redis-audio").unlink()
    if content is not None:
        (tmp_path / "redis-audio").write_text(content, encoding="ascii")
    assert run_quietly([str(REDIS_FILES / "make-acl"), str(tmp_path)], timeout_s=20.0) is None


class _Station:
    """A whole station, each program as the user that it is in Redis."""

    def __init__(self, server: AclRedis, folder: Path, cleanup: ExitStack) -> None:
        self.server, self.folder, self._cleanup = server, folder, cleanup
        self.port = free_port()
        self.config = folder / "station.toml"
        self.config.write_text(_STATION.format(port=self.port, web_port=free_port()), encoding="utf-8")
        self.operator = server.link("operator")
        cleanup.callback(self.operator.close)
        antenna = ("services.synth_service", "--port", str(self.port), "--first-alert-s", "4", "--interval-s", "45")
        self.start("antenna", "", *antenna)
        self.sdr = self.start("sdr", "sdr", "services.sdr_service", "--config", str(self.config))
        self.audio = self.start("audio", "audio", "services.audio_service", "--config", str(self.config))

    def start(self, name: str, user: str, *words: str) -> Child:
        log = self._cleanup.enter_context((self.folder / f"{name}.log").open("ab"))
        environment = {"HERALD_DATA_DIR": str(self.folder / name), **(self.server.environment(user) if user else {})}
        child = Child(name, [sys.executable, "-m", *words], environment=environment, stdout=log, stderr=log)
        child.start()
        self._cleanup.callback(child.stop, 20.0)
        return child

    def is_well(self) -> bool:
        health = read_station_health(self.operator)
        streams = self.operator.call(lambda client: client.exists(keys.STREAM_HEARTBEAT))
        return bool(streams) and not diagnose(health, 2.0)

    def alerts(self) -> int:
        return int(self.operator.call(lambda client: client.xlen(keys.ALERTS)))

    def dead_air(self) -> dict[str, Any]:
        payload = self.operator.call(lambda client: client.get(keys.STREAMS))
        air: dict[str, Any] = orjson.loads(payload)["outputs"]["dead_air"]["wx7"]  # type: ignore[arg-type]
        return air

    def pids(self) -> set[int]:
        """Give the processes that the metrics are of."""
        health = read_station_health(self.operator)
        return {aged.message.pid for aged in (health.sdr, health.audio) if aged is not None}

    def ask(self, command: AnyCommand, names: keys.CommandKeys) -> CommandResultMessage:
        send_command(self.operator, command, names)
        result = wait_for_result(self.operator, command.command_id, 20.0, names)
        assert result is not None, f"no result of {command}"
        return result


@pytest.mark.timeout(600)
def test_a_station_does_all_its_work_as_these_users(tmp_path: Path) -> None:
    with running_acl_redis(tmp_path) as server, ExitStack() as cleanup:
        station = _Station(server, tmp_path, cleanup)
        eventually(station.is_well, "a station that is well", START_S)
        eventually(lambda: station.alerts() > 0, "an alert", START_S)
        _check_commands(station)
        _check_inspection(station)
        _check_acknowledgement(station)
        # A capture that the audio service asked for was carried out.
        eventually(lambda: any((tmp_path / "sdr" / "captures").rglob("*.sigmf-meta")), "the alert's capture", START_S)
        _check_restarts(station)
        for service, user in (("sdr", "sdr"), ("audio", "audio")):
            probe = station.start("probe", user, "services.healthcheck", service, "--config", str(station.config))
            assert probe.wait(30.0) == 0, (tmp_path / "probe.log").read_text(encoding="utf-8")
        assert server.refusals() == set()


def _check_commands(station: _Station) -> None:
    spectrum = CommandMessage(action="get_spectrum", receiver_id="noaa-1", command_id="c1")
    assert station.ask(spectrum, keys.TO_SDR).success
    channels = ChannelCommandMessage.model_validate({"action": "get_channels", "command_id": "c2"})
    assert station.ask(channels, keys.TO_AUDIO).success
    # Both lists of commands under way are empty again: what was answered has been taken off.
    for names in (keys.TO_SDR, keys.TO_AUDIO):
        eventually(lambda names=names: station.operator.client.llen(names.under_way) == 0, names.under_way)  # type: ignore[misc]


def _check_inspection(station: _Station) -> None:
    """Read everything that a person or a page reads."""
    client = station.operator.client
    strings = (keys.HEARTBEAT, keys.METRICS, keys.AUDIO_HEARTBEAT, keys.AUDIO_METRICS, keys.STREAMS)
    for key in (*strings, keys.ring_buffer("noaa-1"), keys.spectrum("noaa-1")):
        payload = client.get(key)
        assert isinstance(payload, bytes), key
        assert isinstance(orjson.loads(payload), dict)
    heard: set[str] = set()
    channels = (_SAMPLES, keys.spectrum("noaa-1"))
    settings = station.server.settings("operator")
    with Subscriber(settings, channels, lambda name, _: heard.add(name), patterns=(keys.EVERY_PCM,)):
        eventually(lambda: heard == {*channels, keys.pcm("wx7")}, "samples, spectrum and audio")


def _check_acknowledgement(station: _Station) -> None:
    """Make a channel's air dead, say that it is known, and mend it."""
    key = dead_air_acknowledgement("wx7")
    assert station.ask(CommandMessage(action="stop", receiver_id="noaa-1", command_id="c3"), keys.TO_SDR).success
    eventually(lambda: station.dead_air()["fault"] == "no audio", "dead air")
    assert station.operator.client.set(key, "1", ex=600)
    eventually(lambda: station.dead_air()["acknowledged"], "the acknowledgement")
    assert station.ask(CommandMessage(action="start", receiver_id="noaa-1", command_id="c4"), keys.TO_SDR).success
    eventually(lambda: station.operator.client.exists(key) == 0, "the end of the acknowledgement")


def _check_restarts(station: _Station) -> None:
    """Kill both services, so that each takes up what it left in Redis."""
    earlier = station.pids()
    admin = station.server.link(ADMIN)
    for names in (keys.TO_SDR, keys.TO_AUDIO):
        # As if each had died over a command.
        admin.client.lpush(names.under_way, '{"action": "restart", "command_id": "interrupted"}')
    admin.close()
    for child in (station.sdr, station.audio):
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        eventually(lambda child=child: not child.is_alive, f"the end of {child.name}")  # type: ignore[misc]
        child.start()
    eventually(lambda: not earlier & station.pids() and station.is_well(), "a station that is well again", START_S)
    for names in (keys.TO_SDR, keys.TO_AUDIO):
        result = wait_for_result(station.operator, "interrupted", 20.0, names)
        assert result is not None
        assert not result.success

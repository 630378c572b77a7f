"""The checks of Redis, against a real one that a test sets wrong."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import redis

from app_core.base.finding import Finding, Verdict
from app_core.bridge import redis_checks
from app_core.bridge.connection import RedisSettings
from app_core.bridge.local_redis import free_port
from app_core.bridge.redis_checks import judge_latency, redis_cli, redis_findings
from app_core.bridge.rights import SDR_RIGHTS, Right
from tests.support.redis_server import RedisServer
from tests.unit.bridge.test_rights import log_in, rules_of

RATE_HZ = 250_000.0


def findings_of(settings: RedisSettings, sample_rate_hz: float = RATE_HZ) -> dict[str, Finding]:
    return {finding.check: finding for finding in redis_findings(settings, sample_rate_hz)}


def mend(server: RedisServer, finding: Finding) -> None:
    """Type the commands of a remedy, all but the one that writes a configuration file: this server has none."""
    for command in finding.remedy.partition("    #")[0].split(" && "):
        program, port, number, *words = shlex.split(command)
        assert (program, port, number) == ("redis-cli", "-p", str(server.port))
        if words != ["CONFIG", "REWRITE"]:
            assert server.cli(*words) == "OK"


def test_a_redis_for_live_data_is_well(redis_server: RedisServer) -> None:
    found = findings_of(redis_server.settings)
    assert {check: finding.verdict for check, finding in found.items() if check != "redis latency"} == {
        "redis": Verdict.OK,
        "redis rights": Verdict.OK,
        "redis memory": Verdict.OK,
        "redis persistence": Verdict.OK,
        "redis output limit": Verdict.OK,
    }
    version = redis_server.cli("INFO", "server").partition("redis_version:")[2].split()[0]
    assert found["redis"].seen == f"Redis {version} at 127.0.0.1:{redis_server.port}/0"


@pytest.mark.parametrize(
    ("check", "setting", "value", "verdict", "words"),
    [
        ("redis persistence", "save", "3600 1", Verdict.WARNING, 'save "3600 1": live data goes to disk'),
        ("redis persistence", "appendonly", "yes", Verdict.WARNING, "appendonly yes"),
        ("redis memory", "maxmemory-policy", "allkeys-lru", Verdict.FAILURE, "maxmemory-policy is allkeys-lru"),
        ("redis output limit", "client-output-buffer-limit", "pubsub 4194304 1048576 1", Verdict.WARNING, "for 1.8 s"),
    ],
)
def test_a_wrong_setting_is_mended_by_what_is_said(
    check: str, setting: str, value: str, verdict: Verdict, words: str, redis_server: RedisServer
) -> None:
    redis_server.cli("CONFIG", "SET", "maxmemory", "100000000")
    assert findings_of(redis_server.settings)[check].verdict is Verdict.OK
    assert redis_server.cli("CONFIG", "SET", setting, value) == "OK"
    found = findings_of(redis_server.settings)[check]
    assert found.verdict is verdict
    assert words in found.seen
    mend(redis_server, found)
    assert findings_of(redis_server.settings)[check].verdict is Verdict.OK


def test_a_redis_that_is_nearly_full_is_a_warning(redis_server: RedisServer) -> None:
    used = int(redis_server.cli("INFO", "memory").partition("used_memory:")[2].split()[0])
    redis_server.cli("CONFIG", "SET", "maxmemory", str(int(used / 0.95)))
    found = findings_of(redis_server.settings)["redis memory"]
    assert found.verdict is Verdict.WARNING
    mend(redis_server, found)
    assert findings_of(redis_server.settings)["redis memory"].verdict is Verdict.OK


def test_the_output_limit_is_judged_by_what_is_published(redis_server: RedisServer) -> None:
    redis_server.cli("CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60")
    assert findings_of(redis_server.settings)["redis output limit"].verdict is Verdict.OK
    assert findings_of(redis_server.settings, 10e6)["redis output limit"].verdict is Verdict.WARNING
    redis_server.cli("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
    assert findings_of(redis_server.settings, 10e6)["redis output limit"].verdict is Verdict.OK


def test_a_services_user_may_do_its_work_and_need_not_see_the_configuration(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    found = findings_of(log_in(redis_server, tmp_path, *rules_of(SDR_RIGHTS)))
    assert found["redis"].seen.startswith("Redis ") and "unknown" not in found["redis"].seen
    assert found["redis rights"].verdict is Verdict.OK
    assert "all that the SDR service does" in found["redis rights"].seen
    assert found["redis persistence"].verdict is Verdict.NOT_APPLICABLE
    assert found["redis output limit"].verdict is Verdict.NOT_APPLICABLE


def test_a_right_that_is_missing_is_given_by_what_is_said(redis_server: RedisServer, tmp_path: Path) -> None:
    settings = log_in(redis_server, tmp_path, *rules_of(SDR_RIGHTS[:-4]))
    found = findings_of(settings)["redis rights"]
    assert found.verdict is Verdict.FAILURE
    assert "user service may not do the SDR service's work: 4 refused (set sdr:command_result:doctor" in found.seen
    mend(redis_server, found)
    assert findings_of(settings)["redis rights"].verdict is Verdict.OK


def test_a_user_without_any_right_is_heard_out(redis_server: RedisServer, tmp_path: Path) -> None:
    found = findings_of(log_in(redis_server, tmp_path))
    assert found["redis"].verdict is Verdict.OK
    assert found["redis rights"].verdict is Verdict.FAILURE
    assert found["redis memory"].verdict is Verdict.NOT_APPLICABLE


def test_a_user_who_may_not_choose_the_database_is_given_the_right(redis_server: RedisServer, tmp_path: Path) -> None:
    settings = log_in(redis_server, tmp_path, *rules_of(SDR_RIGHTS)).model_copy(update={"db": 2})
    (finding,) = redis_findings(settings, RATE_HZ)
    assert finding.verdict is Verdict.FAILURE
    mend(redis_server, finding)
    assert findings_of(settings)["redis rights"].verdict is Verdict.OK


def test_a_wrong_password_is_told_from_a_redis_that_is_away(redis_server: RedisServer, tmp_path: Path) -> None:
    settings = log_in(redis_server, tmp_path)
    (tmp_path / "password").write_text("another", encoding="utf-8")
    (finding,) = redis_findings(settings, RATE_HZ)
    assert finding.verdict is Verdict.FAILURE
    assert "REDIS_PASSWORD_FILE" in finding.remedy
    redis_server.cli("CONFIG", "SET", "requirepass", "word")
    (finding,) = redis_findings(redis_server.settings, RATE_HZ)
    assert "REDIS_PASSWORD_FILE" in finding.remedy
    (finding,) = redis_findings(RedisSettings(port=free_port()), RATE_HZ)
    assert finding.remedy.startswith("sudo apt-get install redis-server")
    (finding,) = redis_findings(RedisSettings(password_file=tmp_path / "none"), RATE_HZ)
    assert "cannot be read" in finding.seen


def test_an_imitation_that_hangs_up_is_no_fault(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(*_: object) -> list[Right]:
        raise redis.ConnectionError("Connection closed by server.")

    monkeypatch.setattr(redis_checks, "refused_rights", hang_up)
    found = findings_of(redis_server.settings)
    assert found["redis rights"].verdict is Verdict.NOT_APPLICABLE
    assert found["redis output limit"].verdict is Verdict.OK


def test_a_slow_redis_is_a_warning() -> None:
    assert judge_latency(0.0004, 0.5, "redis-cli").verdict is Verdict.OK
    assert judge_latency(0.05, 0.06, "redis-cli").verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        (RedisSettings(), "redis-cli"),
        (RedisSettings(port=7000), "redis-cli -p 7000"),
        (RedisSettings(host="redis"), "redis-cli -h redis -p 6379"),
        (RedisSettings(url="unix:///run/redis.sock"), "redis-cli -s /run/redis.sock"),
        (RedisSettings(url="rediss://me:secret@host/1"), "redis-cli -u rediss://host:6379/1"),
    ],
)
def test_commands_go_to_the_redis_of_the_station_without_its_password(settings: RedisSettings, command: str) -> None:
    assert redis_cli(settings) == command

"""Checks of Redis: reachable, new enough, quick, set for live data, and open to what the services do.

What a user may not ask is no fault: a service's user may read no configuration.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Mapping
from typing import Any

import redis

from app_core.base.errors import ConfigError
from app_core.base.finding import Finding, failure, not_applicable, ok, warning
from app_core.bridge.connection import RedisSettings, connect
from app_core.bridge.rights import AUDIO_RIGHTS, SDR_RIGHTS, Right, refused_rights

_OLDEST = (6, 2)
"""The first with BLMOVE."""

_PINGS = 50
_SLOW_PING_S = 0.02

_BYTES_PER_SAMPLE = 4.0 * 4.0 / 3.0
"""A sample of 16 bits each of I and Q in base64, before compression: the most that it takes on its way. [bytes]"""

_STALL_S = 4.0
"""Time for which a subscriber may stand still without being cut off. [seconds]"""

_LIMIT = "134217728 67108864 30"
"""What is recommended for pub/sub: 128 MiB at once, or 64 MiB for 30 s."""


def redis_findings(settings: RedisSettings, sample_rate_hz: float) -> list[Finding]:
    """Make all checks of this module.

    Parameters
    ----------
    settings
        Where Redis is.
    sample_rate_hz
        What all receivers publish together. [samples per second]
    """
    cli = redis_cli(settings)
    try:
        client = connect(settings)
    except ConfigError as error:
        return [failure("redis", str(error), "set it in station.toml or the environment, then: herald config check")]
    try:
        client.ping()
    except redis.exceptions.NoPermissionError:
        pass  # it is there; the rights say the rest
    except (redis.RedisError, OSError) as error:
        return [_unreachable(settings, error)]
    try:
        return [
            _check_version(client, settings),
            _check_latency(client, cli),
            _check_rights(settings, cli),
            *_check_memory(client, cli),
            _check_persistence(client, cli),
            _check_output_limit(client, cli, sample_rate_hz),
        ]
    except (redis.RedisError, OSError) as error:
        return [_unreachable(settings, error)]
    finally:
        client.close()


def redis_cli(settings: RedisSettings) -> str:
    """Give the beginning of a ``redis-cli`` command for this Redis, without any secret."""
    if settings.url is None:
        words = (
            ["-h", settings.host, "-p", str(settings.port)]
            if settings.host != "127.0.0.1"
            else ["-p", str(settings.port)]
        )
        return shlex.join(["redis-cli", *([] if words == ["-p", "6379"] else words)])
    where = settings.describe()
    if where.startswith("unix://"):
        return shlex.join(["redis-cli", "-s", where.removeprefix("unix://")])
    return shlex.join(["redis-cli", "-u", where])


def _unreachable(settings: RedisSettings, error: Exception) -> Finding:
    seen = f"Redis at {settings.describe()}: {error}"
    if isinstance(error, redis.AuthenticationError) or "NOAUTH" in str(error) or "WRONGPASS" in str(error):
        # AuthenticationError is a ConnectionError to redis-py; the way to mend it is another.
        return failure(
            "redis",
            seen,
            "put the password into a file of its own, and set REDIS_USERNAME and REDIS_PASSWORD_FILE: "
            '(umask 077; read -r p; printf %s "$p" > redis-password)',
        )
    if isinstance(error, redis.exceptions.NoPermissionError):
        # Of the connection itself: it chooses a database before anything else.
        return failure("redis", seen, f"{redis_cli(settings)} ACL SETUSER {settings.username or 'default'} +select")
    if settings.url is None and settings.host in ("127.0.0.1", "localhost", "::1"):
        return failure("redis", seen, "sudo apt-get install redis-server && sudo systemctl enable --now redis-server")
    return failure("redis", seen, f"{redis_cli(settings)} PING    # on the Redis host: systemctl status redis-server")


def _check_version(client: redis.Redis, settings: RedisSettings) -> Finding:
    version = _version(client)
    seen = f"Redis {version or '(version unknown)'} at {settings.describe()}"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers and numbers < _OLDEST:
        return failure("redis", f"{seen}; commands need 6.2", "sudo apt-get install --only-upgrade redis-server")
    return ok("redis", seen)


def _version(client: redis.Redis) -> str:
    """Ask by HELLO, which every user may; Redis before 6 and imitations know INFO alone."""
    try:
        connection: Any = client
        answer: Any = connection.execute_command("HELLO")
        facts = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
        return str(facts[b"version"].decode())
    except (redis.ResponseError, KeyError, TypeError, AttributeError, ValueError):
        return str(_info(client, "server").get("redis_version", ""))


def _info(client: redis.Redis, section: str) -> Mapping[str, Any]:
    try:
        facts: Any = client.info(section)
    except redis.ResponseError:
        return {}
    return facts if isinstance(facts, Mapping) else {}


def _config(client: redis.Redis, name: str) -> str | None:
    try:
        facts: Any = client.config_get(name)
    except redis.ResponseError:
        return None
    value = facts.get(name)
    return None if value is None else str(value)


def _check_latency(client: redis.Redis, cli: str) -> Finding:
    times_s = []
    for _ in range(_PINGS):
        begun_s = time.monotonic()
        # A refusal comes as quickly as an answer.
        with contextlib.suppress(redis.exceptions.NoPermissionError):
            client.ping()
        times_s.append(time.monotonic() - begun_s)
    return judge_latency(sorted(times_s)[len(times_s) // 2], max(times_s), cli)


def judge_latency(median_s: float, longest_s: float, cli: str) -> Finding:
    """Give the verdict on the times of some PINGs. [seconds]"""
    seen = f"PING takes {1000.0 * median_s:.2f} ms, at the most {1000.0 * longest_s:.1f} ms"
    if median_s > _SLOW_PING_S:
        return warning("redis latency", seen, f"{cli} --latency-history    # and: {cli} SLOWLOG GET 10")
    return ok("redis latency", seen)


def _check_rights(settings: RedisSettings, cli: str) -> Finding:
    user = settings.username or "default"
    try:
        refused = {"SDR": refused_rights(settings, SDR_RIGHTS), "audio": refused_rights(settings, AUDIO_RIGHTS)}
    except redis.ConnectionError as error:
        # It answered before. Imitations of Redis hang up when they are told to subscribe in a transaction.
        return not_applicable("redis rights", f"cannot be tried: {error}")
    able = [name for name, rights in refused.items() if not rights]
    if len(able) == len(refused):
        return ok("redis rights", f"user {user} may do all that both services do")
    if able:
        return ok("redis rights", f"user {user} may do all that the {able[0]} service does, and not the other's work")
    nearest = min(refused, key=lambda name: len(refused[name]))
    rights = refused[nearest]
    words = ", ".join(" ".join(right.argv[:2]) for right in rights[:3]) + (", ..." if len(rights) > 3 else "")
    return failure(
        "redis rights",
        f"user {user} may not do the {nearest} service's work: {len(rights)} refused ({words})",
        grant(user, rights, cli),
    )


def grant(user: str, rights: list[Right], cli: str) -> str:
    """Give the command that gives rights to a user; Redis 7.0 knows rights in brackets."""
    rules = list(dict.fromkeys(f"({right.rule})" if right.scope else right.rule for right in rights))
    return f"{cli} {shlex.join(['ACL', 'SETUSER', user, *rules])}    # as a user who may; then keep it: {cli} ACL SAVE"


def _check_memory(client: redis.Redis, cli: str) -> list[Finding]:
    facts = _info(client, "memory")
    if "maxmemory" not in facts:
        return [not_applicable("redis memory", "this user may not ask (INFO)")]
    limit, policy, used = (
        int(facts["maxmemory"]),
        str(facts.get("maxmemory_policy", "")),
        int(facts.get("used_memory", 0)),
    )
    if limit == 0:
        return [ok("redis memory", f"{used / 1e6:.0f} MB used, without a limit; nothing is evicted")]
    seen = f"{used / 1e6:.0f} of {limit / 1e6:.0f} MB used; maxmemory-policy is {policy}"
    if policy != "noeviction":
        return [
            failure(
                "redis memory",
                f"{seen}: alerts may be evicted",
                f"{cli} CONFIG SET maxmemory-policy noeviction && {cli} CONFIG REWRITE",
            )
        ]
    if used > 0.9 * limit:
        return [warning("redis memory", seen, f"{cli} CONFIG SET maxmemory {2 * limit} && {cli} CONFIG REWRITE")]
    return [ok("redis memory", seen)]


def _check_persistence(client: redis.Redis, cli: str) -> Finding:
    facts = _info(client, "persistence")
    save, appends = _config(client, "save"), facts.get("aof_enabled") in (1, "1")
    turn_off = f'{cli} CONFIG SET save "" && {cli} CONFIG SET appendonly no && {cli} CONFIG REWRITE'
    if facts.get("rdb_last_bgsave_status", "ok") != "ok" and _config(client, "stop-writes-on-bgsave-error") != "no":
        return failure("redis persistence", "the last snapshot failed, and Redis refuses to write", turn_off)
    if save or appends:
        what = " and ".join([f'save "{save}"'] * bool(save) + ["appendonly yes"] * appends)
        return warning(
            "redis persistence", f"{what}: live data goes to disk, and every write may wait for it", turn_off
        )
    if save is None:
        return not_applicable("redis persistence", "this user may not ask (CONFIG GET save)")
    return ok("redis persistence", 'off (save "", appendonly no)')


def _check_output_limit(client: redis.Redis, cli: str, sample_rate_hz: float) -> Finding:
    name = "client-output-buffer-limit"
    value = _config(client, name)
    if value is None:
        return not_applicable("redis output limit", f"this user may not ask (CONFIG GET {name})")
    words = value.split()
    hard, soft, soft_s = (int(word) for word in words[words.index("pubsub") + 1 :][:3])
    per_second = max(1.0, _BYTES_PER_SAMPLE * sample_rate_hz)
    # The soft limit cuts off who stays above it for its time; the hard one at once.
    allowed_s = min(hard / per_second if hard else float("inf"), soft / per_second + soft_s if soft else float("inf"))
    seen = f"pubsub {hard} {soft} {soft_s}: a subscriber may stand still for {allowed_s:.1f} s"
    if allowed_s >= _STALL_S:
        return ok("redis output limit", seen)
    return warning("redis output limit", seen, f'{cli} CONFIG SET {name} "pubsub {_LIMIT}" && {cli} CONFIG REWRITE')

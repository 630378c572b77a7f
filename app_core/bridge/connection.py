"""The connection to Redis: settings, one client, and calls that are tried again for ever.

This package is the only one that imports redis-py. Every failure of the connection leaves it as a `LinkError`, so that
a caller needs to know one thing alone: try again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import redis
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from redis.backoff import NoBackoff
from redis.retry import Retry

from app_core.base.errors import ConfigError, LinkError
from app_core.base.lifecycle import Backoff
from app_core.base.machine_memory import memory_share_bytes
from app_core.base.telemetry import RateLimitedLog

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log, interval_s=10.0)

T = TypeVar("T")


def _well_formed_url(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port, parts = 0, urlsplit("")
    # The cause is not shown: it may quote a piece of the password.
    if parts.scheme not in ("redis", "rediss", "unix") or port == 0:
        raise ValueError(
            "the URL is malformed; it looks like redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH"
        )
    return url


class RedisSettings(BaseModel):
    """Where Redis is.

    `url` (``redis://``, ``rediss://`` or ``unix://``), when given, wins over host, port and database. The password
    comes from a file, so that no environment, command line or compose file shows it.

    Attributes
    ----------
    history_memory_bytes
        What is remembered of all histories together for a Redis that comes back empty: a sixteenth of the memory that
        this process may count on, unless it is given.
    outbox_memory_bytes
        What may wait in one outbox while Redis is away: an eighth of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 6379
    db: Annotated[int, Field(ge=0, le=1023)] = 0
    url: Annotated[str | None, AfterValidator(_well_formed_url)] = None
    username: str | None = None
    password_file: Path | None = None
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    history_memory_bytes: Annotated[int, Field(ge=0)] = Field(default_factory=partial(memory_share_bytes, 1 / 16))
    outbox_memory_bytes: Annotated[int, Field(ge=1)] = Field(default_factory=partial(memory_share_bytes, 1 / 8))

    def describe(self) -> str:
        """Say where Redis is, without any secret."""
        if self.url is None:
            return f"{self.host}:{self.port}/{self.db}"
        parts = urlsplit(self.url)
        where = f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else ""
        return f"{parts.scheme}://{where}{parts.path}"


def _password(settings: RedisSettings) -> str | None:
    if settings.password_file is None:
        return None
    try:
        return settings.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"the Redis password file {settings.password_file} cannot be read ({error.strerror}); "
            f"check REDIS_PASSWORD_FILE and the file's owner"
        ) from error


def connect(settings: RedisSettings, *, blocking_s: float = 0.0) -> redis.Redis:
    """Make a client; nothing is sent before the first call.

    Parameters
    ----------
    settings
        Where Redis is.
    blocking_s
        Longest time that a blocking command of this client waits on purpose; its socket waits that much longer.

    Raises
    ------
    ConfigError
        If the URL is malformed or the password file cannot be read.
    """
    options: dict[str, Any] = {
        # RESP3 makes redis-py turn every pub/sub message into text and back: eight times slower.
        "protocol": 2,
        "socket_connect_timeout": settings.timeout_s,
        "socket_timeout": settings.timeout_s + blocking_s,
        "socket_keepalive": True,
        # A call that failed is ours to repeat: only the caller knows whether it may go out twice.
        "retry": Retry(NoBackoff(), 0),
    }
    if settings.username is not None:
        options["username"] = settings.username
    password = _password(settings)
    if password is not None:
        options["password"] = password
    if settings.url is None:
        return redis.Redis(host=settings.host, port=settings.port, db=settings.db, **options)
    if settings.url.startswith("unix://"):
        options.pop("socket_keepalive")
    try:
        client = redis.Redis.from_url(settings.url, **options)
        # An option in the URL that redis-py does not know shows only when a connection is made, which sends nothing.
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError):
        # The cause is not shown: it may quote a piece of the password.
        raise ConfigError(
            "REDIS_URL is malformed; it looks like redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH"
        ) from None
    return client


class RedisLink:
    """One client, with failures turned into `LinkError`, and a call that is repeated until it succeeds.

    Parameters
    ----------
    settings
        Where Redis is.
    blocking_s
        As in `connect`.
    """

    def __init__(self, settings: RedisSettings, *, blocking_s: float = 0.0) -> None:
        self._settings = settings
        self._client = connect(settings, blocking_s=blocking_s)
        self.connected = False
        self.failures = 0

    @property
    def client(self) -> redis.Redis:
        """The client itself, for this package."""
        return self._client

    def call(self, action: Callable[[redis.Redis], T]) -> T:
        """Do `action` once.

        Raises
        ------
        LinkError
            If Redis cannot be reached, refuses the call, or does not answer in time.
        """
        try:
            answer = action(self._client)
        except (redis.RedisError, OSError) as error:
            self.failures += 1
            if self.connected:
                log.warning("Redis at %s is gone: %s", self._settings.describe(), error)
            else:
                _limited_log.warning("redis", "Redis at %s cannot be used: %s", self._settings.describe(), error)
            self.connected = False
            raise LinkError(f"Redis at {self._settings.describe()}: {error}") from error
        if not self.connected:
            self.connected = True
            log.info("connected to Redis at %s", self._settings.describe())
        return answer

    def call_until_done(self, action: Callable[[redis.Redis], T], stopping: threading.Event) -> T | None:
        """Do `action` until it succeeds, with backoff and jitter. None when `stopping` was set first."""
        backoff = Backoff(0.1, 5.0)
        while not stopping.is_set():
            try:
                return self.call(action)
            except LinkError:
                stopping.wait(backoff.next_wait_s())
        return None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

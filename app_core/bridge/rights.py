"""What each service does in Redis, as commands, and the trial whether a user may.

The trial opens a transaction on a connection of its own and never ends it: Redis checks a user's rights as a command is
queued, and forgets the queue with the connection. So nothing is read, written or published, and no right to ask about
rights (``ACL DRYRUN``) is needed, which a service's user has no business to have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from app_core.bridge import keys
from app_core.bridge.acknowledgements import dead_air_acknowledgement
from app_core.bridge.connection import RedisSettings, connect

_ID = "doctor"


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that a service does.

    Attributes
    ----------
    argv
        The command, complete, for one key or channel.
    scope
        What an ACL says of all of its keys, or of its channels.
    """

    argv: tuple[str, ...]
    scope: str = ""

    @property
    def rule(self) -> str:
        """The terms of an ACL that give this right and no more."""
        name, *rest = self.argv
        command = f"{name}|{rest[0]}" if name in ("xinfo", "memory") else name
        return f"+{command} {self.scope}".rstrip()


def _every(name: str) -> str:
    """Give a name of the contract with ``*`` where an id stood."""
    return name.removesuffix(_ID) + "*" if name.endswith(_ID) else name


def _value(name: str) -> tuple[Right, Right]:
    """Give the rights to write a value and to tell of it: every value is published too."""
    every = _every(name)
    return Right(("set", name, "", "px", "1"), f"%W~{every}"), Right(("publish", name, ""), f"&{every}")


def _commands(names: keys.CommandKeys) -> tuple[Right, ...]:
    """Give the rights of the service that takes these commands."""
    return (
        Right(
            ("blmove", names.commands, names.under_way, "RIGHT", "LEFT", "1"),
            f"%RW~{names.commands} %W~{names.under_way}",
        ),
        *(
            Right((name, names.under_way, *rest), f"%RW~{names.under_way}")
            for name, *rest in (("lrange", "0", "-1"), ("lrem", "1", ""), ("del",))
        ),
        Right(("exists", names.result(_ID)), f"%R~{_every(names.result(_ID))}"),
        *_value(names.result(_ID)),
    )


_HISTORY = keys.history(_ID)

SDR_RIGHTS: tuple[Right, ...] = (
    Right(("ping",)),
    Right(("info", "memory")),
    *(
        right
        for name in (keys.HEARTBEAT, keys.METRICS, keys.ring_buffer(_ID), keys.spectrum(_ID))
        for right in _value(name)
    ),
    Right(("publish", keys.samples(_ID), ""), f"&{_every(keys.samples(_ID))}"),
    *(
        Right((*words, _HISTORY, *rest), f"%RW~{_every(_HISTORY)}")
        for words, rest in (
            (("xadd",), ("*", "f", "")),
            (("xtrim",), ("MAXLEN", "1")),
            (("pexpire",), ("1",)),
            (("del",), ()),
            (("xlen",), ()),
            (("xinfo", "stream"), ()),
            (("memory", "usage"), ()),
        )
    ),
    *_commands(keys.TO_SDR),
    # Its health check.
    *(Right((name, keys.METRICS), f"%R~{keys.METRICS}") for name in ("get", "pttl")),
)
"""All that the SDR service does, but for the transaction itself."""

AUDIO_RIGHTS: tuple[Right, ...] = (
    Right(("ping",)),
    Right(("subscribe", keys.samples(_ID)), f"&{_every(keys.samples(_ID))}"),
    Right(("psubscribe", keys.EVERY_PCM), f"&{keys.EVERY_PCM}"),
    Right(("xrange", _HISTORY, "-", "+"), f"%R~{_every(_HISTORY)}"),
    *(Right((name, key), f"%R~{key}") for key in (keys.METRICS, keys.AUDIO_METRICS) for name in ("get", "pttl")),
    *(
        right
        for name in (keys.AUDIO_HEARTBEAT, keys.AUDIO_METRICS, keys.STREAM_HEARTBEAT, keys.STREAMS)
        for right in _value(name)
    ),
    Right(("publish", keys.pcm(_ID), ""), f"&{keys.EVERY_PCM}"),
    Right(("lpush", keys.COMMANDS, ""), f"%W~{keys.COMMANDS}"),
    *_commands(keys.TO_AUDIO),
    *(
        Right((name, dead_air_acknowledgement(_ID)), f"%W~{_every(dead_air_acknowledgement(_ID))}")
        for name in ("exists", "del")
    ),
    Right(("xadd", keys.ALERTS, "*", "f", ""), f"%W~{keys.ALERTS}"),
    Right(("xread", "STREAMS", keys.ALERTS, "$"), f"%R~{keys.ALERTS}"),
    Right(("xrevrange", keys.ALERTS, "+", "-", "COUNT", "1"), f"%R~{keys.ALERTS}"),
)
"""All that the audio service does."""


def refused_rights(settings: RedisSettings, rights: Sequence[Right]) -> list[Right]:
    """Try what a service does, without doing it, and give what this user may not.

    Without the right to transactions nothing else can be tried: it is then the only one that is given.

    Raises
    ------
    ConfigError
        As `connect`.
    redis.RedisError, OSError
        If the connection cannot be made or fails.
    """
    client = connect(settings)
    connection: Any = client.connection_pool.make_connection()  # its methods have no types
    try:
        connection.connect()
        if not _is_allowed(connection, ("multi",)):
            return [Right(("multi",))]
        return [right for right in rights if not _is_allowed(connection, right.argv)]
    finally:
        connection.disconnect()
        client.close()


def _is_allowed(connection: Any, argv: tuple[str, ...]) -> bool:
    connection.send_command(*argv)
    try:
        connection.read_response()
    except redis.exceptions.NoPermissionError:
        return False
    except redis.ResponseError:
        pass  # unknown to this Redis, or no memory left: other checks say so
    return True

"""Reading what the services say of themselves, with its age.

The age comes from the key's own time to live: it is the same on every host, and no step of a clock moves it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import redis

from app_core.base.errors import WireError
from app_core.bridge.connection import RedisLink
from app_core.bridge.messages import AudioMetricsMessage, SdrMetricsMessage, StreamsMessage

M = TypeVar("M", SdrMetricsMessage, AudioMetricsMessage, StreamsMessage)


@dataclass(frozen=True, slots=True)
class Aged(Generic[M]):
    """A message, and how long ago it was made. [seconds]"""

    message: M
    age_s: float


def read_aged(link: RedisLink, key: str, ttl_s: int, kind: type[M]) -> Aged[M] | None:
    """Read one of the metrics keys, and how old it is.

    Parameters
    ----------
    link
        Where it is read from.
    key, ttl_s
        The key, and for how long its writer lets a fresh value live. [seconds]
    kind
        What stands there.

    Returns
    -------
    aged
        None when the key is not there: nobody has written it within its time to live.

    Raises
    ------
    LinkError
        If Redis cannot be reached.
    WireError
        If what stands there is not a `kind`.
    """
    payload, left_ms = link.call(lambda client: _get(client, key))
    if payload is None:
        return None
    message = kind.from_json(payload)
    # Without a time to live it was written by somebody else; its own word is all there is.
    age_s = ttl_s - left_ms / 1000.0 if left_ms >= 0 else time.time() - message.timestamp
    return Aged(message, max(0.0, age_s))


def _get(client: redis.Redis, key: str) -> tuple[bytes | None, int]:
    try:
        pipeline = client.pipeline(transaction=True)
        pipeline.get(key)
        pipeline.pttl(key)
        payload, left_ms = pipeline.execute()
    except redis.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise WireError(f"{key} does not hold a string") from error
    return (payload if isinstance(payload, bytes) else None), _number(left_ms)


def _number(answer: Any) -> int:
    return answer if isinstance(answer, int) else -1

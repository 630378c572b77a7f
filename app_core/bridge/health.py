"""Reading what the services say of themselves."""

from __future__ import annotations

from typing import TypeVar

import redis

from app_core.base.errors import WireError
from app_core.bridge.connection import RedisLink
from app_core.bridge.messages import Message

M = TypeVar("M", bound=Message)


def read_message(link: RedisLink, key: str, kind: type[M]) -> M | None:
    """Read one of the keys of the contract.

    Returns
    -------
    message
        None when the key is not there: nobody has written it within its time to live.

    Raises
    ------
    LinkError
        If Redis cannot be reached.
    WireError
        If what stands there is not a `kind`.
    """
    payload = link.call(lambda client: _get(client, key))
    return None if payload is None else kind.from_json(payload)


def _get(client: redis.Redis, key: str) -> bytes | None:
    try:
        payload = client.get(key)
    except redis.ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        raise WireError(f"{key} does not hold a string") from error
    return payload if isinstance(payload, bytes) else None

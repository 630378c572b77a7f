"""Reading what the services say of themselves."""

from __future__ import annotations

from typing import TypeVar

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
    payload = link.call(lambda client: client.get(key))
    if payload is None:
        return None
    if not isinstance(payload, bytes):
        raise WireError(f"{key} does not hold a string")
    return kind.from_json(payload)

"""Faults that somebody has seen: ``SET audio:dead_air_ack:{channel_id} 1 EX 3600`` acknowledges one for an hour.

The key is the whole of it: what it says does not matter, and it ends with its time to live or with the fault.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import redis

from app_core.base.errors import LinkError
from app_core.bridge.connection import RedisLink


def dead_air_acknowledgement(channel_id: str) -> str:
    """Key by which the dead air of one source is acknowledged."""
    return f"audio:dead_air_ack:{channel_id}"


class Acknowledgements:
    """What is acknowledged now.

    Parameters
    ----------
    link
        Where it is read from.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._last: frozenset[str] = frozenset()

    def read(self, channel_ids: Collection[str]) -> frozenset[str]:
        """Give those of the sources whose fault is acknowledged; the last answer while Redis is away."""
        asked = list(channel_ids)
        if not asked:
            return frozenset()
        try:
            answers = self._link.call(lambda client: _exist(client, asked))
        except LinkError:
            return self._last
        self._last = frozenset(channel_id for channel_id, there in zip(asked, answers, strict=True) if there)
        return self._last

    def forget(self, channel_id: str) -> None:
        """Take an acknowledgement back: its fault is over, and the next one is news."""
        try:
            self._link.call(lambda client: client.delete(dead_air_acknowledgement(channel_id)))
        except LinkError:
            return  # it ends by its time to live
        self._last -= {channel_id}


def _exist(client: redis.Redis, channel_ids: list[str]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for channel_id in channel_ids:
        pipeline.exists(dead_air_acknowledgement(channel_id))
    return pipeline.execute()

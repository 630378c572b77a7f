"""The stream ``eas:alerts``: every alert, as JSON, when it begins, when more channels hear it, and when it has ended.

An entry has the fields ``alert`` (the JSON), ``alert_id`` and ``revision``; whoever reads it may see a revision twice
after a crash and shall go by those two.
"""

from __future__ import annotations

from typing import Any

import redis

from app_core.bridge import keys
from app_core.bridge.connection import RedisLink


def publish_alert(link: RedisLink, alert_id: str, revision: int, alert_json: bytes) -> None:
    """Append one alert.

    Raises
    ------
    LinkError
        If Redis did not take it.
    """
    fields: dict[Any, Any] = {"alert_id": alert_id, "revision": revision, "alert": alert_json}

    def append(client: redis.Redis) -> object:
        return client.xadd(keys.ALERTS, fields, maxlen=keys.ALERTS_MAX_ENTRIES, approximate=True)

    link.call(append)


class AlertTail:
    """Follow the stream from its present end, or from its beginning.

    Parameters
    ----------
    link
        Its blocking time bounds how long `read` waits.
    from_start
        Also give what is there already.
    """

    def __init__(self, link: RedisLink, *, from_start: bool = True) -> None:
        self._link = link
        self._last_id: bytes | str | None = "0-0" if from_start else None

    def recent(self, seconds: float) -> list[tuple[float, bytes]]:
        """Give what came in the last `seconds`, each with its age; `read` goes on behind it.

        Ages go by Redis's clock alone, so that no other clock matters.

        Returns
        -------
        alerts
            Age and JSON of each entry, the oldest first. [seconds]

        Raises
        ------
        LinkError
            If Redis cannot be reached.
        """

        def take(client: redis.Redis) -> Any:
            now_s, now_us = client.time()
            now_ms = now_s * 1000 + now_us // 1000
            first_id = f"{max(0, now_ms - int(seconds * 1000))}-0"
            return now_ms, first_id, client.xrange(keys.ALERTS, min=first_id)

        now_ms, self._last_id, entries = self._link.call(take)
        alerts: list[tuple[float, bytes]] = []
        for entry_id, fields in entries:
            self._last_id = entry_id
            payload = fields.get(b"alert")
            if isinstance(payload, bytes):
                alerts.append((max(0.0, (now_ms - int(entry_id.partition(b"-")[0])) / 1000.0), payload))
        return alerts

    def read(self, timeout_s: float) -> list[bytes]:
        """Give the JSON of new entries, waiting for the first no longer than `timeout_s`.

        Raises
        ------
        LinkError
            If Redis cannot be reached; the next call goes on where the last one ended.
        """

        def newest(client: redis.Redis) -> Any:
            return client.xrevrange(keys.ALERTS, count=1)

        if self._last_id is None:
            entries = self._link.call(newest)
            self._last_id = entries[0][0] if entries else "0-0"
        last_id = self._last_id

        def take(client: redis.Redis) -> Any:
            return client.xread({keys.ALERTS: last_id}, count=100, block=max(1, int(timeout_s * 1000)))

        alerts: list[bytes] = []
        for _, entries in self._link.call(take) or []:
            for entry_id, fields in entries:
                self._last_id = entry_id
                payload = fields.get(b"alert")
                if isinstance(payload, bytes):
                    alerts.append(payload)
        return alerts

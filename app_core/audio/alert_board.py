"""The alerts that are on the air now, and on which channels: what listeners are told while one lasts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from app_core.alerts.alert import Alert
from app_core.base.errors import LinkError, WireError
from app_core.base.lifecycle import Backoff, Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge.alert_stream import AlertTail
from app_core.bridge.connection import RedisLink, RedisSettings

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log)

LONGEST_ALERT_S = 600.0
"""An alert whose end was never told counts as over after this: whoever was to tell it has died. [seconds]"""

_BLOCKING_S = 0.5


class AlertBoard:
    """Alerts between their first burst and the end of their message; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Alert, float]] = {}
        self._listeners: tuple[Callable[[Alert], None], ...] = ()

    def listen(self, on_alert: Callable[[Alert], None]) -> None:
        """Have every alert told, as it begins and as it ends; `on_alert` must not wait and must not raise."""
        with self._lock:
            self._listeners = (*self._listeners, on_alert)

    def take(self, alert: Alert, age_s: float = 0.0) -> None:
        """Note what became of an alert, `age_s` ago. [seconds]"""
        with self._lock:
            if alert.end_reason is None:
                self._open[alert.alert_id] = (alert, time.monotonic() - age_s)
            else:
                self._open.pop(alert.alert_id, None)
            listeners = self._listeners
        for on_alert in listeners:
            on_alert(alert)

    def on_the_air(self, channel_id: str | None = None) -> list[Alert]:
        """Give the alerts that last now, the newest last: of one channel, or all."""
        oldest_s = time.monotonic() - LONGEST_ALERT_S
        with self._lock:
            for alert_id in [alert_id for alert_id, (_, heard_s) in self._open.items() if heard_s < oldest_s]:
                del self._open[alert_id]
            alerts = [alert for alert, _ in self._open.values()]
        return [alert for alert in alerts if channel_id is None or channel_id in alert.channels]

    def text_for(self, channel_id: str) -> str:
        """Give the text of the newest alert that lasts on a channel; empty when there is none."""
        alerts = self.on_the_air(channel_id)
        return alerts[-1].text if alerts else ""


class AlertListener(Worker):
    """Follow ``eas:alerts`` into a board.

    Parameters
    ----------
    redis
        Where Redis is.
    board
        What is kept up to date.

    Attributes
    ----------
    malformed_count
        Entries that were no alert.
    """

    def __init__(self, redis: RedisSettings, board: AlertBoard) -> None:
        super().__init__("AlertListener")
        self._redis = redis
        self._board = board
        self.malformed_count = 0

    def run(self, stopping: threading.Event) -> None:
        """Read until stopped."""
        link = RedisLink(self._redis, blocking_s=_BLOCKING_S)
        tail = AlertTail(link, from_start=False)
        backoff = Backoff(0.1, 2.0)
        has_caught_up = False
        while not stopping.is_set():
            try:
                if has_caught_up:
                    self._take([(0.0, entry) for entry in tail.read(_BLOCKING_S)])
                else:
                    # What began before we did and still lasts.
                    self._take(tail.recent(LONGEST_ALERT_S), lasting_only=True)
                    has_caught_up = True
            except LinkError:
                stopping.wait(backoff.next_wait_s())
                continue
            backoff.reset()
        link.close()

    def _take(self, entries: Sequence[tuple[float, bytes]], *, lasting_only: bool = False) -> None:
        """Take entries with their ages; with `lasting_only` each alert as it is now, and none that has ended."""
        alerts: list[tuple[float, Alert]] = []
        for age_s, entry in entries:
            try:
                alerts.append((age_s, Alert.from_json(entry)))
            except WireError as error:
                self.malformed_count += 1
                _limited_log.warning("alert", "eas:alerts: %s", error)
        if lasting_only:
            newest = {alert.alert_id: alert for _, alert in alerts}
            alerts = [(age_s, alert) for age_s, alert in alerts if newest[alert.alert_id].end_reason is None]
        for age_s, alert in alerts:
            self._board.take(alert, age_s)

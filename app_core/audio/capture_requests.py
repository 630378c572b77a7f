"""Asking the SDR service for the IQ around what was heard: every alert once, and near misses now and then.

The request goes out through the outbox, so the decode thread never waits. It names a time in the past: the SDR service
has the last seconds in memory. Its ``command_id`` is made of the alert's and the receiver's, so that an alert that
several channels or processes hear is captured once of each receiver that heard it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from app_core.alerts.alert import make_alert_id, read_times, utc_from_seconds
from app_core.bridge import keys
from app_core.bridge.commands import CommandMessage
from app_core.eas.events import HeaderDecoded, HeaderUnverified, SameEvent

log = logging.getLogger(__name__)

BEFORE_HEADER_S = 10.0
"""How long before the header a capture begins. [seconds]"""

CAPTURE_S = 30.0
"""Length of a capture: the three bursts of the longest header end 19 s after its first. [seconds]"""

NEAR_MISS_INTERVAL_S = 60.0
"""Shortest time between two captures of near misses on one receiver. [seconds]"""

EXPIRES_AFTER_S = 60.0
"""A request that was not carried out by then would find nothing in memory. [seconds]"""

MAX_KNOWN = 1000
"""Requests that are remembered, so that none is made twice."""


class CaptureRequests:
    """Ask for captures; may be called by several decode threads.

    Parameters
    ----------
    push
        Takes the list's name and a command; must not wait.
    utc, monotonic
        Clocks. [seconds]

    Attributes
    ----------
    requested_count
        Captures that were asked for.
    """

    def __init__(
        self,
        push: Callable[[str, bytes], None],
        *,
        utc: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._push = push
        self._utc = utc
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._near_miss_s: dict[str, float] = {}
        self.requested_count = 0

    def on_events(
        self, channel_id: str, receiver_id: str, events: Sequence[SameEvent], to_utc: Callable[[int], float]
    ) -> None:
        """Take what the decoder of a channel said; arguments as those of `AlertKeeper.on_events`."""
        for event in events:
            if isinstance(event, HeaderDecoded):
                self._ask_for_alert(channel_id, receiver_id, event, to_utc(event.start_sample))
            elif isinstance(event, HeaderUnverified):
                self._ask_for_near_miss(channel_id, receiver_id, event, to_utc(event.start_sample))

    def _ask_for_alert(self, channel_id: str, receiver_id: str, event: HeaderDecoded, start: float) -> None:
        heard_at = utc_from_seconds(start)
        issue_time, _, doubt = read_times(event.header, heard_at)
        alert_id = make_alert_id(event.header, issue_time, heard_at, doubt)
        with self._lock:
            if (alert_id, receiver_id) in self._known:
                return
            self._known[alert_id, receiver_id] = None
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        reason = f"{event.header.text} on channel {channel_id}"
        self._ask(f"alert-{alert_id}-{receiver_id}", receiver_id, start, f"SAME {event.header.event_code}", reason)

    def _ask_for_near_miss(self, channel_id: str, receiver_id: str, event: HeaderUnverified, start: float) -> None:
        now_s = self._monotonic()
        with self._lock:
            last_s = self._near_miss_s.get(receiver_id)
            if last_s is not None and now_s - last_s < NEAR_MISS_INTERVAL_S:
                return
            self._near_miss_s[receiver_id] = now_s
        when = utc_from_seconds(start)
        reason = f"heard, unverified: {event.best_guess or 'no guess'} on channel {channel_id}"
        self._ask(f"near-miss-{when:%Y%m%dT%H%M%S}-{receiver_id}", receiver_id, start, "SAME near miss", reason)

    def _ask(self, command_id: str, receiver_id: str, start: float, label: str, reason: str) -> None:
        command = CommandMessage(
            action="capture",
            receiver_id=receiver_id,
            command_id=command_id,
            expires_at=self._utc() + EXPIRES_AFTER_S,
            start_timestamp=max(0.0, start - BEFORE_HEADER_S),
            seconds=CAPTURE_S,
            label=label,
            reason=reason,
            automatic=True,
        )
        self.requested_count += 1
        self._push(keys.COMMANDS, command.to_json())

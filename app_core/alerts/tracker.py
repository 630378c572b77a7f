"""Tells new alerts from those that are known already, across channels and receivers. Pure: no clock, no disk.

Two headers are one alert when originator, event, set of locations and issue time agree, until the purge time has passed
(47 CFR 11.33(a)(3)(ii)); callsigns are recorded and not compared, since every relay signs with its own. Expiry runs on
the monotonic clock, so that a clock that is set while we run neither doubles nor hides an alert.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from app_core.alerts.alert import Alert, DedupeKey, Hearing, dedupe_key, make_alert_id, read_times
from app_core.alerts.text import describe_alert
from app_core.eas.event_codes import find_event
from app_core.eas.events import HeaderDecoded
from app_core.eas.header import parse_header
from app_core.eas.locations import find_location

KEEP_AT_LEAST_S = 900.0
"""A key is kept this long after it was first heard, whatever its purge time: relays and slow streams come late."""

MAX_KEYS = 10_000
"""Alerts that are remembered."""

MAX_HEARINGS = 64
"""Channels that are named in one alert; further ones are not recorded."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the tracker says of one header.

    Attributes
    ----------
    alert
        The alert as it now is.
    is_new
        It was not known.
    is_changed
        It is new, or has learned something.
    expires_monotonic_s
        When the key is forgotten. [seconds of the monotonic clock]
    """

    alert: Alert
    is_new: bool
    is_changed: bool
    expires_monotonic_s: float


@dataclass(slots=True)
class _Known:
    alert: Alert
    expires_monotonic_s: float


class AlertTracker:
    """Memory of the alerts that are still valid.

    Parameters
    ----------
    demo
        Mark every alert as the demo's.
    zone
        For the alerts' text; None for the machine's own.
    max_keys
        Alerts that are remembered; beyond, the one that expires first is forgotten.
    """

    def __init__(self, *, demo: bool = False, zone: tzinfo | None = None, max_keys: int = MAX_KEYS) -> None:
        self._demo = demo
        self._zone = zone
        self._max_keys = max_keys
        self._known: dict[DedupeKey, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def hear(
        self, event: HeaderDecoded, *, channel_id: str, receiver_id: str, heard_at: datetime, monotonic_s: float
    ) -> Sighting:
        """Take one decoded header.

        Parameters
        ----------
        event
            As the decoder gave it.
        channel_id, receiver_id
            Where it was heard.
        heard_at
            Time of its first burst by our clock; aware.
        monotonic_s
            Now. [seconds of the monotonic clock]
        """
        hearing = Hearing(
            channel_id=channel_id,
            receiver_id=receiver_id,
            callsign=event.header.callsign,
            heard_at=heard_at,
            bursts=event.bursts,
            error_probability=_finite(event.error_probability, 1.0),
            snr_db=_finite(event.snr_db, -99.0),
        )
        key = dedupe_key(event.header)
        known = self._known.get(key)
        if known is not None and known.expires_monotonic_s > monotonic_s:
            merged = _merge(known.alert, hearing)
            is_changed = merged is not known.alert
            known.alert = merged
            return Sighting(merged, is_new=False, is_changed=is_changed, expires_monotonic_s=known.expires_monotonic_s)
        alert = self._make(event, hearing)
        expires_monotonic_s = monotonic_s + _lifetime_s(alert)
        self._remember(key, _Known(alert, expires_monotonic_s), monotonic_s)
        return Sighting(alert, is_new=True, is_changed=True, expires_monotonic_s=expires_monotonic_s)

    def update(self, alert: Alert) -> None:
        """Take a later revision of an alert, so that the next hearing is merged into it."""
        known = self._known.get(dedupe_key(parse_header(alert.header)))
        if known is not None and known.alert.alert_id == alert.alert_id:
            known.alert = alert

    def restore(self, alert: Alert, expires_monotonic_s: float, monotonic_s: float) -> None:
        """Take an alert from before a restart; one that has expired is left out."""
        if expires_monotonic_s > monotonic_s:
            self._remember(dedupe_key(parse_header(alert.header)), _Known(alert, expires_monotonic_s), monotonic_s)

    def _make(self, event: HeaderDecoded, hearing: Hearing) -> Alert:
        header = event.header
        issue_time, purge_time, clock_doubt = read_times(header, hearing.heard_at)
        code = find_event(header.event_code)
        alert = Alert(
            alert_id=make_alert_id(header, issue_time, hearing.heard_at, clock_doubt),
            revision=1,
            header=header.text,
            originator=header.originator,
            event_code=header.event_code,
            event_name=code.name,
            event_kind=code.kind,
            locations=tuple(find_location(location, header.callsign) for location in header.locations),
            purge_minutes=header.purge_minutes,
            issue_time=issue_time,
            purge_time=purge_time,
            hearings=(hearing,),
            clock_doubt=clock_doubt,
            demo=self._demo,
        )
        return replace(alert, text=describe_alert(alert, self._zone))

    def _remember(self, key: DedupeKey, known: _Known, monotonic_s: float) -> None:
        self._known.pop(key, None)
        if len(self._known) >= self._max_keys:
            self._known = {k: v for k, v in self._known.items() if v.expires_monotonic_s > monotonic_s}
        while len(self._known) >= self._max_keys:
            del self._known[min(self._known, key=lambda key: self._known[key].expires_monotonic_s)]
        self._known[key] = known


def remaining_s(alert: Alert, now: datetime) -> float:
    """Give the time for which an alert that was first heard at `now`, or is met again then, is remembered. [seconds]

    By the purge time where it can be relied upon and lies ahead, else the alert's whole duration.
    """
    if alert.purge_time is not None and not alert.clock_doubt and alert.purge_time > now:
        return (alert.purge_time - now).total_seconds()
    return alert.purge_minutes * 60.0


def _lifetime_s(alert: Alert) -> float:
    return max(KEEP_AT_LEAST_S, remaining_s(alert, alert.heard_at))


def _merge(alert: Alert, hearing: Hearing) -> Alert:
    """Add a hearing, or give it the place of a worse one of the same channel; the very same alert if nothing is new."""
    hearings = list(alert.hearings)
    for index, known in enumerate(hearings):
        if (known.channel_id, known.receiver_id) == (hearing.channel_id, hearing.receiver_id):
            if (hearing.error_probability, -hearing.snr_db) >= (known.error_probability, -known.snr_db):
                return alert
            # The time and the callsign of the first hearing stay: they are what the alert's name and text stand on.
            hearings[index] = replace(hearing, heard_at=known.heard_at, callsign=known.callsign)
            break
    else:
        if len(hearings) >= MAX_HEARINGS:
            return alert
        hearings.append(hearing)
    return replace(alert, hearings=tuple(hearings), revision=alert.revision + 1)


def _finite(number: float, otherwise: float) -> float:
    return float(number) if math.isfinite(number) else otherwise

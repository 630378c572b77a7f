"""An alert in words, as it is read aloud, shown and sent.

``Tornado Warning for Jackson, Missouri and Johnson, Kansas until 7:45 PM CDT (00:45 UTC). Issued by the National
Weather Service (KEAX/NWS).`` Where the clock is in doubt no time of day is given, for it would be a wrong one, but the
duration from the issue.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from app_core.alerts.alert import Alert
from app_core.eas.locations import Location

ORIGINATORS = {
    "WXR": "the National Weather Service",
    "EAS": "a broadcast station or cable system",
    "CIV": "civil authorities",
    "PEP": "the national primary entry point system",
    "EAN": "the Emergency Action Notification network",
}
"""Originator codes in words (47 CFR 11.31(d)); EAN was retired but is still defined in equipment."""

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def originator_name(originator: str, callsign: str = "") -> str:
    """Give an originator in words; the callsign tells Canada's weather service from that of the United States."""
    if originator == "WXR" and callsign.rstrip().endswith("/CA"):
        return "Environment Canada"
    return ORIGINATORS.get(originator, f"an unknown originator ({originator})")


def join_words(words: Sequence[str], separator: str = ",") -> str:
    """Make a natural list: ``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    last = f"{separator} and " if separator != "," else " and "
    return f"{separator} ".join(words[:-1]) + last + words[-1]


def describe_areas(locations: Sequence[Location]) -> str:
    """Name the places, those of one state together, in the order of the header.

    One place of a state stands as ``Jackson, Missouri``, several as ``Clay, Jackson and Platte in Missouri``; what has
    no state (whole states, waters, unknown areas) stands for itself.
    """
    by_area: dict[str, list[Location]] = {}
    for location in dict.fromkeys(locations):
        grouped = location.full_name != location.short_name
        by_area.setdefault(location.area if grouped else f"\0{location.code}", []).append(location)
    groups: list[str] = []
    for area, members in by_area.items():
        if len(members) == 1:
            groups.append(members[0].full_name)
        else:
            groups.append(f"{join_words([member.short_name for member in members])} in {area}")
    crowded = len(groups) > 2 or any(len(members) > 1 for members in by_area.values())
    return join_words(groups, ";" if crowded and len(groups) > 1 else ",")


def describe_duration(minutes: int) -> str:
    """Give a duration in words: ``45 minutes``, ``1 hour``, ``1 hour 30 minutes``."""
    hours, minutes = divmod(minutes, 60)
    parts: list[str] = []
    if hours:
        parts.append(f"{hours} hour" + ("s" if hours > 1 else ""))
    if minutes or not hours:
        parts.append(f"{minutes} minute" + ("s" if minutes != 1 else ""))
    return " ".join(parts)


def describe_until(time: datetime, heard_at: datetime, zone: tzinfo | None = None) -> str:
    """Give the end of an alert: ``7:45 PM CDT (00:45 UTC)``, with the weekday where it is another day than now.

    Parameters
    ----------
    time, heard_at
        Aware.
    zone
        To tell it in; None for the machine's own.
    """
    local, now = time.astimezone(zone), heard_at.astimezone(zone)
    day = "" if local.date() == now.date() else f" on {_WEEKDAYS[local.weekday()]}"
    utc = f"{time.astimezone(UTC):%H:%M} UTC"
    if local.utcoffset() == UTC.utcoffset(None):
        return utc + day
    half = "AM" if local.hour < 12 else "PM"
    name = local.tzname() or f"{local:%z}"
    return f"{local.hour % 12 or 12}:{local.minute:02d} {half} {name}{day} ({utc})"


def describe_alert(alert: Alert, zone: tzinfo | None = None) -> str:
    """Put an alert in words.

    Parameters
    ----------
    alert
        Its `Alert.text` is not looked at.
    zone
        To tell the time in; None for the machine's own.
    """
    if alert.purge_time is None or alert.clock_doubt:
        span = f"for {describe_duration(alert.purge_minutes)} from issue"
    else:
        span = f"until {describe_until(alert.purge_time, alert.heard_at, zone)}"
    sender = originator_name(alert.originator, alert.callsign)
    callsign = f" ({alert.callsign})" if alert.callsign else ""
    demo = "DEMO: " if alert.demo else ""
    return f"{demo}{alert.event_name} for {describe_areas(alert.locations)} {span}. Issued by {sender}{callsign}."

"""An alert in words, as it is read aloud, shown and sent, in English or Spanish.

``Tornado Warning for Jackson, Missouri and Johnson, Kansas until 7:45 PM CDT (00:45 UTC). Issued by the National
Weather Service (KEAX/NWS).`` Where the clock is in doubt no time of day is given, for it would be a wrong one, but the
duration from the issue.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from app_core.alerts.alert import Alert
from app_core.alerts.wording import WORDINGS, Language
from app_core.eas.locations import Location


def originator_name(originator: str, callsign: str = "", language: Language = "en") -> str:
    """Give an originator in words; the callsign tells Canada's weather service from that of the United States."""
    return WORDINGS[language].originator(originator, is_canadian=callsign.rstrip().endswith("/CA"))


def describe_areas(locations: Sequence[Location], language: Language = "en") -> str:
    """Name the places, those of one state together, in the order of the header.

    One place of a state stands as ``Jackson, Missouri``, several as ``Clay, Jackson and Platte in Missouri``; what has
    no state (whole states, waters, unknown areas) stands for itself.
    """
    wording = WORDINGS[language]
    by_area: dict[str, list[Location]] = {}
    for location in dict.fromkeys(locations):
        by_area.setdefault(f"\0{location.code}" if location.stands_alone else location.area, []).append(location)
    groups: list[str] = []
    for area, members in by_area.items():
        places = [wording.place(member) for member in members]
        if members[0].stands_alone:
            groups += places
        elif len(members) == 1:
            groups.append(f"{places[0]}, {wording.area(area)}")
        else:
            groups.append(wording.within(wording.join(places), wording.area(area)))
    crowded = len(groups) > 2 or any(len(members) > 1 for members in by_area.values())
    return wording.join(groups, ";" if crowded and len(groups) > 1 else ",")


def describe_duration(minutes: int, language: Language = "en") -> str:
    """Give a duration in words: ``45 minutes``, ``1 hour``, ``1 hour 30 minutes``."""
    return WORDINGS[language].duration(*divmod(minutes, 60))


def describe_until(time: datetime, heard_at: datetime, zone: tzinfo | None = None, language: Language = "en") -> str:
    """Give the end of an alert: ``7:45 PM CDT (00:45 UTC)``, with the weekday where it is another day than now.

    Parameters
    ----------
    time, heard_at
        Aware.
    zone
        To tell it in; None for the machine's own.
    language
        To tell it in.
    """
    local, now = time.astimezone(zone), heard_at.astimezone(zone)
    utc = f"{time.astimezone(UTC):%H:%M} UTC"
    return WORDINGS[language].clock(local, utc, with_day=local.date() != now.date())


def describe_alert(alert: Alert, zone: tzinfo | None = None, language: Language = "en") -> str:
    """Put an alert in words.

    Parameters
    ----------
    alert
        Its `Alert.text` is not looked at.
    zone
        To tell the time in; None for the machine's own.
    language
        To tell it in.
    """
    wording = WORDINGS[language]
    if alert.purge_time is None or alert.clock_doubt:
        span = wording.from_issue(describe_duration(alert.purge_minutes, language))
    else:
        span = wording.until(describe_until(alert.purge_time, alert.heard_at, zone, language))
    sender = originator_name(alert.originator, alert.callsign, language)
    callsign = f" ({alert.callsign})" if alert.callsign else ""
    event = wording.event(alert.event_code, alert.event_name)
    text = wording.sentence(event, describe_areas(alert.locations, language), span, sender + callsign)
    return wording.demo + text if alert.demo else text

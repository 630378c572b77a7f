"""The text of a SAME header: parse, check and write it (47 CFR 11.31(c)).

``ZCZC-ORG-EEE-PSSCCC[-PSSCCC…]+TTTT-JJJHHMM-LLLLLLLL-``. A header that is well-formed is accepted whatever it names:
unknown originators' events and areas are for the tables to name, not for the parser to refuse. Two departures that
occur on the air are legal here: a callsign of 7 characters, and SASMEX's issue time of 6 digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from app_core.base.errors import WireError
from app_core.eas.waveform import MAX_LOCATIONS

_HEADER = re.compile(
    r"ZCZC-(?P<originator>[A-Z]{3})-(?P<event>[A-Z0-9]{3})"
    rf"-(?P<locations>[0-9A-Z]{{6}}(?:-[0-9A-Z]{{6}}){{0,{MAX_LOCATIONS - 1}}})"
    r"\+(?P<purge>[0-9]{4})-(?P<issued>[0-9]{6,7})-(?P<callsign>[ -*,./0-~]{1,8})-"
)

LONGEST_PURGE_MINUTES = 99 * 60 + 30
"""The longest time that ``TTTT`` can say in its steps (NWS 10-1712). [minutes]"""


@dataclass(frozen=True, slots=True)
class SameHeader:
    """One well-formed SAME header.

    Attributes
    ----------
    originator, event_code
        Three characters each, for example ``WXR`` and ``TOR``.
    locations
        One to 31 codes PSSCCC, in the order of the header.
    purge_time
        ``TTTT``: valid for this long after the issue time. [HHMM]
    issue_time
        ``JJJHHMM``: day of year and UTC time of day; six digits in SASMEX's headers.
    callsign
        One to eight characters as sent, padding included.
    """

    originator: str
    event_code: str
    locations: tuple[str, ...]
    purge_time: str
    issue_time: str
    callsign: str

    @property
    def text(self) -> str:
        """The header as it is sent, from ``ZCZC`` to the last dash."""
        return (
            f"ZCZC-{self.originator}-{self.event_code}-{'-'.join(self.locations)}"
            f"+{self.purge_time}-{self.issue_time}-{self.callsign}-"
        )

    @property
    def purge_minutes(self) -> int:
        """Time for which the alert is valid, from its issue time. [minutes]"""
        return int(self.purge_time[:2]) * 60 + int(self.purge_time[2:])

    @property
    def is_purge_time_regular(self) -> bool:
        """Whether the rules know this purge time; others occur on the air, and are valid for what they say."""
        try:
            return purge_time_text(self.purge_minutes) == self.purge_time
        except ValueError:
            return False


def purge_time_text(minutes: int) -> str:
    """Give the ``TTTT`` of an alert that is to be valid for so long at least.

    Steps are 15 minutes up to an hour and 30 minutes beyond (47 CFR 11.31(c)); what lies between two is rounded up.

    Raises
    ------
    ValueError
        If `minutes` is not within 1 to `LONGEST_PURGE_MINUTES`.
    """
    if not 0 < minutes <= LONGEST_PURGE_MINUTES:
        raise ValueError(f"an alert is valid for 1 to {LONGEST_PURGE_MINUTES} minutes, not for {minutes}")
    step = 15 if minutes <= 60 else 30
    minutes = -(-minutes // step) * step
    return f"{minutes // 60:02d}{minutes % 60:02d}"


def issue_time_text(issued: datetime) -> str:
    """Give the ``JJJHHMM`` of an aware time: day of the year, hour and minute in UTC."""
    return issued.astimezone(UTC).strftime("%j%H%M")


def make_header(
    originator: str,
    event_code: str,
    locations: tuple[str, ...],
    *,
    purge_minutes: int,
    issued: datetime,
    callsign: str,
) -> SameHeader:
    """Make a header by the rules, ready to be sent.

    Parameters
    ----------
    originator, event_code, locations
        As for `SameHeader`.
    purge_minutes
        As for `purge_time_text`. [minutes]
    issued
        Aware.
    callsign
        At most eight characters; dashes become slashes, and blanks fill it up (47 CFR 11.31(b)).

    Raises
    ------
    WireError
        If this makes no well-formed header.
    ValueError
        If `purge_minutes` is out of range.
    """
    sent = callsign.replace("-", "/").ljust(8)
    purge_time = purge_time_text(purge_minutes)
    header = SameHeader(originator, event_code, locations, purge_time, issue_time_text(issued), sent)
    return parse_header(header.text)


def parse_header(text: str) -> SameHeader:
    """Parse one header, exactly from ``ZCZC`` to the last dash.

    Raises
    ------
    WireError
        If `text` is anything but one well-formed header.
    """
    match = _HEADER.fullmatch(text)
    if match is None:
        raise WireError(f"not a SAME header: {text[:300]!r}")
    return SameHeader(
        originator=match["originator"],
        event_code=match["event"],
        locations=tuple(match["locations"].split("-")),
        purge_time=match["purge"],
        issue_time=match["issued"],
        callsign=match["callsign"],
    )

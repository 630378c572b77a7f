"""What was heard in a recording: one entry for each event, in words and as JSON.

A recording seldom tells when it was made. Seconds from its start are always given, UTC only where it is known. The
year of a header's issue time is judged by `Recording.clock`; where the two disagree by more than a day, no time is
given at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from app_core.alerts.alert import Alert, Hearing, make_alert_id, read_times, utc_from_seconds
from app_core.alerts.text import describe_alert
from app_core.alerts.wording import Language
from app_core.eas.confidence import character_confidence, text_of
from app_core.eas.event_codes import find_event
from app_core.eas.events import (
    AttentionHeard,
    BurstHeard,
    CarrierLost,
    EndOfMessage,
    HeaderDecoded,
    HeaderUnverified,
    MessageTimedOut,
    SameEvent,
)
from app_core.eas.locations import find_location

KINDS: dict[type[SameEvent], str] = {
    BurstHeard: "burst",
    AttentionHeard: "attention",
    HeaderDecoded: "header",
    HeaderUnverified: "unverified",
    EndOfMessage: "end_of_message",
    MessageTimedOut: "timeout",
    CarrierLost: "carrier_lost",
}
"""Names of the kinds of entries in JSON."""

HEADER_FIELDS = (
    "originator", "event_code", "event_name", "event_kind", "locations", "purge_minutes", "issue_time", "purge_time",
    "callsign", "text",
)  # fmt: skip
"""Fields of an alert's JSON that a header's entry has, too, under the same names."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One entry.

    Attributes
    ----------
    event
        As the decoder gave it.
    channels
        Names of the channels that said it, in the recording's order; never empty.
    frequency_hz
        Of the radio channel; None for audio.
    start_s, end_s
        Extent of what was heard, from the recording's first sample. [seconds]
    """

    event: SameEvent
    channels: tuple[str, ...]
    frequency_hz: float | None
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """What decoding another block of a recording brought.

    Attributes
    ----------
    position_s
        How far the recording has been read. [seconds]
    heard
        New entries, in the order of time.
    """

    position_s: float
    heard: tuple[Heard, ...]


class Recording(Protocol):
    """Something that can be decoded from its beginning to its end.

    Attributes
    ----------
    duration_s
        None when it is not known. [seconds]
    began_at
        When its first sample was captured; None when it is not known.
    clock
        About when it was made, to find the year of an issue time.
    """

    duration_s: float | None
    began_at: datetime | None
    clock: datetime

    def steps(self) -> Iterator[Step]:
        """Decode all of it, once; the last step brings what was pending at the end.

        Raises
        ------
        HeraldError
            If the rest cannot be read; the steps so far are valid.
        """

    def close(self) -> None:
        """Give its file back."""


def messages(
    events: list[SameEvent], channels: tuple[str, ...], sample_rate_hz: float, frequency_hz: float | None = None
) -> list[Heard]:
    """Make entries of a decoder's or a listener's events: their samples become seconds."""
    return [
        Heard(event, channels, frequency_hz, event.start_sample / sample_rate_hz, event.end_sample / sample_rate_hz)
        for event in events
    ]


def event_text(event: SameEvent) -> str:
    """Give what was sent: a header (for an unverified one the best guess, which may be empty), ``NNNN``, or nothing.

    A burst gives what it says by itself, each bit decided alone.
    """
    match event:
        case HeaderDecoded():
            return event.header.text
        case HeaderUnverified():
            return event.best_guess
        case EndOfMessage():
            return "NNNN"
        case BurstHeard():
            return "NNNN" if event.kind == "end" else text_of(event.soft_bits)
        case _:
            return ""


def confidence_of(event: SameEvent) -> list[float]:
    """Give the probability that each character of `event_text` is right; empty where nobody knows."""
    if not isinstance(event, BurstHeard | HeaderDecoded | HeaderUnverified) or not len(event.soft_bits):
        return []
    return [float(one) for one in character_confidence(event.soft_bits, event_text(event))]


def alert_of(heard: Heard, recording: Recording) -> Alert:
    """Make the alert that a decoded header announces.

    Raises
    ------
    TypeError
        If `heard` is no decoded header.
    """
    event = heard.event
    if not isinstance(event, HeaderDecoded):
        raise TypeError(f"{KINDS[type(event)]} is no alert")
    header = event.header
    issue_time, purge_time, doubt = read_times(header, recording.clock)
    if doubt:
        issue_time = purge_time = None
    heard_at = _utc(heard.start_s, recording) or recording.clock
    known = find_event(header.event_code)
    hearing = Hearing(
        channel_id="+".join(heard.channels),
        receiver_id="recording",
        callsign=header.callsign,
        heard_at=heard_at,
        bursts=int(event.bursts),
        error_probability=float(event.error_probability),
        snr_db=float(event.snr_db),
    )
    return Alert(
        alert_id=make_alert_id(header, issue_time, heard_at, doubt),
        revision=1,
        header=header.text,
        originator=header.originator,
        event_code=header.event_code,
        event_name=known.name,
        event_kind=known.kind,
        locations=tuple(find_location(code, header.callsign) for code in header.locations),
        purge_minutes=header.purge_minutes,
        issue_time=issue_time,
        purge_time=purge_time,
        hearings=(hearing,),
        clock_doubt=doubt,
    )


def in_words(heard: Heard, recording: Recording, language: Language = "en") -> str:
    """Put a decoded header in words, with times in the machine's time zone."""
    return describe_alert(alert_of(heard, recording), language=language)


def to_dict(
    heard: Heard, recording: Recording, file: str, *, in_detail: bool = False, language: Language = "en"
) -> dict[str, Any]:
    """Give an entry as JSON knows it: plain numbers, never NaN; times of day in ISO 8601 with ``Z``, or null.

    Parameters
    ----------
    heard, recording
        The entry, and where it was heard.
    file
        What the recording is called.
    in_detail
        Give each character's confidence, for decoded headers too; unverified ones always have it.
    language
        Of the text.
    """
    event = heard.event
    fields: dict[str, Any] = {
        "event": KINDS[type(event)],
        "file": file,
        "channel": "+".join(heard.channels),
        "frequency_hz": heard.frequency_hz,
        "start_s": round(heard.start_s, 6),
        "end_s": round(heard.end_s, 6),
        "start_utc": _utc_text(_utc(heard.start_s, recording)),
        "end_utc": _utc_text(_utc(heard.end_s, recording)),
    }
    match event:
        case BurstHeard():
            fields |= {"kind": event.kind, "best_guess": event_text(event), "snr_db": _plain(event.snr_db)}
            fields["clock_error"] = _plain(event.clock_error)
        case AttentionHeard():
            fields |= {"kind": event.kind, "frequencies_hz": [round(hz, 2) for hz in event.frequencies_hz]}
            fields["level_dbfs"] = _plain(round(event.level_dbfs, 2))
        case HeaderUnverified():
            fields["best_guess"] = event.best_guess
            fields |= _quality(event)
        case HeaderDecoded():
            alert = alert_of(heard, recording)
            in_full = alert.to_dict()
            fields["header"] = event.header.text
            fields |= {name: in_full[name] for name in HEADER_FIELDS}
            fields["issue_time_sent"] = event.header.issue_time
            fields["text"] = describe_alert(alert, language=language)
            fields |= _quality(event)
    if in_detail or isinstance(event, HeaderUnverified):
        confidence = confidence_of(event)
        if confidence:
            fields["confidence"] = [round(one, 6) for one in confidence]
    return fields


def _quality(event: HeaderDecoded | HeaderUnverified) -> dict[str, Any]:
    return {
        "bursts": int(event.bursts),
        "snr_db": _plain(event.snr_db),
        "error_probability": _plain(event.error_probability),
    }


def _utc(position_s: float, recording: Recording) -> datetime | None:
    return None if recording.began_at is None else recording.began_at + timedelta(seconds=position_s)


def _utc_text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _plain(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def clock_of_file(modified_s: float) -> datetime:
    """Give about when a file was made, from the time of its last change. [UTC seconds]"""
    return utc_from_seconds(modified_s)

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
import pytest

from app_core.audio.heard import Heard, MessageEvent, Step, alert_of, in_words, messages, to_dict
from app_core.eas.events import BurstHeard, EndOfMessage, HeaderDecoded, HeaderUnverified
from app_core.eas.header import parse_header
from tests.unit.audio.recordings import TEST, TORNADO


@dataclass
class Timed:
    """A recording that is only a clock."""

    clock: datetime
    began_at: datetime | None = None
    duration_s: float | None = None

    def steps(self) -> Iterator[Step]:
        yield from ()

    def close(self) -> None:
        return


SAME_DAY = Timed(datetime(2026, 5, 3, 13, 0, tzinfo=UTC))
LATER = Timed(datetime(2026, 6, 3, 13, 0, tzinfo=UTC))


def heard(event: MessageEvent, channels: tuple[str, ...] = ("mono",)) -> Heard:
    return Heard(event, channels, None, 2.0, 5.25)


def decoded(text: str) -> HeaderDecoded:
    return HeaderDecoded(parse_header(text), 16_000, 42_000, 3, 1e-9, 21.5)


def test_a_header_in_json_has_place_fields_and_quality() -> None:
    fields = to_dict(heard(decoded(TORNADO), ("left", "right")), SAME_DAY, "a.wav")
    names = {"event", "file", "channel", "start_s", "end_s", "header", "originator", "event_code", "callsign"}
    assert {name: fields[name] for name in names} == {
        "event": "header",
        "file": "a.wav",
        "channel": "left+right",
        "start_s": 2.0,
        "end_s": 5.25,
        "header": TORNADO,
        "originator": "WXR",
        "event_code": "TOR",
        "callsign": "KEAX/NWS",
    }
    assert [location["code"] for location in fields["locations"]] == ["029095", "020091"]
    assert (fields["bursts"], fields["snr_db"], fields["error_probability"]) == (3, 21.5, 1e-9)
    assert fields["purge_minutes"] == 45
    assert "Tornado Warning" in fields["text"]
    assert orjson.loads(orjson.dumps(fields)) == json.loads(json.dumps(fields, allow_nan=False))


def test_the_year_is_known_where_the_file_is_of_the_same_day() -> None:
    fields = to_dict(heard(decoded(TEST)), SAME_DAY, "a.wav")
    assert (fields["issue_time"], fields["purge_time"]) == ("2026-05-03T12:00:00Z", "2026-05-03T12:30:00Z")
    assert fields["start_utc"] is None


def test_no_time_is_given_where_the_file_is_of_another_day() -> None:
    fields = to_dict(heard(decoded(TEST)), LATER, "a.wav")
    assert (fields["issue_time"], fields["purge_time"], fields["issue_time_sent"]) == (None, None, "1231200")
    assert "for 30 minutes from issue" in in_words(heard(decoded(TEST)), LATER)


def test_utc_counts_from_the_first_sample() -> None:
    began = Timed(datetime(2026, 5, 3, 12, 0, 1, 500_000, UTC), datetime(2026, 5, 3, 12, 0, 1, 500_000, UTC))
    fields = to_dict(heard(EndOfMessage(0, 1)), began, "a.sigmf-meta")
    assert (fields["start_utc"], fields["end_utc"]) == ("2026-05-03T12:00:03.500000Z", "2026-05-03T12:00:06.750000Z")
    assert fields["event"] == "end_of_message"


def test_an_unverified_header_is_no_alert_and_never_called_a_header() -> None:
    event = HeaderUnverified("ZCZC-WX", 0, 8, 1, math.nan, math.inf)
    fields = to_dict(heard(event), SAME_DAY, "a.wav")
    assert (fields["event"], fields["best_guess"]) == ("unverified", "ZCZC-WX")
    assert "header" not in fields
    assert (fields["snr_db"], fields["error_probability"]) == (None, None)
    with pytest.raises(TypeError):
        alert_of(heard(event), SAME_DAY)


def test_bursts_are_left_out_and_samples_become_seconds() -> None:
    events = [BurstHeard("header", 0, 8000, 20.0, 0.0), EndOfMessage(16_000, 20_000)]
    assert messages(events, ("mono",), 8000.0) == [Heard(events[1], ("mono",), None, 2.0, 2.5)]  # type: ignore[arg-type]

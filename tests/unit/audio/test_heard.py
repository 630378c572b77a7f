from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

import orjson
import pytest

from app_core.audio.heard import (
    KINDS,
    Heard,
    Step,
    alert_of,
    confidence_of,
    event_text,
    in_words,
    messages,
    to_dict,
)
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
from app_core.eas.header import parse_header
from tests.unit.audio.recordings import TEST, TORNADO
from tests.unit.eas.test_confidence import soft_bits


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


def heard(event: SameEvent, channels: tuple[str, ...] = ("mono",)) -> Heard:
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


def test_samples_become_seconds() -> None:
    events: list[SameEvent] = [BurstHeard("header", 0, 8000, 20.0, 0.0), EndOfMessage(16_000, 20_000)]
    assert messages(events, ("mono",), 8000.0) == [
        Heard(events[0], ("mono",), None, 0.0, 1.0),
        Heard(events[1], ("mono",), None, 2.0, 2.5),
    ]


def test_every_kind_of_event_has_a_name() -> None:
    assert set(KINDS) == set(get_args(SameEvent))


def test_a_burst_in_json_says_what_it_says_by_itself() -> None:
    fields = to_dict(heard(BurstHeard("header", 0, 8, 7.25, 1e-3, soft_bits("ZCZC-WXR"))), SAME_DAY, "a.wav")
    assert {name: fields[name] for name in ("event", "kind", "best_guess", "snr_db", "clock_error")} == {
        "event": "burst",
        "kind": "header",
        "best_guess": "ZCZC-WXR",
        "snr_db": 7.25,
        "clock_error": 1e-3,
    }
    assert "confidence" not in fields
    end = BurstHeard("end", 0, 8, 7.25, 1e-3)
    assert (event_text(end), confidence_of(end)) == ("NNNN", [])


def test_an_attention_signal_in_json_has_its_measurements() -> None:
    event = AttentionHeard("eas", 0, 8, (853.004, 960.011), -9.034)
    fields = to_dict(heard(event), SAME_DAY, "a.wav")
    assert (fields["event"], fields["kind"]) == ("attention", "eas")
    assert (fields["frequencies_hz"], fields["level_dbfs"]) == ([853.0, 960.01], -9.03)


@pytest.mark.parametrize(("event", "name"), [(MessageTimedOut(0, 8), "timeout"), (CarrierLost(0, 8), "carrier_lost")])
def test_what_becomes_of_a_message_in_json_is_a_place_alone(event: SameEvent, name: str) -> None:
    fields = to_dict(heard(event), SAME_DAY, "a.wav")
    assert fields["event"] == name
    assert set(fields) == {"event", "file", "channel", "frequency_hz", "start_s", "end_s", "start_utc", "end_utc"}


def test_confidence_is_given_for_doubtful_headers_and_on_request() -> None:
    sure = HeaderDecoded(parse_header(TEST), 0, 8, 3, 1e-9, 21.5, soft_bits(TEST))
    doubtful = HeaderUnverified(TEST, 0, 8, 3, 0.5, 1.5, soft_bits(TEST, 0.5))
    assert "confidence" not in to_dict(heard(sure), SAME_DAY, "a.wav")
    in_detail = to_dict(heard(sure), SAME_DAY, "a.wav", in_detail=True)["confidence"]
    assert len(in_detail) == len(TEST) and min(in_detail) > 0.999
    given = to_dict(heard(doubtful), SAME_DAY, "a.wav")["confidence"]
    assert len(given) == len(TEST) and max(given) < 0.9
    assert json.loads(json.dumps(given, allow_nan=False)) == given


def test_the_text_may_be_spanish() -> None:
    assert in_words(heard(decoded(TORNADO)), SAME_DAY, "es").startswith("Aviso de Tornado para Jackson, Misuri")
    assert to_dict(heard(decoded(TORNADO)), SAME_DAY, "a", language="es")["text"].startswith("Aviso de Tornado")

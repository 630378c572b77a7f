from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.alerts.alert import (
    Alert,
    Hearing,
    Mark,
    dedupe_key,
    infer_issue_time,
    make_alert_id,
    read_times,
    utc_from_seconds,
)
from app_core.base.errors import WireError
from app_core.eas.header import parse_header
from app_core.eas.locations import find_location
from tests.unit.alerts.air import NOW, header_text, issue_text, make_alert


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("issue_time", "now", "expected"),
    [
        ("1402300", at(2026, 5, 20, 23, 0, 30), at(2026, 5, 20, 23, 0)),
        # The turn of the year, from both sides.
        ("3652359", at(2027, 1, 1, 0, 1), at(2026, 12, 31, 23, 59)),
        ("0010001", at(2026, 12, 31, 23, 59), at(2027, 1, 1, 0, 1)),
        ("0010001", at(2027, 1, 1, 0, 2), at(2027, 1, 1, 0, 1)),
        # Leap years.
        ("3662359", at(2025, 1, 1, 0, 1), at(2024, 12, 31, 23, 59)),
        ("3662359", at(2028, 12, 31, 23, 59), at(2028, 12, 31, 23, 59)),
        ("0600000", at(2028, 2, 29, 0, 1), at(2028, 2, 29, 0, 0)),
        ("0600000", at(2027, 3, 1, 0, 1), at(2027, 3, 1, 0, 0)),
        # No such day, no such time.
        ("3661200", at(2026, 12, 31, 12, 0), None),
        ("0001122", at(2026, 1, 1, 0, 0), None),
        ("3670000", at(2026, 1, 1, 0, 0), None),
        ("9999999", at(2026, 1, 1, 0, 0), None),
        ("1402400", at(2026, 5, 20, 23, 0), None),
        ("1402360", at(2026, 5, 20, 23, 0), None),
        ("3650000", at(2026, 12, 31, 0, 5), at(2026, 12, 31, 0, 0)),
        # Six digits: a zero of the day or of the hour is gone.
        ("192300", at(2026, 1, 19, 23, 1), at(2026, 1, 19, 23, 0)),
        ("140930", at(2026, 5, 20, 9, 31), at(2026, 5, 20, 9, 30)),
    ],
)
def test_the_year_is_the_one_that_brings_the_issue_time_nearest(
    issue_time: str, now: datetime, expected: datetime | None
) -> None:
    assert infer_issue_time(issue_time, now) == expected


@settings(deadline=None)
@given(st.text("0123456789", min_size=6, max_size=7), st.datetimes(at(1971, 1, 1).replace(tzinfo=None)))
def test_no_issue_time_and_no_clock_is_an_error(issue_time: str, now: datetime) -> None:
    now = now.replace(tzinfo=UTC)
    issued, purge, doubt = read_times(parse_header(header_text(issued=issue_time)), now)
    assert (issued is None) == (purge is None)
    if not doubt:
        assert issued is not None and abs(issued - now) <= timedelta(hours=24, minutes=45)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (at(1970, 1, 1, 0, 5), "not set"),
        (at(2026, 4, 20, 23, 0), "720 hours ahead of"),
        (at(2026, 6, 1, 0, 0), "265 hours behind"),
    ],
)
def test_a_clock_far_from_the_header_is_in_doubt(now: datetime, words: str) -> None:
    issued, _, doubt = read_times(parse_header(header_text(issued="1402300")), now)
    assert words in doubt
    assert (issued is None) == (now.year == 1970)


def test_a_clock_near_the_header_is_not_in_doubt() -> None:
    issued, purge, doubt = read_times(parse_header(header_text(purge="0045")), NOW)
    assert doubt == ""
    assert issued == at(2026, 5, 20, 23, 0) and purge == at(2026, 5, 20, 23, 45)


def test_an_issue_time_that_is_none_is_doubted() -> None:
    issued, purge, doubt = read_times(parse_header(header_text(issued="0001122", purge="0000")), NOW)
    assert issued is None and purge is None and "0001122" in doubt


def test_the_same_transmission_has_the_same_id_wherever_and_whenever_it_is_heard() -> None:
    first = make_alert(header_text(callsign="KEAX/NWS"))
    relayed = make_alert(
        header_text(callsign="KCMO/FM ", locations="020091-029095"), heard_at=NOW + timedelta(minutes=12)
    )
    assert first.alert_id == relayed.alert_id
    assert first.alert_id.startswith("20260520T2300Z-TOR-")


def test_other_transmissions_have_other_ids() -> None:
    others = [
        header_text(),
        header_text(event="TOA"),
        header_text(locations="029095"),
        header_text(originator="CIV"),
        header_text(issued=issue_text(NOW + timedelta(minutes=1))),
    ]
    assert len({make_alert(text).alert_id for text in others}) == len(others)


def test_an_old_header_after_its_purge_time_is_another_alert() -> None:
    first = make_alert()
    again = make_alert(heard_at=NOW + timedelta(hours=3))
    assert again.alert_id != first.alert_id


def test_with_a_clock_in_doubt_the_id_stands_for_ten_minutes() -> None:
    header = parse_header(header_text())
    ids = [make_alert_id(header, None, at(1970, 1, 1, 0, minute), "doubt") for minute in (1, 9, 11)]
    assert ids[0] == ids[1] != ids[2]


def test_the_key_knows_neither_callsign_nor_order() -> None:
    one = parse_header(header_text(locations="029095-020091-029095", callsign="AAAA"))
    other = parse_header(header_text(locations="020091-029095", callsign="BBBB"))
    assert dedupe_key(one) == dedupe_key(other)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_nonsense_time_is_1970(seconds: float) -> None:
    assert utc_from_seconds(seconds) == at(1970, 1, 1)


texts = st.text(st.characters(codec="utf-8"), max_size=20)
times = st.datetimes(at(1970, 1, 1).replace(tzinfo=None), at(2100, 1, 1).replace(tzinfo=None)).map(
    lambda time: time.replace(tzinfo=UTC)
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
probabilities = st.floats(-0.0, 1.0)
hearings = st.builds(
    Hearing,
    channel_id=texts,
    receiver_id=texts,
    callsign=texts,
    heard_at=times,
    bursts=st.integers(0, 9),
    error_probability=probabilities,
    snr_db=numbers,
)
alerts = st.builds(
    Alert,
    alert_id=st.from_regex(r"[0-9A-Za-z-]{1,64}", fullmatch=True),
    revision=st.integers(1, 10**9),
    header=st.just(header_text()),
    originator=texts,
    event_code=texts,
    event_name=texts,
    event_kind=texts,
    locations=st.lists(
        st.sampled_from(["029095", "129095", "000000", "999999", "073231"]).map(find_location), max_size=31
    ).map(tuple),
    purge_minutes=st.integers(0, 6039),
    issue_time=st.none() | times,
    purge_time=st.none() | times,
    hearings=st.lists(hearings, min_size=1, max_size=5).map(tuple),
    recording=st.none() | texts,
    recording_complete=st.booleans(),
    marks=st.lists(st.builds(Mark, texts, numbers), max_size=3).map(tuple),
    end_reason=st.sampled_from([None, "end_of_message", "timeout", "lost", "interrupted"]),
    ended_at=st.none() | times,
    clock_doubt=texts,
    demo=st.booleans(),
    text=texts,
)


@settings(deadline=None)
@given(alerts)
def test_what_is_written_is_read_back(alert: Alert) -> None:
    assert Alert.from_json(alert.to_json()) == alert


@settings(deadline=None)
@given(alerts, st.data())
def test_a_missing_or_unknown_field_is_refused(alert: Alert, choose: st.DataObject) -> None:
    fields = alert.to_dict()
    with pytest.raises(WireError):
        Alert.from_dict({**fields, "surplus": 1})
    del fields[choose.draw(st.sampled_from(sorted(set(fields) - {"recording_complete"})))]
    with pytest.raises(WireError):
        Alert.from_dict(fields)


def test_an_alert_from_before_cut_recordings_were_told_is_complete() -> None:
    alert = replace(make_alert(), recording="recordings/x.flac", recording_complete=False)
    fields = alert.to_dict()
    assert fields.pop("recording_complete") is False
    assert Alert.from_dict(fields) == replace(alert, recording_complete=True)


@pytest.mark.parametrize("certain", [-0.0, 0.0, -1e-17])
def test_no_probability_is_written_below_zero(certain: float) -> None:
    alert = make_alert()
    alert = replace(alert, hearings=(replace(alert.hearings[0], error_probability=certain),))
    text = alert.to_json()
    assert text.count(b'"error_probability":0.0,') == 2
    assert b"-0.0" not in text


def test_what_is_no_probability_is_not_written_as_a_certain_one() -> None:
    alert = make_alert()
    alert = replace(alert, hearings=(replace(alert.hearings[0], error_probability=float("nan")),))
    assert orjson.loads(alert.to_json())["error_probability"] is None


@settings(deadline=None)
@given(st.binary(max_size=100) | texts | st.lists(st.integers()).map(repr))
def test_anything_else_is_refused(text: bytes | str) -> None:
    with pytest.raises(WireError):
        Alert.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"alert_id": "../../etc/passwd"},
        {"alert_id": 7},
        {"header": "ZCZC"},
        {"hearings": []},
        {"hearings": [1]},
        {"locations": {}},
        {"revision": True},
        {"revision": 1.0},
        {"demo": 0},
        {"recording_complete": None},
        {"recording_complete": 1},
        {"issue_time": "yesterday"},
        {"issue_time": "2026-05-20T23:00:00+02:00"},
        {"issue_time": "2026-05-20T23:00:00"},
        {"end_reason": "boredom"},
        {"state": "ended"},
        {"channels": ["another"]},
        {"clock_doubt": True},
        {"marks": [{"name": "x"}]},
    ],
)
def test_a_field_of_another_type_or_value_is_refused(change: dict[str, object]) -> None:
    fields = {**make_alert().to_dict(), **change}
    with pytest.raises(WireError):
        Alert.from_json(orjson.dumps(fields))


def test_the_state_follows_from_the_end() -> None:
    alert = make_alert()
    assert alert.state == "begun"
    assert replace(alert, end_reason="timeout").state == "ended"


def test_the_best_hearing_is_the_least_likely_wrong() -> None:
    alert = make_alert()
    better = replace(alert.hearings[0], channel_id="other", error_probability=1e-12)
    assert replace(alert, hearings=(*alert.hearings, better)).best_hearing is better


def test_an_alert_whose_places_an_earlier_version_worded_otherwise_is_read() -> None:
    alert = make_alert()
    fields = alert.to_dict()
    fields["locations"] = [{**place, "full_name": "as it was called then"} for place in fields["locations"]]
    assert Alert.from_dict(fields) == alert

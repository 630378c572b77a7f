from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.base.errors import WireError
from app_core.eas.header import (
    LONGEST_PURGE_MINUTES,
    SameHeader,
    issue_time_text,
    make_header,
    parse_header,
    purge_time_text,
)
from app_core.eas.waveform import MAX_HEADER_BYTES, MAX_LOCATIONS

UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
CALLSIGN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "+-")

headers = st.builds(
    SameHeader,
    originator=st.text(UPPER, min_size=3, max_size=3),
    event_code=st.text(UPPER + DIGITS, min_size=3, max_size=3),
    locations=st.lists(st.text(DIGITS, min_size=6, max_size=6), min_size=1, max_size=MAX_LOCATIONS).map(tuple),
    purge_time=st.text(DIGITS, min_size=4, max_size=4),
    issue_time=st.text(DIGITS, min_size=6, max_size=7),
    callsign=st.text(CALLSIGN, min_size=1, max_size=8),
)


@settings(deadline=None)
@given(headers)
def test_what_is_written_is_read_back(header: SameHeader) -> None:
    assert parse_header(header.text) == header
    assert len(header.text) <= MAX_HEADER_BYTES


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_parses_exactly_or_is_a_wire_error(text: str) -> None:
    try:
        header = parse_header(text)
    except WireError:
        return
    assert header.text == text


@settings(deadline=None)
@given(headers, st.data())
def test_a_cut_or_lengthened_header_is_refused(header: SameHeader, choose: st.DataObject) -> None:
    cut = choose.draw(st.integers(0, len(header.text) - 1))
    with pytest.raises(WireError):
        parse_header(header.text[:cut])
    with pytest.raises(WireError):
        parse_header(header.text + "Z")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NNNN",
        "ZCZC-WXR-TOR+0030-3650000-KEAX/NWS-",
        "ZCZC-WXR-TOR-029095+0030-36500-KEAX/NWS-",
        "ZCZC-WXR-TOR-029095+030-3650000-KEAX/NWS-",
        "ZCZC-WXR-TOR-29095+0030-3650000-KEAX/NWS-",
        "ZCZC-WXR-TOR-029095+0030-3650000-KEAX-NWS-",
        "ZCZC-WXR-TOR-029095+0030-3650000-KEAX/NWS9-",
        "ZCZC-WXR-TOR-029095+0030-3650000-KEAX/NWS-\n",
        "zczc-WXR-TOR-029095+0030-3650000-KEAX/NWS-",
        "ZCZC-WXR-TOR-029095+0030-365000\u0665-KEAX/NWS-",
        "ZCZC-WXR-TOR-" + "-".join(["029095"] * 32) + "+0030-3650000-KEAX/NWS-",
    ],
)
def test_malformed_headers_are_wire_errors(text: str) -> None:
    with pytest.raises(WireError):
        parse_header(text)


def test_departures_that_occur_on_the_air_are_legal() -> None:
    assert parse_header("ZCZC-WXR-RWT-029095+0030-0771800-KOAX/NW-").callsign == "KOAX/NW"
    assert parse_header("ZCZC-CIV-EQW-000000+0005-261235-XGDF/004-").issue_time == "261235"
    assert parse_header("ZCZC-WXR-RWT-029095+0130-0771800-KWO35   -").purge_minutes == 90


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (1, "0015"),
        (15, "0015"),
        (16, "0030"),
        (45, "0045"),
        (60, "0100"),
        (61, "0130"),
        (75, "0130"),
        (90, "0130"),
        (240, "0400"),
        (270, "0430"),
        (360, "0600"),
        (361, "0630"),
        (LONGEST_PURGE_MINUTES, "9930"),
    ],
)
def test_purge_times_go_in_quarters_to_an_hour_and_in_halves_beyond(minutes: int, text: str) -> None:
    assert purge_time_text(minutes) == text


@pytest.mark.parametrize("minutes", [-15, 0, LONGEST_PURGE_MINUTES + 1])
def test_purge_times_out_of_range_are_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match="valid for"):
        purge_time_text(minutes)


REGULAR = ("0015", "0045", "0100", "0130", "9930")
IRREGULAR = ("0000", "0005", "0075", "0090", "0115", "9999")


@pytest.mark.parametrize("purge_time", REGULAR + IRREGULAR)
def test_other_purge_times_are_read_for_what_they_say(purge_time: str) -> None:
    header = parse_header(f"ZCZC-WXR-TOR-029095+{purge_time}-3650000-KEAX/NWS-")
    assert header.is_purge_time_regular == (purge_time in REGULAR)
    assert header.purge_minutes == int(purge_time[:2]) * 60 + int(purge_time[2:])


def test_issue_times_are_the_day_of_the_year_in_utc() -> None:
    assert issue_time_text(datetime(2026, 1, 1, 0, 0, tzinfo=UTC)) == "0010000"
    assert issue_time_text(datetime(2028, 12, 31, 23, 59, tzinfo=UTC)) == "3662359"
    # Already the next year in Greenwich.
    assert issue_time_text(datetime(2026, 12, 31, 20, 5, tzinfo=timezone(timedelta(hours=-6)))) == "0010205"


def test_a_header_is_made_by_the_rules() -> None:
    header = make_header(
        "EAS",
        "RWT",
        ("029095", "020091"),
        purge_minutes=20,
        issued=datetime(2026, 5, 3, 12, 1, tzinfo=UTC),
        callsign="KC-TV",
    )
    assert header.text == "ZCZC-EAS-RWT-029095-020091+0030-1231201-KC/TV   -"


@pytest.mark.parametrize(
    ("originator", "locations", "callsign"),
    [("eas", ("029095",), "KC"), ("EAS", (), "KC"), ("EAS", ("29095",), "KC"), ("EAS", ("029095",), "TOO LONG 9")],
)
def test_a_header_that_would_be_malformed_is_not_made(
    originator: str, locations: tuple[str, ...], callsign: str
) -> None:
    issued = datetime(2026, 5, 3, 12, 1, tzinfo=UTC)
    with pytest.raises(WireError):
        make_header(originator, "RWT", locations, purge_minutes=30, issued=issued, callsign=callsign)

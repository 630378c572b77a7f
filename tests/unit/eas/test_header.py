import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.base.errors import WireError
from app_core.eas.header import SameHeader, parse_header
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

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.base.errors import ConfigError
from app_core.eas.locations import PARTS, find_location, have_common_ground, parse_area, touched_areas


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("000000", "all of the United States"),
        ("029000", "all of Missouri"),
        ("029095", "Jackson, Missouri"),
        ("020091", "Johnson, Kansas"),
        ("011001", "District of Columbia"),
        ("011000", "all of District of Columbia"),
        ("066000", "all of Guam"),
        ("069000", "all of Northern Mariana Islands"),
        ("078030", "St. Thomas, United States Virgin Islands"),
        ("051515", "City of Bedford, Virginia"),
        ("073231", "Cape Cod Bay"),
        ("091141", "Grand Marais to Taconite Harbor MN"),
        ("064040", "Pohnpei, Federated States of Micronesia"),
        ("072149", "Villalba, Puerto Rico"),
        ("005001", "Arkansas, Arkansas"),
        ("029510", "City of St. Louis, Missouri"),
        ("029189", "St. Louis, Missouri"),
        ("091000", "all of Lake Superior"),
        ("591000", "central Lake Superior"),
        ("077000", "all of Gulf of Mexico"),
    ],
)
def test_codes_have_their_names(code: str, name: str) -> None:
    assert find_location(code).full_name == name


@pytest.mark.parametrize(
    ("digit", "words"),
    [
        ("1", "northwest"),
        ("2", "north central"),
        ("3", "northeast"),
        ("4", "west central"),
        ("5", "central"),
        ("6", "east central"),
        ("7", "southwest"),
        ("8", "south central"),
        ("9", "southeast"),
    ],
)
def test_the_first_digit_is_a_part_of_the_county(digit: str, words: str) -> None:
    location = find_location(f"{digit}29095")
    assert location.full_name == f"{words} Jackson, Missouri"
    assert location.name == "Jackson"
    assert PARTS[digit] == words


def test_kinds_tell_whole_countries_states_counties_and_waters_apart() -> None:
    kinds = {
        code: find_location(code).kind
        for code in ("000000", "029000", "029095", "073231", "073000", "065151", "011100", "999999")
    }
    assert kinds == {
        "000000": "country",
        "029000": "state",
        "029095": "county",
        "073231": "marine",
        "073000": "marine",
        "065151": "marine",
        "011100": "region",
        "999999": "unknown",
    }


def test_canadian_codes_are_six_digits_without_a_part() -> None:
    assert find_location("011100").full_name == "Kings County, Nova Scotia"
    assert find_location("111100").kind == "unknown"


def test_the_callsign_decides_between_countries() -> None:
    assert find_location("073170").country == "US"
    assert find_location("073170", "EC/GC/CA").full_name == "Waterton Lakes National Park, Alberta"
    assert find_location("009003", "KWO35   ").full_name == "Hartford, Connecticut"
    assert find_location("009003", "XGDF/004").full_name == "Cuauhtemoc, CDMX"
    assert find_location("000000", "XGDF/004").full_name == "all of Mexico"
    # A Canadian station may warn of an American county, too.
    assert find_location("029095", "EC/GC/CA").full_name == "Jackson, Missouri"


@pytest.mark.parametrize("code", ["123456", "999999", "A29095", "", "0290", "0290951", "0ABCDE"])
def test_an_unknown_code_is_named_as_unknown(code: str) -> None:
    location = find_location(code)
    assert location.full_name == f"Unknown area ({code})"
    assert location.kind == "unknown"
    assert location.area == ""


@pytest.mark.parametrize(
    ("code", "area", "touch"),
    [
        ("029095", "029095", True),
        ("029095", "029047", False),
        ("029095", "020095", False),
        # Whole states, in the header or among our areas.
        ("029000", "029095", True),
        ("029095", "029000", True),
        ("029000", "020095", False),
        ("029000", "529095", True),
        # The whole country.
        ("000000", "029095", True),
        ("000000", "073231", True),
        ("029095", "000000", True),
        # Parts of a county.
        ("129095", "029095", True),
        ("029095", "129095", True),
        ("129095", "129095", True),
        ("129095", "929095", False),
        ("129095", "129047", False),
        # A part of a state may be any of its counties.
        ("129000", "029095", True),
        # Waters.
        ("073231", "073231", True),
        ("073000", "073231", True),
        ("073231", "075650", False),
        # Codes that no table knows are compared all the same.
        ("099999", "099999", True),
        ("099999", "099998", False),
        ("A29095", "129095", True),
        ("A29095", "B29095", True),
    ],
)
def test_areas_touch_where_they_have_ground_in_common(code: str, area: str, touch: bool) -> None:
    assert have_common_ground(code, area) == touch


@pytest.mark.parametrize(
    ("code", "area", "touch"),
    [
        ("017200", "017210", True),
        ("017210", "017200", True),
        ("017210", "017220", False),
        ("074100", "074111", True),
        ("074110", "074211", False),
        ("011100", "011100", True),
        ("011100", "011200", False),
    ],
)
def test_canadian_codes_take_in_what_begins_like_them(code: str, area: str, touch: bool) -> None:
    assert have_common_ground(code, area, "EC/GC/CA") == touch


def test_a_mexican_station_speaks_for_mexico() -> None:
    assert have_common_ground("000000", "009003", "XGDF/004")
    assert not have_common_ground("009003", "009004", "XGDF/004")


codes = st.text("0123456789", min_size=6, max_size=6)


@given(codes, codes, st.sampled_from(["", "KEAX/NWS", "XGDF/004"]))
def test_touching_is_mutual(code: str, area: str, callsign: str) -> None:
    assert have_common_ground(code, area, callsign) == have_common_ground(area, code, callsign)


@given(codes)
def test_every_code_touches_itself_its_state_and_its_country(code: str) -> None:
    for area in (code, f"0{code[1:3]}000", "000000"):
        assert have_common_ground(code, area)


def test_the_areas_that_a_header_touches_are_given_in_our_order() -> None:
    ours = ("020091", "029095", "073231", "029047")
    assert touched_areas(("129095", "020091"), ours) == ("020091", "029095")
    assert touched_areas(("048113",), ours) == ()
    assert touched_areas(("000000",), ours) == ours


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("029095", "029095"),
        ("129095", "129095"),
        ("29095", "029095"),
        ("999999", "999999"),
        ("Jackson, Missouri", "029095"),
        ("  jackson,   missouri ", "029095"),
        ("northwest Jackson, Missouri", "129095"),
        ("South Central Lake Superior", "891000"),
        ("Missouri", "029000"),
        ("all of the United States", "000000"),
        ("Cape Cod Bay", "073231"),
        ("District of Columbia", "011000"),
        ("Arkansas", "005000"),
        ("Arkansas, Arkansas", "005001"),
        ("Norfolk, Virginia", "051710"),
        ("Northampton, Virginia", "051131"),
    ],
)
def test_areas_are_read_as_people_write_them(text: str, code: str) -> None:
    assert parse_area(text) == code


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Jackson", "Jackson, Alabama; Jackson, Arkansas; "),
        ("Jackson, Nowhere", "Jackson, Alabama; "),
        ("Nowhere", "County, State"),
        ("", "County, State"),
        ("0290", "County, State"),
        ("Mississippi Sound", "077532, 077632"),
    ],
)
def test_an_area_that_is_none_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        parse_area(text)

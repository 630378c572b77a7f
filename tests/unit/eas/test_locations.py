import pytest

from app_core.eas.locations import PARTS, find_location


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
    kinds = {code: find_location(code).kind for code in ("000000", "029000", "029095", "073231", "011100", "999999")}
    assert kinds == {
        "000000": "country",
        "029000": "state",
        "029095": "county",
        "073231": "marine",
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

import csv
import io
from datetime import UTC, datetime
from importlib import resources
from zoneinfo import ZoneInfo

import pytest

from app_core.alerts.alert import Alert
from app_core.alerts.text import describe_alert, describe_areas, describe_duration, describe_until, originator_name
from app_core.alerts.tracker import AlertTracker
from app_core.alerts.wording import AREAS_ES, ORIGINATORS, ORIGINATORS_ES, PARTS_ES, Language, join_words, join_words_es
from app_core.eas.locations import PARTS, find_location
from tests.unit.alerts.air import NOW, decoded, header_text

CHICAGO = ZoneInfo("America/Chicago")


def heard(text: str, heard_at: datetime = NOW, demo: bool = False) -> Alert:
    tracker = AlertTracker(zone=CHICAGO, demo=demo)
    event = decoded(text)
    return tracker.hear(event, channel_id="kc1", receiver_id="rx1", heard_at=heard_at, monotonic_s=0.0).alert


def areas(*codes: str) -> str:
    return describe_areas([find_location(code) for code in codes])


def test_an_alert_says_what_where_until_when_and_by_whom() -> None:
    assert heard(header_text()).text == (
        "Tornado Warning for Jackson, Missouri and Johnson, Kansas until 6:45 PM CDT (23:45 UTC). "
        "Issued by the National Weather Service (KEAX/NWS)."
    )


def test_the_demo_says_so_first() -> None:
    assert heard(header_text(), demo=True).text.startswith("DEMO: Tornado Warning for ")


@pytest.mark.parametrize(
    ("heard_at", "issued"), [(datetime(1970, 1, 1, tzinfo=UTC), "1402300"), (NOW, "0001122"), (NOW, "0402300")]
)
def test_with_a_clock_in_doubt_no_time_of_day_is_said(heard_at: datetime, issued: str) -> None:
    text = heard(header_text(issued=issued), heard_at=heard_at).text
    assert "for 45 minutes from issue." in text
    assert "until" not in text and "UTC" not in text


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (("029095",), "Jackson, Missouri"),
        (("000000",), "all of the United States"),
        (("029000", "020000"), "all of Missouri and all of Kansas"),
        (("029095", "029047"), "Jackson and Clay in Missouri"),
        (("029095", "020091", "029047"), "Jackson and Clay in Missouri; and Johnson, Kansas"),
        (("029095", "020091", "019001"), "Jackson, Missouri; Johnson, Kansas; and Adair, Iowa"),
        (("129095", "929095"), "northwest Jackson and southeast Jackson in Missouri"),
        (("029095", "029095"), "Jackson, Missouri"),
        (("073231", "073232"), "Cape Cod Bay and Nantucket Sound"),
        (("999999", "029095"), "Unknown area (999999) and Jackson, Missouri"),
        (("011001",), "District of Columbia"),
    ],
)
def test_places_of_one_state_stand_together(codes: tuple[str, ...], words: str) -> None:
    assert areas(*codes) == words


def test_thirty_one_places_are_still_readable() -> None:
    codes = [f"0290{number:02d}" for number in range(1, 33, 2)] + [f"0200{number:02d}" for number in range(1, 31, 2)]
    assert len(codes) == 31
    words = areas(*codes)
    assert words.count(" in Missouri") == 1 and words.count(" in Kansas") == 1
    assert words.startswith("Adair, Andrew, ") and "; and Allen, " in words
    assert words.count(",") == 31 - 4


def test_another_day_is_named() -> None:
    night = datetime(2026, 5, 21, 3, 30, tzinfo=UTC)
    morning = datetime(2026, 5, 21, 5, 15, tzinfo=UTC)
    assert describe_until(morning, night, CHICAGO) == "12:15 AM CDT on Thursday (05:15 UTC)"
    assert describe_until(morning, night, UTC) == "05:15 UTC"
    assert (
        describe_until(datetime(2026, 1, 2, 18, 5, tzinfo=UTC), night, CHICAGO) == "12:05 PM CST on Friday (18:05 UTC)"
    )


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (0, "0 minutes"),
        (1, "1 minute"),
        (45, "45 minutes"),
        (60, "1 hour"),
        (90, "1 hour 30 minutes"),
        (6039, "100 hours 39 minutes"),
    ],
)
def test_durations(minutes: int, words: str) -> None:
    assert describe_duration(minutes) == words


def test_lists_are_natural() -> None:
    assert join_words([]) == ""
    assert join_words(["a"]) == "a"
    assert join_words(["a", "b"]) == "a and b"
    assert join_words(["a", "b", "c"]) == "a, b and c"


def test_originators_are_named() -> None:
    assert originator_name("WXR", "KEAX/NWS") == "the National Weather Service"
    assert originator_name("WXR", "EC/GC/CA") == "Environment Canada"
    assert originator_name("EAS") == "a broadcast station or cable system"
    assert originator_name("CIV") == "civil authorities"
    assert "primary entry point" in originator_name("PEP")
    assert originator_name("QQQ") == "an unknown originator (QQQ)"


def spoken(*codes: str, language: Language = "es") -> str:
    return describe_areas([find_location(code) for code in codes], language)


def test_an_alert_in_spanish_says_the_same() -> None:
    alert = heard(header_text())
    assert describe_alert(alert, CHICAGO, "es") == (
        "Aviso de Tornado para Jackson, Misuri y Johnson, Kansas hasta las 6:45 PM CDT (23:45 UTC). "
        "Emisor: Servicio Nacional de Meteorología (KEAX/NWS)."
    )
    assert describe_alert(heard(header_text(), demo=True), CHICAGO, "es").startswith("DEMOSTRACIÓN: Aviso de Tornado ")


def test_with_a_clock_in_doubt_spanish_says_a_duration_too() -> None:
    text = describe_alert(heard(header_text(issued="0402300")), CHICAGO, "es")
    assert "durante 45 minutos desde su emisión." in text


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (("029095",), "Jackson, Misuri"),
        (("000000",), "todos los Estados Unidos"),
        (("029000", "020000"), "todo Misuri y todo Kansas"),
        (("029095", "029047"), "Jackson y Clay en Misuri"),
        (("129095",), "el noroeste de Jackson, Misuri"),
        (("529000",), "el centro de Misuri"),
        (("991000",), "el sureste del lago Superior"),
        (("091000", "016001"), "todo el lago Superior y Ada, Idaho"),
        (("078000",), "todas las Islas Vírgenes de los Estados Unidos"),
        (("073231",), "Cape Cod Bay"),
        (("999999",), "zona desconocida (999999)"),
        (("011001",), "Distrito de Columbia"),
    ],
)
def test_places_in_spanish(codes: tuple[str, ...], words: str) -> None:
    assert spoken(*codes) == words


def test_hours_and_days_in_spanish_have_their_articles() -> None:
    night = datetime(2026, 5, 21, 3, 30, tzinfo=UTC)
    morning = datetime(2026, 5, 21, 5, 15, tzinfo=UTC)
    assert describe_until(morning, night, CHICAGO, "es") == "las 12:15 AM CDT del jueves (05:15 UTC)"
    assert describe_until(morning, night, UTC, "es") == "las 05:15 UTC"
    assert describe_until(datetime(2026, 5, 21, 6, 0, tzinfo=UTC), morning, CHICAGO, "es") == (
        "la 1:00 AM CDT (06:00 UTC)"
    )
    assert describe_duration(90, "es") == "1 hora 30 minutos"


def test_lists_in_spanish_know_e_and_y() -> None:
    assert join_words_es(["a", "b"]) == "a y b"
    assert join_words_es(["Ohio", "Idaho"]) == "Ohio e Idaho"
    assert join_words_es(["Ohio", "Hidalgo"]) == "Ohio e Hidalgo"
    assert join_words_es(["a", "hielo"]) == "a y hielo"
    assert join_words_es(["a", "b", "Iowa"]) == "a, b y Iowa"
    assert join_words_es(["a", "b", "c"], ";") == "a; b; y c"


def test_originators_are_named_in_spanish() -> None:
    assert set(ORIGINATORS_ES) == set(ORIGINATORS)
    assert originator_name("WXR", "EC/GC/CA", "es") == "Ministerio de Medio Ambiente de Canadá"
    assert originator_name("QQQ", "", "es") == "originador desconocido (QQQ)"


def test_every_spanish_name_is_of_a_place_that_there_is() -> None:
    places = resources.files("app_core.eas").joinpath("tables/locations.csv").read_text(encoding="utf-8")
    areas_there = {row["area"] for row in csv.DictReader(io.StringIO(places))} | {"United States", "Mexico"}
    assert set(AREAS_ES) - areas_there == set()
    assert set(PARTS_ES) == set(PARTS)

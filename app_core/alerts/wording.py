"""The words that an alert's text is made of, in English and in Spanish.

`app_core.alerts.text` puts them together. Names of counties and waters stay as they are; names of states that Spanish
has its own words for are given in Spanish. Warning, watch and statement are what the National Weather Service calls
them in its Spanish products: aviso, vigilancia, declaración.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from app_core.eas.event_codes import find_event
from app_core.eas.locations import PARTS, Location

Language = Literal["en", "es"]

ORIGINATORS = {
    "WXR": "the National Weather Service",
    "EAS": "a broadcast station or cable system",
    "CIV": "civil authorities",
    "PEP": "the national primary entry point system",
    "EAN": "the Emergency Action Notification network",
}
"""Originator codes in words (47 CFR 11.31(d)); EAN was retired but is still defined in equipment."""

ORIGINATORS_ES = {
    "WXR": "Servicio Nacional de Meteorología",
    "EAS": "emisora o sistema de cable",
    "CIV": "autoridades civiles",
    "PEP": "sistema nacional de puntos primarios de entrada",
    "EAN": "red de Notificación de Acción de Emergencia",
}
"""The same in Spanish, without articles."""

PARTS_ES = {
    "1": "el noroeste de",
    "2": "el norte de",
    "3": "el noreste de",
    "4": "el oeste de",
    "5": "el centro de",
    "6": "el este de",
    "7": "el suroeste de",
    "8": "el sur de",
    "9": "el sureste de",
}
"""Spanish for P, the part of a county, before its name."""

AREAS_ES = {
    "American Samoa": "Samoa Americana",
    "American Samoa Waters": "las aguas de Samoa Americana",
    "Atlantic Coast from Maine to Virginia": "la costa atlántica de Maine a Virginia",
    "Atlantic Coast from North Carolina to Florida, and the Coasts of Puerto Rico and Virgin Islands": (
        "la costa atlántica de Carolina del Norte a Florida y las costas de Puerto Rico y las Islas Vírgenes"
    ),
    "Alaskan Coast": "la costa de Alaska",
    "British Columbia": "Columbia Británica",
    "CDMX": "la Ciudad de México",
    "District of Columbia": "Distrito de Columbia",
    "Federated States of Micronesia": "los Estados Federados de Micronesia",
    "Gulf of Mexico": "el golfo de México",
    "Hawaii": "Hawái",
    "Hawaiian Coast": "la costa de Hawái",
    "Lake Erie": "el lago Erie",
    "Lake Huron": "el lago Hurón",
    "Lake Michigan": "el lago Míchigan",
    "Lake Superior": "el lago Superior",
    "Louisiana": "Luisiana",
    "Mariana Islands Waters (including Guam)": "las aguas de las Islas Marianas y de Guam",
    "Marshall Islands": "las Islas Marshall",
    "Mexico": "México",
    "Michigan": "Míchigan",
    "Mississippi": "Misisipi",
    "Missouri": "Misuri",
    "New Brunswick": "Nuevo Brunswick",
    "New Hampshire": "Nuevo Hampshire",
    "New Jersey": "Nueva Jersey",
    "New Mexico": "Nuevo México",
    "New York": "Nueva York",
    "Newfoundland/Labrador": "Terranova y Labrador",
    "Niagara River and Lake Ontario": "el río Niágara y el lago Ontario",
    "North Carolina": "Carolina del Norte",
    "North Dakota": "Dakota del Norte",
    "Northern Mariana Islands": "las Islas Marianas del Norte",
    "Northwest Territories": "los Territorios del Noroeste",
    "Nova Scotia": "Nueva Escocia",
    "Oregon": "Oregón",
    "Pacific Coast from Washington to California": "la costa del Pacífico de Washington a California",
    "Palau": "Palaos",
    "Pennsylvania": "Pensilvania",
    "Prince Edward Island": "la Isla del Príncipe Eduardo",
    "Saint Clair River, Detroit River, and Lake Saint Clair": "los ríos St. Clair y Detroit y el lago St. Clair",
    "Saint Lawrence River": "el río San Lorenzo",
    "South Carolina": "Carolina del Sur",
    "South Dakota": "Dakota del Sur",
    "U.S. Minor Outlying Islands": "las islas menores alejadas de los Estados Unidos",
    "United States": "los Estados Unidos",
    "United States Virgin Islands": "las Islas Vírgenes de los Estados Unidos",
    "West Virginia": "Virginia Occidental",
}
"""Spanish names of states, provinces, countries and waters that differ from the English ones."""

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WEEKDAYS_ES = ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo")


def join_words(words: Sequence[str], separator: str = ",") -> str:
    """Make a natural list: ``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    last = f"{separator} and " if separator != "," else " and "
    return f"{separator} ".join(words[:-1]) + last + words[-1]


def join_words_es(words: Sequence[str], separator: str = ",") -> str:
    """Make a natural list in Spanish: ``a``, ``a y b``, ``a, b e Idaho``."""
    if len(words) < 2:
        return "".join(words)
    # Before the sound of i, but not before a diphthong.
    folded = words[-1].casefold()
    begins_with_i = folded.startswith(("i", "hi")) and not folded.startswith(("hie", "hia", "ia", "ie", "io"))
    conjunction = "e" if begins_with_i else "y"
    last = f"{separator} {conjunction} " if separator != "," else f" {conjunction} "
    return f"{separator} ".join(words[:-1]) + last + words[-1]


class Wording(Protocol):
    """What differs from one language to the other."""

    demo: str
    """Stands before the text of an alert of the demo or the self-test."""

    def event(self, event_code: str, event_name: str) -> str:
        """Name an event; `event_name` is what its alert calls it."""
        ...

    def join(self, words: Sequence[str], separator: str = ",") -> str:
        """Make a natural list."""
        ...

    def place(self, location: Location) -> str:
        """Name a place without the area that holds it."""
        ...

    def area(self, name: str) -> str:
        """Name a state, a province or a body of water."""
        ...

    def within(self, places: str, area: str) -> str:
        """Name several places of one area."""
        ...

    def duration(self, hours: int, minutes: int) -> str:
        """Give a duration."""
        ...

    def from_issue(self, duration: str) -> str:
        """Say how long an alert is valid whose time of issue is not certain."""
        ...

    def until(self, clock: str) -> str:
        """Say until when."""
        ...

    def clock(self, local: datetime, utc: str, *, with_day: bool) -> str:
        """Give a time of day; `utc` is the same in UTC."""
        ...

    def sentence(self, event: str, areas: str, span: str, sender: str) -> str:
        """Put all of it together; `sender` has its callsign."""
        ...

    def originator(self, code: str, *, is_canadian: bool) -> str:
        """Name an originator."""
        ...


class English:
    """English."""

    demo = "DEMO: "

    def event(self, event_code: str, event_name: str) -> str:
        """As `Wording.event`."""
        return event_name

    def join(self, words: Sequence[str], separator: str = ",") -> str:
        """As `Wording.join`."""
        return join_words(words, separator)

    def place(self, location: Location) -> str:
        """As `Wording.place`."""
        return location.short_name

    def area(self, name: str) -> str:
        """As `Wording.area`."""
        return name

    def within(self, places: str, area: str) -> str:
        """As `Wording.within`."""
        return f"{places} in {area}"

    def duration(self, hours: int, minutes: int) -> str:
        """As `Wording.duration`."""
        return _duration(hours, minutes, "hour", "minute")

    def from_issue(self, duration: str) -> str:
        """As `Wording.from_issue`."""
        return f"for {duration} from issue"

    def until(self, clock: str) -> str:
        """As `Wording.until`."""
        return f"until {clock}"

    def clock(self, local: datetime, utc: str, *, with_day: bool) -> str:
        """As `Wording.clock`."""
        day = f" on {_WEEKDAYS[local.weekday()]}" if with_day else ""
        if not local.utcoffset():
            return utc + day
        return f"{_twelve_hours(local)}{day} ({utc})"

    def sentence(self, event: str, areas: str, span: str, sender: str) -> str:
        """As `Wording.sentence`."""
        return f"{event} for {areas} {span}. Issued by {sender}."

    def originator(self, code: str, *, is_canadian: bool) -> str:
        """As `Wording.originator`."""
        if code == "WXR" and is_canadian:
            return "Environment Canada"
        return ORIGINATORS.get(code, f"an unknown originator ({code})")


class Spanish:
    """Spanish."""

    demo = "DEMOSTRACIÓN: "

    def event(self, event_code: str, event_name: str) -> str:
        """As `Wording.event`."""
        return find_event(event_code).name_es

    def join(self, words: Sequence[str], separator: str = ",") -> str:
        """As `Wording.join`."""
        return join_words_es(words, separator)

    def place(self, location: Location) -> str:
        """As `Wording.place`."""
        if location.kind == "unknown":
            return f"zona desconocida ({location.code})"
        name = self.area(location.name) if location.stands_alone else location.name
        if location.part:
            return _contracted(f"{PARTS_ES[_digit_of(location.part)]} {name}")
        if not location.is_whole:
            return name
        for article, all_of in (("los ", "todos "), ("las ", "todas "), ("la ", "toda ")):
            if name.startswith(article):
                return all_of + name
        return f"todo {name}"

    def area(self, name: str) -> str:
        """As `Wording.area`."""
        return AREAS_ES.get(name, name)

    def within(self, places: str, area: str) -> str:
        """As `Wording.within`."""
        return f"{places} en {area}"

    def duration(self, hours: int, minutes: int) -> str:
        """As `Wording.duration`."""
        return _duration(hours, minutes, "hora", "minuto")

    def from_issue(self, duration: str) -> str:
        """As `Wording.from_issue`."""
        return f"durante {duration} desde su emisión"

    def until(self, clock: str) -> str:
        """As `Wording.until`."""
        return f"hasta {clock}"

    def clock(self, local: datetime, utc: str, *, with_day: bool) -> str:
        """As `Wording.clock`."""
        day = f" del {_WEEKDAYS_ES[local.weekday()]}" if with_day else ""
        if not local.utcoffset():
            return f"las {utc}{day}"
        article = "la" if local.hour % 12 == 1 else "las"
        return f"{article} {_twelve_hours(local)}{day} ({utc})"

    def sentence(self, event: str, areas: str, span: str, sender: str) -> str:
        """As `Wording.sentence`."""
        return f"{event} para {areas} {span}. Emisor: {sender}."

    def originator(self, code: str, *, is_canadian: bool) -> str:
        """As `Wording.originator`."""
        if code == "WXR" and is_canadian:
            return "Ministerio de Medio Ambiente de Canadá"
        return ORIGINATORS_ES.get(code, f"originador desconocido ({code})")


WORDINGS: dict[Language, Wording] = {"en": English(), "es": Spanish()}
"""All languages."""


def _duration(hours: int, minutes: int, hour: str, minute: str) -> str:
    parts: list[str] = []
    if hours:
        parts.append(f"{hours} {hour}" + ("s" if hours > 1 else ""))
    if minutes or not hours:
        parts.append(f"{minutes} {minute}" + ("s" if minutes != 1 else ""))
    return " ".join(parts)


def _twelve_hours(local: datetime) -> str:
    half = "AM" if local.hour < 12 else "PM"
    name = local.tzname() or f"{local:%z}"
    return f"{local.hour % 12 or 12}:{local.minute:02d} {half} {name}"


def _digit_of(part: str) -> str:
    return next(digit for digit, words in PARTS.items() if words == part)


def _contracted(text: str) -> str:
    """Contract ``de el`` as Spanish does."""
    return text.replace(" de el ", " del ")

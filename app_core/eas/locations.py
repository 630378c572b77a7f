"""Names of SAME location codes, PSSCCC, and what ground they have in common (47 CFR 11.31(c) and (f)).

``SS`` is a state or a body of water, ``CCC`` a county or area within it, 000 all of it, and SSCCC 00000 the whole
country; ``P`` is 0 for all of the place or a ninth of it. Canada's codes are six digits of their own and have no P; the
first digit is 0, and zeros at the end take in every code that begins like it. The same five digits may stand for places
in two countries, so the callsign of the sender decides: Environment Canada signs ``EC/GC/CA``, Mexican stations begin
with X; every other sender means the United States first.

No code is an error: one that the table does not hold is named as unknown, and compared by its digits like any other.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from app_core.base.errors import ConfigError

PARTS = {
    "1": "northwest",
    "2": "north central",
    "3": "northeast",
    "4": "west central",
    "5": "central",
    "6": "east central",
    "7": "southwest",
    "8": "south central",
    "9": "southeast",
}
"""Names of P, the part of a county."""

LOCATION_KINDS = ("country", "state", "county", "marine", "region", "area", "other", "unknown")
"""What a location may be; ``region`` is Canada's or Mexico's, ``area`` a whole Pacific territory."""

_ONE_PLACE = ("District of Columbia", "Guam")
"""Areas that hold one county, of the same name."""

_CODE = re.compile(r"[0-9A-Z]{6}")


@dataclass(frozen=True, slots=True)
class Location:
    """One place that a header names.

    Attributes
    ----------
    code
        Six characters PSSCCC as sent.
    name
        Of the whole place, without its part and without its state: ``Jackson``, ``Missouri``, ``United States``.
    area
        State, province or body of water that holds it: ``Missouri``; empty when unknown.
    country
        ``US``, ``CA``, ``MX``, or empty when unknown.
    kind
        One of `LOCATION_KINDS`.
    part
        Words for P, for example ``northwest``; empty for the whole place.
    """

    code: str
    name: str
    area: str
    country: str
    kind: str
    part: str

    @property
    def is_whole(self) -> bool:
        """Whether it is all of a country, a state or a body of water."""
        return self.kind in ("country", "state", "area") or (self.kind == "marine" and self.name == self.area)

    @property
    def stands_alone(self) -> bool:
        """Whether it is named without the area that holds it: a whole one, a marine one, an unknown one."""
        if self.kind in ("county", "region", "other"):
            return self.area == "" or self.name in _ONE_PLACE
        return True

    @property
    def short_name(self) -> str:
        """Part and place without its state: ``northwest Jackson``, ``all of Missouri``."""
        if self.part:
            return f"{self.part} {self.name}"
        if self.kind == "country" and self.country == "US":
            return f"all of the {self.name}"
        return f"all of {self.name}" if self.is_whole else self.name

    @property
    def full_name(self) -> str:
        """Part, place and state: ``northwest Jackson, Missouri``; a marine area stands without its ocean."""
        return self.short_name if self.stands_alone else f"{self.short_name}, {self.area}"


_Row = tuple[str, str, str]


@cache
def _table() -> dict[str, _Row]:
    # Keys are country and five digits; values name, area, kind. Interned strings keep 5,400 rows small.
    text = resources.files("app_core.eas").joinpath("tables/locations.csv").read_text(encoding="utf-8")
    table: dict[str, _Row] = {}
    rows = csv.reader(io.StringIO(text))
    next(rows)
    for code, name, area, country, kind in rows:
        table[country + code] = (name, sys.intern(area), sys.intern(kind))
        if country == "US" and code != "00000":
            # Some states, and all waters, have no row of their own for the whole of them.
            whole = "marine" if kind == "marine" else "state"
            table.setdefault(f"US{code[:2]}000", (f"All of {area}", sys.intern(area), whole))
    return table


def _countries(callsign: str) -> tuple[str, ...]:
    if callsign.rstrip().endswith("/CA"):
        return ("CA", "US", "MX")
    if callsign.startswith("X"):
        return ("MX", "US", "CA")
    return ("US", "CA", "MX")


@lru_cache(maxsize=4096)
def _find(code: str, countries: tuple[str, ...]) -> Location:
    part, place = code[:1], code[1:]
    for country in countries:
        row = _table().get(country + place)
        if row is None or (part != "0" and (country == "CA" or part not in PARTS)):
            continue
        name, area, kind = row
        if kind == "country" or (country == "MX" and place == "00000"):
            return Location(
                code, "United States" if country == "US" else name, "", country, "country", PARTS.get(part, "")
            )
        if place.endswith("000") and country == "US":
            name = area
        return Location(code, name, area, country, kind, PARTS.get(part, ""))
    return Location(code, f"Unknown area ({code})", "", "", "unknown", "")


def find_location(code: str, callsign: str = "") -> Location:
    """Look up one location code.

    Parameters
    ----------
    code
        Six characters PSSCCC; anything else is an unknown area, too.
    callsign
        Of the sender, as sent; tells the country where a code stands for places in two.
    """
    return _find(code, _countries(callsign))


def have_common_ground(code: str, area: str, callsign: str = "") -> bool:
    """Tell whether a header's location has any ground in common with an area of ours.

    A whole state touches each of its counties, a county each of its parts, and the other way round; two different parts
    of one county do not touch. The whole country touches everything. In doubt the answer is yes: an alert too many is
    a smaller evil than one too few.

    Parameters
    ----------
    code
        Of the header, as sent.
    area
        Of ours, in the same form.
    callsign
        Of the sender; see `find_location`.
    """
    if code[1:] == "00000" or area[1:] == "00000" or code == area:
        return True
    if find_location(code, callsign).country == "CA":
        ours, theirs = area.rstrip("0"), code.rstrip("0")
        return ours.startswith(theirs) or theirs.startswith(ours)
    if code[1:3] != area[1:3]:
        return False
    if "000" in (code[3:], area[3:]):
        return True
    # Letters for P are for future use (47 CFR 11.31(c)); what they will mean cannot exclude anything now.
    parts = {part for part in (code[0], area[0]) if part in PARTS}
    return code[3:] == area[3:] and ("0" in (code[0], area[0]) or len(parts) < 2)


def touched_areas(locations: Iterable[str], areas: Iterable[str], callsign: str = "") -> tuple[str, ...]:
    """Give those of our areas that a header's locations touch, in our order; see `have_common_ground`."""
    sent = tuple(locations)
    return tuple(area for area in areas if any(have_common_ground(code, area, callsign) for code in sent))


def parse_area(text: str) -> str:
    """Read an area as a person writes it, and give its code.

    Six characters PSSCCC are taken as they are, known or not; five digits are a county's FIPS code. Anything else is a
    name as in `Location.full_name`: ``Jackson, Missouri``, ``northwest Jackson, Missouri``, ``Missouri``,
    ``Cape Cod Bay``.

    Raises
    ------
    ConfigError
        If it is no code, and no place or more than one has that name; the text names some that come near.
    """
    wanted = " ".join(text.split())
    if _CODE.fullmatch(wanted) and any(character.isdigit() for character in wanted):
        return wanted
    if re.fullmatch(r"[0-9]{5}", wanted):
        return f"0{wanted}"
    folded = wanted.casefold().removeprefix("all of ").removeprefix("the ")
    found = _names().get(folded, ())
    digit = "0"
    for part_digit, words in PARTS.items():
        if not found and folded.startswith(f"{words} "):
            found = _names().get(folded.removeprefix(f"{words} "), ())
            digit = part_digit
    if len(found) == 1:
        return digit + found[0]
    if found:
        choices = ", ".join(f"0{place}" for place in found)
        raise ConfigError(f"{wanted!r} is the name of several places: write one of the codes {choices}")
    near = [places[0] for name, places in _names().items() if name.split(",")[0] == folded.split(",")[0]][:5]
    choices = "; ".join(find_location(f"0{place}").full_name for place in near)
    hint = f"; is one of these meant: {choices}?" if near else "; write 'County, State' or a code of six digits"
    raise ConfigError(f"no area is called {wanted!r}{hint}")


@cache
def _names() -> dict[str, tuple[str, ...]]:
    """Five digits of all places by their names without a part, folded."""
    names: dict[str, tuple[str, ...]] = {}
    for key in _table():
        country, place = key[:2], key[2:]
        location = _find(f"0{place}", (country,))
        name = location.name if location.stands_alone else f"{location.name}, {location.area}"
        if location.kind == "county" and location.name in _ONE_PLACE:
            # The whole of it is the same ground, and is found by the same name.
            continue
        folded = name.casefold()
        if place not in names.get(folded, ()):
            names[folded] = (*names.get(folded, ()), place)
    return names

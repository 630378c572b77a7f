"""Names of SAME location codes, PSSCCC (47 CFR 11.31(c) and (f)).

``SS`` is a state or a body of water, ``CCC`` a county or area within it, 000 all of it, and SSCCC 00000 the whole
country; ``P`` is 0 for all of the place or a ninth of it. Canada's codes are six digits of their own and have no P; the
first digit is 0. The same five digits may stand for places in two countries, so the callsign of the sender decides:
Environment Canada signs ``EC/GC/CA``, Mexican stations begin with X; every other sender means the United States first.

No code is an error: one that the table does not hold is named as unknown.
"""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

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
    def short_name(self) -> str:
        """Part and place without its state: ``northwest Jackson``, ``all of Missouri``."""
        if self.part:
            return f"{self.part} {self.name}"
        if self.kind == "country":
            return f"all of the {self.name}" if self.country == "US" else f"all of {self.name}"
        return f"all of {self.name}" if self.kind in ("state", "area") else self.name

    @property
    def full_name(self) -> str:
        """Part, place and state: ``northwest Jackson, Missouri``; a marine area stands without its ocean."""
        if self.kind in ("county", "region", "other") and self.area and self.area != self.name:
            return f"{self.short_name}, {self.area}"
        return self.short_name


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
            # Some states and waters have no row of their own for the whole of them.
            table.setdefault(f"US{code[:2]}000", (f"All of {area}", sys.intern(area), "state"))
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
        if kind in ("state", "area"):
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

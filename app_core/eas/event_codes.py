"""Names and kinds of SAME event codes (47 CFR 11.31(e), NWS 10-1712).

No code is an error: one that the table does not hold is named as unknown, and is an alert like any other.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, get_args

EventKind = Literal["warning", "watch", "statement", "emergency", "test", "administrative", "unknown"]
"""What an event asks of people; advisories count as statements."""

EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)
"""Every kind, the most urgent ones first."""

# The third letter of a code tells its significance by the convention of NWS 10-1712.
_KIND_BY_LAST_LETTER: dict[str, EventKind] = {"W": "warning", "A": "watch", "E": "emergency", "S": "statement"}


@dataclass(frozen=True, slots=True)
class EventCode:
    """One event code.

    Attributes
    ----------
    code
        Three characters, for example ``TOR``.
    name
        In words, for example ``Tornado Warning``.
    kind
        One of `EVENT_KINDS`; for a code that is not in the table the one that its last letter stands for.
    name_es
        The same name in Spanish, for example ``Aviso de Tornado``.
    """

    code: str
    name: str
    kind: EventKind
    name_es: str


@cache
def event_codes() -> dict[str, EventCode]:
    """Give the whole table, by code; it is read at the first call."""
    text = resources.files("app_core.eas").joinpath("tables/events.csv").read_text(encoding="utf-8")
    table: dict[str, EventCode] = {}
    for row in csv.DictReader(io.StringIO(text)):
        kind = next(kind for kind in EVENT_KINDS if kind == row["kind"])
        table[row["code"]] = EventCode(row["code"], row["name"], kind, row["name_es"])
    return table


def find_event(code: str) -> EventCode:
    """Look up one event code; an unknown one is named ``Unknown event (XYZ)``, ``Evento desconocido (XYZ)``."""
    known = event_codes().get(code)
    if known is not None:
        return known
    kind = _KIND_BY_LAST_LETTER.get(code[2:3], "unknown")
    return EventCode(code, f"Unknown event ({code})", kind, f"Evento desconocido ({code})")

"""Fields of an alert's JSON: each is there and of one type, or it is a `WireError`. Times are ISO 8601 in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from app_core.base.errors import WireError

_T = TypeVar("_T")
_REQUIRED: Any = object()


def read_field(fields: Mapping[str, Any], name: str, kind: type[_T], default: Any = _REQUIRED) -> Any:
    """Take a field of exactly one type; with a default, null stands for it, but the name has to be there.

    Raises
    ------
    WireError
        If the field is missing or of another type; true is no int, and 1 is no float.
    """
    if name not in fields:
        raise WireError(f"an alert has no {name}")
    field = fields[name]
    if field is None and default is not _REQUIRED:
        return default
    if type(field) is not kind:
        raise WireError(f"an alert's {name} is {type(field).__name__}, not {kind.__name__}")
    return field


def read_number(fields: Mapping[str, Any], name: str) -> float:
    """Take a number, whole or not.

    Raises
    ------
    WireError
        If it is missing or none.
    """
    if type(fields.get(name)) is int:
        return float(fields[name])
    number: float = read_field(fields, name, float)
    return number


def read_objects(fields: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Take a list of objects.

    Raises
    ------
    WireError
        If it is missing or none.
    """
    items: list[Any] = read_field(fields, name, list)
    if not all(isinstance(item, dict) for item in items):
        raise WireError(f"an alert's {name} are not objects")
    return items


def read_time(fields: Mapping[str, Any], name: str) -> datetime | None:
    """Take a time, or null.

    Raises
    ------
    WireError
        If it is missing, not a string, or not in UTC.
    ValueError
        If the string is not a time.
    """
    text = read_field(fields, name, str, None)
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    if time.utcoffset() != timedelta(0):
        raise WireError(f"an alert's {name} is not in UTC: {text!r}")
    return time.astimezone(UTC)


def time_text(time: datetime | None) -> str | None:
    """Write a time, to the microsecond and with ``Z``, or null."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")

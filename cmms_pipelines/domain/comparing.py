"""Whether two values of a field mean the same: units, zones, enum spellings, forms of numbers, lists without an order.

What belongs here: the kind of each field, and the form in which values of a kind are compared and stored. What does not: what
follows from a difference (`domain.conflicts`).
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import JsonValue, TypeAdapter, ValidationError

from cmms_pipelines.domain.assets import ATTRIBUTE
from cmms_pipelines.domain.hours import hours_of
from cmms_pipelines.domain.payload_types import Deadline, EntityNumber, Instant, Money, Priority, Status
from cmms_pipelines.domain.registers import to_json, to_millisecond


class Kind(StrEnum):
    """What a field holds."""

    TEXT = "text"
    CODE = "code"
    KEY = "key"
    STATUS = "status"
    PRIORITY = "priority"
    INSTANT = "instant"
    DEADLINE = "deadline"
    MONEY = "money"
    HOURS = "hours"
    FLAG = "flag"
    SET = "set"
    NOTES = "notes"
    READINGS = "readings"
    ANY = "any"


_KINDS = {
    "status": Kind.STATUS,
    "priority": Kind.PRIORITY,
    "due_at": Kind.DEADLINE,
    "cost": Kind.MONEY,
    "currency": Kind.CODE,
    "company_code": Kind.CODE,
    "work_type": Kind.CODE,
    "work_order_number": Kind.KEY,
    "equipment_number": Kind.KEY,
    "plant_code": Kind.KEY,
    "object_number": Kind.CODE,
    "point": Kind.CODE,
    "parts": Kind.SET,
    "tags": Kind.SET,
    "notes": Kind.NOTES,
    "readings": Kind.READINGS,
    **dict.fromkeys(
        ("title", "description", "equipment_description", "equipment_group", "assignee", "cause", "findings"), Kind.TEXT
    ),
}
_ENDINGS = {"_at": Kind.INSTANT, "_hours": Kind.HOURS}
_BEGINNINGS = {"is_": Kind.FLAG, "has_": Kind.FLAG}
_FLAGS = {
    **dict.fromkeys(("true", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "off", "0"), False),
}
_QUANTITY = re.compile(r"\s*([-+0-9.,eE]+)\s*([A-Za-z]*)\s*")
_HAS_ZONE = re.compile(r"(?:Z|[-+]\d{2}:?\d{2})$")


@cache
def kind_of(field: str) -> Kind:
    """Return what a field holds, by its name; an attribute of a machine may hold anything."""
    if field in _KINDS:
        return _KINDS[field]
    if field.startswith(ATTRIBUTE):
        return Kind.ANY
    for ending, kind in _ENDINGS.items():
        if field.endswith(ending):
            return kind
    return next((kind for beginning, kind in _BEGINNINGS.items() if field.startswith(beginning)), Kind.ANY)


def stored_form(kind: Kind, value: JsonValue, time_zone: str = "UTC") -> JsonValue:
    """Return a value as it is stored: in our units, our words and UTC; a value that cannot be read stays as it is.

    Texts, lists and whatever has no kind are stored as they were written.
    """
    if _is_empty(value):
        return [] if isinstance(value, list) else None
    read = _READ.get(kind)
    if read is None:
        return value
    try:
        return read(value, time_zone)
    except (ValidationError, ValueError, InvalidOperation):
        return value


def compared_form(kind: Kind, value: JsonValue, time_zone: str = "UTC") -> JsonValue:
    """Return what two values have in common exactly when they mean the same; None for no value."""
    if _is_empty(value):
        return None
    form = stored_form(kind, value, time_zone)
    if kind in _LISTS and isinstance(form, list):
        return sorted((_deep(item) for item in form), key=_text)
    if kind is Kind.CODE and isinstance(form, str):
        return form.strip().casefold()
    return _deep(form)


def text_of(value: JsonValue) -> str:
    """Return a text that two values share exactly when they are the same whatever the order of keys and the form of numbers."""
    return _text(_deep(value))


_LISTS = frozenset((Kind.SET, Kind.NOTES, Kind.READINGS))


def _is_empty(value: JsonValue) -> bool:
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def _deep(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        lines = unicodedata.normalize("NFC", value).replace("\r\n", "\n").strip().split("\n")
        return "\n".join(line.rstrip() for line in lines)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _plain(Decimal(str(value)))
    if isinstance(value, list):
        return [_deep(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _deep(item) for key, item in value.items() if item is not None}
    return value


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) if number else "0"


def _text(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _adapted(type_: Any) -> Callable[[JsonValue, str], JsonValue]:  # noqa: ANN401 - an annotated type of payload_types
    adapter = TypeAdapter[Any](type_)

    def read(value: JsonValue, _time_zone: str) -> JsonValue:
        return to_json(adapter.validate_python(value))

    return read


def _timed(type_: Any) -> Callable[[JsonValue, str], JsonValue]:  # noqa: ANN401 - an annotated type of payload_types
    adapter = TypeAdapter[Any](type_)

    def read(value: JsonValue, time_zone: str) -> JsonValue:
        moment = adapter.validate_python(value)
        if time_zone != "UTC" and isinstance(value, str) and len(value.strip()) > 10 and not _HAS_ZONE.search(value.strip()):
            moment = moment.replace(tzinfo=ZoneInfo(time_zone)).astimezone(UTC)
        return to_millisecond(moment).isoformat() if isinstance(moment, datetime) else value

    return read


def _hours(value: JsonValue, _time_zone: str) -> JsonValue:
    if isinstance(value, dict):
        number, unit = value.get("value"), value.get("unit") or "h"
    else:
        found = _QUANTITY.fullmatch(str(value))
        if found is None or isinstance(value, bool):
            raise ValueError("hours are a number, a number with its unit, or {value, unit}")
        number, unit = found[1], found[2] or "h"
    return _plain(hours_of(Decimal(str(number).replace(",", "")), str(unit)))


def _flag(value: JsonValue, _time_zone: str) -> JsonValue:
    if isinstance(value, bool):
        return value
    return _FLAGS.get(str(value).strip().lower(), value)


_READ: Mapping[Kind, Callable[[JsonValue, str], JsonValue]] = {
    Kind.STATUS: _adapted(Status),
    Kind.PRIORITY: _adapted(Priority),
    Kind.KEY: _adapted(EntityNumber),
    Kind.INSTANT: _timed(Instant),
    Kind.DEADLINE: _timed(Deadline),
    Kind.MONEY: _adapted(Money),
    Kind.HOURS: _hours,
    Kind.FLAG: _flag,
}

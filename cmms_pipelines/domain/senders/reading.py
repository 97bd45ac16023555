"""Reading the bodies of senders: values that may be missing, of another type than promised, or without a time zone.

What belongs here: how one value is looked up and read, and what a sender's delivery is once read. What does not: which sender has
which fields (the modules beside this one). Nothing here raises: a field that cannot be read is absent, the bytes stay.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

_LONGEST = 40
_SECONDS_UNTIL = 100_000_000_000  # more than this is milliseconds: as seconds it would be the year 5138


@dataclass(frozen=True)
class Request:
    """A verified delivery: its body as JSON, its headers by lower-case name, and the zone of times that name none."""

    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    zone: ZoneInfo | None = None


@dataclass(frozen=True)
class Delivery:
    """What a sender said, in canonical fields. `name` is the sender's own name of the event, empty when it gave none."""

    name: str
    payload: Mapping[str, Any]
    occurred_at: dt.datetime | None = None
    event_id: str | None = None


def value_at(body: object, pointer: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value at an RFC 6901 pointer, None where there is none."""
    found = body
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isascii() and key.isdigit() and len(key) < 6 and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def part(body: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return the first of these members that is an object, else an empty one."""
    return next((value for name in names if isinstance(value := body.get(name), Mapping)), {})


def text(value: object) -> str | None:
    """Return a text or a number as text; None for anything else, and for nothing but spaces."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


def instant(value: object, zone: ZoneInfo | None = None) -> dt.datetime | None:
    """Return an ISO 8601 time, or seconds or milliseconds since 1970, in UTC.

    A time without an offset is in `zone`; without a zone it is None: a guess would order events wrongly.
    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) >= _SECONDS_UNTIL else value
            return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
        if not isinstance(value, str) or len(value) > _LONGEST:
            return None
        read = dt.datetime.fromisoformat(_microseconds(value.strip()))
        if read.tzinfo is None and zone is None:
            return None
        return (read if read.tzinfo is not None else read.replace(tzinfo=zone)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def iso(value: object, zone: ZoneInfo | None = None) -> str | None:
    """Return a time as the payload of an event holds it."""
    read = instant(value, zone)
    return read.isoformat() if read else None


def stated(**fields: object) -> dict[str, Any]:
    """Return the fields that say something: an absent one says nothing, which is not the same as null."""
    return {name: value for name, value in fields.items() if value is not None}


def person(value: object) -> str | None:
    """Return somebody's name from a text, or an object with a name or a first and a last one."""
    if not isinstance(value, Mapping):
        return text(value)
    full = " ".join(filter(None, (text(value.get("firstName")), text(value.get("lastName")))))
    return full or text(value.get("name")) or text(value.get("email")) or text(value.get("id"))


def named(value: object) -> str | None:
    """Return the name of an object that is given whole or by its name."""
    return text(value.get("name")) if isinstance(value, Mapping) else text(value)


def _microseconds(value: str) -> str:
    """Cut a fraction to the six digits that Python reads (.NET sends seven)."""
    head, dot, rest = value.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{head}.{rest[:digits][:6]}{rest[digits:]}" if dot else value

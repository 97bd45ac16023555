"""Three-way merges of fields that hold many things: parts and tags, notes, readings of a counter.

What belongs here: what either side added or took away. What does not: fields with one value (`domain.conflicts`).

An element is told by its own key where it has one (a part's number), else by what it says; equal elements are counted, so that
three seals stay three.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise

from pydantic import JsonValue

from cmms_pipelines.domain.comparing import Kind, stored_form, text_of
from cmms_pipelines.domain.counters import CounterEventKind, CounterFacts, counter_step
from cmms_pipelines.domain.safety import is_safety_name

_KEYS = ("id", "part_number", "partNumber", "number", "material", "sku", "code", "name")
_JITTER_HOURS = 1  # as in `domain.meter_readings`
_TIMES = ("at", "created_at", "written_at")


@dataclass(frozen=True)
class Contested:
    """Elements that a merge of lists cannot decide."""

    elements: tuple[str, ...]
    is_safety: bool = False


@dataclass(frozen=True)
class Fall:
    """A counter that shows less than before."""

    before: str
    after: str
    is_rollover: bool


def merge_sets(base: JsonValue, ours: JsonValue, theirs: JsonValue) -> list[JsonValue] | Contested:
    """Return what either side added without what either side took away, in the order of their text.

    Contested: an element whose details both changed differently, one that a side changed and the other took away, and one
    about safety that a side took away.
    """
    before, here, there = _keyed(base), _keyed(ours), _keyed(theirs)
    merged: list[JsonValue] = []
    contested: list[str] = []
    for key in sorted(before.keys() | here.keys() | there.keys()):
        was, mine, other = (texts.get(key, ()) for texts in (before, here, there))
        if _texts(mine) == _texts(other) or _texts(other) == _texts(was):
            merged += mine
        elif _texts(mine) == _texts(was):
            merged += other
        else:
            contested.append(key)
    lost = [key for key in before if is_safety_name(key) and not (here.get(key) and there.get(key))]
    if lost:
        return Contested(tuple(lost), is_safety=True)
    return Contested(tuple(contested)) if contested else merged


def append_notes(base: JsonValue, ours: JsonValue, theirs: JsonValue) -> list[JsonValue]:
    """Return our notes and those that the other side has added since the base, in the order of their times, then texts."""
    known = Counter(text_of(note) for note in [*_items(base), *_items(ours)])
    added = {text_of(note): note for note in _items(theirs) if text_of(note) not in known}
    if not added:
        return list(_items(ours))
    return sorted([*_items(ours), *added.values()], key=lambda note: (_written_at(note), text_of(note)))


def merge_readings(ours: JsonValue, theirs: JsonValue) -> list[JsonValue] | Contested:
    """Return the readings of both sides by their time; contested are two that differ at the same time.

    A reading is `{"at": time, "hours": number}`, and may have more.
    """
    by_time: dict[str, JsonValue] = {}
    contested: list[str] = []
    for reading in [*_items(ours), *_items(theirs)]:
        moment = _read_at(reading)
        known = by_time.setdefault(moment, reading)
        if _hours(known) != _hours(reading):
            contested.append(moment)
    if contested:
        return Contested(tuple(contested))
    return [by_time[moment] for moment in sorted(by_time)]


def falls(readings: Iterable[JsonValue], facts: CounterFacts) -> list[Fall]:
    """Return each step of a series, in the order of time, at which the counter went back."""
    steps = pairwise((_hours(reading), _moment(_read_at(reading))) for reading in readings)
    found = (fall_between(*before, *after, facts) for before, after in steps)
    return [fall for fall in found if fall is not None]


def fall_between(
    before: str, before_at: datetime | None, after: str, after_at: datetime | None, facts: CounterFacts
) -> Fall | None:
    """Return the fall of a counter between two readings, None if it rose or stood still.

    It is a rollover where the limit is known and the hours across it fit between the two times; unknown times allow any.
    """
    try:
        first, second = float(before), float(after)
    except ValueError:
        return Fall(before, after, is_rollover=False)
    possible = float("inf")
    if before_at and after_at:
        possible = (after_at - before_at).total_seconds() / 3600 + _JITTER_HOURS
    step = counter_step(first, second, hours_possible=possible, facts=facts)
    if step.event is None:
        return None
    return Fall(before, after, is_rollover=step.event.kind is CounterEventKind.ROLLOVER)


def _items(value: JsonValue) -> list[JsonValue]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _keyed(value: JsonValue) -> Mapping[str, tuple[JsonValue, ...]]:
    found: dict[str, tuple[JsonValue, ...]] = {}
    for item in _items(value):
        found[_key(item)] = (*found.get(_key(item), ()), item)
    return found


def _key(item: JsonValue) -> str:
    if isinstance(item, dict):
        key = next((item[name] for name in _KEYS if item.get(name) is not None), None)
        return text_of(item) if key is None else text_of(str(key)).casefold()
    return text_of(str(item)).casefold() if isinstance(item, str) else text_of(item)


def _texts(items: tuple[JsonValue, ...]) -> list[str]:
    return sorted(text_of(item).casefold() if isinstance(item, str) else text_of(item) for item in items)


def _written_at(note: JsonValue) -> str:
    return str(next((note[name] for name in _TIMES if note.get(name)), "")) if isinstance(note, dict) else ""


def _read_at(reading: JsonValue) -> str:
    moment = reading.get("at") if isinstance(reading, dict) else None
    return str(stored_form(Kind.INSTANT, moment) or "")


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _hours(reading: JsonValue) -> str:
    hours = reading.get("hours") if isinstance(reading, dict) else reading
    form = stored_form(Kind.HOURS, hours)
    try:
        return str(Decimal(str(form)))
    except InvalidOperation:
        return json.dumps(hours, sort_keys=True)

"""How a stored day of a machine holds what was reported for it: rows as parts, parts as rows, and what a change makes of them.

What belongs here: the form of `cmms.equipment_running_times.readings`, and whose part gives way to whose. What does not: what
parts come to (`domain.machine_days`), which readings wait (`domain.falling_meters`), and SQL (`storage.machine_days`). Pure,
and without pandas.

A day of one plain reading is a row and nothing else; any other keeps its parts in `readings`, by plant code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cmms_pipelines.domain.falling_meters import EARLIER, MARKS, beside
from cmms_pipelines.domain.machine_days import EXCEEDS_DAY, HOURS_MISSING, WENT_BACK, Outcome, Part
from cmms_pipelines.domain.meter_readings import EXTERNAL_API

_TEXTS = ("company_code", "point", "description", "equipment_description", "object_number", "api_created_at")
_HOURS = ("running_hours", "cumulative_hours")
_MORE_THAN_A_ROW = frozenset({"is_replaced", "is_difference", "is_hours_unstated", "stated_hours", EARLIER}) | MARKS

Parts = Mapping[str, Mapping[str, Any] | None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """What was reported for a machine's day: parts by plant code, None for one whose readings are all cancelled.

    Of a refused one the counter alone is kept, unless its plant has an accepted reading of the day (quirk 15). One of an
    event is the whole day, and gives way to the external API.
    """

    parts: Parts
    is_refused: bool = False
    source: str = EXTERNAL_API


def combined(row: Row | None, change: Change | None) -> tuple[dict[str, Mapping[str, Any]], str]:
    """Return the parts of a day after a change, and where they come from.

    The external API has authority over events, and its plants' parts stand beside one another. A counter that was only kept
    gives way to an accepted reading, and takes the place of nothing but another such counter.
    """
    stored = {} if row is None else _parts_of(row)
    told = {} if change is None else {code: part for code, part in change.parts.items() if part is not None}
    if row is None:
        return told, EXTERNAL_API if change is None else change.source
    source = str(row["source"])
    if change is None:
        return stored, source
    if change.is_refused:
        told = {code: part for code, part in told.items() if code not in stored or EXCEEDS_DAY in stored[code]["warnings"]}
        return ({**stored, **told}, source) if source == change.source else (stored, source)
    if change.source != EXTERNAL_API:
        return _of_events(row, stored, told, change.source)
    if source != EXTERNAL_API:
        return (told, EXTERNAL_API) if told else (stored, source)
    return {**{code: part for code, part in stored.items() if code not in change.parts}, **told}, EXTERNAL_API


def _of_events(row: Row, stored: Parts, told: Parts, source: str) -> tuple[dict[str, Mapping[str, Any]], str]:
    """Return the part of a day that another reading of an event came in for."""
    if _is_refused(row):
        return {code: part for code, part in told.items() if part}, source
    if row["source"] == EXTERNAL_API:
        return {code: part for code, part in stored.items() if part}, EXTERNAL_API
    known = next(part for part in stored.values() if part)
    return {code: beside(known, part) for code, part in told.items() if part}, source


def held_reading(row: Row) -> tuple[str, Mapping[str, Any]] | None:
    """Return the reading of a day that waits or was dismissed, with its plant."""
    parts = (row["readings"] or {}).items()
    return next(((code, part) for code, part in parts if part.get("is_waiting") or part.get("is_dismissed")), None)


def with_held(row: Row, held: tuple[str, Mapping[str, Any]]) -> Row:
    """Return the row of the reading that counts with the one beside it that does not."""
    warnings = {*(row["warnings"] or ()), *([WENT_BACK] if held[1].get("is_waiting") else [])}
    return {**row, "warnings": sorted(warnings) or None, "readings": {held[0]: held[1]}}


def _is_refused(row: Mapping[str, Any]) -> bool:
    """Tell a row that only keeps the counter of a reading whose hours were refused."""
    warnings = row["warnings"] or ()
    return row["running_hours"] is None and EXCEEDS_DAY in warnings and HOURS_MISSING not in warnings and not row.get("readings")


def _parts_of(row: Row) -> dict[str, Mapping[str, Any]]:
    if row["readings"]:
        return dict(row["readings"])
    part = {name: row[name] for name in (*_HOURS, "days_covered", "date_time")}
    part |= {name: row[name] for name in _TEXTS if row[name] is not None or name == "company_code"}
    part["warnings"] = row["warnings"] or []
    if _is_refused(row):
        part["is_refused"] = True
    return {row["plant_code"]: part}


def part_of(plant_code: str, told: Mapping[str, Any], *, is_told: bool) -> Part:
    warnings = told["warnings"]
    is_unstated = HOURS_MISSING in warnings or told.get("is_hours_unstated", False)
    is_unstated = is_unstated or (told["running_hours"] is None and WENT_BACK in warnings)
    is_difference = told.get("is_difference", False)
    return Part(
        plant_code=plant_code,
        read_at=None if told["date_time"] is None else datetime.fromisoformat(told["date_time"]),
        running_hours=None if is_unstated else told.get("stated_hours", told["running_hours"]),
        counter=None if is_difference else told.get("corrected_hours", told["cumulative_hours"]),
        is_replaced=told.get("is_replaced", False),
        is_difference=is_difference,
        is_refused=told.get("is_refused", False),
        is_told=is_told,
        is_accepted=told.get("is_accepted", False),
        is_dismissed=told.get("is_dismissed", False),
        warnings=tuple(warnings),
    )


def row_of(
    ordered: Sequence[Part],
    outcome: Outcome,
    parts: Mapping[str, Mapping[str, Any]],
    zones: Mapping[str, tuple[int, str]],
    source: str,
) -> Row:
    readings: dict[str, Mapping[str, Any]] = {}
    for number, part in enumerate(ordered):
        hours, days = outcome.part_hours[number], outcome.part_days[number]
        told = {name: value for name, value in parts[part.plant_code].items() if name not in {"stated_hours", "is_waiting"}}
        told |= {"running_hours": hours, "days_covered": days, "warnings": list(outcome.part_warnings[number])}
        if part.is_difference:
            told["cumulative_hours"] = outcome.cumulative_hours if len(ordered) == 1 else None
        if part.running_hours is not None and (days > 1 or hours != part.running_hours):
            told["stated_hours"] = part.running_hours
        if outcome.part_waits[number]:
            told["is_waiting"] = True
        elif not (part.is_dismissed or part.is_accepted):  # a decision may be undone: then it counts again
            told.pop(EARLIER, None)
        readings[part.plant_code] = told
    last = readings[ordered[-1].plant_code]
    is_plain = len(ordered) == 1 and not last.keys() & _MORE_THAN_A_ROW
    return {
        "plant_id": zones[ordered[-1].plant_code][0],
        "plant_code": ordered[-1].plant_code,
        "date_time": last["date_time"],
        **{name: last.get(name) for name in _TEXTS},
        "running_hours": outcome.running_hours,
        "cumulative_hours": outcome.cumulative_hours,
        "days_covered": outcome.days_covered,
        "warnings": list(outcome.warnings) or None,
        "readings": None if is_plain else readings,
        "source": source,
    }

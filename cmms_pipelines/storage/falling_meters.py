"""Readings of events that wait because their counter fell: their conflicts, and the marks of what was decided about them.

What belongs here: keeping `cmms.sync_conflicts` in step with the readings that wait, and marking readings. What does not: what
waits and what a decision means (`domain.falling_meters`), working days out (`storage.machine_days`), and people's part of it
(`storage.conflict_sides`). The caller holds the machines' locks.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Decision, Verdict
from cmms_pipelines.domain.falling_meters import (
    EARLIER,
    MARKS,
    METER,
    READINGS,
    Fallen,
    Reading,
    decide,
    marks_of,
    reading_of,
)
from cmms_pipelines.domain.local_edits import Settled, Waiting
from cmms_pipelines.storage.conflict_records import Outcome, policies, policy_of, record, waiting_conflicts
from cmms_pipelines.storage.tables import equipment, equipment_running_times, sync_conflicts

MachineDay = tuple[int, dt.date]
_TIMES, _EQUIPMENT = equipment_running_times.fullname, equipment.fullname
_WEBHOOK = "webhook:"

_READINGS = f"""
    SELECT machine.equipment_number, day.equipment_id, day.date, day.source, part.key AS plant_code, part.value AS part
    FROM {_EQUIPMENT} machine
    JOIN {_TIMES} day ON day.equipment_id = machine.id
    CROSS JOIN LATERAL jsonb_each(day.readings) part
    WHERE day.readings IS NOT NULL AND day.source LIKE '{_WEBHOOK}%' AND {{which}}
    ORDER BY machine.equipment_number, day.date
"""
_WAITING = sa.text(_READINGS.format(which="machine.id = ANY(CAST(:ids AS bigint[])) AND (part.value ->> 'is_waiting')::boolean"))
_STATED = sa.text(
    _READINGS.format(which="machine.equipment_number = :number AND part.value ->> 'date_time' = ANY(CAST(:times AS text[]))")
)

_BEFORE = sa.text(f"""
    SELECT date, date_time, cumulative_hours::float AS hours FROM {_TIMES}
    WHERE equipment_id = :equipment_id AND date < :day AND cumulative_hours IS NOT NULL
    ORDER BY date DESC LIMIT 1
""")

_OPEN = (
    sa.select(equipment.c.id)
    .join(sync_conflicts, sync_conflicts.c.entity_key == equipment.c.equipment_number)
    .where(sync_conflicts.c.entity_type == METER, sync_conflicts.c.status == "open")
)

_MARK = sa.text(f"""
    UPDATE {_TIMES} AS day SET readings = marked.readings
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS marked (equipment_id bigint, date date, readings jsonb)
    WHERE day.equipment_id = marked.equipment_id AND day.date = marked.date
""")


@dataclass(frozen=True)
class StoredReading:
    """A reading of an event on its day, as a part of it."""

    equipment_number: str
    day: MachineDay
    plant_code: str
    part: Mapping[str, Any]
    source: str

    @property
    def reading(self) -> Reading:
        """Return what was stated."""
        return reading_of(self.part)

    @property
    def system(self) -> str:
        """Return who stated it."""
        return str(self.part.get("system") or self.source.removeprefix(_WEBHOOK))

    @property
    def standing(self) -> Reading | None:
        """Return the reading as it counts; None where it waits or was dismissed."""
        if self.part.get("is_waiting") or self.part.get("is_dismissed"):
            return None
        return {**self.reading, "hours": self.part.get("corrected_hours", self.part["cumulative_hours"])}


def settle_falls(connection: sa.Connection, equipment_ids: Collection[int]) -> list[MachineDay]:
    """Have a conflict open for each machine and system with readings that wait, and none for others.

    Where the policy of a system decides by itself, its readings are marked; their days are returned, to be worked out again.
    """
    waiting = _stored(connection.execute(_WAITING, {"ids": sorted(equipment_ids)}))
    of_machines = sa.select(equipment.c.equipment_number).where(equipment.c.id.in_(list(equipment_ids)))
    numbers: list[str] = list(connection.scalars(of_machines))
    known = waiting_conflicts(connection, METER, numbers)
    configured = policies(connection) if waiting else {}
    outcomes: list[Outcome] = []
    marked: list[MachineDay] = []
    of_meter = sorted(waiting, key=lambda one: (one.system, one.equipment_number, one.day[1]))
    for (system, number), group in groupby(of_meter, key=lambda one: (one.system, one.equipment_number)):
        readings = list(group)
        decision = decide(_fallen(connection, readings), system, policy_of(configured, system))
        asked = known.pop((system, number), {}).get(READINGS)
        is_decided = decision.verdict is not Verdict.ESCALATED and not _is_for_a_person(asked, decision)
        if is_decided:
            marks = marks_of(decision)
            marked += mark(connection, readings, dict.fromkeys((one.day for one in readings), marks))
        outcomes.append(_outcome(system, number, decision, readings[-1], is_decided=is_decided))
    outcomes += [_ended(system, number) for system, number in known]
    record(connection, METER, outcomes)
    return marked


def settle_overtaken(connection: sa.Connection, equipment_ids: Iterable[int]) -> None:
    """Close the conflicts of readings that the external API has reported the day of, meanwhile."""
    in_question: set[int] = set(connection.scalars(_OPEN))
    if in_question and (asked := in_question.intersection(equipment_ids)):
        settle_falls(connection, asked)


def readings_in_question(connection: sa.Connection, equipment_number: str, system: str, stated: JsonValue) -> list[StoredReading]:
    """Return the readings of a conflict as they are stored; one that something else has taken the place of is not among them."""
    wanted = [reading for reading in stated if isinstance(reading, dict)] if isinstance(stated, list) else []
    found = _stored(connection.execute(_STATED, {"number": equipment_number, "times": [one["at"] for one in wanted]}))
    return [one for one in found if one.system == system and one.reading in wanted]


def mark(
    connection: sa.Connection, readings: Sequence[StoredReading], marks: Mapping[MachineDay, Mapping[str, Any]]
) -> list[MachineDay]:
    """Put marks on readings, by their days, in place of those that they have; return the days, which are to be worked out."""
    rows = []
    for one in readings:
        bare = {name: value for name, value in one.part.items() if name not in MARKS}
        part = {**bare, "is_waiting": True, **marks.get(one.day, {})}
        rows.append({"equipment_id": one.day[0], "date": one.day[1], "readings": {one.plant_code: part}})
    if rows:
        connection.execute(_MARK, {"rows": orjson.dumps(rows).decode()})
    return [one.day for one in readings]


def _stored(rows: Iterable[sa.Row[Any]]) -> list[StoredReading]:
    return [
        StoredReading(row.equipment_number, (row.equipment_id, row.date), row.plant_code, row.part, row.source) for row in rows
    ]


def _fallen(connection: sa.Connection, readings: Sequence[StoredReading]) -> Fallen:
    """Return the readings with the last one before them that counts: of the same day, or of a day before."""
    first = readings[0]
    waiting = tuple(one.reading for one in readings)
    if first.part.get(EARLIER):
        return Fallen(reading_of(first.part[EARLIER]), waiting)
    found = connection.execute(_BEFORE, {"equipment_id": first.day[0], "day": first.day[1]}).one()
    read_at = found.date_time
    is_before = read_at is not None and read_at < dt.datetime.fromisoformat(str(first.part["date_time"]))
    at = read_at.astimezone(dt.UTC) if is_before else dt.datetime.combine(found.date, dt.time(), dt.UTC)
    return Fallen({"at": at.isoformat(), "hours": found.hours}, waiting)


def _is_for_a_person(asked: Waiting | None, decision: Decision) -> bool:
    return asked is not None and asked.is_reopened and asked.theirs == decision.theirs


def _outcome(system: str, number: str, decision: Decision, last: StoredReading, *, is_decided: bool) -> Outcome:
    settled = Settled({}, {}, {}, () if is_decided else (decision,), (decision,) if is_decided else (), {})
    hook = last.part.get("hook_id")
    stated_at = {READINGS: dt.datetime.fromisoformat(str(last.part["date_time"]))}
    return Outcome(system, number, settled, {}, {}, stated_at, None if hook is None else uuid.UUID(hook))


def _ended(system: str, number: str) -> Outcome:
    why = "no reading of it falls any more: others have come, its limit is known, or the external API has reported the day"
    return Outcome(system, number, Settled({}, {}, {}, (), (), {READINGS: why}), {}, {}, {})

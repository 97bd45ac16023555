"""Write meter readings of events into `cmms.equipment_running_times` and `cmms.counter_events`.

What belongs here: loading the days around a batch of readings and having their changes written. What does not: the policy
(`domain.meter_readings`), working out and writing days (`storage.machine_days`), and the readings of the external API.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.conflict_cases import Rule
from cmms_pipelines.domain.counters import CounterFacts
from cmms_pipelines.domain.event_payloads import MeterReadingPayload, Refusal
from cmms_pipelines.domain.falling_meters import EARLIER, READINGS, beside
from cmms_pipelines.domain.machine_days import EXCEEDS_DAY, HOURS_MISSING
from cmms_pipelines.domain.meter_readings import EXTERNAL_API, DayReading, local_day, place
from cmms_pipelines.storage.day_rows import Change
from cmms_pipelines.storage.equipment_lookup import KnownEquipment
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, refused, waits_for
from cmms_pipelines.storage.machine_days import lock_machines, work_out_days
from cmms_pipelines.storage.partitions import ensure_month_partitions
from cmms_pipelines.storage.tables import counter_events, counter_facts, equipment, equipment_running_times, plants

FIRST_DAY = date(1990, 1, 1)
_AHEAD = timedelta(days=2)  # a reading may come from the day after at the other side of the world, and clocks differ
_TIMES = equipment_running_times.fullname
_TEXTS = ("company_code", "point", "equipment_description", "object_number")
_DAY = "date, cumulative_hours, running_hours, days_covered, source, date_time, warnings, readings"

_LOAD = sa.text(f"""
    SELECT wanted.equipment_id, days.*
    FROM unnest(CAST(:ids AS bigint[]), CAST(:first AS date[]), CAST(:last AS date[])) AS wanted (equipment_id, first, last)
    CROSS JOIN LATERAL (
        (SELECT {_DAY} FROM {_TIMES} AS times
         WHERE times.equipment_id = wanted.equipment_id AND date BETWEEN wanted.first AND wanted.last)
        UNION ALL
        (SELECT {_DAY} FROM {_TIMES} AS times
         WHERE times.equipment_id = wanted.equipment_id AND date < wanted.first AND cumulative_hours IS NOT NULL
         ORDER BY date DESC LIMIT 1)
        UNION ALL
        (SELECT {_DAY} FROM {_TIMES} AS times
         WHERE times.equipment_id = wanted.equipment_id AND date > wanted.last AND cumulative_hours IS NOT NULL
         ORDER BY date LIMIT 1)
    ) AS days
""")

_MACHINES = sa.text(f"""
    SELECT e.id, p.plant_code, e.company_code, e.equipment_description, e.object_number, e.point,
           f.overflow_at, COALESCE(f.is_counting_backwards, false) AS is_counting_backwards
    FROM {equipment.fullname} e
    JOIN {plants.fullname} p ON p.id = e.plant_id
    LEFT JOIN {counter_facts.fullname} f ON f.equipment_id = e.id
    WHERE e.id = ANY(CAST(:ids AS bigint[]))
""")


_LEARN = sa.text(f"""
    INSERT INTO {counter_facts.fullname} AS known (equipment_id, overflow_at, is_counting_backwards)
    SELECT id, overflow_at, false FROM jsonb_to_recordset(CAST(:limits AS jsonb)) AS told (id bigint, overflow_at numeric(14,4))
    ORDER BY id
    ON CONFLICT (equipment_id) DO UPDATE SET overflow_at = excluded.overflow_at, updated_at = now()
    WHERE known.overflow_at IS NULL OR known.overflow_at < excluded.overflow_at
    RETURNING equipment_id
""")

# a limit explains what waits for it, and what was taken for a reset
_AFFECTED = sa.text(f"""
    SELECT equipment_id, date FROM {counter_events.fullname} WHERE equipment_id = ANY(CAST(:ids AS bigint[]))
    UNION
    SELECT equipment_id, date FROM {_TIMES}
    WHERE equipment_id = ANY(CAST(:ids AS bigint[])) AND readings IS NOT NULL AND source <> '{EXTERNAL_API}'
""")


@dataclass
class _Machine:
    """The days of one machine during a batch."""

    known: KnownEquipment
    plant_code: str
    texts: Mapping[str, str | None]
    facts: CounterFacts
    days: dict[date, DayReading] = field(default_factory=dict)
    changes: dict[date, Change] = field(default_factory=dict)


def apply_meter_readings(
    connection: sa.Connection, events: Sequence[tuple[ClaimedEvent, MeterReadingPayload]], known: Mapping[str, KnownEquipment]
) -> list[Settlement]:
    """Apply meter readings, in the order given; the day of a reading is the local day of the machine's plant.

    Its machine is locked, as the syncs do it, and what follows from it is worked out as theirs. A reading whose hours are
    refused keeps its counter where nothing else is stored for its day, as the one that later readings are compared with. One
    whose counter fell, though no limit explains it, waits in `cmms.sync_conflicts`; until then nothing is compared with it.
    """
    settlements: list[Settlement] = []
    placed: list[tuple[ClaimedEvent, KnownEquipment, DayReading]] = []
    limits: dict[int, float] = {}
    for event, payload in events:
        machine = known.get(payload.equipment_number)
        if machine is None:
            settlements.append(waits_for(event, payload.equipment_number))
            continue
        reading = _reading(event, payload, machine)
        if not FIRST_DAY <= reading.day <= event.created_at.date() + _AHEAD:
            message = f"{reading.day.isoformat()} is before {FIRST_DAY.isoformat()} or in the future"
            settlements.append(refused(event, Refusal("reading_date_implausible", message)))
            continue
        placed.append((event, machine, reading))
        if (limit := payload.limit_h()) is not None:
            limits[machine.id] = max(float(limit), limits.get(machine.id, 0.0))
    if placed:
        lock_machines(connection, {machine.id for _, machine, _ in placed})
        _learn(connection, limits)
        machines = _load(connection, [(machine, reading.day) for _, machine, reading in placed])
        settlements += [_place(event, machines[machine.id], reading) for event, machine, reading in placed]
        _write(connection, machines.values())
    return settlements


def _learn(connection: sa.Connection, limits: Mapping[int, float]) -> None:
    """Keep what events tell of counters' limits, and work out again what it explains; the machines are locked."""
    if limits:
        told = [{"id": identifier, "overflow_at": limit} for identifier, limit in limits.items()]
        learned = list(connection.scalars(_LEARN, {"limits": orjson.dumps(told).decode()}))
        days = connection.execute(_AFFECTED, {"ids": learned}) if learned else ()
        work_out_days(connection, {(row.equipment_id, row.date): None for row in days})


def _reading(event: ClaimedEvent, payload: MeterReadingPayload, machine: KnownEquipment) -> DayReading:
    read_at = payload.reading_at or event.stated_at
    return DayReading(
        day=local_day(read_at, machine.time_zone),
        cumulative_hours=payload.cumulative_h(),
        running_hours=payload.running_h(),
        days_covered=1,
        source=f"webhook:{event.cmms_system_id}"[:100],
        read_at=read_at,
    )


def _place(event: ClaimedEvent, machine: _Machine, reading: DayReading) -> Settlement:
    placement = place(reading, machine.days, machine.known.time_zone, machine.facts)
    if isinstance(placement, Refusal):
        if placement.rule == EXCEEDS_DAY and reading.cumulative_hours is not None and reading.day not in machine.changes:
            warnings = (EXCEEDS_DAY,) if reading.running_hours is not None else (EXCEEDS_DAY, HOURS_MISSING)
            machine.changes[reading.day] = _change(machine, reading, warnings, is_refused=True)
        return refused(event, placement)
    for row in placement.rows:
        machine.days[row.day] = row
    outcome: dict[str, Any] = {
        "entity": f"equipment:{machine.known.equipment_number}",
        "date": reading.day.isoformat(),
        "reason": placement.reason,
    }
    if not placement.rows:
        return Settlement(event, Verdict.IGNORED, outcome)
    stored = placement.rows[0]
    change = _change(machine, reading, stored.warnings, hook=(event.cmms_system_id, event.id))
    machine.changes[reading.day] = _with_those_of_the_day(change, machine, reading.day, waits=placement.waits)
    if placement.waits:
        outcome["waiting"] = {READINGS: Rule.COUNTER_FELL.value}
        return Settlement(event, Verdict.APPLIED, outcome)
    outcome |= {"running_hours": stored.running_hours, "cumulative_hours": stored.cumulative_hours, "warnings": stored.warnings}
    return Settlement(event, Verdict.APPLIED, outcome)


def _with_those_of_the_day(change: Change, machine: _Machine, day: date, *, waits: bool) -> Change:
    """Return a change with what the batch has brought for the same day: the last reading that may count goes with it."""
    (plant_code, part), *_ = change.parts.items()
    known = machine.changes.get(day)
    new = {**(part or {}), **({"is_waiting": True} if waits else {})}
    before = known.parts.get(plant_code) if known is not None and not known.is_refused else None
    return replace(change, parts={plant_code: new if before is None else beside(before, new)})


def _change(
    machine: _Machine,
    reading: DayReading,
    warnings: Sequence[str],
    *,
    is_refused: bool = False,
    hook: tuple[str, uuid.UUID] | None = None,
) -> Change:
    part: dict[str, Any] = {
        **machine.texts,
        "running_hours": _number(reading.running_hours),
        "cumulative_hours": _number(reading.cumulative_hours),
        "days_covered": 1,
        "date_time": None if reading.read_at is None else reading.read_at.astimezone(UTC).isoformat(),
        "warnings": list(warnings),
    }
    if hook is not None:
        part |= {"system": hook[0], "hook_id": str(hook[1])}
    if is_refused and HOURS_MISSING not in warnings:
        part["is_refused"] = True
    return Change({machine.plant_code: part}, is_refused=is_refused, source=reading.source)


def _number(value: Decimal | None) -> float | None:
    return None if value is None else round(float(value), 4)


def _load(connection: sa.Connection, wanted: Sequence[tuple[KnownEquipment, date]]) -> dict[int, _Machine]:
    known = {machine.id: machine for machine, _ in wanted}
    machines: dict[int, _Machine] = {}
    for found in connection.execute(_MACHINES, {"ids": list(known)}).mappings():
        limit = found["overflow_at"]
        facts = CounterFacts(None if limit is None else float(limit), found["is_counting_backwards"])
        texts = {name: found[name] for name in _TEXTS}
        machines[found["id"]] = _Machine(known[found["id"]], found["plant_code"], texts, facts)
    first: dict[int, date] = {}
    last: dict[int, date] = {}
    for machine, day in wanted:
        first[machine.id] = min(day, first.get(machine.id, day))
        last[machine.id] = max(day, last.get(machine.id, day))
    bound = {"ids": list(first), "first": list(first.values()), "last": [last[identifier] for identifier in first]}
    for row in connection.execute(_LOAD, bound):
        part: Mapping[str, Any] = next(iter((row.readings or {}).values()), {}) if row.source != EXTERNAL_API else {}
        is_held = bool(part.get("is_waiting") or part.get("is_dismissed"))
        machines[row.equipment_id].days[row.date] = DayReading(
            row.date,
            row.cumulative_hours,
            row.running_hours,
            row.days_covered,
            row.source,
            None if is_held and not part.get(EARLIER) else row.date_time,
            tuple(row.warnings or ()),
            (datetime.fromisoformat(part["date_time"]), Decimal(str(part["cumulative_hours"]))) if is_held else None,
            bool(part.get("is_accepted")),
        )
    return machines


def _write(connection: sa.Connection, machines: Iterable[_Machine]) -> None:
    changes = {(machine.known.id, day): change for machine in machines for day, change in machine.changes.items()}
    if changes:
        ensure_month_partitions(connection, {day for _, day in changes})
        work_out_days(connection, changes)

"""Write meter readings of events into `cmms.equipment_running_times` and `cmms.counter_events`.

What belongs here: loading the days around a batch of readings and writing what they change. What does not: the policy
(`domain.meter_readings`) and the readings of the external API.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.event_payloads import MeterReadingPayload, Refusal
from cmms_pipelines.domain.meter_readings import EXTERNAL_API, CounterReset, DayReading, local_day, place
from cmms_pipelines.storage.equipment_lookup import KnownEquipment
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, refused, waits_for
from cmms_pipelines.storage.partitions import ensure_month_partitions
from cmms_pipelines.storage.tables import counter_events, equipment, equipment_running_times

FIRST_DAY = date(1990, 1, 1)
_AHEAD = timedelta(days=2)  # a reading may come from the day after at the other side of the world, and clocks differ
_TIMES, _EVENTS = equipment_running_times.fullname, counter_events.fullname
_DAY = "date, cumulative_hours, running_hours, days_covered, source, date_time, warnings"

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

_WRITE = sa.text(f"""
    INSERT INTO {_TIMES} AS stored (
        equipment_id, plant_id, point, date, date_time, running_hours, cumulative_hours, days_covered, company_code,
        equipment_description, object_number, warnings, source
    )
    SELECT machine.id, machine.plant_id, machine.point, new.date, new.read_at, new.running_hours, new.cumulative_hours,
           new.days_covered, machine.company_code, machine.equipment_description, machine.object_number, new.warnings, new.source
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (
        equipment_id bigint, date date, read_at timestamptz, running_hours numeric, cumulative_hours numeric,
        days_covered smallint, warnings text[], source text
    )
    JOIN {equipment.fullname} AS machine ON machine.id = new.equipment_id
    ORDER BY machine.id, new.date
    ON CONFLICT (equipment_id, date) DO UPDATE
    SET date_time = excluded.date_time, running_hours = excluded.running_hours, cumulative_hours = excluded.cumulative_hours,
        days_covered = excluded.days_covered, warnings = excluded.warnings, source = excluded.source, updated_at = now()
    WHERE stored.source <> '{EXTERNAL_API}'
""")

_FORGET_EVENTS = sa.text(f"""
    DELETE FROM {_EVENTS} USING unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS gone (equipment_id, date)
    WHERE {_EVENTS}.equipment_id = gone.equipment_id AND {_EVENTS}.date = gone.date
""")

_WRITE_EVENTS = sa.text(f"""
    INSERT INTO {_EVENTS} AS stored (equipment_id, date, kind, counter_before, counter_after, offset_hours)
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS new (equipment_id bigint, date date, kind text, counter_before numeric, counter_after numeric, offset_hours numeric)
    ORDER BY 1, 2
    ON CONFLICT (equipment_id, date) DO UPDATE
    SET kind = excluded.kind, counter_before = excluded.counter_before, counter_after = excluded.counter_after,
        offset_hours = excluded.offset_hours
""")


@dataclass
class _Machine:
    """The days of one machine during a batch."""

    known: KnownEquipment
    days: dict[date, DayReading]
    written: dict[date, DayReading] = field(default_factory=dict)
    events: dict[date, CounterReset | None] = field(default_factory=dict)


def apply_meter_readings(
    connection: sa.Connection, events: Sequence[tuple[ClaimedEvent, MeterReadingPayload]], known: Mapping[str, KnownEquipment]
) -> list[Settlement]:
    """Apply meter readings, in the order given; the day of a reading is the local day of the machine's plant."""
    settlements: list[Settlement] = []
    placed: list[tuple[ClaimedEvent, KnownEquipment, DayReading]] = []
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
    machines = _load(connection, [(machine, reading.day) for _, machine, reading in placed]) if placed else {}
    settlements += [_place(event, machines[machine.id], reading) for event, machine, reading in placed]
    _write(connection, machines.values())
    return settlements


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
    placement = place(reading, machine.days, machine.known.time_zone)
    if isinstance(placement, Refusal):
        return refused(event, placement)
    for row in placement.rows:
        machine.days[row.day] = machine.written[row.day] = row
    machine.events.update(placement.counter_events)
    outcome: dict[str, Any] = {
        "entity": f"equipment:{machine.known.equipment_number}",
        "date": reading.day.isoformat(),
        "reason": placement.reason,
    }
    if not placement.rows:
        return Settlement(event, Verdict.IGNORED, outcome)
    stored = placement.rows[0]
    outcome |= {"running_hours": stored.running_hours, "cumulative_hours": stored.cumulative_hours, "warnings": stored.warnings}
    return Settlement(event, Verdict.APPLIED, outcome)


def _load(connection: sa.Connection, wanted: Sequence[tuple[KnownEquipment, date]]) -> dict[int, _Machine]:
    machines = {machine.id: _Machine(machine, {}) for machine, _ in wanted}
    first: dict[int, date] = {}
    last: dict[int, date] = {}
    for machine, day in wanted:
        first[machine.id] = min(day, first.get(machine.id, day))
        last[machine.id] = max(day, last.get(machine.id, day))
    bound = {"ids": list(first), "first": list(first.values()), "last": [last[identifier] for identifier in first]}
    for row in connection.execute(_LOAD, bound):
        machines[row.equipment_id].days[row.date] = DayReading(
            row.date,
            row.cumulative_hours,
            row.running_hours,
            row.days_covered,
            row.source,
            row.date_time,
            tuple(row.warnings or ()),
        )
    return machines


def _write(connection: sa.Connection, machines: Iterable[_Machine]) -> None:
    rows = [(machine.known.id, reading) for machine in machines for reading in machine.written.values()]
    if not rows:
        return
    ensure_month_partitions(connection, {reading.day for _, reading in rows})
    connection.execute(_WRITE, {"rows": orjson.dumps([_row(*row) for row in rows], default=str).decode()})
    events = [(machine.known.id, day, event) for machine in machines for day, event in machine.events.items()]
    gone = [(identifier, day) for identifier, day, event in events if event is None]
    connection.execute(_FORGET_EVENTS, {"ids": [item[0] for item in gone], "days": [item[1] for item in gone]})
    happened = [_event_row(identifier, event) for identifier, _, event in events if event is not None]
    if happened:
        connection.execute(_WRITE_EVENTS, {"rows": orjson.dumps(happened, default=str).decode()})


def _row(equipment_id: int, reading: DayReading) -> dict[str, Any]:
    return {
        "equipment_id": equipment_id,
        "date": reading.day,
        "read_at": reading.read_at,
        "running_hours": reading.running_hours,
        "cumulative_hours": reading.cumulative_hours,
        "days_covered": reading.days_covered,
        "warnings": list(reading.warnings) or None,
        "source": reading.source,
    }


def _event_row(equipment_id: int, event: CounterReset) -> dict[str, Any]:
    return {
        "equipment_id": equipment_id,
        "date": event.day,
        "kind": event.kind,
        "counter_before": event.counter_before,
        "counter_after": event.counter_after,
        "offset_hours": event.offset_hours,
    }

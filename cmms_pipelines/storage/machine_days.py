"""Days of machines that need care, one by one: what is stored, what follows from it, and the days after it.

What belongs here: the locks that writers of readings take, loading a machine's day with the readings beside it, writing what
`domain.machine_days` works out of them, and going on with the days that this changes. What does not: how a row holds the parts of
its day (`storage.day_rows`), bulk merges of plain rows (`storage.running_times`), and the readings of events as such
(`storage.meter_effects`). Without pandas: both use this.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import sqlalchemy as sa
from psycopg import sql

from cmms_pipelines.domain.counters import CounterFacts
from cmms_pipelines.domain.falling_meters import EARLIER, is_waiting
from cmms_pipelines.domain.machine_days import Before, Outcome, day_hours, work_out
from cmms_pipelines.domain.meter_readings import EXTERNAL_API
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.arrays import array_of
from cmms_pipelines.storage.bulk import read_columns
from cmms_pipelines.storage.day_rows import Change, Row, combined, held_reading, part_of, row_of, with_held
from cmms_pipelines.storage.falling_meters import settle_falls
from cmms_pipelines.storage.tables import counter_events, counter_facts, equipment, equipment_running_times, plants

_AT_ONCE = 2000
_TIMES, _EVENTS = equipment_running_times.fullname, counter_events.fullname
_VALUES = (
    "plant_id", "date_time", "point", "description", "running_hours", "cumulative_hours", "days_covered", "company_code",
    "equipment_description", "object_number", "api_created_at", "warnings", "readings", "source",
)  # fmt: skip

MachineDay = tuple[int, date]


@dataclass(frozen=True)
class _Stored:
    """A machine's day as it is stored, and what lies beside it."""

    row: Row | None
    before: Before | None
    next_day: date | None
    facts: CounterFacts


_LOCK = sa.text(f"""
    SELECT count(*) FROM (
        SELECT FROM {equipment.fullname} WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY equipment_number FOR NO KEY UPDATE
    ) locked
""")

# one look into the index for each day and its neighbours: a new month has no statistics, and plans on it go astray
_LOAD = sa.text(f"""
    SELECT k.equipment_id AS key_id, k.date AS key_date, t.id AS stored_id, {", ".join(f"t.{name}" for name in _VALUES)},
           p.plant_code, before.date AS before_date, before.cumulative_hours AS before_counter, after.date AS next_day,
           f.overflow_at, COALESCE(f.is_counting_backwards, false) AS is_counting_backwards
    FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS k (equipment_id, date)
    LEFT JOIN LATERAL (
        SELECT * FROM {_TIMES} r WHERE r.equipment_id = k.equipment_id AND r.date = k.date OFFSET 0
    ) t ON true
    LEFT JOIN {plants.fullname} p ON p.id = t.plant_id
    LEFT JOIN LATERAL (
        SELECT r.date, r.cumulative_hours FROM {_TIMES} r
        WHERE r.equipment_id = k.equipment_id AND r.date < k.date AND r.cumulative_hours IS NOT NULL
        ORDER BY r.date DESC LIMIT 1
    ) before ON true
    LEFT JOIN LATERAL (
        SELECT r.date FROM {_TIMES} r
        WHERE r.equipment_id = k.equipment_id AND r.date > k.date AND (r.cumulative_hours IS NOT NULL OR r.readings IS NOT NULL)
        ORDER BY r.date LIMIT 1
    ) after ON true
    LEFT JOIN {counter_facts.fullname} f ON f.equipment_id = k.equipment_id
""")

_WRITE = sa.text(f"""
    INSERT INTO {_TIMES} AS t (equipment_id, date, {", ".join(_VALUES)})
    SELECT equipment_id, date, {", ".join(_VALUES)}
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (
        equipment_id bigint, date date, plant_id bigint, date_time timestamptz, point text, description text,
        running_hours numeric(14,4), cumulative_hours numeric(14,4), days_covered smallint, company_code text,
        equipment_description text, object_number text, api_created_at timestamptz, warnings text[], readings jsonb, source text
    )
    ORDER BY equipment_id, date
    ON CONFLICT (equipment_id, date) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}, record_digest = NULL, updated_at = now()
""")

_REMOVE = sa.text(f"""
    DELETE FROM {_TIMES} t USING unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS gone (equipment_id, date)
    WHERE t.equipment_id = gone.equipment_id AND t.date = gone.date
      AND t.date BETWEEN CAST(:first AS date) AND CAST(:last AS date)
""")

_FORGET_EVENTS = sa.text(f"""
    DELETE FROM {_EVENTS} e USING unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS gone (equipment_id, date)
    WHERE e.equipment_id = gone.equipment_id AND e.date = gone.date
""")

_KEEP_EVENTS = sa.text(f"""
    INSERT INTO {_EVENTS} AS old (equipment_id, date, kind, counter_before, counter_after, offset_hours)
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (equipment_id bigint, date date, kind text,
        counter_before numeric(14,4), counter_after numeric(14,4), offset_hours numeric(14,4))
    ORDER BY 1, 2
    ON CONFLICT (equipment_id, date) DO UPDATE
    SET kind = excluded.kind, counter_before = excluded.counter_before, counter_after = excluded.counter_after,
        offset_hours = excluded.offset_hours
    WHERE (old.kind, old.counter_before, old.counter_after, old.offset_hours) IS DISTINCT FROM
          (excluded.kind, excluded.counter_before, excluded.counter_after, excluded.offset_hours)
""")


def lock_machines(connection: sa.Connection, equipment_ids: Iterable[int]) -> None:
    """Wait until nobody else writes readings of these machines, and keep others waiting until the transaction ends.

    Two writers of one machine would each work out its days without the other's part. The lock is the machine's row, taken in
    the order of the numbers, as an equipment sync does; the rows' foreign keys would take a weaker one anyway.
    """
    wanted = sorted(set(equipment_ids))
    if wanted:
        connection.execute(_LOCK, {"ids": array_of(wanted)})


def lock_machines_of_plants(connection: sa.Connection, plant_ids: Collection[int]) -> npt.NDArray[np.int64]:
    """Lock all machines of some plants, as their masters have it, as `lock_machines` does; return which they are."""
    query = sql.SQL(
        f"""SELECT id FROM (
            SELECT id FROM {equipment.fullname} WHERE plant_id = ANY({{ids}}) ORDER BY equipment_number FOR NO KEY UPDATE
        ) locked"""
    ).format(ids=sql.Literal(list(plant_ids)))
    return read_columns(connection, query, {"id": "bigint"})["id"]


def work_out_days(connection: sa.Connection, changes: Mapping[MachineDay, Change | None]) -> SyncCounts:
    """Work out machine-days and whatever follows from them, and write what differs from what is stored.

    Args:
        connection: inside a transaction that holds the machines' locks; the partitions of the days exist.
        changes: what was reported; None only works a day out again.

    Returns:
        inserted, updated and unchanged of those changes that were not refused. A day that a cancellation empties is updated
        (the row goes), one that had nothing to cancel is unchanged.
    """
    zones = _zones(connection)
    counts = SyncCounts()
    pending: dict[MachineDay, Change | None] = dict(changes)
    fallen: set[int] = set()
    while pending:
        now = _earliest_of_each_machine(pending)[:_AT_ONCE]
        following = _round(connection, {key: pending.pop(key) for key in now}, zones, counts, fallen)
        for key in following:
            pending.setdefault(key, None)
        if fallen and not pending:
            pending = dict.fromkeys(settle_falls(connection, fallen))
            fallen.clear()
    return counts


def _earliest_of_each_machine(pending: Iterable[MachineDay]) -> list[MachineDay]:
    earliest: dict[int, date] = {}
    for identifier, day in pending:
        earliest[identifier] = min(day, earliest.get(identifier, day))
    return sorted(earliest.items())


def _round(
    connection: sa.Connection,
    changes: Mapping[MachineDay, Change | None],
    zones: Mapping[str, tuple[int, str]],
    counts: SyncCounts,
    fallen: set[int],
) -> list[MachineDay]:
    """Work out one day of each machine; return the days that this changes. Machines with a reading that waits go to `fallen`."""
    rows: list[Row] = []
    removed: list[MachineDay] = []
    without_event: list[MachineDay] = []
    events: list[Row] = []
    following: list[MachineDay] = []
    for key, stored in _load(connection, list(changes)).items():
        change = changes[key]
        row, event = _worked_out(key, stored, change, zones)
        if change is not None and not change.is_refused:
            counts.inserted += stored.row is None and row is not None
            counts.updated += stored.row is not None and row != stored.row
            counts.unchanged += row == stored.row
        if is_waiting(row) or is_waiting(stored.row):
            fallen.add(key[0])
        if row is None and stored.row is not None:
            removed.append(key)
        elif row is not None and row != stored.row:
            rows.append({"equipment_id": key[0], "date": key[1], **row})
        (without_event if event is None else events).append(event or key)  # type: ignore[arg-type]
        if stored.next_day is not None and _is_felt(row, stored.row):
            following.append((key[0], stored.next_day))
    if removed:
        connection.execute(
            _REMOVE, {**_arrays(removed), "first": min(day for _, day in removed), "last": max(d for _, d in removed)}
        )
    if rows:
        connection.execute(_WRITE, {"rows": _json(rows)})
    if without_event:
        connection.execute(_FORGET_EVENTS, _arrays(without_event))
    if events:
        connection.execute(_KEEP_EVENTS, {"rows": _json(events)})
    return following


def _worked_out(
    key: MachineDay, stored: _Stored, change: Change | None, zones: Mapping[str, tuple[int, str]]
) -> tuple[Row | None, Row | None]:
    """Return the row and the counter event that a day comes to; the row itself where nothing changes."""
    parts, source = combined(stored.row, change)
    if not parts:
        return (None if stored.row is None or stored.row["source"] == EXTERNAL_API else stored.row), None

    def hours_of(plant_code: str, days: int) -> float:
        return day_hours(key[1], zones[plant_code][1], days)

    def come_to(parts: Mapping[str, Mapping[str, Any]]) -> tuple[Row, Outcome]:
        ordered = sorted(
            (part_of(code, told, is_told=source != EXTERNAL_API) for code, told in parts.items()), key=lambda part: part.order
        )
        outcome = work_out(ordered, stored.before, key[1], stored.facts, hours_of)
        return row_of(ordered, outcome, parts, zones, source), outcome

    row, outcome = come_to(parts)
    held = held_reading(row)
    if held is not None and held[1].get(EARLIER):
        earlier, of_earlier = come_to({held[0]: held[1][EARLIER]})
        if not is_waiting(earlier):
            row, outcome = with_held(earlier, held), of_earlier
    if outcome.event is None or stored.before is None:
        return row, None
    event = {
        "equipment_id": key[0],
        "date": key[1],
        "kind": outcome.event.kind.value,
        "counter_before": stored.before.counter,
        "counter_after": outcome.cumulative_hours,
        "offset_hours": round(outcome.event.offset_hours, 4),
    }
    return row, event


def _is_felt(row: Row | None, stored: Row | None) -> bool:
    """Tell whether the days after a day may come to something else now."""
    counter = None if row is None else row["cumulative_hours"]
    counter_before = None if stored is None else stored["cumulative_hours"]
    return counter is None or counter != counter_before


def _load(connection: sa.Connection, keys: Sequence[MachineDay]) -> dict[MachineDay, _Stored]:
    loaded: dict[MachineDay, _Stored] = {}
    for found in connection.execute(_LOAD, _arrays(keys)).mappings():
        before = found["before_counter"]
        limit = found["overflow_at"]
        loaded[found["key_id"], found["key_date"]] = _Stored(
            row=None if found["stored_id"] is None else {name: _plain(found[name]) for name in (*_VALUES, "plant_code")},
            before=None if before is None else Before(found["before_date"], float(before)),
            next_day=found["next_day"],
            facts=CounterFacts(None if limit is None else float(limit), found["is_counting_backwards"]),
        )
    return loaded


def _plain(value: object) -> object:
    """Return a value of the database in the form that JSON and `domain.machine_days` have it."""
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _zones(connection: sa.Connection) -> dict[str, tuple[int, str]]:
    rows = connection.execute(sa.select(plants.c.plant_code, plants.c.id, plants.c.time_zone))
    return {row.plant_code: (row.id, row.time_zone) for row in rows}


def _arrays(keys: Sequence[MachineDay]) -> dict[str, list[Any]]:
    return {"ids": [identifier for identifier, _ in keys], "days": [day for _, day in keys]}


def _json(rows: Sequence[Row]) -> str:
    return orjson.dumps(rows).decode()

"""Merged days held against what is stored beside them, once their machines are locked.

What belongs here: finding, in one look, the few days among many that come to something else by now than what was worked out
from neighbours that were read earlier. What does not: merging (`storage.running_times`, `storage.new_readings`), and working
those few out (`storage.machine_days`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.machine_days import EXCEEDS_DAY, HOURS_MISSING, SPANS_DAYS, WENT_BACK
from cmms_pipelines.storage.machine_days import MachineDay
from cmms_pipelines.storage.neighbours import BEFORE_COLUMNS, Days
from cmms_pipelines.storage.tables import counter_events, counter_facts, equipment_running_times, plants

_SAID = "COALESCE({row}.warnings, ARRAY[]::text[])"
_TIMES, _EVENTS = equipment_running_times.fullname, counter_events.fullname


@dataclass(frozen=True)
class Merged:
    """Plain rows as they have been merged.

    Attributes:
        days: that they are of.
        rows: the table or query, in brackets, that has them: the columns of the staged rows.
        bound: the parameters of that query.
    """

    days: Days
    rows: str
    bound: Mapping[str, Any] = field(default_factory=dict)


def differing_days(connection: sa.Connection, merged: Merged, doubted: Merged | None) -> list[MachineDay]:
    """Return the merged days, and those next to them, that come to something else beside the reading before them.

    Args:
        connection: inside the transaction that merged them and holds the locks of their machines.
        merged: see `Merged`.
        doubted: those of them that may come to something else themselves.
    """
    with merged.days.planned(connection):
        beside = _beside_before(connection, doubted) if doubted is not None else []
        found = [*beside, *_following(connection, merged)]
    return [(row.equipment_id, row.date) for row in found]


_NEWEST = sa.text(f"""
    SELECT max(newest.date) FROM {plants.fullname} p
    CROSS JOIN LATERAL (
        SELECT t.date FROM {_TIMES} t WHERE t.plant_id = p.id AND t.date > CAST(:first AS date) ORDER BY t.date DESC LIMIT 1
    ) newest
""")


def _beside_before(connection: sa.Connection, merged: Merged) -> Sequence[sa.Row[Any]]:
    """Return the merged rows that come to something else beside the reading before them as it is stored now."""
    days = merged.days
    before = days.row_before("s.equipment_id", "s.date", is_any_older=days.is_any_older(connection))
    statement = sa.text(f"""
        SELECT s.equipment_id, s.date
        FROM (SELECT s.*, {BEFORE_COLUMNS} FROM {merged.rows} s {before}) s
        LEFT JOIN {_EVENTS} event ON event.equipment_id = s.equipment_id AND event.date = s.date
        LEFT JOIN {counter_facts.fullname} f ON f.equipment_id = s.equipment_id
        WHERE {_differs("s", "s.previous_date", "s.previous_cumulative_hours")}
    """)
    return connection.execute(statement, merged.bound).all()


def _following(connection: sa.Connection, merged: Merged) -> Sequence[sa.Row[Any]]:
    """Return the days next to merged rows that come to something else beside them."""
    days = merged.days
    newest = connection.scalar(_NEWEST, {"first": days.first})
    if newest is None:
        return []
    has_to_do = "(cumulative_hours IS NOT NULL OR readings IS NOT NULL)"
    columns = "equipment_id, date, running_hours, cumulative_hours, days_covered, warnings, readings"
    names = columns.split(", ")
    statement = sa.text(f"""
        SELECT n.equipment_id, n.date
        FROM (
            SELECT {", ".join(f"COALESCE(day_after.{name}, later.{name}) AS {name}" for name in names)},
                   s.date AS previous_date, s.cumulative_hours AS previous_cumulative_hours
            FROM {merged.rows} s
            {days.shifted(1).row("day_after", "s.equipment_id", "s.date + 1", has_to_do)}
            LEFT JOIN LATERAL (
                SELECT {columns} FROM {_TIMES} r
                WHERE day_after.equipment_id IS NULL AND r.equipment_id = s.equipment_id AND r.date > s.date + 1
                  AND r.date <= CAST(:newest AS date) AND {has_to_do}
                ORDER BY r.date LIMIT 1
            ) later ON true
        ) n
        LEFT JOIN {_EVENTS} event ON event.equipment_id = n.equipment_id AND event.date = n.date
        LEFT JOIN {counter_facts.fullname} f ON f.equipment_id = n.equipment_id
        WHERE n.equipment_id IS NOT NULL
          AND (n.readings IS NOT NULL OR n.previous_cumulative_hours IS NULL
               OR {_differs("n", "n.previous_date", "n.previous_cumulative_hours")})
    """)
    return connection.execute(statement, {**merged.bound, "newest": newest}).all()


def _differs(row: str, previous_date: str, previous_counter: str) -> str:
    """Return the condition under which a plain row is not what `domain.machine_days` makes of it and the reading before."""
    said = _SAID.format(row=row)
    difference = f"{row}.cumulative_hours - {previous_counter}::numeric(14,4)"
    days = f"CASE WHEN {difference} IS NULL THEN 1 ELSE {row}.date - {previous_date} END"
    return f"""(
        event.id IS NOT NULL OR COALESCE(f.is_counting_backwards, false) OR {said} && ARRAY['{WENT_BACK}', '{EXCEEDS_DAY}']
        OR {difference} < 0
        OR CASE WHEN '{HOURS_MISSING}' = ANY({said})
                THEN ({row}.running_hours, {row}.days_covered::int, '{SPANS_DAYS}' = ANY({said})) IS DISTINCT FROM
                     ({difference}, {days}, {days} > 1)
                ELSE {row}.days_covered > 1 END
    )"""

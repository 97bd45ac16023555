"""The newest rows of the four tables that syncs and drains write, for the pages of their assets.

What belongs here: one statement for each table, which an index answers with a few rows however large the table is. What does not:
how they are shown (`defs`). On plain psycopg, so that a drain, whose start is paid for each event, loads nothing for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import dict_row

SHOWN = 20
PATIENCE_MS = 2000
_CONNECT_TIMEOUT_S = 5

_PLANTS = """
    SELECT plant_code, name, time_zone, is_active, created_at, updated_at FROM cmms.plants ORDER BY id DESC LIMIT %(most)s
"""
_EQUIPMENT = """
    SELECT machine.equipment_number, plant.plant_code, fleet.name AS equipment_group, machine.equipment_description,
           machine.is_active, machine.created_at, machine.updated_at
    FROM (SELECT * FROM cmms.equipment ORDER BY id DESC LIMIT %(most)s) AS machine
    JOIN cmms.plants AS plant ON plant.id = machine.plant_id
    LEFT JOIN cmms.equipment_groups AS fleet ON fleet.id = machine.equipment_group_id
    ORDER BY machine.id DESC
"""
_RUNNING_TIMES = """
    SELECT reading.date, machine.equipment_number, plant.plant_code, reading.running_hours, reading.cumulative_hours,
           reading.days_covered, reading.warnings, reading.source
    FROM (
        SELECT one.* FROM cmms.plants AS plant
        CROSS JOIN LATERAL (
            SELECT id, equipment_id, plant_id, date, running_hours, cumulative_hours, days_covered, warnings, source
            FROM cmms.equipment_running_times WHERE plant_id = plant.id AND date = %(day)s LIMIT %(most)s
        ) AS one
        LIMIT %(most)s
    ) AS reading
    JOIN cmms.plants AS plant ON plant.id = reading.plant_id
    JOIN cmms.equipment AS machine ON machine.id = reading.equipment_id
    ORDER BY plant.plant_code, machine.equipment_number
"""
_WORK_ORDERS = """
    SELECT cmms_system_id, work_order_number, status, priority, title, work_type, due_at, source_updated_at, version, is_partial
    FROM cmms.work_orders ORDER BY id DESC LIMIT %(most)s
"""
_NEWEST: Mapping[str, str] = {
    "plants": _PLANTS,
    "equipment": _EQUIPMENT,
    "equipment_running_times": _RUNNING_TIMES,
    "work_orders": _WORK_ORDERS,
}


@dataclass(frozen=True)
class NewestRows:
    """What was found, or why nothing was."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    left_out: str | None = None


def newest_rows(address: str, table: str, *, day: date | None = None, patience_ms: int = PATIENCE_MS) -> NewestRows:
    """Return the newest rows of one of the four tables; readings are those of `day`.

    It never raises for the database: a table that is locked, or a server that is away, leaves the rows out and says why.
    """
    try:
        with psycopg.connect(
            address, connect_timeout=_CONNECT_TIMEOUT_S, row_factory=dict_row, options=f"-c statement_timeout={patience_ms}"
        ) as connection:
            cursor = connection.execute(_NEWEST[table], {"most": SHOWN, "day": day})
            return NewestRows([column.name for column in cursor.description or ()], cursor.fetchall())
    except psycopg.Error as error:
        return NewestRows((), (), (str(error).strip().splitlines() or [type(error).__name__])[0])

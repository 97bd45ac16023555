"""What the daily report takes from the marts: maintenance that is due, and the key figures of the night's day with their limits.

What belongs here: which rows and columns. What does not: the rest of the report's facts (`reports.daily`), and how it looks.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.kpi_limits import LEAST_WANTED, KpiLimits
from cmms_pipelines.storage.marts import columns_of, first_rows

Row = dict[str, Any]
MAINTENANCE_DUE, DAILY_KPIS = "maintenance_due", "daily_kpis"
DUE_COLUMNS = (
    "status", "equipment_number", "plant_code", "rule_name", "task", "hours_left", "days_left", "expected_due_on", "baseline_on",
    "unknown_because",
)  # fmt: skip
_DUE_ROWS = sa.text("""
    SELECT status, equipment_number, plant_code, rule_name, task, hours_left, days_left, expected_due_on, baseline_on,
           unknown_because
    FROM analytics.maintenance_due WHERE status <> 'ok' ORDER BY priority LIMIT :most
""")
_DUE_COUNTS = sa.text("SELECT status, count(*) FROM analytics.maintenance_due GROUP BY status")
_KPIS = sa.text("SELECT * FROM analytics.daily_kpis WHERE date <= :day ORDER BY date DESC LIMIT 1")


def first_of(connection: sa.Connection, marts: Collection[str], mart: str, order: Sequence[str], most: int) -> list[Row]:
    """Return the first rows of a mart, if it is built; a term whose column it does not have is passed over."""
    if mart not in marts:
        return []
    names = {column.name for column in columns_of(connection, mart)}
    return first_rows(connection, mart, [term for term in order if term.split()[0] in names], most)


def maintenance(connection: sa.Connection, marts: Collection[str], most: int) -> tuple[list[Row], dict[str, int]]:
    """Return what is not all right, the most urgent first, and how many machines and rules have each status."""
    if MAINTENANCE_DUE not in marts:
        return [], {}
    rows = [dict(row) for row in connection.execute(_DUE_ROWS, {"most": most}).mappings()]
    return rows, {str(row[0]): int(row[1]) for row in connection.execute(_DUE_COUNTS)}


def key_figures(
    connection: sa.Connection, marts: Collection[str], day: dt.date, limits: KpiLimits
) -> tuple[dt.date | None, list[Row]]:
    """Return the figures that have a limit, of `day` or the newest day before it that the mart has.

    Each has `name`, `value` (None where it is not known), `limit`, `is_least` (the limit is the least that is wanted),
    `is_kept` (None where it is not known) and `why` it is not known.
    """
    if DAILY_KPIS not in marts:
        return None, []
    row = connection.execute(_KPIS, {"day": day}).mappings().one_or_none()
    if row is None:
        return None, []
    reasons, found = row["unknown_because"] or {}, []
    for name, limit in limits.model_dump().items():
        value = row[name]
        is_kept = None if value is None else limits.keeps(name, float(value))
        known = {"name": name, "value": value, "limit": limit, "is_least": name in LEAST_WANTED}
        found.append({**known, "is_kept": is_kept, "why": reasons.get(name)})
    return row["date"], found

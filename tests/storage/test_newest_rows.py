"""The newest rows on the pages of the tables that syncs write: the right ones, by an index, and never a reason to fail."""

import re
from datetime import date
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cmms_pipelines.storage import newest_rows as module
from cmms_pipelines.storage.newest_rows import SHOWN, newest_rows
from cmms_pipelines.storage.partitions import ensure_month_partitions
from tests.conftest import Database

DAY = date(2026, 3, 9)
ROWS = """
    INSERT INTO cmms.plants (plant_code, name) SELECT 'P' || n, 'Plant ' || n FROM generate_series(1, 30) AS n;
    INSERT INTO cmms.equipment (equipment_number, plant_id)
    SELECT 'EQ-' || n, (SELECT id FROM cmms.plants WHERE plant_code = 'P' || 1 + n % 30) FROM generate_series(1, 3000) AS n;
    INSERT INTO cmms.equipment_running_times (equipment_id, plant_id, date, running_hours)
    SELECT id, plant_id, date '2026-03-09' - back, 5 FROM cmms.equipment, generate_series(0, 3) AS back;
    INSERT INTO cmms.work_orders (cmms_system_id, work_order_number, status)
    SELECT 'erp', 'WO-' || n, 'open' FROM generate_series(1, 3000) AS n;
    ANALYZE cmms.plants, cmms.equipment, cmms.equipment_running_times, cmms.work_orders
"""


@pytest.fixture
def filled(database: Database) -> str:
    with database.engine.begin() as connection:
        ensure_month_partitions(connection, [DAY])
        for statement in ROWS.split(";"):
            connection.execute(sa.text(statement))
    return database.url


def test_the_newest_rows_come_first_and_are_few_however_many_there_are(filled: str) -> None:
    def told(table: str, column: str, day: date | None = None) -> list[Any]:
        found = newest_rows(filled, table, day=day)
        assert found.left_out is None
        assert list(found.rows[0]) == found.columns
        return [row[column] for row in found.rows]

    assert told("plants", "plant_code") == [f"P{number}" for number in range(30, 30 - SHOWN, -1)]
    assert told("equipment", "equipment_number") == [f"EQ-{number}" for number in range(3000, 3000 - SHOWN, -1)]
    assert told("work_orders", "work_order_number") == [f"WO-{number}" for number in range(3000, 3000 - SHOWN, -1)]
    assert told("equipment_running_times", "date", day=DAY) == [DAY] * SHOWN
    assert newest_rows(filled, "equipment_running_times", day=date(2026, 1, 1)).rows == []


def test_an_index_answers_and_no_large_table_is_read(filled: str) -> None:
    for table in ("equipment", "equipment_running_times", "work_orders"):
        with psycopg.connect(filled) as connection:
            values = {"most": SHOWN, "day": DAY}
            rows = connection.execute(f"EXPLAIN {module._NEWEST[table]}", values)  # type: ignore[arg-type]
            plan = "\n".join(str(row[0]) for row in rows)
        assert "Index" in plan, table
        assert not re.search(rf"Seq Scan on {table}(_\d\S*)? ", plan), plan


def test_a_locked_table_or_a_server_that_is_away_leaves_the_rows_out_and_says_why(filled: str) -> None:
    with psycopg.connect(filled) as held:
        held.execute("LOCK TABLE cmms.work_orders IN ACCESS EXCLUSIVE MODE")
        found = newest_rows(filled, "work_orders", patience_ms=100)
    assert (found.rows, found.left_out) == ((), "canceling statement due to statement timeout")
    away = newest_rows("postgresql://nobody@127.0.0.1:9/cmms", "work_orders")
    assert away.rows == ()
    assert "127.0.0.1" in str(away.left_out)

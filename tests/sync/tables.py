"""What the tables hold after a sync, in the shape that tests compare."""

from datetime import date
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.storage.tables import api_sync_logs, equipment, equipment_running_times, sync_rejections, sync_slices


def hours_by_machine_and_day(engine: sa.Engine) -> dict[tuple[str, date], float]:
    times = equipment_running_times
    statement = sa.select(equipment.c.equipment_number, times.c.date, times.c.running_hours).join(
        equipment, equipment.c.id == times.c.equipment_id
    )
    with engine.connect() as connection:
        return {(row.equipment_number, row.date): float(row.running_hours) for row in connection.execute(statement)}


def content(engine: sa.Engine) -> list[tuple[Any, ...]]:
    """Everything that a reading says, without surrogate ids, times of writing and what tells that it came before."""
    times = equipment_running_times.c
    left_out = {"id", "created_at", "updated_at", "record_digest"}
    columns = [column for column in equipment_running_times.columns if column.name not in left_out]
    statement = sa.select(*columns).order_by(times.equipment_id, times.date)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(statement)]


def versions(engine: sa.Engine, table: sa.Table) -> list[tuple[Any, ...]]:
    """What changes whenever a row is written, even by an update to the same values."""
    statement = sa.text(f"SELECT tableoid::text, ctid::text, xmin::text FROM {table.fullname} ORDER BY 1, 2")  # noqa: S608
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(statement)]


def log_of(engine: sa.Engine, log_id: int) -> dict[str, Any]:
    with engine.connect() as connection:
        return dict(connection.execute(sa.select(api_sync_logs).where(api_sync_logs.c.id == log_id)).mappings().one())


def newest_log(engine: sa.Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return log_of(engine, connection.scalar(sa.select(sa.func.max(api_sync_logs.c.id))) or 0)


def slices(engine: sa.Engine, sync_key: str) -> list[tuple[str, int]]:
    """Slices of a sync with the records of each."""
    kept = sync_slices.c
    statement = sa.select(kept.slice_key, kept.counts["records_processed"].as_integer()).where(kept.sync_key == sync_key)
    with engine.connect() as connection:
        return [(str(key), int(count)) for key, count in connection.execute(statement.order_by(kept.slice_key))]


def open_rejections(engine: sa.Engine) -> dict[str, int]:
    """Refused records by the first rule that they failed."""
    kept = sync_rejections.c
    statement = sa.select(kept.rule, sa.func.count()).where(kept.status == "open").group_by(kept.rule)
    with engine.connect() as connection:
        return {str(rule): int(count) for rule, count in connection.execute(statement)}


def count(engine: sa.Engine, table: sa.Table) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0

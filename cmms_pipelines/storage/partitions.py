"""Monthly partitions of `cmms.equipment_running_times`, made when the first reading of a month arrives."""

from collections.abc import Iterable
from datetime import date

import sqlalchemy as sa

from cmms_pipelines.storage.tables import SCHEMA, equipment_running_times

_LOCK = 0x636D6D70  # two writers may meet at the first reading of a month


def ensure_month_partitions(connection: sa.Connection, days: Iterable[date]) -> list[str]:
    """Create the partitions that `days` need and do not have; return the names of those created.

    Takes part in the caller's transaction. The lock is taken only where something is missing, so that writers of known
    months never wait for one another.
    """
    wanted = {partition_name(day): day.replace(day=1) for day in days}
    missing = sorted(wanted.keys() - _existing(connection, wanted))
    if not missing:
        return []
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    created = [name for name in missing if name not in _existing(connection, missing)]
    for name in created:
        first = wanted[name]
        connection.execute(
            sa.text(
                f"CREATE TABLE {SCHEMA}.{name} PARTITION OF {SCHEMA}.{equipment_running_times.name} "
                f"FOR VALUES FROM ('{first.isoformat()}') TO ('{_next_month(first).isoformat()}')"
            )
        )
    return created


def partition_name(day: date) -> str:
    """Return the name of the partition that holds `day`."""
    return f"{equipment_running_times.name}_{day:%Y_%m}"


def _existing(connection: sa.Connection, names: Iterable[str]) -> set[str]:
    query = sa.text(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = :schema AND c.relname = ANY(:names) AND c.relispartition"
    )
    return set(connection.scalars(query, {"schema": SCHEMA, "names": list(names)}))


def _next_month(first: date) -> date:
    return date(first.year + 1, 1, 1) if first.month == 12 else date(first.year, first.month + 1, 1)

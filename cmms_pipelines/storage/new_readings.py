"""Rows of readings in whose place nothing was stored when their neighbours were read: copied into the table as they are.

What belongs here: adding them, and noticing that somebody else was faster. What does not: rows that may be there already
(`storage.running_times`).

Neither a staging table nor a join with what is stored is needed: who writes readings holds the locks of their machines, and
the primary key tells of anybody who wrote between the look and the lock, or does not keep to the locks.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import sqlalchemy as sa
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError

from cmms_pipelines.storage.arrays import array_of
from cmms_pipelines.storage.bulk import copy_into
from cmms_pipelines.storage.neighbours import Days
from cmms_pipelines.storage.rechecks import Merged
from cmms_pipelines.storage.tables import equipment_running_times


def add(connection: sa.Connection, rows: pd.DataFrame, columns: Mapping[str, str]) -> bool:
    """Copy rows into the table; return False, with nothing written, where one of the machine-days is there by now.

    Args:
        connection: inside a transaction that holds the machines' locks; the partitions of the days exist.
        rows: of the external API, one per machine and day.
        columns: see `bulk.stage`.
    """
    try:
        with connection.begin_nested():
            copy_into(connection, equipment_running_times, columns, rows)
    except IntegrityError as error:
        if isinstance(error.orig, UniqueViolation):
            return False
        raise
    return True


def added(days: Days, machines: Sequence[int]) -> Merged:
    """Return the rows of some machines that have been added, for `rechecks.differing_days`; `days` are theirs."""
    stored = f"""(
        SELECT * FROM {equipment_running_times.fullname} stored
        WHERE {days.condition("stored", is_own=True)} AND equipment_id = ANY(CAST(:added AS bigint[]))
    )"""
    return Merged(days, stored, {"added": array_of(machines)})

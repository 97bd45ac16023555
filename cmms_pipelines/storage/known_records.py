"""The digests of the records from which rows were written, a slice at a time.

What belongs here: reading them, and the machines whose records must be judged whatever their digest says. What does not: what
a digest is (`domain.record_digests`) and what follows from it (`sync.known_records`). They are written with their rows
(`storage.running_times`, `storage.equipment`); a trigger takes a row's digest away when anybody changes the row without
bringing another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from psycopg import sql

from cmms_pipelines.domain.meter_readings import EXTERNAL_API
from cmms_pipelines.storage.bulk import read_columns
from cmms_pipelines.storage.tables import (
    equipment,
    equipment_running_times,
    local_edits,
    plants,
    source_snapshots,
    sync_rejections,
)

Integers = npt.NDArray[np.int64]

_KINDS = {"digest": "bigint", "equipment_id": "bigint", "plant_id": "bigint"}


@dataclass(frozen=True)
class KnownRows:
    """Rows that were written from one record each, without any warning: its sealed digest, machine and plant."""

    digests: Integers
    equipment_ids: Integers
    plant_ids: Integers

    def __len__(self) -> int:
        return len(self.digests)


def is_any_known(connection: sa.Connection, day: date | None, plant_ids: Sequence[int]) -> bool:
    """Tell whether a row of these plants (of readings of a day, or of masters without one) has a digest."""
    return bool(connection.scalar(_IS_ANY_READING if day else _IS_ANY_MASTER, {"day": day, "plants": list(plant_ids)}))


def read_known(connection: sa.Connection, day: date | None, plant_ids: Sequence[int]) -> KnownRows:
    """Return the rows of these plants that have a digest, but for machines whose records have to be judged in any case.

    Of these a refused record waits in the quarantine, whose place may be taken by one that was accepted before: the
    quarantine has to learn of it. Or others speak of the machine too (`storage.machine_merges`).

    Args:
        connection: inside a transaction.
        day: of readings; None: the masters.
        plant_ids: of the slice.
    """
    ids = sql.Literal(list(plant_ids))
    if day is None:
        query = sql.SQL(
            f"""SELECT record_digest AS digest, id AS equipment_id, plant_id FROM {equipment.fullname}
                WHERE plant_id = ANY({{ids}}) AND record_digest IS NOT NULL"""
        ).format(ids=ids)
    else:
        query = sql.SQL(
            f"""SELECT record_digest AS digest, equipment_id, plant_id FROM {equipment_running_times.fullname}
                WHERE plant_id = ANY({{ids}}) AND date = {{day}} AND record_digest IS NOT NULL
                  AND source = '{EXTERNAL_API}' AND readings IS NULL"""
        ).format(ids=ids, day=sql.Literal(day))
    found = read_columns(connection, query, _KINDS)
    waiting = list(connection.scalars(_WAITING_READINGS if day else _WAITING_MASTERS, {"day": day, "plants": list(plant_ids)}))
    is_kept = ~np.isin(found["equipment_id"], np.array(waiting, dtype="int64"))
    return KnownRows(found["digest"][is_kept], found["equipment_id"][is_kept], found["plant_id"][is_kept])


def equipment_ids(connection: sa.Connection, numbers: Sequence[str]) -> Integers:
    """Return the ids of those machines that exist."""
    statement = sa.text(f"SELECT id FROM {equipment.fullname} WHERE equipment_number = ANY(CAST(:numbers AS text[]))")
    return np.array(list(connection.scalars(statement, {"numbers": list(numbers)})), dtype="int64")


_IS_ANY_READING = sa.text(f"""
    SELECT EXISTS (
        SELECT FROM unnest(CAST(:plants AS bigint[])) AS p (id)
        CROSS JOIN LATERAL (
            SELECT FROM {equipment_running_times.fullname} t
            WHERE t.plant_id = p.id AND t.date = CAST(:day AS date) AND t.record_digest IS NOT NULL LIMIT 1
        ) known
    )
""")
_IS_ANY_MASTER = sa.text(f"""
    SELECT EXISTS (
        SELECT FROM {equipment.fullname}
        WHERE plant_id = ANY(CAST(:plants AS bigint[])) AND record_digest IS NOT NULL AND CAST(:day AS date) IS NULL
    )
""")
_WAITING = f"""
    SELECT DISTINCT e.id FROM {sync_rejections.fullname} kept
    JOIN {equipment.fullname} e ON e.equipment_number = kept.equipment_number
    WHERE kept.status = 'open' AND kept.plant_code IN (
        SELECT plant_code FROM {plants.fullname} WHERE id = ANY(CAST(:plants AS bigint[])))
"""
_WAITING_READINGS = sa.text(f"{_WAITING} AND kept.sync_type = 'running_times' AND kept.date = CAST(:day AS date)")
_WAITING_MASTERS = sa.text(f"""
    {_WAITING} AND kept.sync_type = 'equipment' AND CAST(:day AS date) IS NULL
    UNION
    SELECT e.id FROM {local_edits.fullname} edit JOIN {equipment.fullname} e ON e.equipment_number = edit.entity_key
    WHERE edit.entity_type = 'equipment'
    UNION
    SELECT e.id FROM {source_snapshots.fullname} master JOIN {equipment.fullname} e ON e.equipment_number = master.entity_key
    WHERE master.cmms_system_id = '{EXTERNAL_API}' AND master.entity_type = 'equipment'
""")

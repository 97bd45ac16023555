"""Equipment masters in the database."""

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.bulk import stage
from cmms_pipelines.storage.tables import equipment

_STAGED = {
    "equipment_number": "text", "plant_id": "bigint", "equipment_group_id": "bigint", "company_code": "text",
    "equipment_description": "text", "object_number": "text", "point": "text", "attributes": "jsonb",
    "api_created_at": "timestamptz", "is_active": "boolean",
}  # fmt: skip
_VALUES = [column for column in _STAGED if column != "equipment_number"]


def _row(alias: str) -> str:
    return f"({', '.join(f'{alias}.{column}' for column in _VALUES)})"


# One machine may come under two plants, in slices that are written in any order: the newer record is the one that counts. A
# machine that has moved keeps its time of creation, and is written.
_IS_OLDER = "t.plant_id <> {new}.plant_id AND COALESCE({new}.api_created_at < t.api_created_at, false)"

_MERGE = sa.text(f"""
    WITH changes AS MATERIALIZED (
        SELECT s.*, t.id IS NULL AS is_new
        FROM staged_equipment s LEFT JOIN {equipment.fullname} t USING (equipment_number)
        WHERE t.id IS NULL OR ({_row("t")} IS DISTINCT FROM {_row("s")} AND NOT ({_IS_OLDER.format(new="s")}))
    ), written AS (
        INSERT INTO {equipment.fullname} AS t ({", ".join(_STAGED)})
        SELECT {", ".join(_STAGED)} FROM changes ORDER BY equipment_number
        ON CONFLICT (equipment_number) DO UPDATE
        SET {", ".join(f"{column} = excluded.{column}" for column in _VALUES)}, updated_at = now()
        WHERE {_row("t")} IS DISTINCT FROM {_row("excluded")} AND NOT ({_IS_OLDER.format(new="excluded")})
    )
    SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM changes
""")


def write(connection: sa.Connection, rows: pd.DataFrame) -> SyncCounts:
    """Upsert masters; unchanged ones are not written, and nothing is ever deleted or deactivated by absence (quirk 32).

    A record that is older than the stored one of another plant changes nothing, and counts as unchanged.

    Args:
        connection: inside a transaction.
        rows: equipment_number (unique), plant_id, equipment_group_id (Int64), company_code, equipment_description,
            object_number, point, attributes (dict), api_created_at (UTC), is_active.
    """
    stage(connection, "staged_equipment", _STAGED, rows)
    inserted, updated = (int(count) for count in connection.execute(_MERGE).one())
    return SyncCounts(inserted=inserted, updated=updated, unchanged=len(rows) - inserted - updated)

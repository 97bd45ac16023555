"""Equipment masters in the database."""

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.meter_readings import EXTERNAL_API
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.bulk import stage
from cmms_pipelines.storage.machine_merges import keep_what_others_said
from cmms_pipelines.storage.tables import equipment, local_edits, source_snapshots

_STAGED = {
    "equipment_number": "text", "plant_id": "bigint", "equipment_group_id": "bigint", "company_code": "text",
    "equipment_description": "text", "object_number": "text", "point": "text", "attributes": "jsonb",
    "api_created_at": "timestamptz", "is_active": "boolean", "record_digest": "bigint",
}  # fmt: skip
_VALUES = [column for column in _STAGED if column not in {"equipment_number", "record_digest"}]


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
        SET {", ".join(f"{column} = excluded.{column}" for column in [*_VALUES, "record_digest"])},
            version = t.version + 1, updated_at = now()
        WHERE {_row("t")} IS DISTINCT FROM {_row("excluded")} AND NOT ({_IS_OLDER.format(new="excluded")})
    )
    SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM changes
""")

# rows that say what is stored, by a record that is not known: nothing else of them is written
_NOTE_DIGESTS = sa.text(f"""
    WITH noted AS MATERIALIZED (
        SELECT t.id, s.record_digest
        FROM {equipment.fullname} t JOIN staged_equipment s ON s.equipment_number = t.equipment_number
        WHERE s.record_digest IS NOT NULL AND t.record_digest IS DISTINCT FROM s.record_digest
          AND {_row("t")} IS NOT DISTINCT FROM {_row("s")}
        ORDER BY t.equipment_number FOR NO KEY UPDATE OF t
    )
    UPDATE {equipment.fullname} t SET record_digest = noted.record_digest FROM noted WHERE t.id = noted.id
""")

# of what others speak of too (see `storage.machine_merges`), what becomes does not depend on the record alone
_FORGET_CLAIMED = sa.text(f"""
    UPDATE staged_equipment s SET record_digest = NULL
    WHERE EXISTS (SELECT FROM {local_edits.fullname} edit
                  WHERE edit.entity_type = 'equipment' AND edit.entity_key = s.equipment_number)
       OR EXISTS (SELECT FROM {source_snapshots.fullname} master
                  WHERE master.cmms_system_id = '{EXTERNAL_API}' AND master.entity_type = 'equipment'
                    AND master.entity_key = s.equipment_number)
""")


def write(connection: sa.Connection, rows: pd.DataFrame, cmms_system_id: str = "sap") -> SyncCounts:
    """Upsert masters; unchanged ones are not written, and nothing is ever deleted or deactivated by absence (quirk 32).

    A record that is older than the stored one of another plant changes nothing, and counts as unchanged. What was edited here,
    or changed by events, is merged with the record (`storage.machine_merges`).

    Args:
        connection: inside a transaction.
        rows: equipment_number (unique), plant_id, equipment_group_id (Int64), company_code, equipment_description,
            object_number, point, attributes (dict), api_created_at (UTC), is_active, record_digest (Int64, missing: not known).
        cmms_system_id: the system that the external API belongs to.
    """
    stage(connection, "staged_equipment", _STAGED, rows)
    connection.execute(_FORGET_CLAIMED)
    keep_what_others_said(connection, cmms_system_id)
    inserted, updated = (int(count) for count in connection.execute(_MERGE).one())
    if inserted + updated < len(rows):
        connection.execute(_NOTE_DIGESTS)
    return SyncCounts(inserted=inserted, updated=updated, unchanged=len(rows) - inserted - updated)

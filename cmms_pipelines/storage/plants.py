"""Plants and equipment groups: the reference data that equipment hangs on."""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.bulk import stage
from cmms_pipelines.storage.tables import equipment_groups, plants

_STAGED = {"plant_code": "text", "name": "text", "time_zone": "text", "is_active": "boolean"}

_MERGE = sa.text(f"""
    WITH changes AS MATERIALIZED (
        SELECT s.*, t.id IS NULL AS is_new
        FROM staged_plants s LEFT JOIN {plants.fullname} t USING (plant_code)
        WHERE (t.name, t.time_zone, t.is_active) IS DISTINCT FROM (s.name, s.time_zone, s.is_active)
    ), written AS (
        INSERT INTO {plants.fullname} AS t (plant_code, name, time_zone, is_active)
        SELECT plant_code, name, time_zone, is_active FROM changes ORDER BY plant_code
        ON CONFLICT (plant_code) DO UPDATE
        SET name = excluded.name, time_zone = excluded.time_zone, is_active = excluded.is_active, updated_at = now()
        WHERE (t.name, t.time_zone, t.is_active) IS DISTINCT FROM (excluded.name, excluded.time_zone, excluded.is_active)
    )
    SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM changes
""")


def write(connection: sa.Connection, rows: pd.DataFrame) -> SyncCounts:
    """Upsert plants: plant_code, name, time_zone, is_active; unchanged ones are not written."""
    stage(connection, "staged_plants", _STAGED, rows)
    inserted, updated = (int(count) for count in connection.execute(_MERGE).one())
    return SyncCounts(inserted=inserted, updated=updated, unchanged=len(rows) - inserted - updated)


def read(connection: sa.Connection) -> pd.DataFrame:
    """Return plant_id (int64), plant_code, time_zone (str), is_active (bool) of all plants, by code."""
    statement = sa.select(plants.c.id.label("plant_id"), plants.c.plant_code, plants.c.time_zone, plants.c.is_active)
    rows = connection.execute(statement.order_by(plants.c.plant_code)).all()
    frame = pd.DataFrame(rows, columns=["plant_id", "plant_code", "time_zone", "is_active"])
    return frame.astype({"plant_id": "int64", "plant_code": "str", "time_zone": "str", "is_active": "bool"})


def create_missing(connection: sa.Connection, plant_codes: Collection[str]) -> list[str]:
    """Create plants that are known by their code alone; return the codes that were new."""
    if not plant_codes:
        return []
    values = [
        {"plant_code": code, "name": code, "description": "created by a record that named it"} for code in sorted(plant_codes)
    ]
    statement = insert(plants).values(values).on_conflict_do_nothing().returning(plants.c.plant_code)
    return list(connection.scalars(statement))


def ensure_groups(connection: sa.Connection, rules: Mapping[str, Mapping[str, object]], names: Sequence[str]) -> dict[str, int]:
    """Make sure that the groups `names` exist and return all groups' ids by name.

    Args:
        connection: inside a transaction.
        rules: the classification rule of each group that a rule names (others take their name from a field).
        names: the groups that are about to be referred to.
    """
    known = _group_ids(connection)
    missing = sorted(set(names) - known.keys())
    if missing:
        values = [{"name": name, "classification_rule": dict(rules.get(name, {}))} for name in missing]
        connection.execute(insert(equipment_groups).values(values).on_conflict_do_nothing())
        known = _group_ids(connection)
    return known


def _group_ids(connection: sa.Connection) -> dict[str, int]:
    rows = connection.execute(sa.select(equipment_groups.c.name, equipment_groups.c.id))
    return {str(row.name): int(row.id) for row in rows}

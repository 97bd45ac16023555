"""`cmms.local_edits`: the fields that were edited here and are in force, for a whole batch at a time.

What belongs here: loading, writing and ending them. What does not: what an edit may say and what becomes of it
(`domain.local_edits`), who may make one (`storage.work_order_edits`, `storage.equipment_edits`). The history is in `audit_log`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.local_edits import LocalEdit, as_stored, from_stored
from cmms_pipelines.storage.snapshots import Key
from cmms_pipelines.storage.tables import local_edits

ANY_SYSTEM = ""
"""The system in the key of a machine's edits: no system has a machine alone."""
Edits = Mapping[str, LocalEdit]
_EDITS = local_edits.fullname
_COLUMNS = "value, base, earlier_values, edited_by, edited_at"

_LOAD = sa.text(f"""
    SELECT cmms_system_id, entity_key, field, {_COLUMNS}
    FROM {_EDITS} JOIN unnest(CAST(:systems AS text[]), CAST(:keys AS text[])) AS wanted (cmms_system_id, entity_key)
    USING (cmms_system_id, entity_key)
    WHERE entity_type = :entity_type
    ORDER BY id
""")

_WRITE = sa.text(f"""
    INSERT INTO {_EDITS} (cmms_system_id, entity_type, entity_key, field, {_COLUMNS})
    SELECT system, :entity_type, entity, field, {_COLUMNS}
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (
        system text, entity text, field text, value jsonb, base jsonb, earlier_values jsonb, edited_by text, edited_at timestamptz
    )
    ORDER BY system, entity, field
    ON CONFLICT (entity_type, entity_key, cmms_system_id, field) DO UPDATE
    SET value = excluded.value, base = excluded.base, earlier_values = excluded.earlier_values, edited_by = excluded.edited_by,
        edited_at = excluded.edited_at
""")

_END = sa.text(f"""
    DELETE FROM {_EDITS} AS edits
    USING unnest(CAST(:systems AS text[]), CAST(:keys AS text[]), CAST(:fields AS text[])) AS over (system, entity, field)
    WHERE edits.entity_type = :entity_type AND edits.cmms_system_id = over.system AND edits.entity_key = over.entity
      AND edits.field = over.field
""")


def load_edits(connection: sa.Connection, entity_type: str, keys: Iterable[Key]) -> dict[Key, dict[str, LocalEdit]]:
    """Return the edits in force by entity and field; an entity without any is not in it."""
    wanted = sorted(set(keys))
    bound = {"entity_type": entity_type, "systems": [key[0] for key in wanted], "keys": [key[1] for key in wanted]}
    found: dict[Key, dict[str, LocalEdit]] = {}
    for row in connection.execute(_LOAD, bound).mappings():
        found.setdefault((row["cmms_system_id"], row["entity_key"]), {})[row["field"]] = from_stored(dict(row))
    return found


def change_edits(connection: sa.Connection, entity_type: str, before: Mapping[Key, Edits], after: Mapping[Key, Edits]) -> None:
    """Make `after` the edits in force of the entities that it names, where they differ from `before`."""
    rows: list[dict[str, Any]] = []
    over: list[tuple[str, str, str]] = []
    for key, edits in after.items():
        known = before.get(key, {})
        rows += [
            {"system": key[0], "entity": key[1], **(as_stored(edit) or {})}
            for name, edit in edits.items()
            if known.get(name) != edit
        ]
        over += [(*key, name) for name in known.keys() - edits.keys()]
    if rows:
        connection.execute(_WRITE, {"entity_type": entity_type, "rows": orjson.dumps(rows).decode()})
    if over:
        bound = {name: [one[place] for one in over] for place, name in enumerate(("systems", "keys", "fields"))}
        connection.execute(_END, {"entity_type": entity_type, **bound})

"""`cmms.source_snapshots`: what each source last stated of each entity, when it stated each field, and what was agreed.

What belongs here: loading and writing them for a whole batch. What does not: what a statement means. A snapshot holds the
source's side alone, whatever was edited here since; `agreed` is the base of the next three-way merge where that is another value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import JsonValue

from cmms_pipelines.domain.registers import Registers
from cmms_pipelines.storage.tables import source_snapshots

_SNAPSHOTS = source_snapshots.fullname

Key = tuple[str, str]
"""System and entity key."""


@dataclass(frozen=True)
class Snapshot:
    """A source's statements about one entity; `extra` is what is no register (an order's statuses and notes).

    `agreed` has the fields whose last agreed value is neither what the source states now nor the base of a local edit.
    """

    registers: Registers
    extra: Mapping[str, Any]
    occurred_at: datetime | None
    agreed: Mapping[str, JsonValue] = field(default_factory=dict)


_LOAD = sa.text(f"""
    SELECT cmms_system_id, entity_key, snapshot, field_times, occurred_at
    FROM {_SNAPSHOTS} JOIN unnest(CAST(:systems AS text[]), CAST(:keys AS text[])) AS wanted (cmms_system_id, entity_key)
    USING (cmms_system_id, entity_key)
    WHERE entity_type = :entity_type
""")

_LOAD_ALL = sa.text(f"""
    SELECT cmms_system_id, entity_key, snapshot, field_times, occurred_at
    FROM {_SNAPSHOTS}
    WHERE entity_type = :entity_type AND entity_key = ANY(CAST(:keys AS text[]))
""")

_WRITE = sa.text(f"""
    INSERT INTO {_SNAPSHOTS} AS stored (cmms_system_id, entity_type, entity_key, snapshot, field_times, occurred_at)
    SELECT system, :entity_type, entity, snapshot, field_times, occurred_at
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS new (system text, entity text, snapshot jsonb, field_times jsonb, occurred_at timestamptz)
    ORDER BY system, entity
    ON CONFLICT (cmms_system_id, entity_type, entity_key) DO UPDATE
    SET snapshot = excluded.snapshot, field_times = excluded.field_times, occurred_at = excluded.occurred_at,
        updated_at = now()
    WHERE (stored.snapshot, stored.field_times) IS DISTINCT FROM (excluded.snapshot, excluded.field_times)
""")


def load_snapshots(connection: sa.Connection, entity_type: str, keys: Iterable[Key]) -> dict[Key, Snapshot]:
    """Return the snapshots that exist of `keys`."""
    wanted = sorted(set(keys))
    bound = {"systems": [key[0] for key in wanted], "keys": [key[1] for key in wanted], "entity_type": entity_type}
    return {(row.cmms_system_id, row.entity_key): _snapshot(row) for row in connection.execute(_LOAD, bound)}


def load_all_snapshots(connection: sa.Connection, entity_type: str, entity_keys: Iterable[str]) -> dict[Key, Snapshot]:
    """Return the snapshots of all systems that state anything of these entities."""
    bound = {"keys": sorted(set(entity_keys)), "entity_type": entity_type}
    return {(row.cmms_system_id, row.entity_key): _snapshot(row) for row in connection.execute(_LOAD_ALL, bound)}


def write_snapshots(connection: sa.Connection, entity_type: str, snapshots: Mapping[Key, Snapshot]) -> None:
    """Store snapshots; one that has not changed is not written."""
    rows = [
        {
            "system": system,
            "entity": entity,
            "snapshot": _stored(snapshot),
            "field_times": {name: at.isoformat() for name, at in snapshot.registers.times.items()},
            "occurred_at": snapshot.occurred_at,
        }
        for (system, entity), snapshot in snapshots.items()
    ]
    connection.execute(_WRITE, {"rows": orjson.dumps(rows).decode(), "entity_type": entity_type})


def _snapshot(row: sa.Row[Any]) -> Snapshot:
    return Snapshot(
        Registers(row.snapshot["fields"], {name: datetime.fromisoformat(at) for name, at in row.field_times.items()}),
        row.snapshot.get("extra", {}),
        row.occurred_at,
        row.snapshot.get("agreed", {}),
    )


def _stored(snapshot: Snapshot) -> dict[str, Any]:
    stored: dict[str, Any] = {"fields": snapshot.registers.values, "extra": snapshot.extra}
    return stored | {"agreed": snapshot.agreed} if snapshot.agreed else stored

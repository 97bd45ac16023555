"""Write what asset events change on `cmms.equipment`, and the source's statements behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.assets import ATTRIBUTE, apply_asset
from cmms_pipelines.domain.event_payloads import AssetPayload
from cmms_pipelines.storage.equipment_lookup import KnownEquipment
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, waits_for
from cmms_pipelines.storage.outcomes import describe
from cmms_pipelines.storage.snapshots import Key, Snapshot, load_snapshots, write_snapshots
from cmms_pipelines.storage.tables import equipment

ENTITY_TYPE = "equipment"

_LOCK = sa.text(f"SELECT id FROM {equipment.fullname} WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")

_UPDATE = sa.text(f"""
    UPDATE {equipment.fullname} AS machine
    SET equipment_description = CASE WHEN fields ? 'equipment_description'
            THEN fields ->> 'equipment_description' ELSE machine.equipment_description END,
        object_number = CASE WHEN fields ? 'object_number' THEN fields ->> 'object_number' ELSE machine.object_number END,
        is_active = CASE WHEN fields ? 'is_active' THEN (fields ->> 'is_active')::boolean ELSE machine.is_active END,
        attributes = (machine.attributes || changed.attributes) - ARRAY(SELECT jsonb_array_elements_text(changed.removed)),
        updated_at = now()
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS changed (id bigint, fields jsonb, attributes jsonb, removed jsonb)
    WHERE machine.id = changed.id
""")


def apply_assets(
    connection: sa.Connection, events: Sequence[tuple[ClaimedEvent, AssetPayload]], known: Mapping[str, KnownEquipment]
) -> list[Settlement]:
    """Apply events on machines, in the order given. An event about an unknown machine is held until the machine exists."""
    settlements: list[Settlement] = []
    keys = {(event.cmms_system_id, payload.equipment_number) for event, payload in events if payload.equipment_number in known}
    stored = load_snapshots(connection, ENTITY_TYPE, keys) if keys else {}
    changed: dict[Key, Snapshot] = {}
    patches: dict[int, dict[str, Any]] = {}
    for event, payload in events:
        machine = known.get(payload.equipment_number)
        if machine is None:
            settlements.append(waits_for(event, payload.equipment_number))
            continue
        key = event.cmms_system_id, payload.equipment_number
        before = changed.get(key) or stored.get(key)
        stated_at = payload.updated_at or event.stated_at
        change = apply_asset(before.registers if before else None, event.event_type, payload, stated_at)
        if change.is_new_state:
            newest = max(filter(None, (before.occurred_at if before else None, stated_at)))
            changed[key] = Snapshot(change.registers, {}, newest)
            patches.setdefault(machine.id, {}).update(change.applied())
        outcome = {"entity": f"{ENTITY_TYPE}:{payload.equipment_number}", **describe(change.fields)}
        settlements.append(Settlement(event, Verdict.APPLIED if change.is_new_state else Verdict.IGNORED, outcome))
    rows = [_row(identifier, patch) for identifier, patch in sorted(patches.items()) if patch]
    if rows:
        connection.execute(_LOCK, {"ids": [row["id"] for row in rows]})
        connection.execute(_UPDATE, {"rows": orjson.dumps(rows).decode()})
    if changed:
        write_snapshots(connection, ENTITY_TYPE, changed)
    return settlements


def _row(identifier: int, patch: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {name.removeprefix(ATTRIBUTE): value for name, value in patch.items() if name.startswith(ATTRIBUTE)}
    return {
        "id": identifier,
        "fields": {name: value for name, value in patch.items() if not name.startswith(ATTRIBUTE)},
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "removed": [name for name, value in attributes.items() if value is None],
    }

"""Write what asset events change on `cmms.equipment`, and the source's statements behind it."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from pydantic import JsonValue

from cmms_pipelines.domain.assets import AssetChange, apply_asset
from cmms_pipelines.domain.event_payloads import AssetPayload
from cmms_pipelines.domain.local_edits import EQUIPMENT, Settled
from cmms_pipelines.storage.conflict_records import told
from cmms_pipelines.storage.equipment_lookup import KnownEquipment
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, waits_for
from cmms_pipelines.storage.machine_merges import judge_machines, load_machines, remember_masters, update_machines
from cmms_pipelines.storage.outcomes import describe
from cmms_pipelines.storage.snapshots import Key, Snapshot, write_snapshots


def apply_assets(
    connection: sa.Connection, events: Sequence[tuple[ClaimedEvent, AssetPayload]], known: Mapping[str, KnownEquipment]
) -> list[Settlement]:
    """Apply events on machines, in the order given. An event about an unknown machine is held until the machine exists.

    A machine that several systems speak of, or that was edited here, is merged: what nobody can decide keeps its value and waits
    in `cmms.sync_conflicts`, everything else goes on.
    """
    settlements: list[Settlement] = []
    ready = [(event, payload) for event, payload in events if payload.equipment_number in known]
    settlements += [
        waits_for(event, payload.equipment_number) for event, payload in events if payload.equipment_number not in known
    ]
    if not ready:
        return settlements
    machines = load_machines(connection, {payload.equipment_number for _, payload in ready})
    changed: dict[Key, Snapshot] = {}
    patches: dict[str, dict[str, JsonValue]] = {}
    merged: Mapping[Key, Settled] = {}
    applied: list[tuple[ClaimedEvent, Key, AssetChange]] = []
    for event, payload in ready:
        key = event.cmms_system_id, payload.equipment_number
        before = machines.snapshots.get(key)
        stated_at = payload.updated_at or event.stated_at
        change = apply_asset(before.registers if before else None, event.event_type, payload, stated_at)
        if change.is_new_state:
            newest = max(filter(None, (before.occurred_at if before else None, stated_at)))
            first = min(filter(None, (before.extra.get("claimed_at") if before else None, stated_at.isoformat())))
            changed[key] = machines.snapshots[key] = Snapshot(
                change.registers, {"claimed_at": first}, newest, before.agreed if before else {}
            )
            machines.hooks[key], machines.received_at[key] = event.id, event.created_at
            patches.setdefault(payload.equipment_number, {}).update(change.applied())
        applied.append((event, key, change))
    if changed:
        remember_masters(connection, machines, patches)
        contested = machines.contested(patches)
        plain = {number: patch for number, patch in patches.items() if number not in contested}
        update_machines(connection, {machines.ids[number]: patch for number, patch in plain.items()})
        write_snapshots(connection, EQUIPMENT, {key: one for key, one in changed.items() if key[1] not in contested})
        merged = judge_machines(connection, machines, contested) if contested else {}
    return settlements + [_settled(event, key, change, merged.get(key)) for event, key, change in applied]


def _settled(event: ClaimedEvent, key: Key, change: AssetChange, merged: Settled | None) -> Settlement:
    outcome = {"entity": f"{EQUIPMENT}:{key[1]}", **describe(change.fields)}
    if merged is not None:
        outcome |= told(merged)
    return Settlement(event, Verdict.APPLIED if change.is_new_state else Verdict.IGNORED, outcome)

"""Editing work orders and machines here, by somebody who has seen a certain version of them.

What belongs here: the way in of local edits with optimistic versions and audit, and reading what can be edited. What does not:
what an edit may say (`domain.local_edits`), and what becomes of it once the source says something too
(`storage.work_order_effects`, `storage.machine_merges`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from cmms_pipelines.domain.comparing import compared_form, kind_of
from cmms_pipelines.domain.errors import NotFoundError, PermanentError, VersionConflictError
from cmms_pipelines.domain.local_edits import EQUIPMENT, WORK_ORDER, EquipmentEdit, LocalEdit, WorkOrderEdit
from cmms_pipelines.storage.equipment_lookup import find_equipment
from cmms_pipelines.storage.local_edits import ANY_SYSTEM, change_edits, load_edits
from cmms_pipelines.storage.machine_merges import judge_machines, load_machines, remember_masters
from cmms_pipelines.storage.snapshots import Key
from cmms_pipelines.storage.tables import audit_log, equipment, equipment_groups, plants, sync_conflicts, work_orders
from cmms_pipelines.storage.work_order_effects import judge_orders
from cmms_pipelines.storage.work_order_history import ChangedBy, StatusChange, record_status_changes
from cmms_pipelines.storage.work_order_rows import fields_of, load_orders

_STEP_TIMES = {
    "in_progress": ("started_at",),
    "completed": ("completed_at",),
    "closed": ("completed_at", "closed_at"),
}
_ENDED = {"completed_at": ("completed", "closed"), "closed_at": ("closed",)}


def edit_work_order(
    connection: sa.Connection,
    order_id: int,
    edit: WorkOrderEdit,
    *,
    expected_version: int | None,
    actor: str,
    now: datetime,
    reason: str | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    """Change a work order here; return it as `read_work_order` does.

    A status brings the times of its step along, unless they are named. What is set back to what the source says ends the edit.

    Raises:
        NotFoundError: there is no such order.
        VersionConflictError: it is at another version than `expected_version` (None takes whatever is there).
        PermanentError: the edit names a machine that nobody knows.
    """
    found = connection.execute(
        sa.select(work_orders.c.cmms_system_id, work_orders.c.work_order_number).where(work_orders.c.id == order_id)
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"There is no work order {order_id}.")
    key: Key = (found.cmms_system_id, found.work_order_number)
    row = load_orders(connection, [key])[key]
    _expect(row["version"], expected_version, f"The work order {order_id}")
    before = fields_of(row)
    named = edit.fields()
    number = named.get("equipment_number")
    if number is not None and str(number) not in find_equipment(connection, [str(number)]):
        raise PermanentError(f"No machine has the number {number!r}.")
    if "notes" in named:
        known = before["notes"] if isinstance(before["notes"], list) else []
        named["notes"] = [*known, *signed_notes(named["notes"], actor, now)]
    wanted = {**_times_of(named.get("status"), before, now), **named}
    changed = _changed(before, wanted)
    if changed:
        _enter(connection, WORK_ORDER, key, before, changed, actor=actor, now=now)
        judge_orders(connection, [key])
        after = fields_of(load_orders(connection, [key])[key])
        _audit(
            connection,
            "work_order.edited",
            WORK_ORDER,
            ":".join(key),
            before=before,
            after=after,
            changed=changed,
            actor=actor,
            reason=reason,
            run_id=run_id,
        )
        if "status" in changed and before["status"] != after["status"]:
            step = StatusChange(
                *key, str(before["status"]), str(after["status"]), now, ChangedBy.LOCAL_EDIT, actor, reason or "edited here"
            )
            record_status_changes(connection, [step])
    return read_work_order(connection, order_id)


def edit_equipment(
    connection: sa.Connection,
    equipment_number: str,
    edit: EquipmentEdit,
    *,
    expected_version: int | None,
    actor: str,
    now: datetime,
    reason: str | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    """Change a machine's master data here; return it as `read_equipment` does.

    Raises:
        NotFoundError: there is no such machine.
        VersionConflictError: it is at another version than `expected_version` (None takes whatever is there).
    """
    machines = load_machines(connection, [equipment_number])
    if equipment_number not in machines.ids:
        raise NotFoundError(f"No machine has the number {equipment_number!r}.")
    version = connection.scalar(sa.select(equipment.c.version).where(equipment.c.equipment_number == equipment_number)) or 0
    _expect(version, expected_version, f"The machine {equipment_number}")
    before = machines.rows[equipment_number]
    changed = _changed(before, edit.fields())
    if changed:
        remember_masters(connection, machines, [equipment_number])
        _enter(connection, EQUIPMENT, (ANY_SYSTEM, equipment_number), before, changed, actor=actor, now=now)
        judge_machines(connection, load_machines(connection, [equipment_number]), [equipment_number])
        after = load_machines(connection, [equipment_number]).rows[equipment_number]
        _audit(
            connection,
            "equipment.edited",
            EQUIPMENT,
            equipment_number,
            before=before,
            after=after,
            changed=changed,
            actor=actor,
            reason=reason,
            run_id=run_id,
        )
    return read_equipment(connection, equipment_number)


def read_work_order(connection: sa.Connection, order_id: int) -> dict[str, Any]:
    """Return a work order with its machine and plant, the edits in force and its open conflicts.

    Raises:
        NotFoundError: there is no such order.
    """
    row = connection.execute(orders_query().where(work_orders.c.id == order_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"There is no work order {order_id}.")
    key = row["cmms_system_id"], row["work_order_number"]
    return {**row, **_local(connection, WORK_ORDER, key)}


def read_equipment(connection: sa.Connection, equipment_number: str) -> dict[str, Any]:
    """Return a machine with its plant and group, the edits in force and its open conflicts.

    Raises:
        NotFoundError: there is no such machine.
    """
    query = machines_query().where(equipment.c.equipment_number == equipment_number)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"No machine has the number {equipment_number!r}.")
    return {**row, **_local(connection, EQUIPMENT, (ANY_SYSTEM, equipment_number))}


def orders_query() -> sa.Select[Any]:
    """Return all work orders with the number of the machine and the code of the plant in place of their ids."""
    columns = [column for column in work_orders.c if column.name not in {"equipment_id", "plant_id"}]
    return (
        sa.select(*columns, equipment.c.equipment_number, plants.c.plant_code)
        .select_from(work_orders)
        .outerjoin(equipment, equipment.c.id == work_orders.c.equipment_id)
        .outerjoin(plants, plants.c.id == work_orders.c.plant_id)
    )


def machines_query() -> sa.Select[Any]:
    """Return all machines with the code of the plant and the name of the group in place of their ids."""
    left_out = {"plant_id", "equipment_group_id", "record_digest"}
    columns = [column for column in equipment.c if column.name not in left_out]
    return (
        sa.select(*columns, plants.c.plant_code, equipment_groups.c.name.label("equipment_group"))
        .select_from(equipment)
        .join(plants, plants.c.id == equipment.c.plant_id)
        .outerjoin(equipment_groups, equipment_groups.c.id == equipment.c.equipment_group_id)
    )


def _local(connection: sa.Connection, entity_type: str, key: Key) -> dict[str, Any]:
    conflicts = sync_conflicts.c
    mine = [conflicts.entity_type == entity_type, conflicts.entity_key == key[1], conflicts.status == "open"]
    mine += [conflicts.cmms_system_id == key[0]] if entity_type == WORK_ORDER else []
    edits = load_edits(connection, entity_type, [key]).get(key, {})
    return {
        "edits": [
            {"field": edit.field, "value": edit.value, "base": edit.base, "by": edit.edited_by, "at": edit.edited_at}
            for edit in edits.values()
        ],
        "open_conflicts": list(connection.scalars(sa.select(conflicts.id).where(*mine).order_by(conflicts.id))),
    }


def _expect(version: int, expected: int | None, what: str) -> None:
    if expected is not None and version != expected:
        raise VersionConflictError(f"{what} is at version {version} by now: read it again.", version)


def _changed(before: Mapping[str, JsonValue], wanted: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what of `wanted` means something else than `before`."""
    return {
        name: value
        for name, value in wanted.items()
        if compared_form(kind_of(name), value) != compared_form(kind_of(name), before.get(name))
    }


def _enter(
    connection: sa.Connection,
    entity_type: str,
    key: Key,
    before: Mapping[str, JsonValue],
    changed: Mapping[str, JsonValue],
    *,
    actor: str,
    now: datetime,
) -> None:
    in_force = load_edits(connection, entity_type, [key]).get(key, {})
    edits = dict(in_force)
    for name, value in changed.items():
        known = edits.get(name)
        edits[name] = known.changed_to(value, by=actor, at=now) if known else LocalEdit(name, value, before.get(name), actor, now)
    change_edits(connection, entity_type, {key: in_force}, {key: edits})


def _times_of(status: JsonValue, before: Mapping[str, JsonValue], now: datetime) -> dict[str, JsonValue]:
    """Return the times that a new status brings along: of the step itself where it has none, and none of steps taken back."""
    if status is None or status == before.get("status"):
        return {}
    reached: dict[str, JsonValue] = {
        name: now.isoformat() for name in _STEP_TIMES.get(str(status), ()) if before.get(name) is None
    }
    return reached | {name: None for name, statuses in _ENDED.items() if status not in statuses and before.get(name) is not None}


def signed_notes(notes: JsonValue, actor: str, now: datetime) -> list[JsonValue]:
    """Return notes that are added here, each with who wrote it and when."""
    return [_signed(note, actor, now) for note in notes] if isinstance(notes, list) else []


def _signed(note: JsonValue, actor: str, now: datetime) -> JsonValue:
    if isinstance(note, dict):
        return {"at": now.isoformat(), "by": actor, **note}
    return {"at": now.isoformat(), "by": actor, "text": note}


def _audit(
    connection: sa.Connection,
    action: str,
    entity_type: str,
    entity_key: str,
    *,
    before: Mapping[str, JsonValue],
    after: Mapping[str, JsonValue],
    changed: Mapping[str, JsonValue],
    actor: str,
    reason: str | None,
    run_id: str | None,
) -> None:
    connection.execute(
        sa.insert(audit_log).values(
            actor=actor,
            action=action,
            entity_type=entity_type,
            entity_key=entity_key,
            before={name: before.get(name) for name in changed},
            after={name: after.get(name) for name in changed},
            reason=reason,
            dagster_run_id=run_id,
        )
    )

"""Work orders that are made here, for a machine that somebody found in need of work.

What belongs here: giving an order its row, its number and its first edits. What does not: what it may say (`domain.local_edits`),
editing it afterwards (`storage.editing`), and what becomes of it once a source speaks of the same order
(`storage.work_order_effects`).
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError, VersionConflictError
from cmms_pipelines.domain.local_edits import WORK_ORDER, LocalEdit, NewWorkOrder
from cmms_pipelines.storage.editing import read_work_order, signed_notes
from cmms_pipelines.storage.equipment_lookup import find_equipment
from cmms_pipelines.storage.local_edits import change_edits
from cmms_pipelines.storage.snapshots import Key
from cmms_pipelines.storage.tables import audit_log, work_orders
from cmms_pipelines.storage.work_order_effects import judge_orders
from cmms_pipelines.storage.work_order_history import ChangedBy, StatusChange, record_status_changes

_INSERT = sa.text(f"""
    INSERT INTO {work_orders.fullname} (cmms_system_id, work_order_number, status, equipment_id, plant_id)
    VALUES (:system, COALESCE(:number, 'L' || nextval(pg_get_serial_sequence('{work_orders.fullname}', 'id'))), :status,
            :equipment_id, :plant_id)
    ON CONFLICT (cmms_system_id, work_order_number) DO NOTHING
    RETURNING id, work_order_number
""")


def create_work_order(
    connection: sa.Connection,
    order: NewWorkOrder,
    *,
    actor: str,
    now: datetime,
    reason: str | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    """Make a work order here; return it as `editing.read_work_order` does.

    All that it says are edits of ours: a source that states the same order later is merged with it, and overwrites nothing.

    Raises:
        VersionConflictError: the system has an order of this number.
        PermanentError: nobody knows the machine.
    """
    machine = find_equipment(connection, [order.equipment_number]).get(order.equipment_number)
    if machine is None:
        raise PermanentError(f"No machine has the number {order.equipment_number!r}.")
    bound = {
        "system": order.cmms_system_id,
        "number": order.work_order_number,
        "status": order.status,
        "equipment_id": machine.id,
        "plant_id": machine.plant_id,
    }
    made = connection.execute(_INSERT, bound).one_or_none()
    if made is None:
        theirs = work_orders.c.cmms_system_id == order.cmms_system_id, work_orders.c.work_order_number == order.work_order_number
        version = connection.scalar(sa.select(work_orders.c.version).where(*theirs)) or 0
        known = f"{order.cmms_system_id!r} has an order {order.work_order_number!r} already: edit that one"
        raise VersionConflictError(f"{known}.", version)
    key: Key = (order.cmms_system_id, made.work_order_number)
    said = order.fields()
    if "notes" in said:
        said["notes"] = signed_notes(said["notes"], actor, now)
    edits = {name: LocalEdit(name, value, None, actor, now) for name, value in said.items() if value is not None}
    change_edits(connection, WORK_ORDER, {}, {key: edits})
    judge_orders(connection, [key])
    record_status_changes(
        connection, [StatusChange(*key, None, str(said["status"]), now, ChangedBy.LOCAL_EDIT, actor, reason or "made here")]
    )
    connection.execute(
        sa.insert(audit_log).values(
            actor=actor,
            action="work_order.created",
            entity_type=WORK_ORDER,
            entity_key=":".join(key),
            after=said,
            reason=reason,
            dagster_run_id=run_id,
        )
    )
    return read_work_order(connection, made.id)

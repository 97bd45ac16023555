"""Write what events change on work orders: `cmms.work_orders` and the source's statements behind them.

What belongs here: loading and writing a batch of orders, each in one statement. What does not: the decisions
(`domain.work_orders`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.event_payloads import WorkOrderPayload
from cmms_pipelines.domain.work_orders import Change, WorkOrder, WorkOrderEvent, apply
from cmms_pipelines.storage.equipment_lookup import KnownEquipment
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, waits_for
from cmms_pipelines.storage.outcomes import describe
from cmms_pipelines.storage.snapshots import Key, Snapshot, load_snapshots, write_snapshots
from cmms_pipelines.storage.tables import plants, work_orders

ENTITY_TYPE = "work_order"
_ORDERS = work_orders.fullname
_PLAIN = (
    "status", "priority", "title", "description", "work_type", "assignee", "due_at", "scheduled_at", "started_at", "completed_at",
    "closed_at", "cost", "currency",
)  # fmt: skip
_COLLECTIONS = ("parts", "tags", "notes")
_COLUMNS = (*_PLAIN, *_COLLECTIONS, "equipment_id", "plant_id", "is_partial", "source_updated_at")

_LOAD = sa.text(f"""
    SELECT cmms_system_id, work_order_number, to_jsonb(orders) AS stored
    FROM {_ORDERS} AS orders
    JOIN unnest(CAST(:systems AS text[]), CAST(:numbers AS text[])) AS wanted (cmms_system_id, work_order_number)
    USING (cmms_system_id, work_order_number)
    ORDER BY cmms_system_id, work_order_number
    FOR UPDATE OF orders
""")

_WRITE = sa.text(f"""
    INSERT INTO {_ORDERS} AS stored (cmms_system_id, work_order_number, {", ".join(_COLUMNS)})
    SELECT cmms_system_id, work_order_number, {", ".join(_COLUMNS)}
    FROM jsonb_populate_recordset(CAST(NULL AS {_ORDERS}), CAST(:rows AS jsonb))
    ORDER BY cmms_system_id, work_order_number
    ON CONFLICT (cmms_system_id, work_order_number) DO UPDATE
    SET {", ".join(f"{column} = excluded.{column}" for column in _COLUMNS)}, version = stored.version + 1, updated_at = now()
    WHERE ({", ".join(f"stored.{column}" for column in _COLUMNS)})
          IS DISTINCT FROM ({", ".join(f"excluded.{column}" for column in _COLUMNS)})
""")


def apply_work_orders(
    connection: sa.Connection, events: Sequence[tuple[ClaimedEvent, WorkOrderPayload]], known: Mapping[str, KnownEquipment]
) -> list[Settlement]:
    """Apply events on work orders, in the order given. An event that names an unknown machine is held."""
    settlements: list[Settlement] = []
    ready: list[tuple[ClaimedEvent, WorkOrderPayload]] = []
    for event, payload in events:
        number = payload.equipment_number
        if number is None or number in known:
            ready.append((event, payload))
        else:
            settlements.append(waits_for(event, number))
    if not ready:
        return settlements
    keys = {_key(event, payload) for event, payload in ready}
    stored = _load(connection, keys)
    orders = {key: _order(snapshot) for key, snapshot in load_snapshots(connection, ENTITY_TYPE, keys).items()}
    before = {key: order.values() for key, order in orders.items()}
    changed: set[Key] = set()
    for event, payload in ready:
        key = _key(event, payload)
        has_source_time = payload.updated_at is not None or event.occurred_at is not None
        stated_at = payload.updated_at or event.stated_at
        change = apply(orders.get(key), WorkOrderEvent(event.event_type, payload, stated_at, has_source_time))
        orders[key] = change.work_order
        if change.is_new_state:
            changed.add(key)
        settlements.append(_settled(event, key, change))
    if changed:
        plant_ids = _plant_ids(connection, orders, changed)
        rows = [
            _row(key, orders[key], before=before.get(key, {}), stored=stored.get(key, {}), known=known, plant_ids=plant_ids)
            for key in changed
        ]
        connection.execute(_WRITE, {"rows": orjson.dumps(rows).decode()})
        write_snapshots(connection, ENTITY_TYPE, {key: _snapshot(orders[key]) for key in changed})
    return settlements


def _key(event: ClaimedEvent, payload: WorkOrderPayload) -> Key:
    return event.cmms_system_id, payload.work_order_number


def _load(connection: sa.Connection, keys: set[Key]) -> dict[Key, dict[str, Any]]:
    wanted = sorted(keys)
    rows = connection.execute(_LOAD, {"systems": [key[0] for key in wanted], "numbers": [key[1] for key in wanted]})
    return {(row.cmms_system_id, row.work_order_number): row.stored for row in rows}


def _order(snapshot: Snapshot) -> WorkOrder:
    return WorkOrder(
        registers=snapshot.registers,
        statuses=tuple((datetime.fromisoformat(at), status) for at, status in snapshot.extra["statuses"]),
        notes=tuple(snapshot.extra["notes"]),
        is_partial=snapshot.extra["is_partial"],
        source_updated_at=snapshot.occurred_at,
    )


def _snapshot(order: WorkOrder) -> Snapshot:
    extra = {
        "statuses": [[at.isoformat(), status] for at, status in order.statuses],
        "notes": list(order.notes),
        "is_partial": order.is_partial,
    }
    return Snapshot(order.registers, extra, order.source_updated_at)


def _row(
    key: Key,
    order: WorkOrder,
    *,
    before: Mapping[str, Any],
    stored: Mapping[str, Any],
    known: Mapping[str, KnownEquipment],
    plant_ids: Mapping[str, int],
) -> dict[str, Any]:
    """Return the row as it shall be: what the source has changed is taken over, everything else stays as it is stored."""
    values = order.values()
    row: dict[str, Any] = {"cmms_system_id": key[0], "work_order_number": key[1], **stored}
    for column in (*_PLAIN, *_COLLECTIONS):
        if not stored or values.get(column) != before.get(column):
            row[column] = values.get(column)
    for column in _COLLECTIONS:
        row[column] = row[column] or []
    if not stored or any(values.get(field) != before.get(field) for field in ("equipment_number", "plant_code")):
        machine = known.get(str(values.get("equipment_number")))
        if machine is not None or values.get("equipment_number") is None:
            row["equipment_id"] = machine.id if machine else None
            row["plant_id"] = machine.plant_id if machine else plant_ids.get(str(values.get("plant_code")))
    return row | {"is_partial": order.is_partial, "source_updated_at": order.source_updated_at}


def _plant_ids(connection: sa.Connection, orders: Mapping[Key, WorkOrder], changed: set[Key]) -> Mapping[str, int]:
    codes = {str(code) for key in changed if (code := orders[key].registers.values.get("plant_code")) is not None}
    if not codes:
        return {}
    query = sa.select(plants.c.plant_code, plants.c.id).where(plants.c.plant_code.in_(sorted(codes)))
    return {row.plant_code: row.id for row in connection.execute(query)}


def _settled(event: ClaimedEvent, key: Key, change: Change) -> Settlement:
    outcome = {"entity": f"{ENTITY_TYPE}:{key[1]}", **describe(change.fields)}
    if change.work_order.is_partial:
        outcome["is_partial"] = True
    return Settlement(event, Verdict.APPLIED if change.is_new_state else Verdict.IGNORED, outcome)

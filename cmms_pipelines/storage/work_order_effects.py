"""Write what sources state of work orders: `cmms.work_orders`, the statements behind them, and what local edits make of both.

What belongs here: one batch from statements to rows. What does not: the decisions (`domain.work_orders`, `domain.conflicts`) and
the statements of SQL (`storage.work_order_rows`).

Both ways in end here: events of the inbox (`apply_work_orders`) and orders of the external API (`apply_statements`).
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Side
from cmms_pipelines.domain.event_payloads import WorkOrderPayload
from cmms_pipelines.domain.local_edits import WORK_ORDER, LocalEdit, Settled, Statement, settle
from cmms_pipelines.domain.registers import Registers
from cmms_pipelines.domain.work_orders import Change, WorkOrder, WorkOrderEvent, apply
from cmms_pipelines.storage import conflict_records
from cmms_pipelines.storage.equipment_lookup import KnownEquipment, find_equipment
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, waits_for
from cmms_pipelines.storage.local_edits import change_edits, load_edits
from cmms_pipelines.storage.outcomes import describe
from cmms_pipelines.storage.snapshots import Key, Snapshot, load_snapshots, write_snapshots
from cmms_pipelines.storage.work_order_history import ChangedBy, StatusChange, record_status_changes
from cmms_pipelines.storage.work_order_rows import COLLECTIONS, PLAIN, REFERENCES, fields_of, load_orders, plant_ids, write_orders


@dataclass(frozen=True)
class OrderStatement:
    """What one system states of one order; `source` names the event or the log of the sync that brought it.

    `received_at` is when an event came in, by our clock; a record of a sync says nothing by the clock of its source.
    """

    cmms_system_id: str
    event: WorkOrderEvent
    changed_by: ChangedBy
    source: str
    received_at: datetime | None = None

    @property
    def key(self) -> Key:
        return self.cmms_system_id, self.event.payload.work_order_number


@dataclass
class _Batch:
    """What is known of the orders of a batch, and what they come to."""

    stored: Mapping[Key, Mapping[str, Any]]
    orders: dict[Key, WorkOrder]
    agreed: dict[Key, Mapping[str, JsonValue]]
    edits: Mapping[Key, Mapping[str, LocalEdit]]
    known: Mapping[str, KnownEquipment]
    received_at: Mapping[Key, datetime | None] = field(default_factory=dict)
    settled: dict[Key, Settled] = field(default_factory=dict)


def apply_work_orders(
    connection: sa.Connection, events: Sequence[tuple[ClaimedEvent, WorkOrderPayload]], known: Mapping[str, KnownEquipment]
) -> list[Settlement]:
    """Apply events on work orders, in the order given. An event that names an unknown machine is held."""
    settlements: list[Settlement] = []
    ready: list[tuple[ClaimedEvent, OrderStatement]] = []
    for event, payload in events:
        number = payload.equipment_number
        if number is None or number in known:
            has_source_time = payload.updated_at is not None or event.occurred_at is not None
            stated = WorkOrderEvent(event.event_type, payload, payload.updated_at or event.stated_at, has_source_time)
            ready.append((event, OrderStatement(event.cmms_system_id, stated, ChangedBy.EVENT, str(event.id), event.created_at)))
        else:
            settlements.append(waits_for(event, number))
    changes, merged = _apply(connection, [statement for _, statement in ready], known) if ready else ([], {})
    settlements += [
        _settled(event, statement, change, merged.get(statement.key))
        for (event, statement), change in zip(ready, changes, strict=True)
    ]
    return settlements


def apply_statements(
    connection: sa.Connection, statements: Sequence[OrderStatement], known: Mapping[str, KnownEquipment]
) -> list[Change]:
    """Apply what systems state of work orders, in the order given; return what each statement did to its source's side.

    `known` has the machines that the statements name. Where an order was edited here, source and edits are merged: fields that
    nobody can decide keep our value and wait in `cmms.sync_conflicts`, everything else goes on.
    """
    return _apply(connection, statements, known)[0]


def _apply(
    connection: sa.Connection, statements: Sequence[OrderStatement], known: Mapping[str, KnownEquipment]
) -> tuple[list[Change], Mapping[Key, Settled]]:
    keys = {statement.key for statement in statements}
    stored = load_orders(connection, keys)
    snapshots = load_snapshots(connection, WORK_ORDER, keys)
    orders = {key: _order(snapshot) for key, snapshot in snapshots.items()}
    before = {key: order.values() for key, order in orders.items()}
    changed: dict[Key, OrderStatement] = {}
    changes: list[Change] = []
    merged: Mapping[Key, Settled] = {}
    for statement in statements:
        change = apply(orders.get(statement.key), statement.event)
        orders[statement.key] = change.work_order
        changes.append(change)
        if change.is_new_state:
            changed[statement.key] = statement
    if changed:
        agreed = {key: snapshot.agreed for key, snapshot in snapshots.items() if snapshot.agreed}
        received_at = {key: statement.received_at for key, statement in changed.items()}
        batch = _Batch(stored, orders, agreed, load_edits(connection, WORK_ORDER, changed), known, received_at)
        hooks = {
            key: uuid.UUID(statement.source) for key, statement in changed.items() if statement.changed_by is ChangedBy.EVENT
        }
        _write(connection, batch, before, set(changed), hooks)
        record_status_changes(connection, _steps(statements, changes, batch))
        merged = batch.settled
    return changes, merged


def judge_orders(connection: sa.Connection, keys: Iterable[Key]) -> None:
    """Merge orders once more, after an edit or a resolution has changed what our side says; their rows are locked."""
    wanted = set(keys)
    stored = load_orders(connection, wanted)
    snapshots = load_snapshots(connection, WORK_ORDER, wanted)
    orders = {key: _order(snapshots[key]) if key in snapshots else _unstated(row) for key, row in stored.items()}
    agreed = {key: snapshot.agreed for key, snapshot in snapshots.items() if snapshot.agreed}
    batch = _Batch(stored, orders, agreed, load_edits(connection, WORK_ORDER, wanted), {})
    before = {key: order.values() for key, order in orders.items()}
    _write(connection, batch, before, set(orders), {}, is_judged_whole=True)


def _write(
    connection: sa.Connection,
    batch: _Batch,
    before: Mapping[Key, Mapping[str, JsonValue]],
    keys: set[Key],
    hooks: Mapping[Key, uuid.UUID],
    *,
    is_judged_whole: bool = False,
) -> None:
    edited = {key for key in keys if key in batch.stored and (is_judged_whole or key in batch.edits)}
    if edited:
        _merge(connection, batch, edited, hooks)
    codes = {str(code) for key in keys if (code := batch.orders[key].registers.values.get("plant_code")) is not None}
    plants = plant_ids(connection, codes)
    known = _machines(connection, batch)
    rows = []
    for key in keys:
        order, stored = batch.orders[key], batch.stored.get(key, {})
        settled = batch.settled.get(key)
        values = order.values() if settled is None else settled.values
        earlier = before.get(key, {}) if settled is None else fields_of(stored)
        rows.append(_row(key, order, values=values, before=earlier, stored=stored, known=known, plants=plants))
    write_orders(connection, rows)
    write_snapshots(connection, WORK_ORDER, {key: _snapshot(batch.orders[key], batch.agreed.get(key, {})) for key in keys})


def _merge(connection: sa.Connection, batch: _Batch, keys: set[Key], hooks: Mapping[Key, uuid.UUID]) -> None:
    """Merge the orders that were edited here with what their source says."""
    waiting = conflict_records.waiting_conflicts(connection, WORK_ORDER, {key[1] for key in keys})
    configured = conflict_records.policies(connection)
    outcomes: list[conflict_records.Outcome] = []
    for key in sorted(keys):
        order, edits, agreed = batch.orders[key], batch.edits.get(key, {}), batch.agreed.get(key, {})
        statement = Statement(
            entity_type=WORK_ORDER,
            row=fields_of(batch.stored[key]),
            edits=edits,
            theirs=Side(
                order.values() if order.statuses or order.registers.values else {},
                order.stated_at(),
                clock_is_trusted=order.is_timed,
                writer=key[0],
                history={"status": order.statuses},
            ),
            agreed=agreed,
            waiting=waiting.get(key, {}),
            received_at=batch.received_at.get(key),
        )
        settled = settle(statement, conflict_records.policy_of(configured, key[0]))
        batch.settled[key] = settled
        batch.agreed[key] = settled.agreed
        outcomes.append(conflict_records.Outcome(*key, settled, edits, agreed, order.stated_at(), hooks.get(key)))
    change_edits(connection, WORK_ORDER, batch.edits, {key: batch.settled[key].edits for key in keys})
    conflict_records.record(connection, WORK_ORDER, outcomes)


def _machines(connection: sa.Connection, batch: _Batch) -> Mapping[str, KnownEquipment]:
    """Return the known machines, those included that only an edit names."""
    named = {str(number) for settled in batch.settled.values() if (number := settled.values.get("equipment_number")) is not None}
    return {**batch.known, **find_equipment(connection, named - batch.known.keys())}


def _order(snapshot: Snapshot) -> WorkOrder:
    return WorkOrder(
        registers=snapshot.registers,
        statuses=tuple((datetime.fromisoformat(at), status) for at, status in snapshot.extra["statuses"]),
        notes=tuple(snapshot.extra["notes"]),
        is_partial=snapshot.extra["is_partial"],
        source_updated_at=snapshot.occurred_at,
        is_timed=snapshot.extra.get("is_timed", True),
    )


def _unstated(row: Mapping[str, Any]) -> WorkOrder:
    """Return the source's side of an order of which no source has stated anything."""
    updated_at = row["source_updated_at"]
    return WorkOrder(Registers({}, {}), (), (), row["is_partial"], datetime.fromisoformat(updated_at) if updated_at else None)


def _snapshot(order: WorkOrder, agreed: Mapping[str, JsonValue]) -> Snapshot:
    extra: dict[str, Any] = {
        "statuses": [[at.isoformat(), status] for at, status in order.statuses],
        "notes": list(order.notes),
        "is_partial": order.is_partial,
    }
    if not order.is_timed:
        extra["is_timed"] = False
    return Snapshot(order.registers, extra, order.source_updated_at, agreed)


def _row(
    key: Key,
    order: WorkOrder,
    *,
    values: Mapping[str, JsonValue],
    before: Mapping[str, JsonValue],
    stored: Mapping[str, Any],
    known: Mapping[str, KnownEquipment],
    plants: Mapping[str, int],
) -> dict[str, Any]:
    """Return the row as it shall be: what has changed since `before` is taken over, everything else stays as it is stored."""
    row: dict[str, Any] = {"cmms_system_id": key[0], "work_order_number": key[1], **stored}
    for column in (*PLAIN, *COLLECTIONS):
        if not stored or values.get(column) != before.get(column):
            row[column] = values.get(column)
    for column in COLLECTIONS:
        row[column] = row[column] or []
    if not stored or any(values.get(name) != before.get(name) for name in REFERENCES):
        machine = known.get(str(values.get("equipment_number")))
        if machine is not None or values.get("equipment_number") is None:
            row["equipment_id"] = machine.id if machine else None
            row["plant_id"] = machine.plant_id if machine else plants.get(str(values.get("plant_code")))
    return row | {"is_partial": order.is_partial, "source_updated_at": order.source_updated_at}


def _steps(statements: Sequence[OrderStatement], changes: Sequence[Change], batch: _Batch) -> list[StatusChange]:
    """Return the steps of statuses that the statements tell, also those that came too late or that our own status outlives."""
    steps: list[StatusChange] = []
    for statement, change in zip(statements, changes, strict=True):
        told = next((one for one in change.fields if one.field == "status"), None)
        if told is None:
            continue
        settled = batch.settled.get(statement.key)
        is_applied = told.is_applied and (settled is None or settled.values.get("status") == told.after)
        steps.append(
            StatusChange(
                *statement.key,
                from_status=None if told.before is None else str(told.before),
                to_status=str(told.after),
                at=statement.event.stated_at,
                changed_by=statement.changed_by,
                source=statement.source,
                reason=told.reason,
                is_applied=is_applied,
            )
        )
    return steps


def _settled(event: ClaimedEvent, statement: OrderStatement, change: Change, merged: Settled | None) -> Settlement:
    outcome = {"entity": f"{WORK_ORDER}:{statement.key[1]}", **describe(change.fields)}
    if change.work_order.is_partial:
        outcome["is_partial"] = True
    if merged is not None:
        outcome |= conflict_records.told(merged)
    return Settlement(event, Verdict.APPLIED if change.is_new_state else Verdict.IGNORED, outcome)

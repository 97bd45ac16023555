"""Apply a batch of claimed events to the tables, so that no event can spoil it for another.

What belongs here: sorting events to their family, and keeping a failure to the event that caused it. What does not: the
families' own statements (`storage.work_order_effects`, `storage.asset_effects`, `storage.meter_effects`, `storage.told_effects`).
"""

from collections.abc import Sequence

import sqlalchemy as sa

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.domain.event_payloads import (
    AssetPayload,
    MeterReadingPayload,
    Refusal,
    WorkOrderPayload,
    read_payload,
)
from cmms_pipelines.domain.told import MaintenancePayload
from cmms_pipelines.storage.asset_effects import apply_assets
from cmms_pipelines.storage.equipment_lookup import find_equipment
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, lock_key, refused
from cmms_pipelines.storage.meter_effects import apply_meter_readings
from cmms_pipelines.storage.retrying import failure
from cmms_pipelines.storage.told_effects import apply_told
from cmms_pipelines.storage.work_order_effects import apply_work_orders


def apply_events(connection: sa.Connection, events: Sequence[ClaimedEvent]) -> list[Settlement]:
    """Apply events of one claim, in order of arrival within each entity; return one settlement for each.

    A batch takes a handful of statements. Where one of them fails, the batch is rolled back to its savepoint and halved by
    entity, then by event, until the failing event stands alone: `retry` if the failure may pass (with those behind it `left`),
    `dead` if it cannot.

    Raises:
        TransientError: the connection is lost; nothing of the transaction has happened.
    """
    if not events:
        return []
    try:
        with connection.begin_nested():
            return _apply_together(connection, events)
    except (sa.exc.DBAPIError, TransientError) as error:
        if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
            raise TransientError("The connection to the database was lost while events were applied.") from error
        if len(events) == 1:
            return [failure(events[0], error)]
    settlements: list[Settlement] = []
    stopped: set[str] = set()
    for part in _halves(events):
        free = [event for event in part if lock_key(event) not in stopped]
        settlements += [Settlement(event, Verdict.LEFT) for event in part if lock_key(event) in stopped]
        applied = apply_events(connection, free)
        stopped |= {lock_key(settled.event) for settled in applied if settled.verdict is Verdict.RETRY}
        settlements += applied
    return settlements


def _apply_together(connection: sa.Connection, events: Sequence[ClaimedEvent]) -> list[Settlement]:
    settlements: list[Settlement] = []
    orders: list[tuple[ClaimedEvent, WorkOrderPayload]] = []
    assets: list[tuple[ClaimedEvent, AssetPayload]] = []
    readings: list[tuple[ClaimedEvent, MeterReadingPayload]] = []
    told: list[tuple[ClaimedEvent, MaintenancePayload]] = []
    numbers: set[str] = set()
    for event in events:
        payload = read_payload(event.event_type, event.payload)
        if isinstance(payload, Refusal):
            settlements.append(refused(event, payload))
            continue
        if payload.equipment_number is not None:
            numbers.add(payload.equipment_number)
        if isinstance(payload, WorkOrderPayload):
            orders.append((event, payload))
        elif isinstance(payload, AssetPayload):
            assets.append((event, payload))
        elif isinstance(payload, MeterReadingPayload):
            readings.append((event, payload))
        else:
            told.append((event, payload))
    known = find_equipment(connection, numbers)
    settlements += apply_work_orders(connection, orders, known) if orders else []
    settlements += apply_assets(connection, assets, known) if assets else []
    settlements += apply_meter_readings(connection, readings, known) if readings else []
    settlements += apply_told(connection, told, known) if told else []
    return settlements


def _halves(events: Sequence[ClaimedEvent]) -> tuple[Sequence[ClaimedEvent], Sequence[ClaimedEvent]]:
    keys = list(dict.fromkeys(lock_key(event) for event in events))
    if len(keys) == 1:
        return events[: len(events) // 2], events[len(events) // 2 :]
    first = set(keys[: len(keys) // 2])
    return [event for event in events if lock_key(event) in first], [event for event in events if lock_key(event) not in first]

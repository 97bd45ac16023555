"""Apply a batch of claimed events to the tables, so that no event can spoil it for another.

What belongs here: sorting events to their family, and keeping a failure to the event that caused it. What does not: the
families' own statements (`storage.work_order_effects`, `storage.asset_effects`, `storage.meter_effects`).
"""

import hashlib
from collections.abc import Sequence

import psycopg
import sqlalchemy as sa

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.domain.event_payloads import (
    AssetPayload,
    MeterReadingPayload,
    Refusal,
    WorkOrderPayload,
    read_payload,
)
from cmms_pipelines.storage.asset_effects import apply_assets
from cmms_pipelines.storage.equipment_lookup import find_equipment
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, lock_key, refused
from cmms_pipelines.storage.meter_effects import apply_meter_readings
from cmms_pipelines.storage.work_order_effects import apply_work_orders

MAX_RETRIES = 8
FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 600.0
_TRANSIENT = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.QueryCanceled,
    psycopg.errors.InsufficientResources,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


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
            return [_failure(events[0], error)]
    settlements: list[Settlement] = []
    stopped: set[str] = set()
    for part in _halves(events):
        free = [event for event in part if lock_key(event) not in stopped]
        settlements += [Settlement(event, Verdict.LEFT) for event in part if lock_key(event) in stopped]
        applied = apply_events(connection, free)
        stopped |= {lock_key(settled.event) for settled in applied if settled.verdict is Verdict.RETRY}
        settlements += applied
    return settlements


def retry_in_s(event: ClaimedEvent) -> float:
    """Return the wait before the next attempt: doubled each time up to ten minutes, 50 to 100 % of it by the event's id."""
    longest = min(FIRST_RETRY_S * 2.0**event.retry_count, LONGEST_RETRY_S)
    digest = hashlib.blake2b(f"{event.id}{event.retry_count}".encode(), digest_size=4).digest()
    return longest * (0.5 + 0.5 * int.from_bytes(digest) / 2**32)


def _apply_together(connection: sa.Connection, events: Sequence[ClaimedEvent]) -> list[Settlement]:
    settlements: list[Settlement] = []
    orders: list[tuple[ClaimedEvent, WorkOrderPayload]] = []
    assets: list[tuple[ClaimedEvent, AssetPayload]] = []
    readings: list[tuple[ClaimedEvent, MeterReadingPayload]] = []
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
        else:
            readings.append((event, payload))
    known = find_equipment(connection, numbers)
    settlements += apply_work_orders(connection, orders, known) if orders else []
    settlements += apply_assets(connection, assets, known) if assets else []
    settlements += apply_meter_readings(connection, readings, known) if readings else []
    return settlements


def _halves(events: Sequence[ClaimedEvent]) -> tuple[Sequence[ClaimedEvent], Sequence[ClaimedEvent]]:
    keys = list(dict.fromkeys(lock_key(event) for event in events))
    if len(keys) == 1:
        return events[: len(events) // 2], events[len(events) // 2 :]
    first = set(keys[: len(keys) // 2])
    return [event for event in events if lock_key(event) in first], [event for event in events if lock_key(event) not in first]


def _failure(event: ClaimedEvent, error: sa.exc.DBAPIError | TransientError) -> Settlement:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    message = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if not isinstance(cause, (*_TRANSIENT, TransientError)):
        return Settlement(event, Verdict.DEAD, {"rule": "refused_by_database"}, f"refused_by_database: {message}")
    if event.retry_count >= MAX_RETRIES:
        said = f"retries_exhausted: after {event.retry_count} retries still: {message}"
        return Settlement(event, Verdict.DEAD, {"rule": "retries_exhausted"}, said)
    return Settlement(event, Verdict.RETRY, {"rule": "transient"}, f"transient: {message}", retry_in_s(event))

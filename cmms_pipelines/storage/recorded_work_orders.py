"""Write the work orders that a sync read from the external API, through the same path as events about them.

What belongs here: keeping a sync and a drain apart that are at the same order, the accounts, and where the sync before ended.
What does not: what an order becomes (`storage.work_order_effects`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa

from cmms_pipelines.domain.event_payloads import WorkOrderPayload
from cmms_pipelines.domain.work_orders import RECORDED, WorkOrderEvent
from cmms_pipelines.storage.equipment_lookup import KnownEquipment
from cmms_pipelines.storage.tables import api_sync_logs, work_orders
from cmms_pipelines.storage.work_order_effects import OrderStatement, apply_statements
from cmms_pipelines.storage.work_order_history import ChangedBy

SYNC_TYPE = "work_orders"
INCREMENTAL = "is_incremental"
MOST_LOCKS = 2_000  # the server has some 12,000 for all of its sessions

# The locks under which drains apply events (`storage.inbox_claims.lock_key`): they leave such an entity to a later turn.
_LOCK_ORDERS = sa.text("""
    SELECT pg_advisory_xact_lock(hash) FROM (
        SELECT DISTINCT hashtextextended(:system || ' work_order:' || number, 0) AS hash
        FROM unnest(CAST(:numbers AS text[])) AS wanted (number) ORDER BY 1
    ) AS in_order
""")
# Drains wait for it when they load orders, and sync and drain never hold orders of one another's at the same time.
_LOCK_ALL = sa.text(f"LOCK TABLE {work_orders.fullname} IN EXCLUSIVE MODE")

_EXISTING = sa.text(f"""
    SELECT work_order_number FROM {work_orders.fullname}
    WHERE cmms_system_id = :system AND work_order_number = ANY(CAST(:numbers AS text[]))
""")

_LAST_END = (
    sa.select(sa.func.max(api_sync_logs.c.scope["to"].as_string()))
    .where(api_sync_logs.c.sync_type == SYNC_TYPE)
    .where(api_sync_logs.c.status.in_(("success", "partial")), api_sync_logs.c.error_message.is_(None))
    .where(api_sync_logs.c.scope["plants"].as_string() == "all", api_sync_logs.c.scope[INCREMENTAL].as_boolean())
)


@dataclass(frozen=True)
class Written:
    """What became of the orders of one call."""

    inserted: int
    updated: int
    unchanged: int


def write(
    connection: sa.Connection,
    cmms_system_id: str,
    payloads: Sequence[WorkOrderPayload],
    known: Mapping[str, KnownEquipment],
    *,
    sync_log_id: int,
) -> Written:
    """Apply orders as they stand at their source; each has `updated_at`, and a machine that is `known` or none.

    An order that says nothing beyond what events have told is unchanged.
    """
    if not payloads:
        return Written(0, 0, 0)
    numbers = [payload.work_order_number for payload in payloads]
    bound = {"system": cmms_system_id, "numbers": numbers}
    if len(numbers) > MOST_LOCKS:
        connection.execute(_LOCK_ALL)
    else:
        connection.execute(_LOCK_ORDERS, bound)
    existing = set(connection.scalars(_EXISTING, bound))
    statements = [_statement(cmms_system_id, payload, sync_log_id) for payload in payloads]
    changes = apply_statements(connection, statements, known)
    changed = [number for number, change in zip(numbers, changes, strict=True) if change.is_new_state]
    updated = sum(number in existing for number in changed)
    return Written(len(changed) - updated, updated, len(numbers) - len(changed))


def last_end(connection: sa.Connection) -> date | None:
    """Return the last day of the newest incremental sync of all plants that has done all of its slices."""
    found = connection.scalar(_LAST_END)
    return None if found is None else date.fromisoformat(found)


def _statement(cmms_system_id: str, payload: WorkOrderPayload, sync_log_id: int) -> OrderStatement:
    if payload.updated_at is None:
        raise ValueError(f"order {payload.work_order_number} has no updated_at")
    event = WorkOrderEvent(RECORDED, payload, payload.updated_at, has_source_time=True)
    return OrderStatement(cmms_system_id, event, ChangedBy.API_SYNC, str(sync_log_id))

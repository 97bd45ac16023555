"""`cmms.work_order_status_history`: every step that a work order took from one status to another, and who took it.

What belongs here: writing and reading those steps. What does not: deciding what a status becomes (`domain.work_orders`, the
conflict engine) and the order itself (`storage.work_order_effects`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.storage.tables import work_order_status_history, work_orders

_HISTORY = work_order_status_history.fullname


class ChangedBy(StrEnum):
    """Who moved a status, and so what `StatusChange.source` names."""

    EVENT = "event"
    """Id of the event in the inbox."""
    API_SYNC = "api_sync"
    """Id of the sync's log."""
    LOCAL_EDIT = "local_edit"
    """Name of the person or program."""
    RESOLUTION = "resolution"
    """Name of whoever resolved or undid a conflict."""


@dataclass(frozen=True)
class StatusChange:
    """One step of one order.

    Attributes:
        cmms_system_id, work_order_number: the order, whose row exists by now.
        from_status: what the order's row said before; None for the first status ever.
        to_status: what was stated.
        at: when it happened at whoever stated it, not when it arrived.
        changed_by, source: who, see `ChangedBy`.
        reason: a sentence.
        is_applied: False for a step that arrived too late to move the status: it belongs to the past of the order.
    """

    cmms_system_id: str
    work_order_number: str
    from_status: str | None
    to_status: str
    at: datetime
    changed_by: ChangedBy
    source: str
    reason: str | None = None
    is_applied: bool = True


_RECORD = sa.text(f"""
    INSERT INTO {_HISTORY} (work_order_id, from_status, to_status, at, changed_by, source, reason, is_applied)
    SELECT orders.id, new.from_status, new.to_status, new.at, new.changed_by, new.source, new.reason, new.is_applied
    FROM ROWS FROM (jsonb_to_recordset(CAST(:changes AS jsonb)) AS (
        system text, number text, from_status text, to_status text, at timestamptz, changed_by text, source text, reason text,
        is_applied boolean
    )) WITH ORDINALITY AS new
    JOIN {work_orders.fullname} AS orders ON orders.cmms_system_id = new.system AND orders.work_order_number = new.number
    ORDER BY new.ordinality
    ON CONFLICT (work_order_id, at, to_status) DO NOTHING
""")


def record_status_changes(connection: sa.Connection, changes: Sequence[StatusChange]) -> int:
    """Enter steps, in the order given, once the rows of their orders are written; return how many were not known yet.

    A step is known by its order, its time and the status that it led to: a replayed event adds nothing, and neither does the
    sync that tells what an event has told before.
    """
    if not changes:
        return 0
    rows = [
        {
            "system": change.cmms_system_id,
            "number": change.work_order_number,
            "from_status": change.from_status,
            "to_status": change.to_status,
            "at": change.at,
            "changed_by": change.changed_by.value,
            "source": change.source,
            "reason": change.reason,
            "is_applied": change.is_applied,
        }
        for change in changes
    ]
    return connection.execute(_RECORD, {"changes": orjson.dumps(rows).decode()}).rowcount


def read_history(connection: sa.Connection, cmms_system_id: str, work_order_number: str) -> list[dict[str, Any]]:
    """Return the steps of an order by the time at which they happened, each as from_status, to_status, at, recorded_at,
    changed_by, source, reason and is_applied.
    """
    history = work_order_status_history.c
    query = (
        sa.select(
            history.from_status,
            history.to_status,
            history.at,
            history.recorded_at,
            history.changed_by,
            history.source,
            history.reason,
            history.is_applied,
        )
        .join(work_orders, work_orders.c.id == history.work_order_id)
        .where(work_orders.c.cmms_system_id == cmms_system_id, work_orders.c.work_order_number == work_order_number)
        .order_by(history.at, history.id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]

"""Put events of the inbox back, so that they are applied once more.

What belongs here: the way back to `pending`, and its audit. What does not: applying them (`storage.drain`).
"""

import uuid
from collections.abc import Collection

import sqlalchemy as sa

from cmms_pipelines.storage.inbox import CHANNEL
from cmms_pipelines.storage.tables import audit_log, maintenance_event_hooks


def put_back(
    connection: sa.Connection, *, actor: str, ids: Collection[uuid.UUID] = (), status: str | None = None
) -> list[uuid.UUID]:
    """Make events pending again, those with these `ids` or all in a `status`, and return their ids in order of arrival.

    The key that recognises duplicates stays with them and does not stand in the way; their retries start anew. Pending events
    are left alone. Each is entered into the audit log.
    """
    hooks = maintenance_event_hooks.c
    wanted = hooks.processing_status == status if status is not None else hooks.id.in_(list(ids))
    statement = (
        sa.update(maintenance_event_hooks)
        .where(wanted, hooks.processing_status != "pending")
        .values(processing_status="pending", retry_count=0, next_attempt_at=sa.func.now(), processed_at=None, error_message=None)
        .returning(hooks.sequence, hooks.id, hooks.entity_key)
    )
    found = sorted(connection.execute(statement).all())
    if found:
        entries = [
            {"actor": actor, "action": "event.replayed", "entity_type": "maintenance_event", "entity_key": str(row.id)}
            for row in found
        ]
        connection.execute(sa.insert(audit_log), entries)
        connection.execute(sa.text(f"NOTIFY {CHANNEL}"))
    return [row.id for row in found]

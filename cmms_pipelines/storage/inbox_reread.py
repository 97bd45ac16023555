"""Reading stored events once more from their raw bytes, with their source's mapping as it is configured now.

What belongs here: what a new reading changes, and writing it. What does not: the reading itself (`domain.event_formats`), putting
events back (`storage.inbox_replay`). The bytes, their hash and the key that recognises duplicates never change.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.event_formats import BodyFormat, read_event
from cmms_pipelines.domain.events import CanonicalEvent, entity_key
from cmms_pipelines.domain.strict_json import BodyRefusal
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.tables import audit_log, maintenance_event_hooks

_HOOKS = maintenance_event_hooks.fullname
_hooks = maintenance_event_hooks.c

_WRITE = sa.text(f"""
    UPDATE {_HOOKS} AS hooks
    SET event_type = new.event_type, event_payload = new.payload, entity_key = new.entity_key, occurred_at = new.occurred_at
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS new (id uuid, event_type text, payload jsonb, entity_key text, occurred_at timestamptz)
    WHERE hooks.id = new.id
""")
_AUDIT = sa.text(f"""
    INSERT INTO {audit_log.fullname} (actor, action, entity_type, entity_key, before, after, reason)
    SELECT :actor, 'event.reread', 'maintenance_event', id, before, after, :reason
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS done (id text, before jsonb, after jsonb)
""")


@dataclass(frozen=True)
class Reading:
    """A stored event as its bytes are read now; `event` is None where they cannot be, and `problem` says why.

    `changes` has `before` and `after` of what differs: event_type, entity_key, occurred_at, payload.
    """

    id: uuid.UUID
    event: CanonicalEvent | None
    entity_key: str
    changes: Mapping[str, Mapping[str, Any]]
    problem: str | None = None

    @property
    def is_applicable(self) -> bool:
        """Whether the event can be applied now: it is understood, and its type has a handler."""
        return self.event is not None and self.event.is_known


def read_again(connection: sa.Connection, ids: Sequence[uuid.UUID], sources: Mapping[str, WebhookSource]) -> list[Reading]:
    """Read events from their bytes, in order of arrival; nothing is written."""
    columns = (
        _hooks.id, _hooks.cmms_system_id, _hooks.event_type, _hooks.event_payload, _hooks.entity_key, _hooks.occurred_at,
        _hooks.raw_body, _hooks.body_sha256, _hooks.headers, _hooks.origin,
    )  # fmt: skip
    query = sa.select(*columns).where(_hooks.id.in_(list(ids))).order_by(_hooks.sequence)
    return [_read(row, sources.get(row.cmms_system_id)) for row in connection.execute(query)]


def write_readings(connection: sa.Connection, readings: Sequence[Reading], *, actor: str, reason: str | None = None) -> None:
    """Store what new readings have changed, each with its entry in the audit log."""
    changed = [(one, one.event) for one in readings if one.event is not None and one.changes]
    if not changed:
        return
    rows = [
        {
            "id": str(one.id),
            "event_type": event.event_type,
            "payload": dict(event.payload),
            "entity_key": one.entity_key,
            "occurred_at": event.occurred_at,
        }
        for one, event in changed
    ]
    connection.execute(_WRITE, {"rows": orjson.dumps(rows).decode()})
    sides = [
        {"id": str(one.id), **{side: {name: pair[side] for name, pair in one.changes.items()} for side in ("before", "after")}}
        for one, _ in changed
    ]
    connection.execute(_AUDIT, {"rows": orjson.dumps(sides).decode(), "actor": actor, "reason": reason})


def _read(row: sa.Row[Any], source: WebhookSource | None) -> Reading:
    if source is None:
        return Reading(row.id, None, row.entity_key, {}, "unknown_source: no active source of this name is configured")
    raw, headers = bytes(row.raw_body), {str(name): str(value) for name, value in row.headers.items()}
    event = (
        read_event(BodyFormat.CANONICAL, raw, headers)  # a sweep wrote it, in our own format
        if row.origin == "sweep"
        else read_event(source.format, raw, headers, source.mapping())
    )
    if isinstance(event, BodyRefusal):
        return Reading(row.id, None, row.entity_key, {}, f"{event.rule}: {event.detail}")
    key = entity_key(event, bytes(row.body_sha256))
    sides = {
        "event_type": (row.event_type, event.event_type),
        "entity_key": (row.entity_key, key),
        "occurred_at": (_iso(row.occurred_at), _iso(event.occurred_at)),
        "payload": (dict(row.event_payload), orjson.loads(orjson.dumps(event.payload))),
    }
    changes = {name: {"before": before, "after": after} for name, (before, after) in sides.items() if before != after}
    return Reading(row.id, event, key, changes, None if event.is_known else f"not_understood: {event.event_type!r} is still held")


def _iso(value: Any) -> str | None:  # noqa: ANN401 - a time or None
    return value.isoformat() if value is not None else None

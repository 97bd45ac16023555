"""Finding events of the inbox: one, a page of them, dead letters by cause, and how the whole of it stands.

What belongs here: reading for operators, and the filter that reading and replaying share. What does not: changing anything
(`storage.inbox_replay`), what the sensor asks (`storage.inbox_peek`).
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.storage.tables import maintenance_event_hooks

PAGE = 50
_hooks = maintenance_event_hooks.c
_received_at = _hooks.created_at.label("received_at")
_latency_ms = sa.case(
    (
        _hooks.processing_status.in_(("processed", "ignored")),
        sa.extract("epoch", _hooks.processed_at - sa.func.coalesce(_hooks.replayed_at, _hooks.created_at)) * 1000,
    )
).label("latency_ms")
_LISTED = (
    _hooks.id,
    _hooks.sequence,
    _hooks.cmms_system_id,
    _hooks.event_type,
    _hooks.entity_key,
    _hooks.processing_status,
    _hooks.error_message,
    _hooks.retry_count,
    _hooks.retries_total,
    _hooks.replays,
    _hooks.occurred_at,
    _received_at,
    _hooks.processed_at,
    _hooks.next_attempt_at,
    _hooks.replayed_at,
    _latency_ms,
    _hooks.dagster_run_id,
    _hooks.origin,
)
_WHOLE = (
    *_LISTED,
    _hooks.event_payload,
    _hooks.fetched_payload,
    _hooks.fetched_at,
    _hooks.outcome,
    _hooks.headers,
    _hooks.dedup_key,
    _hooks.body_sha256,
)


@dataclass(frozen=True)
class EventFilter:
    """Which events; what is left empty does not restrict. Times are those of arrival, `received_until` is not included."""

    ids: Sequence[uuid.UUID] = ()
    statuses: Sequence[str] = ()
    systems: Sequence[str] = ()
    types: Sequence[str] = ()
    entity_key: str | None = None
    received_since: dt.datetime | None = None
    received_until: dt.datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return what a row of the inbox must meet."""
        several = (
            (_hooks.id, self.ids),
            (_hooks.processing_status, self.statuses),
            (_hooks.cmms_system_id, self.systems),
            (_hooks.event_type, self.types),
        )
        found: list[sa.ColumnElement[bool]] = [column.in_(list(wanted)) for column, wanted in several if wanted]
        if self.entity_key is not None:
            found.append(_hooks.entity_key == self.entity_key)
        if self.received_since is not None:
            found.append(_hooks.created_at >= self.received_since)
        if self.received_until is not None:
            found.append(_hooks.created_at < self.received_until)
        return found


def find_event(connection: sa.Connection, identifier: uuid.UUID) -> dict[str, Any] | None:
    """Return an event with its payload and what it did, without its signature and raw bytes; None if there is none."""
    row = connection.execute(sa.select(*_WHOLE).where(_hooks.id == identifier)).mappings().one_or_none()
    return {**row, "body_sha256": bytes(row["body_sha256"]).hex()} if row else None


def find_events(
    connection: sa.Connection, wanted: EventFilter, *, before: int | None = None, limit: int = PAGE
) -> list[dict[str, Any]]:
    """Return a page of events, the newest first: those that arrived before the one with sequence `before`."""
    query = sa.select(*_LISTED).where(*wanted.conditions())
    if before is not None:
        query = query.where(_hooks.sequence < before)
    return [dict(row) for row in connection.execute(query.order_by(_hooks.sequence.desc()).limit(limit)).mappings()]


def dead_letter_causes(connection: sa.Connection, wanted: EventFilter) -> list[dict[str, Any]]:
    """Return the dead letters grouped by rule, source and type, the largest group first.

    Keys: rule, cmms_system_id, event_type, events, oldest_at, newest_at, example_id and example_error (those of the newest).
    """
    rule = sa.func.coalesce(_hooks.outcome["rule"].astext, "unknown").label("rule")
    newest_first = sa.desc(_hooks.sequence)
    aggregate = sa.func.array_agg
    query = (
        sa.select(
            rule,
            _hooks.cmms_system_id,
            _hooks.event_type,
            sa.func.count().label("events"),
            sa.func.min(_hooks.created_at).label("oldest_at"),
            sa.func.max(_hooks.created_at).label("newest_at"),
            aggregate(sa.dialects.postgresql.aggregate_order_by(_hooks.id, newest_first))[1].label("example_id"),
            aggregate(sa.dialects.postgresql.aggregate_order_by(_hooks.error_message, newest_first))[1].label("example_error"),
        )
        .where(_hooks.processing_status == "dead_letter", *wanted.conditions())
        .group_by(rule, _hooks.cmms_system_id, _hooks.event_type)
        .order_by(sa.desc("events"), rule, _hooks.cmms_system_id, _hooks.event_type)
    )
    return [dict(row) for row in connection.execute(query).mappings()]

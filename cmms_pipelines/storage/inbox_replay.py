"""Put events of the inbox back, so that they are applied once more, or show what that would do.

What belongs here: the way back to `pending` with its audit, and the trial. What does not: applying for good (`storage.drain`).
"""

import dataclasses
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage.applying import apply_claimed
from cmms_pipelines.storage.inbox import CHANNEL
from cmms_pipelines.storage.inbox_changes import tell_changed
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Verdict
from cmms_pipelines.storage.inbox_reread import Reading, read_again, write_readings
from cmms_pipelines.storage.inbox_search import EventFilter
from cmms_pipelines.storage.known_sources import KnownSources
from cmms_pipelines.storage.tables import audit_log, maintenance_event_hooks

TRIED = 100
_hooks = maintenance_event_hooks.c

_AUDIT = sa.text(f"""
    INSERT INTO {audit_log.fullname} (actor, action, entity_type, entity_key, before, after, reason, dagster_run_id)
    SELECT :actor, 'event.replayed', 'maintenance_event', id::text,
           jsonb_build_object(
               'processing_status', processing_status, 'retry_count', retry_count, 'error_message', error_message
           ),
           jsonb_build_object('processing_status', 'pending', 'retry_count', 0, 'error_message', NULL, 'replays', replays + 1),
           :reason, :run_id
    FROM {maintenance_event_hooks.fullname} WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY sequence
""")
_PUT_BACK = sa.text(f"""
    UPDATE {maintenance_event_hooks.fullname}
    SET processing_status = 'pending', retry_count = 0, next_attempt_at = clock_timestamp(), processed_at = NULL,
        error_message = NULL, replays = replays + 1, replayed_at = clock_timestamp(), fetched_payload = NULL, fetched_at = NULL
    WHERE id = ANY(CAST(:ids AS uuid[]))
""")


@dataclass(frozen=True)
class Trial:
    """What applying an event again would do: verdict, changes field by field, and the error if there were one.

    `reread` has what a new reading of its bytes would change about the event itself.
    """

    id: uuid.UUID
    event_type: str
    status: str
    verdict: str
    outcome: Mapping[str, Any]
    error: str | None
    reread: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DryRun:
    """Which events would be put back: how many, by status and by type, and a trial of the first of them."""

    events: int
    by_status: Mapping[str, int]
    by_type: Mapping[str, int]
    trials: Sequence[Trial]


def put_back(
    connection: sa.Connection,
    wanted: EventFilter,
    *,
    actor: str,
    reason: str | None = None,
    run_id: str | None = None,
    limit: int | None = None,
    reread: bool = False,
) -> list[uuid.UUID]:
    """Make events pending again and due at once; return their ids in order of arrival.

    With `reread` their bytes are read first with their source's mapping as it is now; what is still not understood, or cannot be
    read, is not put back.

    Without ids or statuses only dead letters are meant. The key that recognises duplicates stays with them and is not in the way;
    their retries start anew. A pending event is put back only where it waits for its next attempt, and one that a drain is
    applying at this moment is left to it. Each is entered into the audit log.

    Raises:
        PermanentError: nothing restricts the choice.
    """
    query = sa.select(_hooks.id).where(*_replayable(wanted)).order_by(_hooks.sequence).limit(limit)
    ids: list[uuid.UUID] = list(connection.scalars(query.with_for_update(skip_locked=True)))
    if reread:
        readings = read_again(connection, ids, KnownSources().read(connection))
        write_readings(connection, readings, actor=actor, reason=reason)
        ids = [one.id for one in readings if one.is_applicable]
    if ids:
        connection.execute(_AUDIT, {"actor": actor, "reason": reason, "run_id": run_id, "ids": ids})
        connection.execute(_PUT_BACK, {"ids": ids})
        connection.execute(sa.text(f"NOTIFY {CHANNEL}"))
        tell_changed(connection, ids)
    return ids


def dry_run(
    connection: sa.Connection, wanted: EventFilter, *, limit: int | None = None, tried: int = TRIED, reread: bool = False
) -> DryRun:
    """Return what `put_back` would take, and what applying the first `tried` of them would do; nothing is kept.

    The trial applies them, in order, in a savepoint that is rolled back; what they touch is locked for that long.

    Raises:
        PermanentError: nothing restricts the choice.
    """
    columns = (
        _hooks.id,
        _hooks.sequence,
        _hooks.cmms_system_id,
        _hooks.event_type,
        _hooks.entity_key,
        _hooks.event_payload,
        _hooks.occurred_at,
        _hooks.created_at,
        _hooks.retry_count,
    )
    chosen = sa.select(_hooks.processing_status, _hooks.event_type).where(*_replayable(wanted))
    chosen_first = chosen.order_by(_hooks.sequence).limit(limit).subquery()
    counted = connection.execute(
        sa.select(chosen_first.c.processing_status, chosen_first.c.event_type, sa.func.count()).group_by(
            chosen_first.c.processing_status, chosen_first.c.event_type
        )
    ).all()
    by_status: Counter[str] = Counter()
    by_type: Counter[str] = Counter()
    for row in counted:
        by_status[str(row[0])] += int(row[2])
        by_type[str(row[1])] += int(row[2])
    query = sa.select(*columns, _hooks.processing_status).where(*_replayable(wanted)).order_by(_hooks.sequence)
    rows = connection.execute(query.limit(tried if limit is None else min(tried, limit))).all()
    sources = KnownSources().read(connection)
    readings = {one.id: one for one in read_again(connection, [row.id for row in rows], sources)} if reread else {}
    claimed = [ClaimedEvent(*row[:-1]) for row in rows]
    events = [_as_read(event, readings[event.id]) if reread else event for event in claimed]
    savepoint = connection.begin_nested()
    try:
        connection.execute(sa.text("SET LOCAL lock_timeout = '500ms'"))
        applied = apply_claimed(connection, [event for event in events if event is not None], sources)
    finally:
        savepoint.rollback()
    settlements = {settled.event.id: settled for settled in applied}
    trials: list[Trial] = []
    for row in rows:
        reading, found = readings.get(row.id), settlements.get(row.id)
        changes = dict(reading.changes) if reading else {}
        if reading is not None and not reading.is_applicable:
            trials.append(Trial(row.id, row.event_type, row.processing_status, "held", {}, reading.problem, changes))
        elif found is not None and found.verdict is not Verdict.LEFT:
            verdict = found.verdict.value
            trials.append(
                Trial(row.id, found.event.event_type, row.processing_status, verdict, found.outcome, found.error, changes)
            )
    return DryRun(by_status.total(), by_status, by_type, trials)


def _as_read(event: ClaimedEvent, reading: Reading) -> ClaimedEvent | None:
    """Return a claimed event as its bytes are read now; None where it could not be applied."""
    if reading.event is None or not reading.is_applicable:
        return None
    return dataclasses.replace(
        event,
        event_type=reading.event.event_type,
        entity_key=reading.entity_key,
        payload=reading.event.payload,
        occurred_at=reading.event.occurred_at,
    )


def _replayable(wanted: EventFilter) -> list[sa.ColumnElement[bool]]:
    conditions = wanted.conditions()
    if not conditions:
        raise PermanentError("Say which events: ids, a status, a source, a type, an entity or a time.")
    if not wanted.ids and not wanted.statuses:
        conditions.append(_hooks.processing_status == "dead_letter")
    return [*conditions, sa.or_(_hooks.processing_status != "pending", _hooks.next_attempt_at > sa.func.clock_timestamp())]

"""The sweep for missed events: its windows and books, and what it puts into the inbox.

What belongs here: holding what a source says against what its events have brought. What does not: asking the source
(`sync.reconciliation`), what its reply means (`domain.source_api`).

Whether an event was missed is decided by applying it on trial: what changes nothing was known. What is known, or already in the
inbox and not applied, is left alone. Its key in the inbox follows from what the source says, so that a second sweep adds nothing.
"""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.events import CanonicalEvent, entity_key
from cmms_pipelines.domain.source_api import EntityKind, SourceApi
from cmms_pipelines.storage.event_effects import apply_events
from cmms_pipelines.storage.inbox import Accepted, Outcome, ReceivedHook, accept
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict
from cmms_pipelines.storage.tables import maintenance_event_hooks, reconciliation_sweeps, work_orders

BATCH = 100
EXAMPLES = 10
FOUND_BY = "x-cmms-found-by"
_HOOKS = maintenance_event_hooks.fullname
_hooks = maintenance_event_hooks.c
_sweeps = reconciliation_sweeps.c

_WAITING = sa.text(f"""
    SELECT DISTINCT entity_key FROM {_HOOKS}
    WHERE cmms_system_id = :system AND entity_key = ANY(CAST(:keys AS text[]))
      AND (processing_status IN ('pending', 'held') OR (processing_status = 'dead_letter' AND created_at >= :since))
""")
_MARK = sa.text(f"UPDATE {_HOOKS} SET origin = 'sweep' WHERE id = ANY(CAST(:ids AS uuid[]))")
_NEWEST = sa.text(f"""
    SELECT DISTINCT ON (cmms_system_id) * FROM {reconciliation_sweeps.fullname}
    WHERE status <> 'running' ORDER BY cmms_system_id, started_at DESC, id DESC
""")


@dataclass(frozen=True)
class Changed:
    """An entity as its source states it, in the fields of a payload; `changed_at` is None where the source does not say."""

    kind: EntityKind
    number: str
    payload: dict[str, Any]
    changed_at: dt.datetime | None


@dataclass
class SweepCounts:
    """The books of a sweep: entities = known + waiting + missed + refused; `examples` are of what was missed or refused."""

    entities: int = 0
    known: int = 0
    waiting: int = 0
    missed: int = 0
    refused: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def example(self, entity: Changed, **more: object) -> None:
        """Keep one of the first examples."""
        if len(self.examples) < EXAMPLES:
            at = entity.changed_at.isoformat() if entity.changed_at else None
            self.examples.append({"entity": f"{entity.kind}:{entity.number}", "changed_at": at, **more})


def next_window(
    connection: sa.Connection, cmms_system_id: str, api: SourceApi, now: dt.datetime
) -> tuple[dt.datetime, dt.datetime]:
    """Return from when and until when the next sweep of a source asks: from before the end of the last one that succeeded."""
    mine = sa.and_(_sweeps.cmms_system_id == cmms_system_id, _sweeps.status == "success")
    last = connection.scalar(sa.select(sa.func.max(_sweeps.changed_until)).where(mine))
    until = now - dt.timedelta(seconds=api.grace_s)
    since = last - dt.timedelta(seconds=api.overlap_s) if last else until - dt.timedelta(seconds=api.first_look_back_s)
    return min(since, until), until


def start_sweep(
    connection: sa.Connection, cmms_system_id: str, window: tuple[dt.datetime, dt.datetime], run_id: str | None
) -> int:
    """Enter that a sweep begins; return its id."""
    since, until = window
    values = {"cmms_system_id": cmms_system_id, "changed_since": since, "changed_until": until, "dagster_run_id": run_id}
    insert = sa.insert(reconciliation_sweeps).values(**values, started_at=sa.func.clock_timestamp())
    identifier: int = connection.execute(insert.returning(_sweeps.id)).scalar_one()
    return identifier


def end_sweep(connection: sa.Connection, sweep_id: int, counts: SweepCounts, error: str | None = None) -> None:
    """Enter the books of a sweep, and why it failed if it did."""
    values = {**asdict(counts), "status": "failed" if error else "success", "error_message": error}
    statement = sa.update(reconciliation_sweeps).where(_sweeps.id == sweep_id)
    connection.execute(statement.values(**values, ended_at=sa.func.clock_timestamp()))


def newest_sweeps(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return the newest sweep of each source that has ended, as its row."""
    return [dict(row) for row in connection.execute(_NEWEST).mappings()]


def find_sweeps(connection: sa.Connection, *, before: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """Return a page of sweeps, the newest first: those with an id below `before`."""
    query = sa.select(reconciliation_sweeps).order_by(_sweeps.id.desc()).limit(limit)
    if before is not None:
        query = query.where(_sweeps.id < before)
    return [dict(row) for row in connection.execute(query).mappings()]


def put_missed(
    connection: sa.Connection,
    cmms_system_id: str,
    sweep_id: int,
    changed: Sequence[Changed],
    *,
    window: tuple[dt.datetime, dt.datetime],
    counts: SweepCounts,
) -> None:
    """Put what no event has brought into the inbox, in the caller's transaction, and add to the books. At most `BATCH` entities.

    The trial locks what it touches until the transaction ends.
    """
    wanted = _hooks_of(connection, cmms_system_id, sweep_id, changed, window)
    counts.entities += len(wanted)
    keys = [hook.entity_key for _, hook in wanted]
    waiting = set(connection.scalars(_WAITING, {"system": cmms_system_id, "keys": keys, "since": window[0]}))
    counts.waiting += sum(key in waiting for key in keys)
    candidates = [(one, hook) for one, hook in wanted if hook.entity_key not in waiting]
    trials = _tried(connection, [hook for _, hook in candidates])
    chosen: list[tuple[Changed, ReceivedHook, Settlement]] = []
    for (one, hook), trial in zip(candidates, trials, strict=True):
        if trial is None:  # this very statement is in the inbox, and was dealt with
            counts.known += 1
        elif trial.verdict is Verdict.DEAD:
            counts.refused += 1
            counts.example(one, error=trial.error)
        elif trial.verdict in {Verdict.APPLIED, Verdict.IGNORED} and not trial.outcome.get("changed"):
            counts.known += 1
        else:
            chosen.append((one, hook, trial))
    stored = accept(connection, [hook for _, hook, _ in chosen]) if chosen else []
    connection.execute(_MARK, {"ids": [one.id for one in stored if one.outcome is Outcome.ACCEPTED]})
    for (one, _, trial), accepted in zip(chosen, stored, strict=True):
        if trial.verdict in {Verdict.RETRY, Verdict.LEFT}:  # somebody else is at it: the event itself will tell
            counts.waiting += 1
            continue
        counts.missed += 1
        counts.example(one, event_id=str(accepted.id), changed=sorted(trial.outcome.get("changed", {})))


def _hooks_of(
    connection: sa.Connection,
    cmms_system_id: str,
    sweep_id: int,
    changed: Sequence[Changed],
    window: tuple[dt.datetime, dt.datetime],
) -> list[tuple[Changed, ReceivedHook]]:
    """Return an event for each entity, one for an entity that pages named twice: its newest statement."""
    newest: dict[str, tuple[Changed, ReceivedHook]] = {}
    known = _known_orders(connection, cmms_system_id, [one.number for one in changed])
    for one in changed:
        event_type = _event_type(one, known)
        event = CanonicalEvent(event_type, one.changed_at, one.payload, cmms_system_id)
        newest[entity_key(event)] = (one, _hook(event, cmms_system_id, sweep_id, window))
    return list(newest.values())


def _hook(event: CanonicalEvent, cmms_system_id: str, sweep_id: int, window: tuple[dt.datetime, dt.datetime]) -> ReceivedHook:
    at = event.occurred_at.isoformat() if event.occurred_at else None
    body = {"event_type": event.event_type, "timestamp": at or window[1].isoformat(), "payload": dict(event.payload)}
    said = orjson.dumps([event.payload, at or window[1].date().isoformat()], option=orjson.OPT_SORT_KEYS)
    key = entity_key(event)
    raw = orjson.dumps(body)
    return ReceivedHook(
        cmms_system_id=cmms_system_id,
        event_type=event.event_type,
        payload=event.payload,
        occurred_at=event.occurred_at,
        entity_key=key,
        dedup_key=f"sweep:{hashlib.sha256(key.encode() + said).hexdigest()}",
        raw_body=raw,
        body_sha256=hashlib.sha256(raw).digest(),
        headers={FOUND_BY: f"sweep {sweep_id}"},
    )


def _event_type(one: Changed, known: set[str]) -> str:
    if one.kind is EntityKind.EQUIPMENT:
        return "asset_updated"
    return "work_order_updated" if one.number in known else "work_order_created"


def _known_orders(connection: sa.Connection, cmms_system_id: str, numbers: Sequence[str]) -> set[str]:
    mine = sa.and_(work_orders.c.cmms_system_id == cmms_system_id, work_orders.c.work_order_number.in_(numbers))
    return set(connection.scalars(sa.select(work_orders.c.work_order_number).where(mine)))


def _tried(connection: sa.Connection, hooks: Sequence[ReceivedHook]) -> list[Settlement | None]:
    """Apply events on trial; None for one whose key is in the inbox already."""
    if not hooks:
        return []
    savepoint = connection.begin_nested()
    try:
        connection.execute(sa.text("SET LOCAL lock_timeout = '500ms'"))
        accepted = accept(connection, hooks)
        claimed = _claimed(connection, accepted)
        settled = {one.event.id: one for one in apply_events(connection, claimed)}
    finally:
        savepoint.rollback()
    return [settled.get(one.id) if one.outcome is Outcome.ACCEPTED else None for one in accepted]


def _claimed(connection: sa.Connection, accepted: Sequence[Accepted]) -> list[ClaimedEvent]:
    ids = [one.id for one in accepted if one.outcome is Outcome.ACCEPTED]
    columns = (
        _hooks.id, _hooks.sequence, _hooks.cmms_system_id, _hooks.event_type, _hooks.entity_key,
        _hooks.event_payload.label("payload"), _hooks.occurred_at, _hooks.created_at, _hooks.retry_count,
    )  # fmt: skip
    query = sa.select(*columns).where(_hooks.id.in_(ids)).order_by(_hooks.sequence)
    return [ClaimedEvent(**row) for row in connection.execute(query).mappings()]

"""The working side of the inbox `cmms.maintenance_event_hooks`: claim what is due, settle what was done, release what waits.

What belongs here: SQL on the inbox by those who apply events. What does not: receiving (`storage.inbox`), what an event changes
(`storage.event_effects`), when to claim (`storage.drain`). The database's clock decides what is due: it also wrote the times.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.event_payloads import NO_HANDLER, Refusal
from cmms_pipelines.storage.inbox_changes import tell_changed
from cmms_pipelines.storage.tables import equipment, maintenance_event_hooks

_HOOKS = maintenance_event_hooks.fullname


class Verdict(StrEnum):
    """What became of a claimed event.

    `retry`, `fetch` and `left` leave it pending: `fetch` until the source's API has said the rest of it, `left` because one
    before it could not be applied.
    """

    APPLIED = "applied"
    IGNORED = "ignored"
    HELD = "held"
    RETRY = "retry"
    DEAD = "dead"
    FETCH = "fetch"
    LEFT = "left"


@dataclass(frozen=True)
class ClaimedEvent:
    """An event whose row and whose entity are locked until the transaction ends.

    `payload` includes what the source's API said of a thin event, which then `is_fetched`.
    """

    id: uuid.UUID
    sequence: int
    cmms_system_id: str
    event_type: str
    entity_key: str
    payload: Mapping[str, Any]
    occurred_at: datetime | None
    created_at: datetime
    retry_count: int
    is_fetched: bool = False

    @property
    def stated_at(self) -> datetime:
        """The source's time, or that of arrival when the source gave none."""
        return self.occurred_at or self.created_at


@dataclass(frozen=True)
class Settlement:
    """An event and what became of it; `outcome` is kept with the event.

    `retry_in_s` counts for `retry` alone; `lease_s` for `fetch`: so long nobody else claims it.
    """

    event: ClaimedEvent
    verdict: Verdict
    outcome: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    retry_in_s: float = 0.0
    lease_s: float = 0.0


@dataclass(frozen=True)
class Claim:
    """Events in order of arrival. `is_blocked`: something is due, but others hold its entities at this moment."""

    events: Sequence[ClaimedEvent]
    is_blocked: bool


@dataclass(frozen=True)
class Latency:
    """Milliseconds from acceptance, or the last replay, to settlement of the events of one transaction."""

    milliseconds: Sequence[float]


_DUE = sa.text(f"""
    SELECT id, sequence, cmms_system_id, event_type, entity_key,
           CASE WHEN fetched_payload IS NULL THEN event_payload ELSE event_payload || fetched_payload END AS event_payload,
           occurred_at, created_at, retry_count, fetched_at IS NOT NULL AS is_fetched
    FROM {_HOOKS} AS due
    WHERE processing_status = 'pending' AND next_attempt_at <= now()
      AND NOT EXISTS (  -- an earlier event of the entity that waits for its next attempt: order before speed
          SELECT FROM {_HOOKS} AS earlier
          WHERE earlier.cmms_system_id = due.cmms_system_id AND earlier.entity_key = due.entity_key
            AND earlier.sequence < due.sequence AND earlier.processing_status = 'pending'
            AND earlier.next_attempt_at > now()
      )
    ORDER BY next_attempt_at, sequence
    LIMIT :size
    FOR UPDATE OF due SKIP LOCKED
""")

# After a burst the statistics know nothing of the pending events yet, and the planner would sort all of them for each batch
# (0.4 s with 60,000 waiting); in the order of the index the first 500 take some milliseconds.
_ALONG_THE_INDEX = sa.text("SELECT set_config('enable_sort', :value, true), set_config('enable_bitmapscan', :value, true)")

_LOCK_ENTITIES = sa.text("""
    SELECT key FROM unnest(CAST(:keys AS text[])) AS wanted (key)
    WHERE pg_try_advisory_xact_lock(hashtextextended(key, 0))
""")

# Counted entity by entity: a join would read everything that waits, for each batch anew.
_LEFT_BEHIND = sa.text(f"""
    SELECT mine.system, mine.entity
    FROM unnest(CAST(:systems AS text[]), CAST(:entities AS text[]), CAST(:last AS bigint[]), CAST(:claimed AS bigint[]))
        AS mine (system, entity, last, claimed)
    WHERE mine.claimed < (
        SELECT count(*) FROM {_HOOKS} AS hooks
        WHERE hooks.cmms_system_id = mine.system AND hooks.entity_key = mine.entity AND hooks.sequence <= mine.last
          AND hooks.processing_status = 'pending'
    )
""")

_UNCLAIMED_BEFORE = sa.text(f"""
    SELECT min(sequence) FROM {_HOOKS}
    WHERE cmms_system_id = :system AND entity_key = :entity AND sequence < :last AND processing_status = 'pending'
      AND sequence <> ALL(CAST(:claimed AS bigint[]))
""")

_SETTLE = sa.text(f"""
    UPDATE {_HOOKS} AS hooks
    SET processing_status = done.status,
        processed_at = CASE WHEN done.status IN ('pending', 'held') THEN NULL ELSE clock_timestamp() END,
        error_message = done.error,
        retry_count = hooks.retry_count + CASE WHEN done.retry_in_s > 0 THEN 1 ELSE 0 END,
        retries_total = hooks.retries_total + CASE WHEN done.retry_in_s > 0 THEN 1 ELSE 0 END,
        next_attempt_at = clock_timestamp() + make_interval(secs => done.retry_in_s + done.lease_s),
        outcome = done.outcome,
        dagster_run_id = :run_id
    FROM jsonb_to_recordset(CAST(:settled AS jsonb))
        AS done (id uuid, status text, error text, retry_in_s float, lease_s float, outcome jsonb)
    WHERE hooks.id = done.id
    RETURNING hooks.processing_status,
              extract(epoch FROM clock_timestamp() - coalesce(hooks.replayed_at, hooks.created_at)) * 1000 AS milliseconds
""")

_RELEASE = sa.text(f"""
    UPDATE {_HOOKS}
    SET processing_status = 'pending', next_attempt_at = clock_timestamp(), error_message = NULL
    WHERE id IN (
        SELECT held.id FROM {_HOOKS} AS held
        JOIN {equipment.fullname} AS found ON found.equipment_number = held.outcome ->> 'waits_for_equipment'
        WHERE held.processing_status = 'held'
        ORDER BY held.sequence
        FOR UPDATE OF held SKIP LOCKED
    )
    RETURNING id
""")

_STATUS = {
    Verdict.APPLIED: "processed",
    Verdict.IGNORED: "ignored",
    Verdict.HELD: "held",
    Verdict.RETRY: "pending",
    Verdict.FETCH: "pending",
    Verdict.DEAD: "dead_letter",
}


def claim(connection: sa.Connection, size: int) -> Claim:
    """Claim up to `size` due events for the caller's transaction.

    An event is claimed only if its entity is nobody else's now and no earlier pending event of that entity stays behind, so
    that each entity's events apply in order whoever applies them. Each statement sees what was committed before it, which is why
    the order is checked after the entities are locked. Needs READ COMMITTED.
    """
    connection.execute(_ALONG_THE_INDEX, {"value": "off"})
    rows = connection.execute(_DUE, {"size": size}).all()
    if not rows:
        return Claim((), is_blocked=False)
    found = [
        ClaimedEvent(
            row.id, row.sequence, row.cmms_system_id, row.event_type, row.entity_key, row.event_payload, row.occurred_at,
            row.created_at, row.retry_count, row.is_fetched,
        )
        for row in rows
    ]  # fmt: skip
    connection.execute(_ALONG_THE_INDEX, {"value": "on"})
    found.sort(key=lambda event: event.sequence)
    locked = set(connection.scalars(_LOCK_ENTITIES, {"keys": sorted({lock_key(event) for event in found})}))
    mine = [event for event in found if lock_key(event) in locked]
    blocked_from = _blocked_from(connection, mine)
    in_order = [
        event for event in mine if event.sequence < blocked_from.get((event.cmms_system_id, event.entity_key), event.sequence + 1)
    ]
    return Claim(in_order, is_blocked=not in_order)


def _blocked_from(connection: sa.Connection, mine: Sequence[ClaimedEvent]) -> dict[tuple[str, str], int]:
    """Return, by system and entity, the first pending event that stays behind although a later one of it is claimed."""
    claimed: dict[tuple[str, str], list[int]] = {}
    for event in mine:
        claimed.setdefault((event.cmms_system_id, event.entity_key), []).append(event.sequence)
    left_behind = connection.execute(
        _LEFT_BEHIND,
        {
            "systems": [system for system, _ in claimed],
            "entities": [entity for _, entity in claimed],
            "last": [sequences[-1] for sequences in claimed.values()],
            "claimed": [len(sequences) for sequences in claimed.values()],
        },
    ).all()
    found: dict[tuple[str, str], int] = {}
    for row in left_behind:
        system, entity = str(row.system), str(row.entity)
        sequences = claimed[system, entity]
        wanted = {"system": system, "entity": entity, "last": sequences[-1], "claimed": sequences}
        first = connection.scalar(_UNCLAIMED_BEFORE, wanted)
        if first is not None:
            found[system, entity] = int(first)
    return found


def lock_key(event: ClaimedEvent) -> str:
    """Return what is locked while an event applies: a machine is the same for every system, a work order is not."""
    if event.entity_key.startswith("equipment:"):
        return event.entity_key
    return f"{event.cmms_system_id} {event.entity_key}"


def settle(connection: sa.Connection, settlements: Sequence[Settlement], run_id: str | None) -> Latency:
    """Write what became of claimed events; return the latencies of those that are done."""
    rows = [
        {
            "id": str(settled.event.id),
            "status": _STATUS[settled.verdict],
            "error": settled.error,
            "retry_in_s": settled.retry_in_s,
            "lease_s": settled.lease_s,
            "outcome": dict(settled.outcome),
        }
        for settled in settlements
        if settled.verdict is not Verdict.LEFT
    ]
    if not rows:
        return Latency(())
    written = connection.execute(_SETTLE, {"settled": orjson.dumps(rows, default=str).decode(), "run_id": run_id}).all()
    tell_changed(connection, [settled.event.id for settled in settlements if settled.verdict is not Verdict.LEFT])
    return Latency([float(row.milliseconds) for row in written if row.processing_status not in {"pending", "held"}])


def release_held(connection: sa.Connection) -> int:
    """Put events back whose unknown equipment has arrived; return how many."""
    released = connection.scalars(_RELEASE).all()
    tell_changed(connection, released)
    return len(released)


def refused(event: ClaimedEvent, refusal: Refusal) -> Settlement:
    """Return the settlement of an event that cannot be applied as it stands; one that is only ahead of us is kept for later."""
    verdict = Verdict.HELD if refusal.rule == NO_HANDLER else Verdict.DEAD
    return Settlement(event, verdict, {"rule": refusal.rule}, f"{refusal.rule}: {refusal.message}")


def waits_for(event: ClaimedEvent, equipment_number: str) -> Settlement:
    """Return the settlement of an event whose machine is unknown: it is released when the machine arrives."""
    outcome = {"rule": "equipment_unknown", "waits_for_equipment": equipment_number}
    return Settlement(event, Verdict.HELD, outcome, f"equipment_unknown: waits until equipment {equipment_number!r} exists")

"""`cmms.sync_conflicts` as merges write it: conflicts that open, that a rule decides, and that end by themselves.

What belongs here: one row per conflict, and the audit of each decision of a rule. What does not: what people do with the queue
(`storage.conflict_queue`), deciding (`domain.conflicts`).
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Decision, Verdict
from cmms_pipelines.domain.conflict_policy import CONFLICTS, DEFAULT_POLICY, ConflictPolicy
from cmms_pipelines.domain.local_edits import LocalEdit, Settled, Waiting, as_stored
from cmms_pipelines.storage.configurations import read_configurations
from cmms_pipelines.storage.tables import audit_log, sync_conflicts

ENGINE = "conflict engine"
_CONFLICTS = sync_conflicts.fullname
_CHOICE = {Verdict.TAKEN: "theirs", Verdict.KEPT: "ours", Verdict.MERGED: "merged"}

_LOAD = sa.text(f"""
    SELECT cmms_system_id, entity_key, field, theirs, is_reopened
    FROM {_CONFLICTS}
    WHERE status = 'open' AND entity_type = :entity_type AND entity_key = ANY(CAST(:keys AS text[]))
    FOR UPDATE
""")

_NEW = """
    jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (
        system text, entity text, field text, base jsonb, ours jsonb, theirs jsonb, rule text, reason text, severity text,
        ours_by text, ours_at timestamptz, theirs_at timestamptz, hook_id uuid, decision text, resolution jsonb, undo_state jsonb
    )
"""
_FROM_DECISION = "base, ours, theirs, rule, reason, severity, ours_by, ours_at, theirs_at, hook_id"

_OPEN = sa.text(f"""
    INSERT INTO {_CONFLICTS} AS known (cmms_system_id, entity_type, entity_key, field, {_FROM_DECISION})
    SELECT system, :entity_type, entity, field, {_FROM_DECISION} FROM {_NEW} ORDER BY system, entity, field
    ON CONFLICT (cmms_system_id, entity_type, entity_key, field) WHERE status = 'open' DO UPDATE
    SET base = excluded.base, ours = excluded.ours, theirs = excluded.theirs, rule = excluded.rule, reason = excluded.reason,
        severity = excluded.severity, ours_by = excluded.ours_by, ours_at = excluded.ours_at, theirs_at = excluded.theirs_at,
        hook_id = coalesce(excluded.hook_id, known.hook_id), occurrences = known.occurrences + 1, last_seen_at = now(),
        version = known.version + 1
    WHERE (known.ours, known.theirs, known.theirs_at) IS DISTINCT FROM (excluded.ours, excluded.theirs, excluded.theirs_at)
""")

_DECIDE = sa.text(f"""
    WITH new AS (SELECT * FROM {_NEW}),
    known AS (
        UPDATE {_CONFLICTS} AS known
        SET status = 'resolved', is_automatic = true, decision = new.decision, resolution = new.resolution,
            resolved_by = :engine, resolved_at = now(), resolution_reason = new.reason, undo_state = new.undo_state,
            rule = new.rule, reason = new.reason, theirs = new.theirs, theirs_at = new.theirs_at, version = known.version + 1
        FROM new
        WHERE known.status = 'open' AND known.entity_type = :entity_type AND known.cmms_system_id = new.system
          AND known.entity_key = new.entity AND known.field = new.field
        RETURNING known.*
    ), added AS (
        INSERT INTO {_CONFLICTS} (cmms_system_id, entity_type, entity_key, field, {_FROM_DECISION}, status, is_automatic,
                                  decision, resolution, resolved_by, resolved_at, resolution_reason, undo_state)
        SELECT system, :entity_type, entity, field, {_FROM_DECISION}, 'resolved', true, decision, resolution, :engine, now(),
               reason, undo_state
        FROM new
        WHERE NOT EXISTS (
            SELECT FROM known
            WHERE known.cmms_system_id = new.system AND known.entity_key = new.entity AND known.field = new.field
        )
        ORDER BY system, entity, field
        RETURNING *
    )
    INSERT INTO {audit_log.fullname} (actor, action, entity_type, entity_key, before, after, reason)
    SELECT :engine, 'conflict.decided', entity_type, entity_key,
           jsonb_build_object('field', field, 'value', ours, 'theirs', theirs, 'base', base),
           jsonb_build_object('field', field, 'value', resolution, 'decision', decision, 'rule', rule, 'conflict_id', id,
                              'cmms_system_id', cmms_system_id),
           resolution_reason
    FROM (TABLE known UNION ALL TABLE added) AS decided ORDER BY id
""")

_CONVERGE = sa.text(f"""
    WITH over AS (
        UPDATE {_CONFLICTS} AS known
        SET status = 'converged', resolution = new.resolution, resolved_by = :engine, resolved_at = now(),
            resolution_reason = new.reason, version = known.version + 1
        FROM {_NEW}
        WHERE known.status = 'open' AND known.entity_type = :entity_type AND known.cmms_system_id = new.system
          AND known.entity_key = new.entity AND known.field = new.field
        RETURNING known.*
    )
    INSERT INTO {audit_log.fullname} (actor, action, entity_type, entity_key, before, after, reason)
    SELECT :engine, 'conflict.converged', entity_type, entity_key,
           jsonb_build_object('field', field, 'value', ours, 'theirs', theirs, 'base', base),
           jsonb_build_object('field', field, 'value', resolution, 'conflict_id', id, 'cmms_system_id', cmms_system_id),
           resolution_reason
    FROM over ORDER BY id
""")


@dataclass(frozen=True)
class Outcome:
    """What one merge with a system's statement came to.

    Attributes:
        edits, agreed: as they were before the merge.
        stated_at: when the source stated each field, where that is known.
        hook_id: the event that brought the statement.
    """

    cmms_system_id: str
    entity_key: str
    settled: Settled
    edits: Mapping[str, LocalEdit]
    agreed: Mapping[str, JsonValue]
    stated_at: Mapping[str, datetime | None]
    hook_id: uuid.UUID | None = None


def waiting_conflicts(
    connection: sa.Connection, entity_type: str, entity_keys: Iterable[str]
) -> dict[tuple[str, str], dict[str, Waiting]]:
    """Return the open conflicts by system and entity, then by field, locked until the transaction ends."""
    found: dict[tuple[str, str], dict[str, Waiting]] = {}
    for row in connection.execute(_LOAD, {"entity_type": entity_type, "keys": sorted(set(entity_keys))}):
        found.setdefault((row.cmms_system_id, row.entity_key), {})[row.field] = Waiting(row.theirs, row.is_reopened)
    return found


def policies(connection: sa.Connection) -> dict[str, ConflictPolicy]:
    """Return the configured policy of each system; one that has none follows the defaults (`policy_of`)."""
    return {
        stored.cmms_system_id: ConflictPolicy.model_validate(stored.configuration)
        for stored in read_configurations(connection, CONFLICTS)
        if stored.is_active
    }


def policy_of(configured: Mapping[str, ConflictPolicy], cmms_system_id: str) -> ConflictPolicy:
    """Return how conflicts with a system are decided."""
    return configured.get(cmms_system_id, DEFAULT_POLICY)


def record(connection: sa.Connection, entity_type: str, outcomes: Sequence[Outcome]) -> None:
    """Enter what merges came to: a repeated conflict updates its row, a decision of a rule has a row of its own."""
    opened = [_row(outcome, one) for outcome in outcomes for one in outcome.settled.escalated]
    decided = [_row(outcome, one) for outcome in outcomes for one in outcome.settled.decided]
    over = [
        {
            "system": outcome.cmms_system_id,
            "entity": outcome.entity_key,
            "field": name,
            "reason": reason,
            "resolution": outcome.settled.values.get(name),
        }
        for outcome in outcomes
        for name, reason in outcome.settled.over.items()
    ]
    for statement, rows in ((_DECIDE, decided), (_CONVERGE, over), (_OPEN, opened)):
        if rows:
            bound = {"entity_type": entity_type, "rows": orjson.dumps(rows, default=str).decode()}
            connection.execute(statement, bound if statement is _OPEN else bound | {"engine": ENGINE})


def told(settled: Settled) -> dict[str, Any]:
    """Return what an event's outcome says of a merge: `waiting` and `decided`, each a rule by field."""
    groups = {"waiting": settled.escalated, "decided": settled.decided}
    return {name: {one.field: one.rule.value for one in decisions} for name, decisions in groups.items() if decisions}


def undo_state(value: JsonValue, edit: LocalEdit | None, agreed: Mapping[str, JsonValue], field: str) -> dict[str, Any]:
    """Return what the undo of a decision restores; `agreed` only where a base was kept for the field."""
    state: dict[str, Any] = {"value": value, "edit": as_stored(edit)}
    return state | {"agreed": agreed[field]} if field in agreed else state


def _row(outcome: Outcome, decision: Decision) -> dict[str, Any]:
    edit = outcome.edits.get(decision.field)
    return {
        "system": outcome.cmms_system_id,
        "entity": outcome.entity_key,
        "field": decision.field,
        "base": decision.base,
        "ours": decision.ours,
        "theirs": decision.theirs,
        "rule": decision.rule.value,
        "reason": decision.reason,
        "severity": decision.severity,
        "ours_by": edit.edited_by if edit else None,
        "ours_at": edit.edited_at if edit else decision.ours_at,
        "theirs_at": outcome.stated_at.get(decision.field) or decision.theirs_at,
        "hook_id": outcome.hook_id,
        "decision": _CHOICE.get(decision.verdict),
        "resolution": decision.value,
        "undo_state": undo_state(decision.ours, edit, outcome.agreed, decision.field),
    }

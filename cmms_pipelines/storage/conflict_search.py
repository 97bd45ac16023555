"""Finding conflicts: the filter, pages of them, one with all that is known, and how the queue stands.

What belongs here: reading. What does not: deciding (`storage.conflict_queue`).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage.tables import audit_log, maintenance_event_hooks, sync_conflicts

PAGE = 50
_conflicts = sync_conflicts.c
_age_s = sa.extract("epoch", sa.func.coalesce(_conflicts.resolved_at, sa.func.now()) - _conflicts.created_at).label("age_s")
_LISTED = [column for column in sync_conflicts.c if column.name != "undo_state"] + [_age_s]
_OLDEST_S = 1e10  # three centuries: what is said to be older than that is not here either


@dataclass(frozen=True)
class ConflictFilter:
    """Which conflicts; what is left empty does not restrict.

    Attributes:
        statuses: open, resolved, converged, undone.
        entity_keys: numbers of orders or machines.
        older_than_s: opened at least so long ago.
        is_automatic: decided by a rule (True), or not (False).
    """

    statuses: Sequence[str] = ()
    ids: Sequence[int] = ()
    entity_types: Sequence[str] = ()
    entity_keys: Sequence[str] = ()
    systems: Sequence[str] = ()
    fields: Sequence[str] = ()
    rules: Sequence[str] = ()
    severities: Sequence[str] = ()
    older_than_s: float | None = None
    is_automatic: bool | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing but the status restricts it."""
        return not any(value not in ((), [], None) for name, value in asdict(self).items() if name != "statuses")

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return what a row of the queue must meet."""
        several = (
            (_conflicts.status, self.statuses),
            (_conflicts.id, self.ids),
            (_conflicts.entity_type, self.entity_types),
            (_conflicts.entity_key, self.entity_keys),
            (_conflicts.cmms_system_id, self.systems),
            (_conflicts.field, self.fields),
            (_conflicts.rule, self.rules),
            (_conflicts.severity, self.severities),
        )
        found: list[sa.ColumnElement[bool]] = [column.in_(list(wanted)) for column, wanted in several if wanted]
        if self.older_than_s is not None:
            age = dt.timedelta(seconds=min(self.older_than_s, _OLDEST_S))
            found.append(_conflicts.created_at <= sa.func.now() - age)
        if self.is_automatic is not None:
            found.append(_conflicts.is_automatic == self.is_automatic)
        return found


def find_conflicts(
    connection: sa.Connection,
    wanted: ConflictFilter,
    *,
    before: int | None = None,
    limit: int = PAGE,
    is_oldest_first: bool = False,
) -> list[dict[str, Any]]:
    """Return a page of conflicts, the newest first: those with a smaller id than `before`. `age_s` ends with the conflict."""
    query = sa.select(*_LISTED).where(*wanted.conditions())
    if before is not None:
        query = query.where(_conflicts.id < before)
    ordered = query.order_by(_conflicts.id if is_oldest_first else _conflicts.id.desc()).limit(limit)
    return [{**row, "age_s": float(row["age_s"])} for row in connection.execute(ordered).mappings()]


def count_conflicts(connection: sa.Connection, wanted: ConflictFilter) -> int:
    """Return how many conflicts there are."""
    return connection.scalar(sa.select(sa.func.count()).select_from(sync_conflicts).where(*wanted.conditions())) or 0


def show_conflict(connection: sa.Connection, conflict_id: int) -> dict[str, Any]:
    """Return a conflict with the event that brought it (`event`, null where none did) and what was done about it (`history`).

    Raises:
        PermanentError: there is no such conflict.
    """
    found = find_conflicts(connection, ConflictFilter(ids=[conflict_id]))
    if not found:
        raise PermanentError(f"There is no conflict {conflict_id}: `cmms conflicts list` shows those that there are.")
    [row] = found
    hooks = maintenance_event_hooks.c
    event = sa.select(hooks.id, hooks.event_type, hooks.occurred_at, hooks.created_at.label("received_at"))
    brought_by = connection.execute(event.where(hooks.id == row["hook_id"])).mappings().one_or_none()
    log = audit_log.c
    history = (
        sa.select(log.at, log.actor, log.action, log.before, log.after, log.reason, log.dagster_run_id)
        .where(log.entity_type == row["entity_type"], log.entity_key == row["entity_key"])
        .where(log.after["conflict_id"].as_integer() == conflict_id)
        .order_by(log.id)
    )
    return {
        **row,
        "event": dict(brought_by) if brought_by else None,
        "history": [dict(one) for one in connection.execute(history).mappings()],
    }


def queue_status(connection: sa.Connection) -> dict[str, Any]:
    """Return how the queue stands: `open` and `oldest_age_s`, open ones by severity and rule, all by status and who decided."""
    is_open = _conflicts.status == "open"
    age = sa.extract("epoch", sa.func.now() - sa.func.min(_conflicts.created_at).filter(is_open))
    total = connection.execute(sa.select(sa.func.count().filter(is_open), age)).one()
    by_rule = sa.select(_conflicts.severity, _conflicts.rule, sa.func.count()).where(is_open).group_by("severity", "rule")
    by_status = sa.select(_conflicts.status, _conflicts.is_automatic, sa.func.count()).group_by("status", "is_automatic")
    counts = {"open": 0, "decided_by_rule": 0, "decided_by_hand": 0, "converged": 0, "undone": 0}
    for row in connection.execute(by_status):
        decided = "decided_by_rule" if row[1] else "decided_by_hand"
        counts[decided if row[0] == "resolved" else str(row[0])] += int(row[2])
    by_severity: dict[str, int] = {}
    by_rules: dict[str, int] = {}
    for row in connection.execute(by_rule):
        severity, rule, count = str(row[0]), str(row[1]), int(row[2])
        by_severity[severity] = by_severity.get(severity, 0) + count
        by_rules[rule] = by_rules.get(rule, 0) + count
    oldest = None if total[1] is None else float(total[1])
    return {"counts": counts, "open": total[0], "oldest_age_s": oldest, "by_severity": by_severity, "by_rule": by_rules}

"""Alerts as they are stored: one unresolved row for each cause, who took it, and when it was over.

What belongs here: reading them, and applying what a look at the system does to them. What does not: deciding that
(`domain.alerts`), and sending (`storage.alert_deliveries`, `notify`).
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.alert_messages import LONGEST_TITLE, Subject
from cmms_pipelines.domain.alerts import AlertStatus, Change, Finding, KnownAlert, Severity, Step, Trigger
from cmms_pipelines.domain.errors import NotFoundError, PermanentError
from cmms_pipelines.storage.tables import alert_deliveries, alerts, audit_log

SEEN_EVERY = dt.timedelta(minutes=1)
"""An alert that goes on unchanged is not written more often than this."""
WATCH_LOCK = 0x636D6D77
_TURN_LOCK = 0x636D6D61
_ORDER = ("critical", "high", "medium", "low", "info")


class ResolvedAlertError(PermanentError):
    """The alert is over: there is nothing to take."""


def take_turn(connection: sa.Connection) -> bool:
    """Be the only one who changes alerts until this transaction ends; False while another one is."""
    return bool(connection.execute(sa.text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _TURN_LOCK}).scalar_one())


def is_watched(connection: sa.Connection) -> bool:
    """Tell whether the watcher of alerts lives: it holds a lock for as long."""
    statement = sa.text(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND objid = :key)"
    )
    return bool(connection.execute(statement, {"key": WATCH_LOCK}).scalar_one())


def known_alerts(connection: sa.Connection) -> list[KnownAlert]:
    """Return all alerts that have not been resolved."""
    table = alerts.c
    columns = (
        table.id, table.fingerprint, table.trigger, table.severity, table.status, table.last_seen_at, table.notified_severity,
        table.notified_at,
    )  # fmt: skip
    rows = connection.execute(sa.select(*columns).where(table.status != AlertStatus.RESOLVED.value).order_by(table.id))
    return [
        KnownAlert(
            row.id, row.fingerprint, Trigger(row.trigger), Severity(row.severity), AlertStatus(row.status), row.last_seen_at,
            Severity(row.notified_severity), row.notified_at,
        )
        for row in rows
    ]  # fmt: skip


def apply(connection: sa.Connection, step: Step, now: dt.datetime) -> Subject:
    """Store what happened to one alert, and return it as it stands then."""
    if step.finding is not None and step.alert is None:
        return _open(connection, step.finding, now)
    if step.alert is None:
        raise ValueError("a step is about a finding, an alert, or both")
    table, values = alerts.c, dict[Any, Any]()
    if step.finding is None:
        values = {table.status: AlertStatus.RESOLVED.value, table.resolved_at: now}
    else:
        values = _found(step.finding, now)
    if step.change in (Change.RAISED, Change.REPEATED) and step.finding is not None:
        values[table.notified_at] = now
        values[table.occurrences] = table.occurrences + 1
    if step.change is Change.RAISED and step.finding is not None:
        values |= {
            table.notified_severity: step.finding.severity.value,
            table.status: AlertStatus.OPEN.value,
            table.acknowledged_by: None,
            table.acknowledged_at: None,
            table.acknowledgement: None,
        }
    statement = sa.update(alerts).where(table.id == step.alert.id)
    if step.change is Change.UPDATED and step.finding is not None:
        told = [table.severity, table.title, table.detail]
        is_new = sa.or_(*(column.is_distinct_from(values[column]) for column in told), table.last_seen_at <= now - SEEN_EVERY)
        statement = statement.where(is_new)
    connection.execute(statement.values({column.name: value for column, value in values.items()}))
    return subject(connection, step.alert.id)


def subject(connection: sa.Connection, alert_id: int) -> Subject:
    """Return an alert as messages tell it."""
    row = find(connection, alert_id)
    return Subject(
        id=row["id"],
        fingerprint=row["fingerprint"],
        severity=Severity(row["severity"]),
        title=row["title"],
        detail=row["detail"],
        cause=row["cause"],
        first_seen_at=row["first_seen_at"],
        occurrences=row["occurrences"],
        figures=row["figures"],
        run_id=row["dagster_run_id"],
        acknowledged_by=row["acknowledged_by"] if row["status"] != AlertStatus.OPEN.value else None,
    )


def find(connection: sa.Connection, alert_id: int) -> dict[str, Any]:
    """Return one alert.

    Raises:
        NotFoundError: there is none with this number.
    """
    row = connection.execute(sa.select(alerts).where(alerts.c.id == alert_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"There is no alert {alert_id}.")
    return dict(row)


def find_many(
    connection: sa.Connection,
    *,
    statuses: Sequence[AlertStatus] = (),
    severities: Sequence[Severity] = (),
    before: int | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Return alerts, the newest first; by default those that are not resolved.

    Args:
        statuses: in these states.
        severities: of these severities only.
        before: only those with a smaller number, for pages.
        limit: at most so many.
    """
    table = alerts.c
    wanted = statuses or (AlertStatus.OPEN, AlertStatus.ACKNOWLEDGED)
    query = sa.select(alerts).where(table.status.in_([status.value for status in wanted]))
    if severities:
        query = query.where(table.severity.in_([severity.value for severity in severities]))
    if before is not None:
        query = query.where(table.id < before)
    return [dict(row) for row in connection.execute(query.order_by(table.id.desc()).limit(limit)).mappings()]


def deliveries_of(connection: sa.Connection, alert_id: int) -> list[dict[str, Any]]:
    """Return what was sent about an alert, or is to be, in order; never an address."""
    table = alert_deliveries.c
    columns = (
        table.id, table.channel, table.kind, table.severity, table.title, table.status, table.attempts, table.next_attempt_at,
        table.error, table.created_at, table.delivered_at,
    )  # fmt: skip
    query = sa.select(*columns).where(table.alert_id == alert_id).order_by(table.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def count_by_severity(connection: sa.Connection) -> dict[str, int]:
    """Return how many alerts of each severity are not resolved."""
    table = alerts.c
    query = sa.select(table.severity, sa.func.count()).where(table.status != AlertStatus.RESOLVED.value).group_by(table.severity)
    found = {row[0]: int(row[1]) for row in connection.execute(query)}
    return {severity: found.get(severity, 0) for severity in _ORDER}


def acknowledge(
    connection: sa.Connection, alert_id: int, *, actor: str, note: str | None, run_id: str | None = None
) -> dict[str, Any]:
    """Take an alert: it is not told again, unless it gets graver, and its end is told. Taking it again changes who has it.

    Raises:
        NotFoundError: there is none with this number.
        ResolvedAlertError: it is over.
    """
    table = alerts.c
    before = connection.execute(
        sa.select(table.status, table.acknowledged_by).where(table.id == alert_id).with_for_update()
    ).one_or_none()
    if before is None:
        raise NotFoundError(f"There is no alert {alert_id}.")
    if before.status == AlertStatus.RESOLVED.value:
        raise ResolvedAlertError(f"Alert {alert_id} is resolved.")
    values = {
        "status": AlertStatus.ACKNOWLEDGED.value,
        "acknowledged_by": actor,
        "acknowledged_at": sa.func.now(),
        "acknowledgement": note,
    }
    connection.execute(sa.update(alerts).where(table.id == alert_id).values(**values))
    connection.execute(
        sa.insert(audit_log).values(
            actor=actor,
            action="alert.acknowledged",
            entity_type="alert",
            entity_key=str(alert_id),
            before={"status": before.status, "acknowledged_by": before.acknowledged_by},
            after={"status": values["status"], "acknowledged_by": actor},
            reason=note,
            dagster_run_id=run_id,
        )
    )
    return find(connection, alert_id)


def _open(connection: sa.Connection, finding: Finding, now: dt.datetime) -> Subject:
    table = alerts.c
    values = {column.name: value for column, value in _found(finding, now).items()} | {
        table.fingerprint.name: finding.fingerprint,
        table.trigger.name: finding.trigger.value,
        table.first_seen_at.name: min(finding.since, now) if finding.since else now,
        table.notified_severity.name: finding.severity.value,
        table.notified_at.name: now,
    }
    identifier: int = connection.execute(sa.insert(alerts).values(values).returning(table.id)).scalar_one()
    return subject(connection, identifier)


def _found(finding: Finding, now: dt.datetime) -> dict[Any, Any]:
    table = alerts.c
    return {
        table.severity: finding.severity.value,
        table.title: finding.title[:LONGEST_TITLE],
        table.detail: finding.detail,
        table.cause: finding.cause,
        table.figures: dict(finding.figures),
        table.last_seen_at: now,
        table.dagster_run_id: finding.run_id,
    }

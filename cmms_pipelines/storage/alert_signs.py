"""Signs of trouble in the operational tables: syncs, the inbox, dead letters, conflicts.

What belongs here: the questions, cheap enough to be asked twice a minute. What does not: what the answers mean
(`domain.alert_findings`), days and refusals of plants (`storage.alert_days`), and Dagster's own signs.
"""

import datetime as dt

import psycopg
import sqlalchemy as sa

from cmms_pipelines.domain import alert_findings as judge
from cmms_pipelines.domain.alert_configuration import Thresholds
from cmms_pipelines.domain.alerts import Finding
from cmms_pipelines.storage.drain_turns import drain_state
from cmms_pipelines.storage.tables import api_calls, api_sync_logs, maintenance_event_hooks, sync_conflicts

DAYS_BACK = 14
_SYNCS = sa.text(f"""
    SELECT log.id, log.sync_type, log.status, log.scope, log.records_processed AS processed, log.records_failed AS failed,
           log.records_warned AS warned, log.error_message, log.sync_started_at AS started_at,
           log.sync_completed_at AS completed_at, log.dagster_run_id AS run_id,
           last.id IS NOT NULL AS has_api_call, last.error IS NOT NULL AS has_api_error, last.status AS api_status
    FROM (
        SELECT *, row_number() OVER (PARTITION BY sync_type ORDER BY id DESC) AS age
        FROM {api_sync_logs.fullname}
        WHERE status NOT IN ('running', 'cancelled') AND sync_type <> 'clean_up' AND NOT scope ? 'replay'
          AND sync_completed_at > :now - make_interval(days => {DAYS_BACK})
          AND (status = 'success' OR error_message IS NULL OR sync_completed_at <= :now - make_interval(secs => :settle_s))
    ) AS log
    LEFT JOIN LATERAL (
        SELECT call.id, call.error, call.status FROM {api_calls.fullname} AS call
        WHERE call.sync_log_id = log.id ORDER BY call.id DESC LIMIT 1
    ) AS last ON true
    WHERE log.age <= 50
    ORDER BY log.id DESC
""")
_DUE = sa.text(f"""
    SELECT count(*) AS due, min(due.next_attempt_at) AS oldest_due_at
    FROM {maintenance_event_hooks.fullname} AS due
    WHERE processing_status = 'pending' AND next_attempt_at <= :now
      AND NOT EXISTS (
          SELECT FROM {maintenance_event_hooks.fullname} AS earlier
          WHERE earlier.cmms_system_id = due.cmms_system_id AND earlier.entity_key = due.entity_key
            AND earlier.sequence < due.sequence AND earlier.processing_status = 'pending' AND earlier.next_attempt_at > :now
      )
""")
_DEAD = sa.text(f"""
    SELECT count(*) AS dead, min(processed_at) AS oldest_at, (array_agg(DISTINCT left(error_message, 120)))[1:3] AS causes,
           count(*) FILTER (WHERE processed_at > :now - interval '1 day') AS recent_dead
    FROM {maintenance_event_hooks.fullname} WHERE processing_status = 'dead_letter'
""")
_RECENT = sa.text(f"""
    SELECT count(*) FROM {maintenance_event_hooks.fullname}
    WHERE created_at > :now - interval '1 day' AND processing_status IN ('processed', 'ignored', 'dead_letter')
""")
_CONFLICTS = sa.text(f"""
    SELECT count(*) AS undecided, min(created_at) AS oldest_at FROM {sync_conflicts.fullname}
    WHERE status = 'open' AND created_at <= :now - make_interval(hours => :age_h)
""")


def sync_findings(connection: sa.Connection, now: dt.datetime, thresholds: Thresholds) -> list[Finding]:
    """Return what is wrong with syncs and with their source; failures that may still be retried are left out."""
    rows = connection.execute(_SYNCS, {"now": now, "settle_s": thresholds.settle_s}).mappings()
    return judge.sync_findings([judge.SyncFacts(**row) for row in rows], thresholds.consecutive_failures)


def inbox_findings(connection: sa.Connection, now: dt.datetime, thresholds: Thresholds) -> list[Finding]:
    """Return what is wrong where events wait that could be applied."""
    row = connection.execute(_DUE, {"now": now}).one()
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError("the engine must be one of storage.engine")
    found = judge.inbox_finding(row.due, row.oldest_due_at, now, thresholds.oldest_due_s, drain_state(driver).value)
    return [found] if found else []


def dead_letter_findings(connection: sa.Connection, now: dt.datetime, thresholds: Thresholds) -> list[Finding]:
    """Return what is wrong with events that nobody could apply."""
    row = connection.execute(_DEAD, {"now": now}).one()
    if row.dead < thresholds.dead_letters:
        return []
    recent: int = connection.execute(_RECENT, {"now": now}).scalar_one()
    causes = [cause for cause in row.causes if cause]
    recent = max(recent, row.recent_dead)
    return [judge.dead_letter_finding(row.dead, row.oldest_at, causes, recent_dead=row.recent_dead, recent=recent)]


def conflict_findings(connection: sa.Connection, now: dt.datetime, thresholds: Thresholds) -> list[Finding]:
    """Return what is wrong with conflicts that nobody decides."""
    row = connection.execute(_CONFLICTS, {"now": now, "age_h": thresholds.conflict_age_h}).one()
    found = judge.conflict_finding(row.undecided, row.oldest_at, thresholds.conflict_age_h)
    return [found] if found else []

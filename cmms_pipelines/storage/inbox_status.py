"""How events and syncs stand at this moment, for those who ask again and again.

What belongs here: one cheap look over inbox, drains and sync logs. What does not: single events (`storage.inbox_search`).
"""

from typing import Any

import psycopg
import sqlalchemy as sa

from cmms_pipelines.domain.events import HookStatus
from cmms_pipelines.storage.drain_turns import DrainState, drain_state
from cmms_pipelines.storage.sync_controls import read_controls
from cmms_pipelines.storage.tables import api_sync_logs, maintenance_event_hooks

_HOOKS = maintenance_event_hooks.fullname
_COUNTS = sa.text(f"SELECT processing_status, count(*) FROM {_HOOKS} GROUP BY 1")
_PENDING = sa.text(f"""
    SELECT min(created_at) AS oldest_pending_at,
           extract(epoch FROM clock_timestamp() - min(created_at)) AS oldest_pending_age_s,
           extract(epoch FROM clock_timestamp() - min(coalesce(replayed_at, created_at))
               FILTER (WHERE next_attempt_at <= clock_timestamp())) AS oldest_due_age_s,
           count(*) FILTER (WHERE next_attempt_at > clock_timestamp()) AS waiting_for_retry
    FROM {_HOOKS} WHERE processing_status = 'pending'
""")
_NEWEST = sa.text(f"""
    SELECT cmms_system_id, event_type, created_at AS received_at FROM {_HOOKS} ORDER BY sequence DESC LIMIT 1
""")
_LAST_SYNCS = sa.text(f"""
    SELECT DISTINCT ON (sync_type) id, sync_type, status, sync_started_at, sync_completed_at, records_processed, records_success,
           records_failed, slices_total, slices_done, activity, error_message, dagster_run_id
    FROM {api_sync_logs.fullname}
    ORDER BY sync_type, sync_started_at DESC, id DESC
""")
_RUNNING = sa.text(f"""
    SELECT id, sync_type, status, sync_started_at, sync_completed_at, records_processed, records_success, records_failed,
           slices_total, slices_done, activity, error_message, dagster_run_id
    FROM {api_sync_logs.fullname} WHERE status = 'running' ORDER BY sync_started_at
""")


def inbox_status(connection: sa.Connection) -> dict[str, Any]:
    """Return counts by status, ages of what waits in seconds, the newest event, and what the drains are doing.

    Keys: counts, oldest_pending_at, oldest_pending_age_s, oldest_due_age_s (of what could be applied now, since its arrival or
    its last replay), waiting_for_retry, newest, drain.
    """
    counts = {row[0]: int(row[1]) for row in connection.execute(_COUNTS)}
    pending = connection.execute(_PENDING).mappings().one()
    newest = connection.execute(_NEWEST).mappings().one_or_none()
    return {
        "counts": {status.value: counts.get(status.value, 0) for status in HookStatus},
        **pending,
        "newest": dict(newest) if newest else None,
        "drain": _drain_state(connection).value,
    }


def sync_status(connection: sa.Connection) -> dict[str, Any]:
    """Return the syncs that run now, the last one of each type, and whether syncs are paused.

    Keys: running, last (by sync type), is_paused.
    """
    last = {row["sync_type"]: dict(row) for row in connection.execute(_LAST_SYNCS).mappings()}
    running = [dict(row) for row in connection.execute(_RUNNING).mappings()]
    return {"running": running, "last": last, "is_paused": bool(read_controls(connection).pause)}


def _drain_state(connection: sa.Connection) -> DrainState:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError("the engine must be one of storage.engine")
    return drain_state(driver)

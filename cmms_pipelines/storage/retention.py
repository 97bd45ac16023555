"""What is removed after its time: logs of finished syncs, their requests and slices, and closed rejections."""

from collections.abc import Mapping

import sqlalchemy as sa

from cmms_pipelines.domain.reports import SyncStatus
from cmms_pipelines.storage import sync_log
from cmms_pipelines.storage.tables import api_calls, api_sync_logs, sync_rejections, sync_slices

_STATEMENTS: Mapping[str, sa.TextClause] = {
    "api_calls": sa.text(f"DELETE FROM {api_calls.fullname} WHERE started_at < now() - make_interval(days => :days)"),
    "sync_slices": sa.text(f"DELETE FROM {sync_slices.fullname} WHERE completed_at < now() - make_interval(days => :days)"),
    "sync_rejections": sa.text(
        f"DELETE FROM {sync_rejections.fullname} WHERE status <> 'open' AND resolved_at < now() - make_interval(days => :days)"
    ),
    "api_sync_logs": sa.text(
        f"DELETE FROM {api_sync_logs.fullname} WHERE sync_completed_at < now() - make_interval(days => :days)"
    ),
}


def clean_up_logs(engine: sa.Engine, keep_days: int, *, run_id: str | None) -> dict[str, int]:
    """Remove what ended more than `keep_days` days ago; return how many rows went, by table.

    Open rejections, running syncs and business data are never touched. The clean-up itself is in the sync log.
    """
    log = sync_log.begin(engine, "clean_up", {"keep_days": keep_days}, f"clean_up:{run_id}", run_id)
    try:
        with engine.begin() as connection:
            removed = {
                table: connection.execute(statement, {"days": keep_days}).rowcount for table, statement in _STATEMENTS.items()
            }
    except BaseException:
        sync_log.finish(engine, log, SyncStatus.FAILED, stage_seconds={}, error_message="Nothing was removed; run it again.")
        raise
    sync_log.finish(engine, log, SyncStatus.SUCCESS, stage_seconds={})
    return removed

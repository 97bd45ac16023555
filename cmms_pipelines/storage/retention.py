"""What is removed after its time: logs of finished syncs, their requests and slices, and closed rejections."""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.reports import SyncStatus
from cmms_pipelines.storage import sync_log
from cmms_pipelines.storage.sync_claims import open_log
from cmms_pipelines.storage.tables import api_calls, api_sync_logs, sync_rejections, sync_slices

BATCH = 10_000
_AGE = "now() - make_interval(days => :days)"
_IS_OLD: Mapping[sa.Table, str] = {
    api_calls: f"started_at < {_AGE}",
    sync_slices: f"completed_at < {_AGE}",
    # a discarded record that still comes every night must stay known as such
    sync_rejections: f"status <> 'open' AND resolved_at < {_AGE} AND last_seen_at < {_AGE}",
    api_sync_logs: f"sync_completed_at < {_AGE}",
}


def clean_up_logs(
    engine: sa.Engine,
    keep_days: int,
    *,
    run_id: str | None,
    scope: Mapping[str, Any] | None = None,
    also: Callable[[], Mapping[str, int]] = dict,
) -> dict[str, int]:
    """Remove what ended more than `keep_days` days ago, in batches; return how many rows went, by table.

    Open rejections, running syncs and business data are never touched. The clean-up itself is in the sync log, with `scope` and
    with what it removed. What `also` removes is done and counted along with it.
    """
    claim = open_log(engine, "clean_up", {"keep_days": keep_days, **(scope or {})}, f"clean_up:{run_id}", run_id)
    removed: dict[str, int] = {}
    try:
        for table, condition in _IS_OLD.items():
            removed[str(table.name)] = _remove(engine, table, condition, keep_days)
        removed.update(also())
    except BaseException:
        sync_log.add_to_scope(engine, claim.log, {"removed": removed})
        message = "It stopped half-way; what was removed is gone, run it again for the rest."
        sync_log.finish(engine, claim.log, SyncStatus.FAILED, stage_seconds={}, error_message=message)
        raise
    else:
        sync_log.add_to_scope(engine, claim.log, {"removed": removed})
        sync_log.finish(engine, claim.log, SyncStatus.SUCCESS, stage_seconds={})
    finally:
        claim.release()
    return removed


def _remove(engine: sa.Engine, table: sa.Table, condition: str, keep_days: int) -> int:
    name = table.fullname
    statement = sa.text(f"DELETE FROM {name} WHERE id IN (SELECT id FROM {name} WHERE {condition} ORDER BY id LIMIT {BATCH})")
    removed = 0
    while True:
        with engine.begin() as connection:
            count = connection.execute(statement, {"days": keep_days}).rowcount
        removed += count
        if count < BATCH:
            return removed

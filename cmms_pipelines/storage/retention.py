"""What is removed after its time: logs of finished syncs, their requests and slices, closed rejections, counts of deliveries and
refusals, tokens that are no longer in force.

What belongs here: what is too old, and the log of the clean-up. What does not: Dagster's own history (`defs.operations.history`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.reports import SyncStatus
from cmms_pipelines.storage import sync_log
from cmms_pipelines.storage.availability import when_available
from cmms_pipelines.storage.sync_claims import open_log
from cmms_pipelines.storage.tables import (
    alert_deliveries,
    alerts,
    api_calls,
    api_sync_logs,
    api_tokens,
    audit_log,
    delivery_counts,
    sync_rejections,
    sync_slices,
)

BATCH = 10_000
_AGE = "now() - make_interval(days => :days)"


@dataclass(frozen=True)
class Ages:
    """Days after which something goes.

    Attributes:
        logs: what has ended: syncs with their requests and slices, settled rejections, tokens.
        deliveries: what the webhook receiver counted: deliveries by minute, and refusals.
    """

    logs: int
    deliveries: int


_LOGS: Mapping[str, tuple[sa.Table, str]] = {
    "api_calls": (api_calls, f"started_at < {_AGE}"),
    "sync_slices": (sync_slices, f"completed_at < {_AGE}"),
    # a discarded record that still comes every night must stay known as such
    "sync_rejections": (sync_rejections, f"status <> 'open' AND resolved_at < {_AGE} AND last_seen_at < {_AGE}"),
    "api_sync_logs": (api_sync_logs, f"sync_completed_at < {_AGE}"),
    "alerts": (alerts, f"status = 'resolved' AND resolved_at < {_AGE}"),
    "alert_deliveries": (alert_deliveries, f"alert_id IS NULL AND created_at < {_AGE}"),
    "api_tokens": (api_tokens, f"least(revoked_at, expires_at) < {_AGE}"),
}
_DELIVERIES: Mapping[str, tuple[sa.Table, str]] = {
    "delivery_counts": (delivery_counts, f"minute < {_AGE}"),
    "hook_refusals": (audit_log, f"action = 'hook.refused' AND at < {_AGE}"),
}


def clean_up_logs(
    engine: sa.Engine,
    ages: Ages,
    *,
    run_id: str | None,
    scope: Mapping[str, Any] | None = None,
    also: Callable[[], Mapping[str, int]] = dict,
) -> dict[str, int]:
    """Remove what is older than its age, in batches; return how many rows went, by what they were.

    Open rejections, running syncs, what people did (the rest of the audit log) and business data are never touched. The clean-up
    itself is in the sync log, with `scope` and with what it removed. What `also` removes is done and counted along with it.

    Raises:
        TransientError: the database stays away.
    """
    named = {"keep_days": ages.logs, "keep_deliveries_days": ages.deliveries, **(scope or {})}
    claim = when_available(engine, lambda: open_log(engine, "clean_up", named, f"clean_up:{run_id}", run_id))
    removed: dict[str, int] = {}
    try:
        for what, days in ((_LOGS, ages.logs), (_DELIVERIES, ages.deliveries)):
            for name, (table, condition) in what.items():
                removed[name] = _remove(engine, table, condition, days)
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


def _remove(engine: sa.Engine, table: sa.Table, condition: str, days: int) -> int:
    name = table.fullname
    some = f"SELECT ctid FROM {name} WHERE {condition} LIMIT {BATCH}"
    statement = sa.text(f"DELETE FROM {name} WHERE ctid = ANY (ARRAY({some}))")

    def remove_some() -> int:
        with engine.begin() as connection:
            return connection.execute(statement, {"days": days}).rowcount

    removed = 0
    while True:
        count = when_available(engine, remove_some)
        removed += count
        if count < BATCH:
            return removed

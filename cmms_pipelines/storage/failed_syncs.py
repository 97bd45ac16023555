"""Syncs that failed and that no later one of the same scope has made good.

What belongs here: finding them. What does not: doing them again (`sync.again`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.reports import SyncStatus
from cmms_pipelines.storage.recorded_work_orders import INCREMENTAL
from cmms_pipelines.storage.tables import api_sync_logs, sync_slices

RETRIED = ("plants", "equipment", "running_times", "work_orders")
_LOOKED_AT = 5000


@dataclass(frozen=True)
class FailedSync:
    """A sync to do again.

    Attributes:
        log_id: of its newest attempt.
        sync_key: under which its finished slices are in the ledger, so that only the others are done; None: there are none.
    """

    log_id: int
    sync_type: str
    scope: Mapping[str, Any]
    status: str
    error_message: str
    started_at: dt.datetime
    sync_key: str | None

    def described(self) -> dict[str, Any]:
        """Return what people are shown."""
        return {
            "log": self.log_id,
            "sync_type": self.sync_type,
            "scope": ", ".join(f"{name}: {value}" for name, value in self.scope.items()),
            "status": self.status,
            "started_at": self.started_at.isoformat(),
            "error": self.error_message,
        }


def failed_syncs(connection: sa.Connection, since: dt.datetime, sync_types: Sequence[str] = RETRIED) -> list[FailedSync]:
    """Return the failed syncs that began at `since` or later, oldest first: of each scope the newest attempt, if that failed.

    A sync that an operator stopped has not failed, nor has one of which records were refused: `replay_rejections` is for those.
    """
    table = api_sync_logs.c
    query = (
        sa.select(table.id, table.sync_type, table.scope, table.status, table.error_message, table.sync_started_at)
        .where(table.sync_started_at >= since, table.sync_type.in_(sync_types), ~table.scope.has_key("replay"))
        .order_by(table.id.desc())
        .limit(_LOOKED_AT)
    )
    attempts: dict[str, list[sa.Row[Any]]] = {}
    for row in connection.execute(query):
        attempts.setdefault(_same(row.sync_type, row.scope), []).append(row)
    found = [
        FailedSync(
            newest.id,
            newest.sync_type,
            newest.scope,
            newest.status,
            newest.error_message,
            newest.sync_started_at,
            _key_of(connection, [row.id for row in (newest, *earlier)]),
        )
        for newest, *earlier in attempts.values()
        if newest.error_message is not None and newest.status in (SyncStatus.FAILED, SyncStatus.PARTIAL)
    ]
    return sorted(found, key=lambda one: one.log_id)


def _same(sync_type: str, scope: Mapping[str, Any]) -> str:
    """Return what attempts share; of work orders, each sync of what has changed takes up where the last good one ended."""
    return f"{sync_type}:{'incremental' if scope.get(INCREMENTAL) else sorted(scope.items(), key=str)}"


def _key_of(connection: sa.Connection, log_ids: Sequence[int]) -> str | None:
    table = sync_slices.c
    query = sa.select(table.sync_key).where(table.sync_log_id.in_(log_ids)).order_by(table.id.desc()).limit(1)
    key: str | None = connection.scalar(query)
    return key

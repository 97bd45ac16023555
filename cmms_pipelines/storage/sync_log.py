"""The log of syncs: one row per sync from its start to its end, its slices and its external requests.

What belongs here: `api_sync_logs`, `sync_slices`, `api_calls`. What does not: what a sync does.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.reports import SyncCounts, SyncStatus
from cmms_pipelines.storage.tables import api_calls, api_sync_logs, sync_slices

_COUNTED = {
    "records_processed": "received",
    "records_success": "stored",
    "records_failed": "refused",
    "records_inserted": "inserted",
    "records_updated": "updated",
    "records_unchanged": "unchanged",
    "records_merged": "merged",
    "records_warned": "warned",
}


@dataclass(frozen=True)
class SyncLog:
    """A sync that has begun: the id of its row and who runs it.

    Attributes:
        id: of the row in `api_sync_logs`.
        sync_type: plants, equipment, running_times, ...
        sync_key: what retries of one sync share, so that a retry takes up where the one before stopped.
        run_id: of the Dagster run, where one runs it.
    """

    id: int
    sync_type: str
    sync_key: str
    run_id: str | None


def begin(engine: sa.Engine, sync_type: str, scope: Mapping[str, Any], sync_key: str, run_id: str | None) -> SyncLog:
    """Open a sync's row with status `running`."""
    statement = (
        sa.insert(api_sync_logs)
        .values(sync_type=sync_type, scope=dict(scope), dagster_run_id=run_id)
        .returning(api_sync_logs.c.id)
    )
    with engine.begin() as connection:
        return SyncLog(connection.execute(statement).scalar_one(), sync_type, sync_key, run_id)


def add_counts(connection: sa.Connection, log: SyncLog, counts: SyncCounts) -> None:
    """Add a slice's figures to the sync's row, in the transaction that wrote the slice: neither is ever without the other."""
    columns = api_sync_logs.c
    sums: dict[str, Any] = {name: columns[name] + getattr(counts, attribute) for name, attribute in _COUNTED.items()}
    connection.execute(sa.update(api_sync_logs).where(columns.id == log.id).values(**sums, updated_at=sa.func.now()))


def finish(
    engine: sa.Engine, log: SyncLog, status: SyncStatus, *, stage_seconds: Mapping[str, float], error_message: str | None = None
) -> None:
    """Close a sync's row."""
    values = {
        "status": status.value,
        "sync_completed_at": sa.func.clock_timestamp(),
        "updated_at": sa.func.now(),
        "error_message": error_message,
        "stage_seconds": {stage: round(seconds, 3) for stage, seconds in stage_seconds.items()},
    }
    with engine.begin() as connection:
        connection.execute(sa.update(api_sync_logs).where(api_sync_logs.c.id == log.id).values(**values))


def read(engine: sa.Engine, log_id: int) -> dict[str, Any]:
    """Return a sync's row as it stands."""
    with engine.connect() as connection:
        return dict(connection.execute(sa.select(api_sync_logs).where(api_sync_logs.c.id == log_id)).mappings().one())


def read_of_run(engine: sa.Engine, run_id: str) -> list[dict[str, Any]]:
    """Return the rows of a Dagster run's syncs, oldest first."""
    statement = sa.select(api_sync_logs).where(api_sync_logs.c.dagster_run_id == run_id).order_by(api_sync_logs.c.id)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def close_abandoned(engine: sa.Engine, live_run_ids: Collection[str]) -> int:
    """Mark as failed the rows that say `running` although their run is not among `live_run_ids`; return how many.

    A run that was killed cannot close its own row; the next sync does.
    """
    statement = (
        sa.update(api_sync_logs)
        .where(
            api_sync_logs.c.status == SyncStatus.RUNNING.value,
            api_sync_logs.c.dagster_run_id.is_not(None),
            api_sync_logs.c.dagster_run_id.not_in(list(live_run_ids)),
        )
        .values(
            status=SyncStatus.FAILED.value,
            sync_completed_at=sa.func.now(),
            updated_at=sa.func.now(),
            error_message="The run was killed and could not close its log. What it had done is kept; a retry does the rest.",
        )
        .returning(api_sync_logs.c.id)
    )
    with engine.begin() as connection:
        return len(connection.execute(statement).all())


def done_slices(engine: sa.Engine, sync_key: str) -> set[str]:
    """Return the keys of the slices that earlier attempts of this sync have finished."""
    statement = sa.select(sync_slices.c.slice_key).where(sync_slices.c.sync_key == sync_key)
    with engine.connect() as connection:
        return set(connection.scalars(statement))


def mark_slice_done(
    connection: sa.Connection, log: SyncLog, slice_key: str, *, day: date | None, plant_codes: Sequence[str], counts: SyncCounts
) -> bool:
    """Enter a slice into the ledger, in the transaction that wrote it; False if another attempt was quicker."""
    values = {
        "sync_key": log.sync_key,
        "slice_key": slice_key,
        "sync_type": log.sync_type,
        "sync_log_id": log.id,
        "date": day,
        "plant_codes": list(plant_codes),
        "counts": {name: getattr(counts, attribute) for name, attribute in _COUNTED.items()},
    }
    statement = insert(sync_slices).values(**values).on_conflict_do_nothing().returning(sync_slices.c.id)
    return connection.execute(statement).first() is not None


def record_calls(engine: sa.Engine, log: SyncLog, calls: Sequence[ApiCall]) -> None:
    """Store external requests of a sync."""
    if not calls:
        return
    rows = [{**asdict(call), "sync_log_id": log.id, "dagster_run_id": log.run_id} for call in calls]
    with engine.begin() as connection:
        connection.execute(sa.insert(api_calls), rows)

"""The log of syncs: one row per sync from its start to its end, its slices and its external requests.

What belongs here: `api_sync_logs`, `sync_slices`, `api_calls`. What does not: what a sync does.

What is asked for through an engine waits for a server that is away (`storage.availability`) and may raise as that does; what is
done on a connection belongs to the transaction of its caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, distinct_on, insert

from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.reports import SyncCounts, SyncStatus
from cmms_pipelines.storage.availability import WAIT_S, when_available
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


def insert_log(connection: sa.Connection, sync_type: str, scope: Mapping[str, Any], sync_key: str, run_id: str | None) -> SyncLog:
    """Open a sync's row with status `running`; `storage.sync_claims` does it together with the sync's claim."""
    statement = (
        sa.insert(api_sync_logs)
        .values(sync_type=sync_type, scope=dict(scope), dagster_run_id=run_id)
        .returning(api_sync_logs.c.id)
    )
    return SyncLog(connection.execute(statement).scalar_one(), sync_type, sync_key, run_id)


def plan(engine: sa.Engine, log: SyncLog, slices_total: int) -> None:
    """Say of how many slices the sync consists."""
    _update(engine, log, slices_total=slices_total)


def note_activity(engine: sa.Engine, log: SyncLog, activity: str | None) -> None:
    """Say what a running sync waits for; None once it goes on."""
    _update(engine, log, activity=activity)


def add_to_scope(engine: sa.Engine, log: SyncLog, values: Mapping[str, Any]) -> None:
    """Add to what a sync's row says it is about."""
    _update(engine, log, scope=api_sync_logs.c.scope.op("||")(sa.cast(dict(values), JSONB)))


def add_counts(connection: sa.Connection, log: SyncLog, counts: SyncCounts, *, is_done: bool = True) -> None:
    """Add a slice's figures to the sync's row, in the transaction that wrote the slice: neither is ever without the other.

    Unless it `is_done`, the slice is not counted as one, its records are.
    """
    columns = api_sync_logs.c
    sums: dict[str, Any] = {name: columns[name] + getattr(counts, attribute) for name, attribute in _COUNTED.items()}
    sums["slices_done"] = columns.slices_done + int(is_done)
    connection.execute(sa.update(api_sync_logs).where(columns.id == log.id).values(**sums, updated_at=sa.func.now()))


def finish(
    engine: sa.Engine,
    log: SyncLog,
    status: SyncStatus,
    *,
    stage_seconds: Mapping[str, float],
    error_message: str | None = None,
    wait_s: float = WAIT_S,
) -> None:
    """Close a sync's row."""
    _update(
        engine,
        log,
        wait_s,
        status=status.value,
        sync_completed_at=sa.func.clock_timestamp(),
        activity=None,
        error_message=error_message,
        stage_seconds={stage: round(seconds, 3) for stage, seconds in stage_seconds.items()},
    )


def read(engine: sa.Engine, log_id: int) -> dict[str, Any]:
    """Return a sync's row as it stands."""
    statement = sa.select(api_sync_logs).where(api_sync_logs.c.id == log_id)

    def ask() -> dict[str, Any]:
        with engine.connect() as connection:
            return dict(connection.execute(statement).mappings().one())

    return when_available(engine, ask)


def read_many(connection: sa.Connection, log_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows with these numbers, oldest first."""
    statement = sa.select(api_sync_logs).where(api_sync_logs.c.id.in_(log_ids)).order_by(api_sync_logs.c.id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def newest_finished(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return the newest finished sync of each type."""
    table = api_sync_logs.c
    statement = (
        sa.select(api_sync_logs)
        .ext(distinct_on(table.sync_type))
        .where(table.status != SyncStatus.RUNNING.value)
        .order_by(table.sync_type, table.id.desc())
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def read_of_run(engine: sa.Engine, run_id: str) -> list[dict[str, Any]]:
    """Return the rows of a Dagster run's syncs, oldest first."""
    statement = sa.select(api_sync_logs).where(api_sync_logs.c.dagster_run_id == run_id).order_by(api_sync_logs.c.id)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def done_slices(engine: sa.Engine, sync_key: str) -> set[str]:
    """Return the keys of the slices that earlier attempts of this sync have finished."""
    statement = sa.select(sync_slices.c.slice_key).where(sync_slices.c.sync_key == sync_key)

    def ask() -> set[str]:
        with engine.connect() as connection:
            return set(connection.scalars(statement))

    return when_available(engine, ask)


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
        "counts": {
            **{name: getattr(counts, attribute) for name, attribute in _COUNTED.items()},
            **({"noted_by_rule": dict(counts.noted_by_rule)} if counts.noted_by_rule else {}),
        },
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


def _update(
    engine: sa.Engine,
    log: SyncLog,
    wait_s: float = WAIT_S,
    **values: Any,  # noqa: ANN401 - columns have types of all kinds
) -> None:
    statement = sa.update(api_sync_logs).where(api_sync_logs.c.id == log.id).values(**values, updated_at=sa.func.now())

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(statement)

    when_available(engine, write, wait_s=wait_s)

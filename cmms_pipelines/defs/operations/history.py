"""Dagster's own history: the event log and the runs, which it keeps for ever unless somebody removes them.

What belongs here: which of it goes. What does not: our own logs (`storage.retention`), and the history of schedules and sensors,
which Dagster prunes itself (`retention` in `dagster.yaml`).

Dagster's `delete_run` takes the materializations along, and with them the green partitions. So the events of old runs go one
by one, without those of assets and checks, and a run that holds the newest materialization of an asset or a partition stays in
the list of runs, so that its link leads somewhere.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

RUNS_AT_ONCE = 50
_FINISHED = [dg.DagsterRunStatus.SUCCESS.value, dg.DagsterRunStatus.FAILURE.value, dg.DagsterRunStatus.CANCELED.value]

_OLD_RUNS = sa.text("SELECT run_id FROM runs WHERE status IN :finished AND update_timestamp < :before ORDER BY id").bindparams(
    sa.bindparam("finished", expanding=True)
)
_HOLD_THE_NEWEST = sa.text("""
    SELECT DISTINCT mine.run_id FROM event_logs mine
    WHERE mine.run_id IN :ids AND mine.dagster_event_type = 'ASSET_MATERIALIZATION'
      AND NOT EXISTS (
          SELECT 1 FROM event_logs newer
          WHERE newer.asset_key = mine.asset_key AND newer.dagster_event_type = 'ASSET_MATERIALIZATION' AND newer.id > mine.id
            AND (newer.partition = mine.partition OR (newer.partition IS NULL AND mine.partition IS NULL)))
""").bindparams(sa.bindparam("ids", expanding=True))
_FORGET_EVENTS = sa.text("""
    DELETE FROM event_logs
    WHERE run_id IN :ids AND asset_key IS NULL
      AND (dagster_event_type IS NULL OR substr(dagster_event_type, 1, 6) <> 'ASSET_')
""").bindparams(sa.bindparam("ids", expanding=True))


def clean_up_history(
    instance: dg.DagsterInstance, keep_days: int, *, now: datetime, progress: Callable[[str], None]
) -> dict[str, int]:
    """Remove what finished more than `keep_days` days before `now`; return how many events, runs and compute logs went.

    Events of assets and of checks stay, whatever their age, and so do runs that hold a newest materialization.
    """
    runs, events = instance.run_storage, instance.event_log_storage
    removed = {"dagster_events": 0, "dagster_runs": 0, "dagster_compute_logs": 0}
    if not isinstance(runs, SqlRunStorage) or not isinstance(events, SqlEventLogStorage):
        return removed
    before = (now - timedelta(days=keep_days)).replace(tzinfo=None)  # Dagster keeps naive UTC
    with runs.connect() as connection:
        old: list[str] = list(connection.execute(_OLD_RUNS, {"finished": _FINISHED, "before": before}).scalars())
    for ids in _batches(old):
        with events.index_connection() as connection:
            holders: set[str] = set(connection.execute(_HOLD_THE_NEWEST, {"ids": ids}).scalars())
            removed["dagster_events"] += connection.execute(_FORGET_EVENTS, {"ids": ids}).rowcount
        for run_id in ids:
            instance.compute_log_manager.delete_logs(prefix=[run_id])
            if run_id not in holders:
                runs.delete_run(run_id)
                removed["dagster_runs"] += 1
        removed["dagster_compute_logs"] += len(ids)
        progress(f"went through {removed['dagster_compute_logs']} of {len(old)} old runs")
    return removed


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + RUNS_AT_ONCE] for start in range(0, len(ids), RUNS_AT_ONCE))

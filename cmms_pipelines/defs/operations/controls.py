"""Pause, resume and emergency stop of all syncs, for those who have the UI and no shell.

What belongs here: the jobs, and ending what Dagster runs or has in its queue. What does not: the flags
(`storage.sync_controls`) and how a sync obeys them (`sync.control`).
"""

from dataclasses import asdict, dataclass

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from pydantic import Field

from cmms_pipelines.defs.metadata import preview_table
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.running import IN_FLIGHT, run_tags

SYNC_JOBS = frozenset(
    {
        "sync_plants",
        "sync_equipment",
        "sync_running_times",
        "sync_work_orders",
        "replay_rejections",
        "sync_now",
        "backfill_running_times",
        "retry_failed",
        "find_missed_events",
    }
)
SYNCED = frozenset(dg.AssetKey(["cmms", name]) for name in ("plants", "equipment", "equipment_running_times"))


class ControlConfig(dg.Config):
    """Who says so, and why: kept in the audit log and shown wherever a sync waits or was stopped."""

    reason: str = Field(default="", description="Why; shown in the run log of each sync that it concerns.")
    by: str = Field(default="Dagster UI", description="Who you are.")


class StopConfig(ControlConfig):
    """As above, and whether anything may start again."""

    pause: bool = Field(default=False, description="Also pause, so that nothing starts again until resume_syncs.")


@dataclass(frozen=True)
class Stopped:
    """A run or a backfill that was ended."""

    kind: str
    id: str
    name: str
    was: str
    note: str = ""


def stop_runs(instance: dg.DagsterInstance, own_run_id: str) -> list[Stopped]:
    """Cancel every backfill of synced assets, and every run of a sync that is queued or going on; return what was ended."""
    filters = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])
    backfills = [one for one in instance.get_backfills(filters=filters) if _is_sync_backfill(one)]
    for backfill in backfills:
        instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELING))  # type: ignore[no-untyped-call]
    runs = [run for run in instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT)) if run.run_id != own_run_id and _is_sync(run)]
    return [
        *(Stopped("backfill", one.backfill_id, one.title or "backfill", "requested") for one in backfills),
        *(Stopped("run", run.run_id, run.job_name, run.status.value.lower(), _cancel(instance, run)) for run in runs),
    ]


def _cancel(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    try:
        is_told = instance.run_coordinator.cancel_run(run.run_id)
    except DagsterUserCodeUnreachableError:
        is_told = False
    return "" if is_told else "its process cannot be told; it stops by itself at its next slice, if it lives"


def _is_sync(run: dg.DagsterRun) -> bool:
    return run.job_name in SYNC_JOBS or bool(SYNCED & (run.asset_selection or frozenset()))


def _is_sync_backfill(backfill: PartitionBackfill) -> bool:
    origin = backfill.partition_set_origin
    of_job = origin is not None and any(origin.partition_set_name.startswith(name) for name in SYNC_JOBS)
    return of_job or bool(SYNCED & set(backfill.asset_selection or ()))


@dg.op(description="Hold every schedule, and every running sync before its next slice.")
def pause(context: dg.OpExecutionContext, config: ControlConfig, warehouse: Warehouse) -> None:
    from cmms_pipelines.storage import sync_controls  # noqa: PLC0415 - keeps start-up light

    with warehouse.engine().begin() as connection:
        is_new = sync_controls.pause(connection, actor=config.by, reason=config.reason or None, run_id=context.run.run_id)
    context.log.info("All syncs are paused" if is_new else "All syncs were paused already; the reason is the new one")


@dg.op(description="Let schedules start again, and running syncs go on.")
def resume(context: dg.OpExecutionContext, config: ControlConfig, warehouse: Warehouse) -> None:
    from cmms_pipelines.storage import sync_controls  # noqa: PLC0415 - keeps start-up light

    with warehouse.engine().begin() as connection:
        is_new = sync_controls.resume(connection, actor=config.by, reason=config.reason or None, run_id=context.run.run_id)
    context.log.info("Syncs go on" if is_new else "Syncs were not paused")


@dg.op(description="End every sync that runs or waits, wherever it was started, and say which.")
def stop(context: dg.OpExecutionContext, config: StopConfig, warehouse: Warehouse) -> list[dict[str, str]]:
    from cmms_pipelines.storage import sync_claims, sync_controls  # noqa: PLC0415 - keeps start-up light

    reason, run_id = config.reason or None, context.run.run_id
    with warehouse.engine().begin() as connection:
        sync_controls.stop(connection, actor=config.by, reason=reason, run_id=run_id)
        if config.pause:
            sync_controls.pause(connection, actor=config.by, reason=reason, run_id=run_id)
        syncs = sync_claims.living(connection)
    stopped = [Stopped("sync", str(sync.id), sync.sync_type, "running", str(sync)) for sync in syncs]
    stopped += stop_runs(context.instance, context.run.run_id)
    rows = [asdict(one) for one in stopped]
    context.log.info("Stopped %d syncs, runs and backfills", len(rows))
    for one in stopped:
        context.log.info("Stopped %s %s (%s), which was %s. %s", one.kind, one.id, one.name, one.was, one.note)
    context.add_output_metadata({"stopped": preview_table(rows, ("kind", "id", "name", "was", "note")), "count": len(rows)})
    return rows


@dg.job(
    tags=run_tags(max_runtime_s=120, priority=100),
    executor_def=dg.in_process_executor,
    description="Hold all syncs: schedules skip with the reason, running syncs wait before their next slice.",
)
def pause_syncs() -> None:
    pause()


@dg.job(
    tags=run_tags(max_runtime_s=120, priority=100),
    executor_def=dg.in_process_executor,
    description="Let all syncs go on where they were paused.",
)
def resume_syncs() -> None:
    resume()


@dg.job(
    tags=run_tags(max_runtime_s=120, priority=100),
    executor_def=dg.in_process_executor,
    description=(
        "End every sync in flight and in the queue, also those of the command line, and every backfill of synced assets; the "
        "step's metadata says which. Finished slices are kept. Events of the inbox are not touched."
    ),
)
def emergency_stop() -> None:
    stop()


JOBS = [pause_syncs, resume_syncs, emergency_stop]

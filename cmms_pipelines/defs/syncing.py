"""What all syncs have in common as definitions: their jobs, their schedules, and the check of their books.

What belongs here: factories. What does not: what a sync is about (`defs.equipment`, `defs.running_hours`).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from cmms_pipelines.defs.limits import limits_of
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.running import skip_while_paused

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

AskFor = Callable[[dg.ScheduleEvaluationContext], dg.RunRequest | dg.SkipReason]


def sync_job(name: str, selection: Sequence[dg.AssetsDefinition], *, description: str) -> "UnresolvedAssetJobDefinition":
    """Return the job of a sync: one process, the time limit of its assets and their place in the queue."""
    return dg.define_asset_job(
        name,
        selection=list(selection),
        tags=limits_of(asset.key for asset in selection).tags(),
        executor_def=dg.in_process_executor,
        description=description,
    )


def sync_schedule(
    name: str,
    job: "UnresolvedAssetJobDefinition | dg.JobDefinition",
    *,
    cron: str,
    time_zone: str,
    description: str,
    ask_for: AskFor = lambda _context: dg.RunRequest(),
) -> dg.ScheduleDefinition:
    """Return a schedule that runs from the start, by the clock of `time_zone`, and skips while syncs are paused."""

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def schedule(context: dg.ScheduleEvaluationContext, warehouse: Warehouse) -> dg.RunRequest | dg.SkipReason:
        return skip_while_paused(warehouse) or ask_for(context)

    return schedule


def accounts_check(asset: dg.AssetsDefinition, sync_type: str) -> dg.AssetChecksDefinition:
    """Return the check that log, ledger and quarantine agree on what became of every record."""

    @dg.asset_check(
        asset=asset,
        name="every_record_accounted_for",
        description="Each record that the source sent was inserted, updated, unchanged, merged or refused.",
    )
    def every_record_accounted_for(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
        """Compare this run's sync log with what lies in ledger and quarantine."""
        from cmms_pipelines.storage.availability import when_available  # noqa: PLC0415 - keeps start-up light
        from cmms_pipelines.storage.quality import accounts_of_run  # noqa: PLC0415

        engine = warehouse.engine()
        accounts = when_available(engine, lambda: accounts_of_run(engine, sync_type, context.run.run_id))
        return dg.AssetCheckResult(passed=accounts.is_balanced, metadata=accounts.figures())

    return every_record_accounted_for

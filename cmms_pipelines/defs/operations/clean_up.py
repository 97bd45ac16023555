"""The weekly clean-up: our logs and Dagster's history, each by its age."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import CLEAN_UP_RETRIES, operator_errors, run_tags
from cmms_pipelines.settings import Settings


@dg.op(
    retry_policy=CLEAN_UP_RETRIES,
    description=(
        "Remove what is older than CMMS_KEEP_LOGS_DAYS from logs and quarantine, what is older than CMMS_KEEP_DELIVERIES_DAYS "
        "from the counts of deliveries, what is older than CMMS_KEEP_REPORTS_DAYS from the daily reports, and what is older than "
        "CMMS_KEEP_RUNS_DAYS from Dagster's runs and events. "
        "Materializations, observations and check results stay."
    ),
)
def clean_up(context: dg.OpExecutionContext, warehouse: Warehouse, source_system: SourceSystem) -> dict[str, int]:
    with operator_errors(context):
        from cmms_pipelines.storage.retention import Ages, clean_up_logs  # noqa: PLC0415 - keeps start-up light

        settings = source_system.in_force(warehouse, context.log.warning)
        removed = clean_up_logs(
            warehouse.engine(),
            Ages(logs=settings.keep_logs_days, deliveries=settings.keep_deliveries_days),
            run_id=context.run.run_id,
            scope={"keep_runs_days": settings.keep_runs_days},
            also=lambda: _clean_up_beside_the_database(context, settings),
        )
        context.log.info("Removed %s", ", ".join(f"{count} from {what}" for what, count in removed.items()))
        context.add_output_metadata({f"removed_from_{what}": count for what, count in removed.items()})
        return removed


def _clean_up_beside_the_database(context: dg.OpExecutionContext, settings: Settings) -> dict[str, int]:
    from cmms_pipelines.defs.operations.history import clean_up_history  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.reports.kept import forget_old_pages  # noqa: PLC0415

    now = datetime.now(UTC)
    removed = clean_up_history(context.instance, settings.keep_runs_days, now=now, progress=context.log.info)
    before = now.astimezone(ZoneInfo(settings.time_zone)).date() - timedelta(days=settings.keep_reports_days)
    return {**removed, "daily_reports": forget_old_pages(settings.home, before)}


@dg.job(
    name="clean_up_logs",
    tags=run_tags(max_runtime_s=600, priority=-10),
    executor_def=dg.in_process_executor,
    description=(
        "Keep logs for CMMS_KEEP_LOGS_DAYS days, counts of deliveries for CMMS_KEEP_DELIVERIES_DAYS and Dagster's runs for "
        "CMMS_KEEP_RUNS_DAYS; open rejections, materializations and everything that is business data stay for ever."
    ),
)
def clean_up_logs_job() -> None:
    clean_up()


def schedule(time_zone: str) -> dg.ScheduleDefinition:
    """Return the schedule: Sundays at 04:00 of `time_zone`."""
    return dg.ScheduleDefinition(
        name="clean_up_logs_weekly",
        job=clean_up_logs_job,
        cron_schedule="0 4 * * 0",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sundays at 04:00.",
    )

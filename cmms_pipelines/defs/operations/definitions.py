"""What keeps the platform itself in order: the operational tables as assets one can see, and the weekly clean-up."""

import dagster as dg

from cmms_pipelines.defs.metadata import OWNERS, definition_metadata
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import CLEAN_UP_RETRIES, operator_errors, run_tags
from cmms_pipelines.storage import tables

_OBSERVED = {
    tables.equipment_groups: "Groups of machines, made by the classification rules during equipment syncs.",
    tables.api_sync_logs: "The log of syncs: one row per sync with its scope, its books and how it ended.",
    tables.sync_rejections: "The quarantine of refused records and sync errors: each whole, with rule, value and advice.",
    tables.api_calls: "Every request to the external system: endpoint, status, attempts, milliseconds, bytes, rows.",
    tables.counter_events: "Resets, rollovers and replacements of running-hours counters.",
}


def build(time_zone: str) -> dg.Definitions:
    """Return the operational definitions; the weekly clean-up runs on Sundays at 04:00 of `time_zone`."""

    @dg.op(retry_policy=CLEAN_UP_RETRIES, description="Remove what is older than CMMS_KEEP_LOGS_DAYS from logs and quarantine.")
    def clean_up(context: dg.OpExecutionContext, warehouse: Warehouse, source_system: SourceSystem) -> None:
        from cmms_pipelines.storage.retention import clean_up_logs  # noqa: PLC0415 - keeps start-up light

        with operator_errors():
            removed = clean_up_logs(warehouse.engine(), source_system.settings().keep_logs_days, run_id=context.run.run_id)
        context.log.info("Removed %s", ", ".join(f"{count} from {table}" for table, count in removed.items()))
        context.add_output_metadata({f"removed_from_{table}": count for table, count in removed.items()})

    @dg.job(
        name="clean_up_logs",
        tags=run_tags(max_runtime_s=600, priority=-10),
        executor_def=dg.in_process_executor,
        description="Keep logs for CMMS_KEEP_LOGS_DAYS days; open rejections and everything that is business data stay for ever.",
    )
    def clean_up_logs_job() -> None:
        clean_up()

    return dg.Definitions(
        assets=[
            dg.AssetSpec(
                ["cmms", table.name],
                group_name="operations",
                owners=OWNERS,
                kinds={"postgres"},
                description=description,
                metadata=definition_metadata(table),
            )
            for table, description in _OBSERVED.items()
        ],
        jobs=[clean_up_logs_job],
        schedules=[
            dg.ScheduleDefinition(
                name="clean_up_logs_weekly",
                job=clean_up_logs_job,
                cron_schedule="0 4 * * 0",
                execution_timezone=time_zone,
                default_status=dg.DefaultScheduleStatus.RUNNING,
                description="Sundays at 04:00.",
            )
        ],
    )

"""Running hours: the daily partitioned asset with its job, schedule and checks.

The partition's time zone comes from the settings, hence definitions made by a function.
"""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import KINDS, OWNERS, counts_metadata, definition_metadata, sync_metadata
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import (
    EXTERNAL_API_POOL,
    SYNC_RETRIES,
    close_abandoned_logs,
    operator_errors,
    run_tags,
    sync_key,
)
from cmms_pipelines.storage.tables import equipment_running_times

KEY = dg.AssetKey(["cmms", "equipment_running_times"])


class RunningTimesConfig(dg.Config):
    """What part of the selected days to sync; empty lists mean everything."""

    plants: list[str] = Field(default=[], description="Plant codes, such as B6JF; empty: all active plants.")
    equipment: list[str] = Field(default=[], description="Equipment numbers, such as N526JB; empty: all machines.")


def build(time_zone: str, first_day: date) -> dg.Definitions:
    """Return the definitions of running hours; days and the schedule's 01:00 are those of `time_zone`."""
    days = dg.DailyPartitionsDefinition(start_date=first_day.isoformat(), timezone=time_zone)

    @dg.asset(
        key=KEY,
        deps=[dg.AssetDep(["cmms", "equipment"], partition_mapping=dg.AllPartitionMapping())],  # any day needs all machines
        group_name="running_hours",
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds=KINDS,
        owners=OWNERS,
        metadata=definition_metadata(equipment_running_times),
        description=(
            "Daily running hours and counters of every machine, one partition per business day. Several readings of a day are "
            "one row; a counter that goes back is an event in cmms.counter_events and never a negative hour; refused records "
            "are in cmms.sync_rejections and are applied by themselves once their equipment arrives."
        ),
        pool=EXTERNAL_API_POOL,
        retry_policy=SYNC_RETRIES,
    )
    def running_times(
        context: dg.AssetExecutionContext, config: RunningTimesConfig, warehouse: Warehouse, source_system: SourceSystem
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """Sync the running hours of the selected days."""
        from cmms_pipelines.storage.quality import readings_per_day  # noqa: PLC0415 - keeps start-up light
        from cmms_pipelines.sync.running_times import sync_running_times  # noqa: PLC0415

        engine = warehouse.engine()
        close_abandoned_logs(context, engine)
        selected = [date.fromisoformat(key) for key in context.partition_keys]
        with operator_errors():
            session = sync_running_times(
                engine,
                source_system.settings(),
                selected,
                plant_codes=config.plants,
                equipment_numbers=config.equipment,
                sync_key=sync_key(context, "running_times"),
                run_id=context.run.run_id,
                progress=context.log.info,
            )
        rows = readings_per_day(engine, selected)
        for day in selected:
            figures = counts_metadata(session.counts_by_day[day]) if day in session.counts_by_day else {}
            day_metadata = {**figures, "dagster/partition_row_count": rows.get(day, 0)}
            context.add_asset_metadata(day_metadata, partition_key=day.isoformat())
        run_metadata = sync_metadata(session)
        return dg.MaterializeResult(metadata={name: run_metadata[name] for name in _OF_THE_RUN})

    sync_running_times_job = dg.define_asset_job(
        "sync_running_times",
        selection=[running_times],
        tags=run_tags(max_runtime_s=3600, priority=10),
        executor_def=dg.in_process_executor,
        description="Bring the running hours of the selected days up to date; one run takes any range of days.",
    )

    @dg.schedule(
        name="sync_running_times_daily",
        job=sync_running_times_job,
        cron_schedule="0 1 * * *",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Yesterday's readings, every night at 01:00.",
    )
    def sync_running_times_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        yesterday = context.scheduled_execution_time.astimezone(ZoneInfo(time_zone)).date() - timedelta(days=1)
        return dg.RunRequest(partition_key=yesterday.isoformat())

    return dg.Definitions(
        assets=[running_times],
        asset_checks=_checks(running_times),
        jobs=[sync_running_times_job],
        schedules=[sync_running_times_daily],
    )


_OF_THE_RUN = ("sync_log_id", "seconds_by_stage", "slices_done_earlier", "api_requests", "api_retries")


def _checks(running_times: dg.AssetsDefinition) -> list[dg.AssetChecksDefinition]:
    @dg.asset_check(
        asset=running_times,
        name="every_record_accounted_for",
        description="Each record that the source sent was inserted, updated, unchanged, merged or refused.",
    )
    def every_record_accounted_for(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
        """Compare this run's sync log with what lies in ledger and quarantine."""
        from cmms_pipelines.storage.quality import accounts_of_run  # noqa: PLC0415

        accounts = accounts_of_run(warehouse.engine(), "running_times", context.run.run_id)
        return dg.AssetCheckResult(passed=accounts.is_balanced, metadata=accounts.figures())

    @dg.asset_check(
        asset=running_times,
        name="every_decrease_is_an_event",
        description="Where a counter is lower than at the reading before, a row of cmms.counter_events says why.",
    )
    def every_decrease_is_an_event(warehouse: Warehouse) -> dg.AssetCheckResult:
        """Look for counters of the last weeks that went back unnoticed."""
        from cmms_pipelines.storage.quality import unexplained_decreases  # noqa: PLC0415

        unexplained = unexplained_decreases(warehouse.engine())
        return dg.AssetCheckResult(passed=unexplained == 0, metadata={"unexplained_decreases": unexplained})

    return [every_record_accounted_for, every_decrease_is_an_event]

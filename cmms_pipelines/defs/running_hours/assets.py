"""The running hours of every machine, partitioned by business day."""

from datetime import date

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import KINDS, OWNERS, counts_metadata, definition_metadata, newest_rows_metadata, sync_metadata
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import EXTERNAL_API_POOL, SYNC_RETRIES, operator_errors, sync_key
from cmms_pipelines.storage.tables import equipment_running_times

KEY = dg.AssetKey(["cmms", "equipment_running_times"])
_OF_THE_RUN = ("sync_log_id", "seconds_by_stage", "slices_done_earlier", "api_requests", "api_retries", "peak_memory_mb")


class RunningTimesConfig(dg.Config):
    """What part of the selected days to sync, and how; as it stands: everything that is not done yet."""

    plants: list[str] = Field(default=[], description="Plant codes, such as B6JF; empty: all active plants.")
    equipment: list[str] = Field(default=[], description="Equipment numbers, such as N190JB; empty: all machines.")
    full_refresh: bool = Field(
        default=False,
        description=(
            "Ask for every selected day again, also for what an earlier attempt of this run has finished, and for plants that "
            "are no longer active. Rows that are right already are still not rewritten."
        ),
    )


def build(days: dg.DailyPartitionsDefinition, days_per_run: int) -> dg.AssetsDefinition:
    """Return the asset; a backfill is cut into runs of `days_per_run` days."""

    @dg.asset(
        key=KEY,
        deps=[dg.AssetDep(["cmms", "equipment"], partition_mapping=dg.AllPartitionMapping())],  # any day needs all machines
        group_name="running_hours",
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=days_per_run),
        kinds=KINDS,
        owners=OWNERS,
        metadata=definition_metadata(equipment_running_times),
        description=(
            "Daily running hours and counters of every machine, one partition per business day. Several readings of a day are "
            "one row; a counter that goes back is an event in cmms.counter_events and never a negative hour; refused records "
            "are in cmms.sync_rejections and are applied by themselves once their plant or equipment arrives."
        ),
        pool=EXTERNAL_API_POOL,
        retry_policy=SYNC_RETRIES,
    )
    def running_times(
        context: dg.AssetExecutionContext, config: RunningTimesConfig, warehouse: Warehouse, source_system: SourceSystem
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """Sync the running hours of the selected days."""
        with operator_errors(context):
            from cmms_pipelines.storage.quality import readings_per_day  # noqa: PLC0415 - keeps start-up light
            from cmms_pipelines.sync.running_times import sync_running_times  # noqa: PLC0415
            from cmms_pipelines.sync.scope import running_times_scope  # noqa: PLC0415

            engine, settings = warehouse.engine(), source_system.in_force(warehouse, context.log.warning)
            selected = [date.fromisoformat(key) for key in context.partition_keys]
            scope = running_times_scope(
                engine, settings, plants=config.plants, equipment=config.equipment, is_full_refresh=config.full_refresh
            )
            session = sync_running_times(
                engine,
                settings,
                selected,
                plant_codes=scope.plant_codes,
                equipment_numbers=scope.equipment_numbers,
                is_full_refresh=config.full_refresh,
                sync_key=sync_key(context, "running_times", is_full_refresh=config.full_refresh),
                run_id=context.run.run_id,
                progress=context.log.info,
            )
            rows = readings_per_day(engine, selected)
            for day in selected:
                figures = counts_metadata(session.counts_by_day[day]) if day in session.counts_by_day else {}
                day_metadata = {**figures, "dagster/partition_row_count": rows.get(day, 0)}
                context.add_asset_metadata(day_metadata, partition_key=day.isoformat())
            if read := [day for day in selected if rows.get(day)]:
                newest = newest_rows_metadata(
                    warehouse.address(), KEY.path[-1], day=max(read)
                )  # of a run's days, on the last only
                context.add_asset_metadata(newest, partition_key=max(read).isoformat())
            run_metadata = sync_metadata(session)
            return dg.MaterializeResult(metadata={name: run_metadata[name] for name in _OF_THE_RUN})

    return running_times

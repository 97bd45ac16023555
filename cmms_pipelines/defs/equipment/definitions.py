"""Jobs, schedules and checks of the master data."""

import dagster as dg

from cmms_pipelines.defs.equipment.assets import EQUIPMENT_JOB, PLANTS, equipment, plants
from cmms_pipelines.defs.equipment.checks import equipment_records_accounted_for, every_active_plant_has_equipment
from cmms_pipelines.defs.running import run_tags

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def all_plants_tags(plant_codes: list[str]) -> dict[str, str]:
    """Return the tags that make one run of all partitions, in the order in which Dagster keeps them."""
    return {RANGE_START: plant_codes[0], RANGE_END: plant_codes[-1]}


def build(time_zone: str) -> dg.Definitions:
    """Return the definitions of plants and equipment; schedules run at `time_zone`'s midnight."""
    sync_plants = dg.define_asset_job(
        "sync_plants",
        selection=[plants],
        tags=run_tags(max_runtime_s=600, priority=20),
        executor_def=dg.in_process_executor,
        description="Bring the plants up to date; equipment partitions follow.",
    )
    sync_equipment = dg.define_asset_job(
        EQUIPMENT_JOB,
        selection=[equipment],
        tags=run_tags(max_runtime_s=1800, priority=10),
        executor_def=dg.in_process_executor,
        description="Bring the equipment of the selected plants up to date; one run takes any set of plants.",
    )

    @dg.schedule(
        name="sync_plants_nightly",
        job=sync_plants,
        cron_schedule="50 23 * * *",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Ten minutes before the equipment, so that new plants have their partition.",
    )
    def sync_plants_nightly() -> dg.RunRequest:
        return dg.RunRequest()

    @dg.schedule(
        name="sync_equipment_nightly",
        job=sync_equipment,
        cron_schedule="0 0 * * *",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="All plants in one run, every night at 00:00.",
    )
    def sync_equipment_nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        plant_codes = list(context.instance.get_dynamic_partitions(str(PLANTS.name)))
        if not plant_codes:
            return dg.SkipReason("There are no plants yet: run sync_plants first.")
        return dg.RunRequest(tags=all_plants_tags(plant_codes))

    return dg.Definitions(
        assets=[plants, equipment],
        asset_checks=[equipment_records_accounted_for, every_active_plant_has_equipment],
        jobs=[sync_plants, sync_equipment],
        schedules=[sync_plants_nightly, sync_equipment_nightly],
    )

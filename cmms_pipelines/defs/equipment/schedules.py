"""When the master data is synced: plants first, so that new ones have their partition, then the equipment of all."""

import dagster as dg

from cmms_pipelines.defs.equipment.assets import PLANTS
from cmms_pipelines.defs.equipment.jobs import sync_equipment, sync_plants
from cmms_pipelines.defs.running import range_tags
from cmms_pipelines.defs.syncing import sync_schedule


def build(time_zone: str) -> list[dg.ScheduleDefinition]:
    """Return the schedules, by the clock of `time_zone`."""
    return [
        sync_schedule(
            "sync_plants_nightly",
            sync_plants,
            cron="50 23 * * *",
            time_zone=time_zone,
            description="Ten minutes before the equipment, so that new plants have their partition.",
        ),
        sync_schedule(
            "sync_equipment_nightly",
            sync_equipment,
            cron="0 0 * * *",
            time_zone=time_zone,
            description="All plants in one run, every night at 00:00.",
            ask_for=_all_plants,
        ),
    ]


def _all_plants(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    plant_codes = list(context.instance.get_dynamic_partitions(str(PLANTS.name)))
    if not plant_codes:
        return dg.SkipReason("There are no plants yet: run sync_plants first.")
    return dg.RunRequest(tags=range_tags(plant_codes[0], plant_codes[-1]))

"""The definitions of the master data."""

import dagster as dg

from cmms_pipelines.defs.equipment import checks, schedules
from cmms_pipelines.defs.equipment.assets import equipment, plants
from cmms_pipelines.defs.equipment.jobs import sync_equipment, sync_plants


def build(time_zone: str) -> dg.Definitions:
    """Return the definitions of plants and equipment; schedules run at `time_zone`'s midnight."""
    return dg.Definitions(
        assets=[plants, equipment],
        asset_checks=[checks.equipment_records_accounted_for, checks.every_active_plant_has_equipment],
        jobs=[sync_plants, sync_equipment],
        schedules=schedules.build(time_zone),
    )

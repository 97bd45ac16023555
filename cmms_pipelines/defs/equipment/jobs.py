"""The jobs of the master data."""

from cmms_pipelines.defs.equipment.assets import EQUIPMENT_JOB, equipment, plants
from cmms_pipelines.defs.syncing import sync_job

sync_plants = sync_job(
    "sync_plants",
    [plants],
    description="Bring the plants up to date; equipment partitions follow, and records that waited for a plant are applied.",
)
sync_equipment = sync_job(
    EQUIPMENT_JOB,
    [equipment],
    description="Bring the equipment of the selected plants up to date; one run takes any set of plants.",
)

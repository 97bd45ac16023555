"""The jobs of the master data."""

from cmms_pipelines.defs.equipment.assets import EQUIPMENT_JOB, equipment, plants
from cmms_pipelines.defs.syncing import sync_job

sync_plants = sync_job(
    "sync_plants",
    [plants],
    max_runtime_s=600,
    priority=20,
    description="Bring the plants up to date; equipment partitions follow, and records that waited for a plant are applied.",
)
sync_equipment = sync_job(
    EQUIPMENT_JOB,
    [equipment],
    max_runtime_s=1800,
    priority=10,
    description="Bring the equipment of the selected plants up to date; one run takes any set of plants.",
)

"""What must be true of the master data after a sync."""

import dagster as dg

from cmms_pipelines.defs.equipment.assets import equipment
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.syncing import accounts_check

equipment_records_accounted_for = accounts_check(equipment, "equipment")


@dg.asset_check(
    asset=equipment,
    name="every_active_plant_has_equipment",
    description="Each active plant has at least one machine; an empty one points at a plant filter or a renamed code.",
)
def every_active_plant_has_equipment(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Look for active plants without any machine."""
    from cmms_pipelines.storage.quality import plants_without_equipment  # noqa: PLC0415 - keeps start-up light

    empty = plants_without_equipment(warehouse.engine())
    return dg.AssetCheckResult(
        passed=not empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Without equipment: {', '.join(empty)}" if empty else None,
        metadata={"plants_without_equipment": len(empty)},
    )

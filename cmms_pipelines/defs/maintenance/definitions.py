"""Everything of the maintenance domain, without its resources."""

import dagster as dg

from cmms_pipelines.defs.maintenance.assets import inbox, work_orders
from cmms_pipelines.defs.maintenance.jobs import process_maintenance_events
from cmms_pipelines.defs.maintenance.sensors import maintenance_inbox_sensor


def build() -> dg.Definitions:
    """Return the definitions; they need the resource `warehouse`."""
    return dg.Definitions(assets=[inbox, work_orders], jobs=[process_maintenance_events], sensors=[maintenance_inbox_sensor])

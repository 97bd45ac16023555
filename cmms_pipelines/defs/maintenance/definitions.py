"""Everything of the maintenance domain, without its resources."""

import dagster as dg

from cmms_pipelines.defs.maintenance.assets import work_orders
from cmms_pipelines.defs.maintenance.inbox import observe_inbox, observe_inbox_job, observe_inbox_quarter_hourly
from cmms_pipelines.defs.maintenance.jobs import process_maintenance_events
from cmms_pipelines.defs.maintenance.replay import replay_events
from cmms_pipelines.defs.maintenance.sensors import maintenance_inbox_sensor


def build() -> dg.Definitions:
    """Return the definitions; they need the resource `warehouse`."""
    return dg.Definitions(
        assets=[observe_inbox, work_orders],
        jobs=[process_maintenance_events, observe_inbox_job, replay_events],
        schedules=[observe_inbox_quarter_hourly],
        sensors=[maintenance_inbox_sensor],
    )

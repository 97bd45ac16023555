"""What keeps the platform itself in order: the operational tables, the operator's jobs, and the weekly clean-up."""

import dagster as dg

from cmms_pipelines.defs.operations import alerts, clean_up, controls, quarantine, syncs_on_demand
from cmms_pipelines.defs.operations.assets import observe_operations, observe_operations_hourly, observe_tables


def build(time_zone: str) -> dg.Definitions:
    """Return the operational definitions; the weekly clean-up runs by the clock of `time_zone`."""
    return dg.Definitions(
        assets=[observe_tables, *alerts.ASSETS],
        jobs=[
            clean_up.clean_up_logs_job,
            observe_operations,
            *quarantine.JOBS,
            *controls.JOBS,
            *alerts.JOBS,
            *syncs_on_demand.JOBS,
        ],
        schedules=[clean_up.schedule(time_zone), observe_operations_hourly, *alerts.SCHEDULES],
    )

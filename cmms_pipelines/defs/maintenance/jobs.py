"""The job that drains the inbox. It runs in the run's own process: a second one would cost each event its start."""

import dagster as dg

from cmms_pipelines.defs.coordinator import STARTS_AT_ONCE
from cmms_pipelines.defs.limits import limits_of
from cmms_pipelines.defs.maintenance.assets import WORK_ORDERS

PROCESS_MAINTENANCE_EVENTS = "process_maintenance_events"

process_maintenance_events = dg.define_asset_job(
    PROCESS_MAINTENANCE_EVENTS,
    selection=dg.AssetSelection.assets(WORK_ORDERS),
    executor_def=dg.in_process_executor,
    description="Drains the inbox of maintenance events; started by `maintenance_inbox_sensor` whenever something is due.",
    tags={STARTS_AT_ONCE: "true", "dagster/max_retries": "0", **limits_of([WORK_ORDERS]).tags()},
)

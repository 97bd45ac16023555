"""When the marts are built: each night after the syncs, and whenever somebody asks.

There is no automation condition: work orders change with every burst of events, and a build takes longer than such a burst.
"""

import dagster as dg

from cmms_pipelines.defs.reporting.assets import GROUP
from cmms_pipelines.defs.reporting.daily_report import DAILY_REPORT

MAX_RUNTIME_S = 1800

build_marts = dg.define_asset_job(
    "build_marts",
    selection=dg.AssetSelection.groups(GROUP) - dg.AssetSelection.assets(DAILY_REPORT),
    description="Builds every dbt model and runs every dbt test.",
    executor_def=dg.in_process_executor,  # one operation: a second process would only import dbt again
    tags={"dagster/max_runtime": str(MAX_RUNTIME_S)},
)


def build_schedule(time_zone: str) -> dg.ScheduleDefinition:
    """Return the nightly build at 03:00 in `time_zone`: the syncs start at 00:00 and 01:00 and take an hour at most."""
    return dg.ScheduleDefinition(
        name="build_marts_nightly",
        job=build_marts,
        cron_schedule="0 3 * * *",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Builds the marts once the night's syncs are through.",
    )

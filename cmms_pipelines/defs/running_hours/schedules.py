"""When the running hours are synced: every night yesterday, and the days before it again for what came late."""

from datetime import date, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg

from cmms_pipelines.defs.running import range_tags
from cmms_pipelines.defs.syncing import sync_schedule

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def build(
    job: "UnresolvedAssetJobDefinition", *, time_zone: str, first_day: date, look_back_days: int
) -> list[dg.ScheduleDefinition]:
    """Return the schedule, by the clock of `time_zone`.

    Args:
        job: the sync of running hours.
        time_zone: whose days are the partitions.
        first_day: the first partition; nothing before it is asked for.
        look_back_days: how many days one nightly run brings, yesterday being the last.
    """

    def last_days(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        yesterday = context.scheduled_execution_time.astimezone(ZoneInfo(time_zone)).date() - timedelta(days=1)
        if yesterday < first_day:
            return dg.SkipReason(f"The first day of running hours is {first_day} (CMMS_FIRST_DAY).")
        first = max(first_day, yesterday - timedelta(days=look_back_days - 1))
        return dg.RunRequest(tags=range_tags(first.isoformat(), yesterday.isoformat()))

    return [
        sync_schedule(
            "sync_running_times_daily",
            job,
            cron="0 1 * * *",
            time_zone=time_zone,
            description=(
                f"Every night at 01:00: yesterday's readings and those of the days before it again, {look_back_days} days in one "
                "run, for what came late or was backdated (CMMS_LOOK_BACK_DAYS)."
            ),
            ask_for=last_days,
        )
    ]

"""The definitions of the running hours: made by a function, since days and schedules follow the settings."""

import dagster as dg

from cmms_pipelines.defs.running_hours import assets, checks, schedules
from cmms_pipelines.defs.syncing import sync_job
from cmms_pipelines.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """Return the definitions of running hours; days and the schedule's 01:00 are those of `settings.time_zone`."""
    days = dg.DailyPartitionsDefinition(start_date=settings.first_day.isoformat(), timezone=settings.time_zone)
    running_times = assets.build(days, settings.backfill_days_per_run)
    job = sync_job(
        "sync_running_times",
        [running_times],
        description=(
            "Bring the running hours of the selected days up to date. One run takes any range of days; a backfill of more than "
            f"{settings.backfill_days_per_run} days becomes several runs (CMMS_BACKFILL_DAYS_PER_RUN)."
        ),
    )
    return dg.Definitions(
        assets=[running_times],
        asset_checks=checks.build(running_times),
        jobs=[job],
        schedules=schedules.build(
            job, time_zone=settings.time_zone, first_day=settings.first_day, look_back_days=settings.look_back_days
        ),
    )

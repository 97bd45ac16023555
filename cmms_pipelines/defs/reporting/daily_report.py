"""The daily report as an asset: each morning a page under `CMMS_HOME/reports`, sent to those who want it.

What belongs here: the asset, its job and its schedule. What does not: the page (`reports.daily_page`).
"""

import datetime as dt
from collections.abc import Mapping
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.reporting.resources import Dbt
from cmms_pipelines.settings import Settings

GROUP = "reporting"
DAILY_REPORT = dg.AssetKey(["reports", "daily_report"])
JOB = "daily_report"
_MARTS = (
    "sync_performance", "error_analysis", "gap_analysis", "data_freshness", "running_time_trends", "plant_utilisation",
    "maintenance_due", "daily_kpis", "api_response_times", "event_analytics",
)  # fmt: skip
_TAGS: Mapping[str, str] = {"dagster/max_runtime": "600", "dagster/priority": "-5"}


class ReportConfig(dg.Config):
    """Which morning, and whether it is sent."""

    date: str = Field(default="", description="The morning, such as 2026-01-31; empty: today.")
    send: bool = Field(default=True, description="Send it to the channels of the route `report`, if there are any.")


def build(settings: Settings) -> tuple[dg.AssetsDefinition, "dg.UnresolvedAssetJobDefinition", dg.ScheduleDefinition]:
    """Return the asset, its job, and the schedule: 06:00 by the clock of the settings, after the marts and when days are due."""

    @dg.asset(
        key=DAILY_REPORT,
        deps=[dg.AssetKey(["analytics", name]) for name in _MARTS],
        group_name=GROUP,
        owners=["team:maintenance-data"],
        kinds={"html"},
        description="The daily report: is last night complete, what was refused and why (sync errors), which machines need "
        "maintenance or attention, data freshness by plant, alerts, what to do. A file that opens anywhere and prints.",
    )
    def daily_report(config: ReportConfig, dbt: Dbt) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from cmms_pipelines.reports.daily_page import make_page  # noqa: PLC0415 - loads matplotlib and jinja2
        from cmms_pipelines.reports.kept import path_of, write_page  # noqa: PLC0415
        from cmms_pipelines.reports.mailing import send_report  # noqa: PLC0415

        now, engine = dt.datetime.now(dt.UTC), dbt.engine()
        day = _day(config.date) if config.date else now.astimezone(ZoneInfo(settings.time_zone)).date()
        daily, page = make_page(
            engine,
            day,
            now,
            time_zone=settings.time_zone,
            dagster_url=settings.dagster_address,
            limits=settings.kpi_limits,
        )
        path = path_of(settings.home, day)
        size = write_page(page, path)
        sent = send_report(engine, settings, daily, path) if config.send else []
        return dg.MaterializeResult(
            metadata={
                "last_night": "complete" if daily.is_complete else "NOT complete",
                "problems": dg.MetadataValue.md("\n".join(f"- {problem}" for problem in daily.problems) or "None."),
                "what_to_do": dg.MetadataValue.md(
                    "\n".join(f"- {one.why} `{one.command}`" for one in daily.actions) or "Nothing."
                ),
                "path": dg.MetadataValue.path(str(path)),
                "dagster/uri": path.as_uri(),
                "size_bytes": size,
                "problems_found": len(daily.problems),
                "records_refused": daily.refused_records,
                "plants_missing": len(daily.plants_missing),
                "channels_reached": sum(one.error is None for one in sent),
                "channels_failed": sum(one.error is not None for one in sent),
                "not_sent": dg.MetadataValue.json({one.channel: one.error for one in sent if one.error}),
            }
        )

    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(daily_report),
        executor_def=dg.in_process_executor,
        description="Write the daily report of this morning, or of an earlier one, and send it.",
        tags=_TAGS,
    )
    schedule = dg.ScheduleDefinition(
        name="daily_report_morning",
        job=job,
        cron_schedule="15 6 * * *",
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every morning at 06:15, when the marts are built and yesterday is due.",
    )
    return daily_report, job, schedule


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise dg.Failure(description=f"date is no day such as 2026-01-31: {text!r}.", allow_retries=False) from error

"""Alerts in the UI: what stands, looking at once, and taking one.

What belongs here: the asset, its check, and the jobs. What does not: looking (`notify.rounds`, `dagster_signs`) and the watcher
that does it all day (`commands.alerts`): it lives outside Dagster, whose daemon it watches too. The hourly run is for the day
on which nobody started the watcher.
"""

import datetime as dt
import os
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import OWNERS, as_cell, definition_metadata, preview_table
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import operator_errors, run_tags
from cmms_pipelines.storage import tables

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

ALERTS = dg.AssetKey(["cmms", "alerts"])
ALERTS_ARE_WATCHED = "alerts_are_watched"
CHECK_ALERTS = "check_alerts"
PREVIEWED = 30
_COLUMNS = (
    "id", "severity", "status", "title", "detail", "cause", "first_seen_at", "last_seen_at", "occurrences", "acknowledged_by",
    "dagster_run_id",
)  # fmt: skip


@dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]
    name="alerts",
    group_name="operations",
    specs=[
        dg.AssetSpec(
            ALERTS,
            owners=OWNERS,
            kinds={"postgres"},
            description="What somebody must know: failed syncs, a source or a database that does not answer, missing days, sync "
            "errors beyond the usual, events that nobody applies, undecided conflicts, failing checks, sensors and runs. One "
            "alert for each cause, until it is over. `acknowledge_alert` takes one.",
            metadata=definition_metadata(tables.alerts),
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            ALERTS_ARE_WATCHED,
            asset=ALERTS,
            description="The watcher of alerts lives (`cmms alerts watch`, a part of `cmms up`): people are told at once.",
        )
    ],
)
def observe_alerts(context: dg.OpExecutionContext, warehouse: Warehouse, source_system: SourceSystem) -> dg.ObserveResult:
    from cmms_pipelines.defs.operations.dagster_signs import DagsterSigns  # noqa: PLC0415 - only a run needs it
    from cmms_pipelines.notify.rounds import make_round  # noqa: PLC0415
    from cmms_pipelines.storage.alerts import is_watched  # noqa: PLC0415
    from cmms_pipelines.storage.secrets import secret_box  # noqa: PLC0415

    with operator_errors(context):
        engine, settings = warehouse.engine(), source_system.settings()
        made = make_round(
            engine,
            secret_box(settings),
            os.environ,
            clock=lambda: dt.datetime.now(dt.UTC),
            dagster_url=settings.dagster_address,
            more_signs=DagsterSigns(lambda: context.instance, engine),
        )
        context.log.info("Looked at everything: %s", made.figures())
        with engine.connect() as connection:
            has_watcher = is_watched(connection)
            metadata = alert_metadata(connection)
    return dg.ObserveResult(
        asset_key=ALERTS,
        metadata={**metadata, **made.figures()},
        check_results=[
            dg.AssetCheckResult(
                asset_key=ALERTS,
                check_name=ALERTS_ARE_WATCHED,
                passed=has_watcher,
                severity=dg.AssetCheckSeverity.WARN,
                description=None if has_watcher else "`cmms alerts watch` does not run. This job looks once an hour.",
            )
        ],
    )


def alert_metadata(connection: "sa.Connection") -> dict[str, Any]:
    """Return what the asset page shows of the alerts that stand: counts by severity, and the gravest first as a table."""
    from cmms_pipelines.domain.alerts import Severity  # noqa: PLC0415
    from cmms_pipelines.storage.alerts import count_by_severity, find_many  # noqa: PLC0415

    counts = count_by_severity(connection)
    rows = sorted(find_many(connection, limit=500), key=lambda row: (-Severity(row["severity"]).rank, -row["id"]))
    return {
        "alerts_standing": sum(counts.values()),
        **{f"alerts_{severity}": count for severity, count in counts.items() if severity != Severity.INFO},
        "alerts": preview_table(rows[:PREVIEWED], _COLUMNS),
    }


class AcknowledgeConfig(dg.Config):
    """Which alert, and who takes it."""

    alert: int = Field(description="Number of the alert, as the asset `cmms/alerts` and every message show it.")
    note: str = Field(default="", description="What you found, or what you do about it; kept with the alert.")
    by: str = Field(default="Dagster UI", description="Who you are.")


@dg.op(description="Take an alert: it is not told again, unless it gets graver; its end is told.")
def acknowledge(context: dg.OpExecutionContext, config: AcknowledgeConfig, warehouse: Warehouse) -> None:
    from cmms_pipelines.storage import alerts  # noqa: PLC0415 - keeps start-up light

    with operator_errors(context), warehouse.engine().begin() as connection:
        row = alerts.acknowledge(connection, config.alert, actor=config.by, note=config.note or None, run_id=context.run.run_id)
    context.log.info("Alert %d is acknowledged: %s", config.alert, row["title"])
    context.add_output_metadata({name: as_cell(row[name]) or "" for name in ("id", "severity", "title", "acknowledged_by")})


@dg.job(
    tags=run_tags(max_runtime_s=120, priority=50),
    executor_def=dg.in_process_executor,
    description="Take an alert: it is not told again, unless it gets graver, and its end is told.",
)
def acknowledge_alert() -> None:
    acknowledge()


check_alerts = dg.define_asset_job(
    CHECK_ALERTS,
    selection=dg.AssetSelection.assets(ALERTS),
    executor_def=dg.in_process_executor,
    description="Look for everything that alerts are raised for, send what is due, and show what stands; the watcher does so all "
    "day.",
    tags={"dagster/max_runtime": "300", "dagster/priority": "-5"},
)
check_alerts_hourly = dg.ScheduleDefinition(
    name="check_alerts_hourly",
    job=check_alerts,
    cron_schedule="7 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Seven minutes past every hour.",
)

ASSETS = [observe_alerts]
JOBS: "list[dg.JobDefinition | UnresolvedAssetJobDefinition]" = [check_alerts, acknowledge_alert]
SCHEDULES = [check_alerts_hourly]

"""The operational tables as assets: observed, not made. Each look leaves counts and the rows to see first, one a day a picture.

What belongs here: which tables, and what their pages show. What does not: the questions (`storage.operational_figures`), and
tables that have a look of their own (inbox, conflicts, alerts).
"""

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from cmms_pipelines.defs.metadata import OWNERS, ROW_COUNT, definition_metadata, picture_markdown, preview_table, shown_cell
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.storage import tables

if TYPE_CHECKING:
    import sqlalchemy as sa

OBSERVE_OPERATIONS = "observe_operations"
A_DAY = dt.timedelta(hours=23, minutes=30)
"""How old the newest picture of a table is before the schedule draws another: Dagster keeps each of them for ever."""
_OBSERVED = {
    tables.equipment_groups: "Groups of machines, made by the classification rules during equipment syncs.",
    tables.api_sync_logs: "The log of syncs: one row per sync with its scope, its books and how it ended.",
    tables.sync_rejections: "The quarantine of refused records and sync errors: each whole, with rule, value and advice.",
    tables.api_calls: "Every request to the external system: endpoint, status, attempts, milliseconds, bytes, rows.",
    tables.counter_events: "Resets, rollovers and replacements of running-hours counters.",
}
_DRAWN = frozenset({tables.api_sync_logs.name, tables.sync_rejections.name, tables.api_calls.name})


@dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]
    name="operational_tables",
    group_name="operations",
    can_subset=True,
    specs=[
        dg.AssetSpec(
            ["cmms", table.name],
            owners=OWNERS,
            kinds={"postgres"},
            description=description,
            metadata=definition_metadata(table),
            skippable=True,
        )
        for table, description in _OBSERVED.items()
    ],
)
def observe_tables(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[dg.ObserveResult]:
    for key in sorted(context.selected_asset_keys):
        with warehouse.engine().connect() as connection:
            shown = table_metadata(connection, key.path[-1])
            drawn = picture_metadata(connection, key.path[-1]) if is_picture_due(context, key) else {}
        yield dg.ObserveResult(asset_key=key, metadata={**drawn, **shown})


def is_picture_due(context: dg.AssetExecutionContext, key: dg.AssetKey) -> bool:
    """Tell whether this look draws: by hand always, by a schedule when the table has no picture of the last day."""
    if "dagster/schedule_name" not in context.run.tags:
        return True
    after = (dt.datetime.now(dt.UTC) - A_DAY).timestamp()
    recent = context.instance.fetch_observations(dg.AssetRecordsFilter(asset_key=key, after_timestamp=after), limit=100).records
    observed = [record.event_log_entry.asset_observation for record in recent]
    return not any(one and "picture" in one.metadata for one in observed)


def picture_metadata(connection: "sa.Connection", table: str) -> dict[str, Any]:
    """Return the picture of an operational table that has one."""
    if table not in _DRAWN:
        return {}
    from cmms_pipelines.reports.pictures import PICTURES  # noqa: PLC0415 - loads matplotlib, which only a look that draws needs

    picture = PICTURES[f"cmms.{table}"]
    return {"picture": picture_markdown(picture.says, picture.drawn(connection))}


def table_metadata(connection: "sa.Connection", table: str) -> dict[str, Any]:
    """Return what the page of an operational table shows at each look."""
    from cmms_pipelines.storage.operational_figures import look_at  # noqa: PLC0415

    found = look_at(connection, table)
    counts = {ROW_COUNT if name == "row_count" else name: value for name, value in found.counts.items()}
    columns = list(found.rows[0]) if found.rows else []
    return {**counts, "preview": preview_table(found.rows, columns, shown_cell)}


observe_operations = dg.define_asset_job(
    OBSERVE_OPERATIONS,
    selection=dg.AssetSelection.assets(*(["cmms", table.name] for table in _OBSERVED)),
    executor_def=dg.in_process_executor,
    description="Look at sync logs, quarantine, requests, counters and groups: counts and a preview; a picture once a day, and "
    "whenever it is started by hand.",
    tags={"dagster/max_runtime": "300", "dagster/priority": "-5"},
)
observe_operations_hourly = dg.ScheduleDefinition(
    name="observe_operations_hourly",
    job=observe_operations,
    cron_schedule="40 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every hour.",
)

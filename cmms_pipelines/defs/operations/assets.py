"""The operational tables as assets: observed, not made. Each look leaves counts, the rows to see first, and a picture.

What belongs here: which tables, and what their pages show. What does not: the questions (`storage.operational_figures`), and
tables that have a look of their own (inbox, conflicts, alerts).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from cmms_pipelines.defs.metadata import OWNERS, ROW_COUNT, definition_metadata, picture_markdown, preview_table, shown_cell
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.storage import tables

if TYPE_CHECKING:
    import sqlalchemy as sa

OBSERVE_OPERATIONS = "observe_operations"
_OBSERVED = {
    tables.equipment_groups: "Groups of machines, made by the classification rules during equipment syncs.",
    tables.api_sync_logs: "The log of syncs: one row per sync with its scope, its books and how it ended.",
    tables.sync_rejections: "The quarantine of refused records and sync errors: each whole, with rule, value and advice.",
    tables.api_calls: "Every request to the external system: endpoint, status, attempts, milliseconds, bytes, rows.",
    tables.counter_events: "Resets, rollovers and replacements of running-hours counters.",
}


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
            yield dg.ObserveResult(asset_key=key, metadata=table_metadata(connection, key.path[-1]))


def table_metadata(connection: "sa.Connection", table: str) -> dict[str, Any]:
    """Return what the page of an operational table shows."""
    from cmms_pipelines.reports.pictures import PICTURES  # noqa: PLC0415 - loads matplotlib, which only this run needs
    from cmms_pipelines.storage.operational_figures import look_at  # noqa: PLC0415

    found, picture = look_at(connection, table), PICTURES.get(f"cmms.{table}")
    counts = {ROW_COUNT if name == "row_count" else name: value for name, value in found.counts.items()}
    shown = {"picture": picture_markdown(picture.says, picture.drawn(connection))} if picture else {}
    columns = list(found.rows[0]) if found.rows else []
    return {**shown, **counts, "preview": preview_table(found.rows, columns, shown_cell)}


observe_operations = dg.define_asset_job(
    OBSERVE_OPERATIONS,
    selection=dg.AssetSelection.assets(*(["cmms", table.name] for table in _OBSERVED)),
    executor_def=dg.in_process_executor,
    description="Look at sync logs, quarantine, requests, counters and groups: counts, a preview, a picture.",
    tags={"dagster/max_runtime": "300", "dagster/priority": "-5"},
)
observe_operations_hourly = dg.ScheduleDefinition(
    name="observe_operations_hourly",
    job=observe_operations,
    cron_schedule="40 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every hour.",
)

"""What the asset pages show: columns, counts, times and refusals, in one shape for every sync.

What belongs here: turning reports and tables into Dagster metadata. What does not: computing anything.
"""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from datetime import date

    import sqlalchemy as sa

    from cmms_pipelines.domain.reports import SyncCounts
    from cmms_pipelines.sync.replay import ReplayReport
    from cmms_pipelines.sync.session import SyncSession

OWNERS = ["team:maintenance-data"]
KINDS = {"python", "postgres", "pandas"}
ROW_COUNT = "dagster/row_count"
LONGEST_CELL = 160
LARGEST_PICTURE = 60_000


def column_schema(table: "sa.Table") -> dg.TableSchema:
    """Return a table's columns as Dagster shows them, from the one place that defines them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.type.compile()).lower(),
                description=column.comment,
                constraints=dg.TableColumnConstraints(nullable=bool(column.nullable), unique=bool(column.unique)),
            )
            for column in table.columns
        ]
    )


def definition_metadata(table: "sa.Table") -> dict[str, Any]:
    """Return the metadata that an asset over `table` carries in its definition."""
    return {"dagster/column_schema": column_schema(table), "dagster/table_name": table.fullname}


Cell = str | int | float | bool | None


def as_cell(value: object) -> Cell:
    """Return a value as a table shows it."""
    return value if value is None or isinstance(value, int | float) else str(value)


def preview_table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], cell: Callable[[Any], Cell] = as_cell
) -> dg.TableMetadataValue:
    """Return rows as a table of `columns`; `cell` turns a value into what is shown."""
    records = [dg.TableRecord({name: cell(row[name]) for name in columns}) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name, "text") for name in columns]))


def picture_markdown(says: str, png: bytes) -> dg.MarkdownMetadataValue:
    """Return a picture as the UI shows it inline.

    Raises:
        ValueError: it is larger than an event of Dagster's log should be.
    """
    if len(png) > LARGEST_PICTURE:
        raise ValueError(f"The picture {says!r} has {len(png)} bytes; {LARGEST_PICTURE} are the limit.")
    return dg.MetadataValue.md(f"![{says}](data:image/png;base64,{base64.b64encode(png).decode()})")


def shown_cell(value: object) -> Cell:
    """Return a value of the database as a table of the UI shows it: JSON as JSON, and never a whole payload."""
    from cmms_pipelines.reports.cells import as_plain  # noqa: PLC0415 - only a run shows anything

    cell = as_cell(as_plain(value))
    return f"{cell[: LONGEST_CELL - 1]}…" if isinstance(cell, str) and len(cell) > LONGEST_CELL else cell


def newest_rows_metadata(address: str, table: str, day: "date | None" = None) -> dict[str, Any]:
    """Return the newest rows of a table that a sync or a drain has written, or why there are none; it never fails a run."""
    from cmms_pipelines.storage.newest_rows import newest_rows  # noqa: PLC0415 - only a run shows anything

    found = newest_rows(address, table, day=day)
    if found.left_out:
        return {"preview_left_out": found.left_out}
    return {"preview": preview_table(found.rows, found.columns, shown_cell)}


def counts_metadata(counts: "SyncCounts") -> dict[str, Any]:
    """Return a sync's books: received = inserted + updated + unchanged + merged + refused."""
    return {
        "records_received": counts.received,
        "records_stored": counts.stored,
        "records_inserted": counts.inserted,
        "records_updated": counts.updated,
        "records_unchanged": counts.unchanged,
        "records_merged": counts.merged,
        "records_warned": counts.warned,
        "records_refused": counts.refused,
        "refused_by_rule": _rules_table(counts.refused_by_rule),
        "noted_by_rule": _rules_table(counts.noted_by_rule),
    }


def sync_metadata(session: "SyncSession") -> dict[str, Any]:
    """Return what a whole sync did, for its run's materializations."""
    from cmms_pipelines.sync.memory import peak_mb  # noqa: PLC0415 - only a run shows anything

    return {
        **counts_metadata(session.counts),
        "sync_log_id": session.log.id,
        "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in session.counts.stage_seconds.items()},
        "slices_done_earlier": session.slices_skipped,
        "api_requests": len(session.calls),
        "api_retries": sum(call.attempts - 1 for call in session.calls),
        "peak_memory_mb": peak_mb(),
    }


def replay_metadata(report: "ReplayReport") -> dict[str, Any]:
    """Return what became of records that had waited in the quarantine for a plant or a machine."""
    return {
        "waiting_machines_applied": report.accepted_by_sync["equipment"],
        "waiting_readings_applied": report.accepted_by_sync["running_times"],
        "waiting_work_orders_applied": report.accepted_by_sync["work_orders"],
    }


def _rules_table(refused: Mapping[str, int]) -> dg.TableMetadataValue:
    schema = dg.TableSchema([dg.TableColumn("rule", "text"), dg.TableColumn("records", "bigint")])
    records = [dg.TableRecord({"rule": rule, "records": count}) for rule, count in sorted(refused.items())]
    return dg.MetadataValue.table(records=records, schema=schema)

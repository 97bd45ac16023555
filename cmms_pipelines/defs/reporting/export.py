"""A mart as a file, for those who have the UI and no shell."""

import datetime as dt
from pathlib import Path

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.reporting.resources import Dbt
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import Settings

FOLDER = "exports"


class ExportConfig(dg.Config):
    """Which mart, how, which rows, and where to."""

    mart: str = Field(description="Name of the mart, such as equipment_status; a wrong one is answered with those there are.")
    format: str = Field(default="csv", description="csv, xlsx or parquet.")
    plants: list[str] = Field(default=[], description="Plant codes, such as B6JFK; empty: all.")
    equipment: list[str] = Field(default=[], description="Equipment numbers, such as N190JB; empty: all.")
    first_day: str = Field(default="", description="Rows of this day and later, such as 2026-01-31; empty: from the first.")
    last_day: str = Field(default="", description="Rows of this day and earlier; empty: to the last.")
    folder: str = Field(default="", description="Where to, on the machine that runs this; empty: CMMS_HOME/exports.")


def build(settings: Settings) -> dg.JobDefinition:
    """Return the job `export`."""

    @dg.op(name="export_mart", description="Write a mart to a file; the path is in the step's metadata.")
    def export_mart(context: dg.OpExecutionContext, config: ExportConfig, dbt: Dbt) -> str:
        from cmms_pipelines.reports import export as exports  # noqa: PLC0415 - loads SQLAlchemy
        from cmms_pipelines.storage.marts import RowFilter  # noqa: PLC0415

        try:
            file_format = exports.file_format(config.format)
            first, last = (_day(text) for text in (config.first_day, config.last_day))
            folder = Path(config.folder) if config.folder else settings.home / FOLDER
            output = folder / f"{Path(config.mart).name}.{file_format}"
            chosen = RowFilter(tuple(config.plants), tuple(config.equipment), first, last)
            rows = exports.export_mart(dbt.engine(), config.mart, file_format, output, chosen)
        except PermanentError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        size = output.stat().st_size
        context.add_output_metadata({"path": dg.MetadataValue.path(str(output)), "rows": rows, "size_bytes": size})
        context.log.info("%d rows of %s are in %s", rows, config.mart, output)
        return str(output)

    @dg.job(
        name="export",
        tags={"dagster/max_runtime": "1800", "dagster/priority": "-5"},
        executor_def=dg.in_process_executor,
        description="Write a mart to a file as CSV, XLSX or Parquet: all of it, or of some plants, machines and days.",
    )
    def export() -> None:
        export_mart()

    return export


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise PermanentError(f"A day looks like 2026-01-31, not {text!r}.") from error

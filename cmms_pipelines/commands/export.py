"""`cmms export`: a mart as a file."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, tell
from cmms_pipelines.settings import read_settings


def add_to(app: typer.Typer) -> None:
    """Put the command into the tree."""
    app.command()(export)


def export(
    mart: Annotated[str, typer.Argument(help="Name of the mart, such as equipment_status.")],
    *,
    output: Annotated[Path, typer.Option(help="The file; it is replaced once the new one is whole.")],
    file_format: Annotated[
        str | None, typer.Option("--format", help="csv, xlsx or parquet; by default as the file's name ends.")
    ] = None,
    plant: Annotated[list[str] | None, typer.Option(help="Only this plant; can be given several times.")] = None,
    equipment: Annotated[list[str] | None, typer.Option(help="Only this machine; can be given several times.")] = None,
    first: Annotated[dt.datetime | None, typer.Option("--from", help="Rows of this day and later.", formats=["%Y-%m-%d"])] = None,
    last: Annotated[dt.datetime | None, typer.Option("--to", help="Rows of this day and earlier.", formats=["%Y-%m-%d"])] = None,
    as_json: AsJson = False,
) -> None:
    """Write a mart of schema `analytics` to a file."""
    from cmms_pipelines.reports import export as exports  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.marts import RowFilter  # noqa: PLC0415

    chosen = exports.file_format(file_format or output.suffix.removeprefix("."))
    rows = exports.export_mart(
        shared_engine(cmms_address(read_settings())),
        mart,
        chosen,
        output,
        RowFilter(tuple(plant or ()), tuple(equipment or ()), first.date() if first else None, last.date() if last else None),
    )
    if as_json:
        show_json({"mart": mart, "format": chosen, "rows": rows, "path": str(output.absolute())})
    else:
        tell(f"{rows} rows of {mart} are in {output}")

"""What the page of a dbt model shows: its first rows, figures that one follows over time, and a picture.

What belongs here: hanging figures of a relation that was just built on its materialization. What does not: which rows and
counts (`reports.previews`), and what is drawn (`reports.pictures`).
"""

import base64
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from cmms_pipelines.defs.metadata import Cell, as_cell, preview_table

if TYPE_CHECKING:
    import sqlalchemy as sa

ROW_COUNT = "dagster/row_count"
PATIENCE = "20s"
LONGEST_CELL = 160
LARGEST_PICTURE = 60_000


def with_figures(
    events: Iterable[Any], engine: "sa.Engine", log: "dg.DagsterLogManager", patience: str = PATIENCE
) -> Iterator[Any]:
    """Yield dbt's events; materializations carry the figures of what was built.

    A figure that takes too long, or fails, is left out with the reason: the model is built all the same.
    """
    for event in events:
        if isinstance(event, dg.Output | dg.AssetMaterialization):
            unique_id = str(event.metadata["unique_id"].value)
            yield event.with_metadata({**event.metadata, **_figures(unique_id, engine, log, patience)})
        else:
            yield event


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


def _figures(unique_id: str, engine: "sa.Engine", log: "dg.DagsterLogManager", patience: str) -> dict[str, Any]:
    import sqlalchemy as sa  # noqa: PLC0415 - keeps the location's start light

    from cmms_pipelines.reports.pictures import PICTURES  # noqa: PLC0415 - loads matplotlib
    from cmms_pipelines.reports.previews import ROW_COUNT as ROWS  # noqa: PLC0415
    from cmms_pipelines.reports.previews import preview_of  # noqa: PLC0415
    from cmms_pipelines.storage.refusals import reason_of  # noqa: PLC0415

    name = unique_id.rsplit(".", 1)[-1]
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{patience}'")
            found = preview_of(connection, name)
            picture = PICTURES.get(f"analytics.{name}")
            drawn = picture.drawn(connection) if picture else None
    except sa.exc.DBAPIError as error:
        log.warning("There is no preview of %s: %s", name, reason_of(error))
        return {"preview_left_out": reason_of(error)}
    counts = {ROW_COUNT if count == ROWS else count: value for count, value in found.counts.items()}
    shown = {"picture": picture_markdown(picture.says, drawn)} if picture and drawn else {}
    return {**shown, **counts, "preview": preview_table(found.rows, found.columns, shown_cell)}

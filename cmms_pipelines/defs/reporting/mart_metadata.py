"""What the page of a dbt model shows: its first rows, figures that one follows over time, and a picture.

What belongs here: hanging figures of a relation that was just built on its materialization. What does not: which rows and
counts (`reports.previews`), and what is drawn (`reports.pictures`).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from cmms_pipelines.defs.metadata import ROW_COUNT, picture_markdown, preview_table, shown_cell

if TYPE_CHECKING:
    import sqlalchemy as sa

PATIENCE = "20s"


def with_figures(
    events: Iterable[Any],
    engine: "sa.Engine",
    log: "dg.DagsterLogManager",
    patience: str = PATIENCE,
    kpi_limits: Mapping[str, float] | None = None,
) -> Iterator[Any]:
    """Yield dbt's events; materializations carry the figures of what was built.

    `kpi_limits` are drawn into the picture of the key figures. A figure that takes too long, or fails, is left out with the
    reason: the model is built all the same.
    """
    for event in events:
        if isinstance(event, dg.Output | dg.AssetMaterialization):
            unique_id = str(event.metadata["unique_id"].value)
            yield event.with_metadata({**event.metadata, **_figures(unique_id, engine, log, patience, kpi_limits or {})})
        else:
            yield event


def _figures(
    unique_id: str, engine: "sa.Engine", log: "dg.DagsterLogManager", patience: str, kpi_limits: Mapping[str, float]
) -> dict[str, Any]:
    import sqlalchemy as sa  # noqa: PLC0415 - keeps the location's start light

    from cmms_pipelines.domain.kpi_limits import KpiLimits  # noqa: PLC0415
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
            drawn = picture.drawn(connection, KpiLimits.model_validate(kpi_limits)) if picture else None
    except sa.exc.DBAPIError as error:
        log.warning("There is no preview of %s: %s", name, reason_of(error))
        return {"preview_left_out": reason_of(error)}
    counts = {ROW_COUNT if count == ROWS else count: value for count, value in found.counts.items()}
    shown = {"picture": picture_markdown(picture.says, drawn)} if picture and drawn else {}
    return {**shown, **counts, "preview": preview_table(found.rows, found.columns, shown_cell)}

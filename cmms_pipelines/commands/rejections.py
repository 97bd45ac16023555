"""`cmms rejections`: the records that were refused."""

from enum import StrEnum
from typing import Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_rows
from cmms_pipelines.settings import read_settings

app = typer.Typer(help="Refused records: what came, which rule refused it, and whether it is settled.", no_args_is_help=True)


class Status(StrEnum):
    """Whether a refusal is settled."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


@app.callback()
def _group() -> None:
    """Keep `list` a command of its own."""


@app.command(name="list")
def list_rejections(
    status: Annotated[Status, typer.Option(help="Refusals that are open, or were settled one way or the other.")] = Status.OPEN,
    sync_type: Annotated[str | None, typer.Option(help="Only of this sync: equipment, running_times, plants.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only refusals by this rule.")] = None,
    plant: Annotated[str | None, typer.Option(help="Only of this plant.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """List refused records, the newest first; the JSON has the whole record as it came."""
    import sqlalchemy as sa  # noqa: PLC0415

    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.tables import sync_rejections  # noqa: PLC0415

    table = sync_rejections.c
    shown = [
        table.id,
        table.sync_type,
        table.rule,
        table.severity,
        table.record_key,
        table.plant_code,
        table.column_name,
        table.value,
    ]
    more = [table.message, table.times_seen, table.first_seen_at, table.last_seen_at, table.status, table.payload]
    query = sa.select(*shown, *(more if as_json else [table.times_seen, table.last_seen_at])).where(
        table.is_primary, table.status == status.value
    )
    for column, wanted in ((table.sync_type, sync_type), (table.rule, rule), (table.plant_code, plant)):
        if wanted is not None:
            query = query.where(column == wanted)
    with shared_engine(cmms_address(read_settings())).connect() as connection:
        rows = connection.execute(query.order_by(table.last_seen_at.desc(), table.id.desc()).limit(limit)).mappings().all()
    show_rows([dict(row) for row in rows], as_json=as_json, nothing=f"no {status} rejections")

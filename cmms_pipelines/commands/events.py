"""`cmms events`: the inbox of maintenance events, worked off or put back by hand."""

import uuid
from enum import StrEnum
from typing import Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, tell
from cmms_pipelines.settings import read_settings

app = typer.Typer(help="The inbox of maintenance events.", no_args_is_help=True)


class Replayable(StrEnum):
    """The states from which an event can be put back."""

    DEAD_LETTER = "dead_letter"
    QUARANTINED = "quarantined"
    HELD = "held"
    IGNORED = "ignored"
    PROCESSED = "processed"


@app.command()
def process(
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many events.")] = None, *, as_json: AsJson = False
) -> None:
    """Apply the events that are due, here and now, beside whatever run may be doing the same; end when none is left."""
    from cmms_pipelines.storage.drain import drain  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.engine import cmms_address  # noqa: PLC0415

    counts = drain(cmms_address(read_settings()), idle_s=0, limit=limit, is_beside=True).counts()
    if as_json:
        show_json(counts)
    else:
        typer.echo(", ".join(f"{name} {count}" for name, count in counts.items()))


@app.command()
def replay(
    id_: Annotated[list[uuid.UUID] | None, typer.Option("--id", help="This event; may be given several times.")] = None,
    status: Annotated[Replayable | None, typer.Option(help="All events in this state.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Put events back, so that they are applied once more; applying an event twice changes nothing."""
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.inbox_replay import put_back  # noqa: PLC0415

    if bool(id_) == bool(status):
        raise typer.BadParameter("Say which events: either --id, as often as needed, or --status.")
    with shared_engine(cmms_address(read_settings())).begin() as connection:
        found = put_back(connection, actor="command line", ids=id_ or (), status=status.value if status else None)
    if as_json:
        show_json({"put_back": found})
    else:
        tell(f"{len(found)} events were put back and are applied by the next run, or by `cmms events process`")

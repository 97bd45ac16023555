"""`cmms events`: the inbox of maintenance events, worked off or put back by hand."""

import datetime as dt
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.domain.events import HookStatus
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    from cmms_pipelines.storage.inbox_replay import DryRun

app = typer.Typer(help="The inbox of maintenance events.", no_args_is_help=True)
_TIME_FORMATS = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]
_Time = Annotated[dt.datetime | None, typer.Option(formats=_TIME_FORMATS, help="Time of arrival; UTC without an offset.")]


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
    *,
    id_: Annotated[list[uuid.UUID] | None, typer.Option("--id", help="This event; may be given several times.")] = None,
    status: Annotated[list[HookStatus] | None, typer.Option(help="Events in this state; by default dead letters.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Events of this source.")] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Events of this type.")] = None,
    entity: Annotated[str | None, typer.Option(help="Events of this entity, such as work_order:4711.")] = None,
    since: _Time = None,
    until: _Time = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the oldest first.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the audit log.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would do, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put events back, so that they are applied once more; applying an event twice changes nothing."""
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.inbox_replay import dry_run as try_out  # noqa: PLC0415
    from cmms_pipelines.storage.inbox_replay import put_back  # noqa: PLC0415
    from cmms_pipelines.storage.inbox_search import EventFilter  # noqa: PLC0415

    wanted = EventFilter(
        ids=id_ or (),
        statuses=[one.value for one in status or ()],
        systems=source or (),
        types=type_ or (),
        entity_key=entity,
        received_since=_aware(since),
        received_until=_aware(until),
    )
    if not wanted.conditions():
        raise typer.BadParameter("Say which events: --id, --status, --source, --type, --entity, --since or --until.")
    engine = shared_engine(cmms_address(read_settings()))
    if dry_run:
        with engine.connect() as connection:
            found = try_out(connection, wanted, limit=limit)
            connection.rollback()
        _show_trial(found, as_json=as_json)
        return
    with engine.begin() as connection:
        ids = put_back(connection, wanted, actor="command line", reason=reason, limit=limit)
    if as_json:
        show_json({"put_back": ids})
    else:
        tell(f"{len(ids)} events were put back and are applied by the next run, or by `cmms events process`")


def _show_trial(found: "DryRun", *, as_json: bool) -> None:
    if as_json:
        show_json(asdict(found))
        return
    tell(f"{found.events} events would be put back; the first {len(found.trials)} of them, applied on trial:")
    show_rows([asdict(trial) for trial in found.trials], as_json=False, nothing="no such events")


def _aware(value: dt.datetime | None) -> dt.datetime | None:
    return value.replace(tzinfo=dt.UTC) if value is not None and value.tzinfo is None else value

"""`cmms events`: the inbox of maintenance events, worked off or put back by hand."""

import datetime as dt
import uuid
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.domain.events import HookStatus
from cmms_pipelines.settings import Settings, read_settings

if TYPE_CHECKING:
    from cmms_pipelines.storage.fetching import Fetcher
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

    settings = read_settings()
    address = cmms_address(settings)
    make_fetcher = partial(_fetcher, address, settings)
    counts = drain(address, idle_s=0, limit=limit, is_beside=True, make_fetcher=make_fetcher).counts()
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
    reread: Annotated[
        bool, typer.Option("--reread", help="Read their bytes first, with their source's mapping as it is now.")
    ] = False,
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
            found = try_out(connection, wanted, limit=limit, reread=reread)
            connection.rollback()
        _show_trial(found, as_json=as_json)
        return
    with engine.begin() as connection:
        ids = put_back(connection, wanted, actor="command line", reason=reason, limit=limit, reread=reread)
    if as_json:
        show_json({"put_back": ids})
    else:
        tell(f"{len(ids)} events were put back and are applied by the next run, or by `cmms events process`")


@app.command()
def sweep(
    source: Annotated[list[str] | None, typer.Option(help="Ask this source; by default all that can say what changed.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Ask the sources' own APIs what changed since the last sweep, and put what no event has brought into the inbox."""
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.sync.reconciliation import sweep as sweep_sources  # noqa: PLC0415 - loads httpx

    settings = read_settings()
    swept = sweep_sources(shared_engine(cmms_address(settings)), settings, systems=source or (), progress=tell)
    rows = [{"source": one.cmms_system_id, **asdict(one.counts), "error": one.error} for one in swept]
    if not as_json:
        for row in rows:
            del row["examples"]
    show_rows(rows, as_json=as_json, nothing="no source has an API that says what changed")
    if any(one.error for one in swept):
        raise typer.Exit(1)


def _fetcher(address: str, settings: Settings) -> "Fetcher":
    from cmms_pipelines.storage.engine import shared_engine  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.sync.thin_events import ThinEventFetcher  # noqa: PLC0415 - loads httpx

    return ThinEventFetcher(shared_engine(address), settings)


def _show_trial(found: "DryRun", *, as_json: bool) -> None:
    if as_json:
        show_json(asdict(found))
        return
    tell(f"{found.events} events would be put back; the first {len(found.trials)} of them, applied on trial:")
    show_rows([asdict(trial) for trial in found.trials], as_json=False, nothing="no such events")


def _aware(value: dt.datetime | None) -> dt.datetime | None:
    return value.replace(tzinfo=dt.UTC) if value is not None and value.tzinfo is None else value

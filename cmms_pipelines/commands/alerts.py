"""`cmms alerts`: what stands, taking it, whom it is told to, a trial, and the watcher."""

import datetime as dt
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.commands.runs import operator
from cmms_pipelines.domain.alerts import AlertStatus, Severity
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(help="Alerts: what somebody must know, until it is over.", no_args_is_help=True)
LOOK_EVERY_S = 30.0
_LISTED = ("id", "severity", "status", "title", "first_seen_at", "last_seen_at", "occurrences", "acknowledged_by")
_Number = Annotated[int, typer.Argument(help="Number of the alert.")]


@app.command(name="list")
def list_alerts(
    *,
    status: Annotated[list[AlertStatus] | None, typer.Option(help="By default those that are not resolved.")] = None,
    severity: Annotated[list[Severity] | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List alerts, the newest first; the JSON has all of each."""
    from cmms_pipelines.storage.alerts import find_many  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        rows = find_many(connection, statuses=status or (), severities=severity or (), limit=limit)
    shown = rows if as_json else [{name: row[name] for name in _LISTED} for row in rows]
    show_rows(shown, as_json=as_json, nothing="no alerts")


@app.command()
def show(alert: _Number, *, as_json: AsJson = False) -> None:
    """Show one alert with its probable cause, and what was sent about it."""
    from cmms_pipelines.storage.alerts import deliveries_of, find  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        row, deliveries = find(connection, alert), deliveries_of(connection, alert)
    if as_json:
        show_json({**row, "deliveries": deliveries})
        return
    show_rows([{"field": name, "value": value} for name, value in row.items()], as_json=False, nothing="")
    wanted = ("channel", "kind", "status", "attempts", "created_at", "delivered_at", "error")
    show_rows([{name: one[name] for name in wanted} for one in deliveries], as_json=False, nothing="nobody was told")


@app.command()
def ack(
    alert: _Number,
    *,
    note: Annotated[str | None, typer.Option(help="What you found, or do about it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take an alert: it is not told again, unless it gets graver; its end is told."""
    from cmms_pipelines.storage.alerts import acknowledge  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().begin() as connection:
        row = acknowledge(connection, alert, actor=operator(), note=note)
    if as_json:
        show_json(row)
    else:
        tell(f"alert {alert} is yours: {row['title']}")


@app.command(name="test")
def try_out(
    channel: Annotated[list[str] | None, typer.Argument(help="Channels; by default all that are configured.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Send a trial message to the channels, here and now; exit code 1 if one does not take it."""
    from cmms_pipelines.notify.trial import try_channels  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.secrets import secret_box  # noqa: PLC0415

    settings = read_settings()
    rows = try_channels(
        _engine(),
        secret_box(settings),
        os.environ,
        channels=channel or (),
        now=dt.datetime.now(dt.UTC),
        dagster_url=settings.dagster_address,
    )
    show_rows(rows, as_json=as_json, nothing="no channels are configured: `cmms alerts configure FILE`")
    if not all(row["is_delivered"] for row in rows):
        raise typer.Exit(1)


@app.command()
def configure(
    file: Annotated[str | None, typer.Argument(help="Channels, routes, thresholds as JSON; `-`: stdin.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Set channels, routes and thresholds, or show those in force; the `url` of a channel is sealed before it is stored."""
    from cmms_pipelines.storage.alert_configuration import (  # noqa: PLC0415 - loads SQLAlchemy
        read_alert_configuration,
        shown,
        write_alert_configuration,
    )
    from cmms_pipelines.storage.secrets import secret_box  # noqa: PLC0415

    if file is not None:
        given = _json_object(file)
        with _engine().begin() as connection:
            stored = write_alert_configuration(connection, secret_box(read_settings()), given, actor=operator())
        tell(f"alerts are configured, version {stored.version}")
    with _engine().connect() as connection:
        in_force = shown(read_alert_configuration(connection))
    if as_json:
        show_json(in_force)
    else:
        import json  # noqa: PLC0415

        typer.echo(json.dumps(in_force, indent=2))


@app.command()
def watch(
    *,
    every_s: Annotated[float, typer.Option(min=1, help="Seconds from one look to the next.")] = LOOK_EVERY_S,
    once: Annotated[bool, typer.Option("--once", help="Look once, print what it did, and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything twice a minute and tell people; a part of `cmms up`, or a service of its own."""
    import dagster as dg  # noqa: PLC0415 - takes a second

    from cmms_pipelines.defs.operations.dagster_signs import DagsterSigns  # noqa: PLC0415 - Dagster takes a second
    from cmms_pipelines.logs import configure_logging  # noqa: PLC0415
    from cmms_pipelines.notify.watch import Watcher  # noqa: PLC0415
    from cmms_pipelines.operate.services import dagster_environment  # noqa: PLC0415
    from cmms_pipelines.storage.engine import locate, make_engine  # noqa: PLC0415
    from cmms_pipelines.storage.secrets import secret_box  # noqa: PLC0415

    settings, ended = read_settings(), threading.Event()
    configure_logging(settings.home, "alerts")
    databases = locate(settings)
    os.environ.update(dagster_environment(settings, databases))  # Dagster finds its instance through the environment alone
    engine = make_engine(databases.cmms, pool_size=2, max_overflow=2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: ended.set())
    watcher = Watcher(
        engine,
        secret_box(settings),
        os.environ,
        clock=lambda: dt.datetime.now(dt.UTC),
        dagster_url=settings.dagster_address,
        more_signs=DagsterSigns(dg.DagsterInstance.get, engine),
    )
    try:
        while not ended.is_set():
            made = watcher.look_once()
            if once:
                _tell_round(made.figures() if made else None, as_json=as_json)
                return
            ended.wait(every_s)
    finally:
        watcher.close()


def _tell_round(figures: dict[str, int] | None, *, as_json: bool) -> None:
    if as_json:
        show_json(figures)
    elif figures is None:
        tell("another watcher works, or the database is away")
    else:
        tell(", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in figures.items()))


def _json_object(file: str) -> dict[str, Any]:
    import orjson  # noqa: PLC0415

    try:
        found = orjson.loads(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except OSError as error:
        raise PermanentError(f"{file} cannot be read: {error.strerror}.") from error
    except orjson.JSONDecodeError as error:
        raise PermanentError(f"{file} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise PermanentError(f"{file} holds no JSON object.")
    return found


def _engine() -> "sa.Engine":
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415

    return shared_engine(cmms_address(read_settings()))

"""`cmms report`: the daily report as a file, here and now."""

import datetime as dt
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from cmms_pipelines.commands.output import AsJson, show_json, tell
from cmms_pipelines.settings import read_settings


def add_to(app: typer.Typer) -> None:
    """Put the command into the tree."""
    app.command()(report)


def report(
    *,
    date: Annotated[dt.datetime | None, typer.Option(help="The morning; by default today's.", formats=["%Y-%m-%d"])] = None,
    output: Annotated[Path | None, typer.Option(help="The file; by default CMMS_HOME/reports/report-DATE.html.")] = None,
    send: Annotated[bool, typer.Option("--send", help="Also send it to the channels of the route `report`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the daily report: is last night complete, what was refused, who needs attention, what to do."""
    from cmms_pipelines.reports.daily_page import make_page  # noqa: PLC0415 - loads matplotlib
    from cmms_pipelines.reports.kept import path_of, write_page  # noqa: PLC0415
    from cmms_pipelines.reports.mailing import send_report  # noqa: PLC0415
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.settings_in_force import THRESHOLDS, settings_in_force  # noqa: PLC0415

    settings = read_settings()
    engine, now = shared_engine(cmms_address(settings)), dt.datetime.now(dt.UTC)
    day = date.date() if date else now.astimezone(ZoneInfo(settings.time_zone)).date()
    in_force = settings_in_force(engine, settings, tell, (THRESHOLDS,))
    daily, page = make_page(
        engine,
        day,
        now,
        time_zone=settings.time_zone,
        dagster_url=settings.dagster_address,
        limits=in_force.kpi_limits,
    )
    path = output or path_of(settings.home, day)
    size = write_page(page, path)
    sent = send_report(engine, settings, daily, path) if send else []
    if as_json:
        told = {"date": day, "is_complete": daily.is_complete, "problems": daily.problems, "refused": daily.refused_records}
        show_json({**told, "path": str(path.absolute()), "bytes": size, "sent": [one.as_dict() for one in sent]})
    else:
        tell(f"{'complete' if daily.is_complete else 'NOT complete'}: the report of {day} is in {path}")
        for one in sent:
            tell(f"{one.channel}: {one.error or 'sent'}")
    if not all(one.error is None for one in sent):
        raise typer.Exit(1)

"""`cmms api`: is the external system there, does it let us in, and do we understand what it sends."""

import datetime as dt
from typing import Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.settings import read_settings

app = typer.Typer(help="The external system: test the connection to it.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `check` a command of its own: typer drops the name of a group's only command."""


@app.command()
def check(
    plant: Annotated[
        list[str] | None, typer.Option("--plant", help="Ask for this plant; by default for the first ones of the list.")
    ] = None,
    date: Annotated[
        dt.datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="The last of the seven days that are asked for (yesterday)."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that each request may take.")] = 30,
    *,
    as_json: AsJson = False,
) -> None:
    """Test the connection step by step: address, credentials, clock, each endpoint, a sample mapped and validated.

    Nothing is written. The exit code is 0 only if all is well.
    """
    from cmms_pipelines.storage.settings_at_start import settings_at_start  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.sync.api_check import check_api  # noqa: PLC0415 - loads pandas and httpx

    result = check_api(
        settings_at_start(read_settings(), tell),
        now=lambda: dt.datetime.now(dt.UTC),
        plant_codes=plant or (),
        last_day=date.date() if date else None,
        timeout_s=timeout,
    )
    if as_json:
        show_json(result.as_json())
    else:
        rows = [
            {
                "step": step.name,
                "status": step.status,
                "ms": None if step.duration_ms is None else round(step.duration_ms),
                "found": step.detail,
                "advice": step.advice,
            }
            for step in result.steps
        ]
        show_rows(rows, as_json=False, nothing="nothing was checked")
        tell(result.diagnosis)
    if not result.is_well:
        raise typer.Exit(1)

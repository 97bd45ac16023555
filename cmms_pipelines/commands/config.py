"""`cmms config`: the sources of events as they are configured, their versions, and the way back to one."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(help="Sources of events as they are configured.", no_args_is_help=True)
_System = Annotated[str, typer.Argument(help="The source.")]


@app.command(name="list")
def list_all(*, as_json: AsJson = False) -> None:
    """List all sources, inactive ones too, with what to know about them."""
    from cmms_pipelines.storage.configuration_changes import list_sources  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        found = list_sources(connection)
    rows = [
        {
            "source": stored.cmms_system_id,
            "scheme": stored.configuration.get("scheme"),
            "format": stored.configuration.get("format"),
            "is_active": stored.is_active,
            "version": stored.version,
            "warnings": "; ".join(_warnings(stored.configuration)),
        }
        for stored in found
    ]
    show_rows(rows, as_json=as_json, nothing="no sources of events")


@app.command()
def show(system: _System) -> None:
    """Print a source as JSON: its configuration, and its secrets without their values."""
    from cmms_pipelines.storage.configuration_changes import find_source, list_secrets  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        stored, secrets = find_source(connection, system), list_secrets(connection, system)
    show_json(
        {
            "cmms_system_id": stored.cmms_system_id,
            "configuration": dict(stored.configuration),
            "is_active": stored.is_active,
            "version": stored.version,
            "warnings": _warnings(stored.configuration),
            "secrets": [asdict(secret) for secret in secrets],
        }
    )


@app.command()
def validate(
    system: Annotated[str | None, typer.Argument(help="A stored source; by default all of them.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="A configuration as a JSON object.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check configurations without changing anything; exit code 1 if one is not usable."""
    rows = [_judged(str(file), _from(file))] if file else [_judged(name, stored) for name, stored in _stored(system).items()]
    show_rows(rows, as_json=as_json, nothing="no sources of events")
    if not all(row["is_usable"] for row in rows):
        raise typer.Exit(1)


@app.command()
def history(system: _System, *, as_json: AsJson = False) -> None:
    """List all versions of a source, the newest first."""
    from cmms_pipelines.storage.configuration_changes import history as read_history  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        rows = [asdict(version) for version in read_history(connection, system)]
    show_rows(rows, as_json=as_json, nothing="no versions")


@app.command()
def rollback(
    system: _System,
    to: Annotated[int, typer.Option("--to", min=1, help="The version whose content becomes the newest version.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier version of a source; its secrets are not part of it."""
    from cmms_pipelines.storage import configuration_changes  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().begin() as connection:
        stored = configuration_changes.rollback(connection, system, to, expected_version=None, actor="command line")
    if as_json:
        show_json({"cmms_system_id": system, "version": stored.version, "configuration": dict(stored.configuration)})
    else:
        tell(f"{system} is at version {stored.version}, with the content of version {to}")


@app.command(name="api-token")
def api_token(
    system: _System,
    file: Annotated[
        Path | None,
        typer.Option("--file", exists=True, dir_okay=False, help="Read the token from this file; by default it is asked for."),
    ] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the token.")] = False,
) -> None:
    """Set the token with which a source's own API is asked; it is encrypted at rest and never shown."""
    from pydantic import SecretStr  # noqa: PLC0415

    from cmms_pipelines.storage.configuration_changes import find_source  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.secrets import secret_box  # noqa: PLC0415
    from cmms_pipelines.storage.source_tokens import remove_api_token, set_api_token  # noqa: PLC0415

    engine = _engine()
    with engine.connect() as connection:
        find_source(connection, system)
    if remove:
        with engine.begin() as connection:
            found = remove_api_token(connection, system, actor="command line")
        return tell(f"the API token of {system} is forgotten" if found else f"{system} has no API token")
    given = file.read_text(encoding="utf-8").strip() if file else typer.prompt("Token", hide_input=True)
    if not given:
        raise PermanentError("The token is empty.")
    with engine.begin() as connection:
        set_api_token(connection, secret_box(read_settings()), system, SecretStr(given), actor="command line")
    return tell(f"the API token of {system} is set")


def _stored(system: str | None) -> dict[str, Mapping[str, Any]]:
    from cmms_pipelines.storage.configuration_changes import find_source, list_sources  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        found = [find_source(connection, system)] if system else list_sources(connection)
    return {stored.cmms_system_id: stored.configuration for stored in found}


def _from(file: Path) -> Mapping[str, Any]:
    import orjson  # noqa: PLC0415

    try:
        found = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise PermanentError(f"{file} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise PermanentError(f"{file} holds no JSON object.")
    return found


def _judged(name: str, configuration: Mapping[str, Any]) -> dict[str, object]:
    from cmms_pipelines.storage.configurations import read_source  # noqa: PLC0415 - loads SQLAlchemy

    try:
        source = read_source(configuration)
    except PermanentError as error:
        return {"source": name, "is_usable": False, "problem": str(error), "warnings": ""}
    return {"source": name, "is_usable": True, "problem": None, "warnings": "; ".join(source.warnings)}


def _warnings(configuration: Mapping[str, Any]) -> list[str]:
    judged = _judged("", configuration)
    return [str(text) for text in (judged["problem"], judged["warnings"]) if text]


def _engine() -> "sa.Engine":
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy

    return shared_engine(cmms_address(read_settings()))

"""`cmms config api-token`: the token with which a source's own API is asked. It is no part of any configuration."""

from pathlib import Path
from typing import Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, tell
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import read_settings


def api_token(
    system: Annotated[str, typer.Argument(help="The source.")],
    file: Annotated[
        Path | None,
        typer.Option("--file", exists=True, dir_okay=False, help="Read the token from this file; by default it is asked for."),
    ] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the token.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set the token with which a source's own API is asked; it is encrypted at rest and never shown."""
    from pydantic import SecretStr  # noqa: PLC0415

    from cmms_pipelines.storage.configuration_changes import find_source  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.secrets import secret_box  # noqa: PLC0415
    from cmms_pipelines.storage.source_tokens import remove_api_token, set_api_token  # noqa: PLC0415

    settings = read_settings()
    engine = shared_engine(cmms_address(settings))
    with engine.connect() as connection:
        find_source(connection, system)
    if remove:
        with engine.begin() as connection:
            found = remove_api_token(connection, system, actor="command line")
        told = f"the API token of {system} is forgotten" if found else f"{system} has no API token"
        return show_json({"cmms_system_id": system, "has_api_token": False}) if as_json else tell(told)
    given = file.read_text(encoding="utf-8").strip() if file else typer.prompt("Token", hide_input=True)
    if not given:
        raise PermanentError("The token is empty.")
    with engine.begin() as connection:
        set_api_token(connection, secret_box(settings), system, SecretStr(given), actor="command line")
    told = f"the API token of {system} is set"
    return show_json({"cmms_system_id": system, "has_api_token": True}) if as_json else tell(told)

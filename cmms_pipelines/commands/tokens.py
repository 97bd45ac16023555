"""`cmms tokens`: who may use the management API, and as what."""

import datetime as dt
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(help="Tokens of the management API.", no_args_is_help=True)
ACTOR = "command line"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is; the audit log names it.")],
    role: Annotated[Role, typer.Option(help="viewer reads, operator acts on events, admin changes configurations too.")],
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="By default it has no end.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it; it is shown this once."""
    from cmms_pipelines.storage.tokens import create_token  # noqa: PLC0415 - loads SQLAlchemy

    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(days=expires_in_days) if expires_in_days else None
    with _engine().begin() as connection:
        identifier, token = create_token(connection, name, role, actor=ACTOR, expires_at=expires_at)
    if as_json:
        show_json({"id": identifier, "name": name, "role": role, "expires_at": expires_at, "token": token.get_secret_value()})
    else:
        tell(f"token {name} ({role}), shown this once:")
        typer.echo(token.get_secret_value())


@app.command(name="list")
def list_all(*, as_json: AsJson = False) -> None:
    """List all tokens: role, expiry, last use; never the tokens themselves."""
    from cmms_pipelines.storage.tokens import list_tokens  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        rows = [asdict(token) for token in list_tokens(connection)]
    show_rows(rows, as_json=as_json, nothing="no tokens; `cmms tokens create` makes one")


@app.command()
def revoke(token: Annotated[str, typer.Argument(help="Name or id of the token.")], *, as_json: AsJson = False) -> None:
    """Take a token back; a running service refuses it a second later."""
    from cmms_pipelines.storage.tokens import revoke_token  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().begin() as connection:
        revoked = revoke_token(connection, token, actor=ACTOR)
    if revoked is None:
        raise PermanentError(f"No token {token!r} is in force.")
    if as_json:
        show_json(asdict(revoked))
    else:
        tell(f"token {revoked.name} ({revoked.role}) is revoked")


def _engine() -> "sa.Engine":
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy

    return shared_engine(cmms_address(read_settings()))

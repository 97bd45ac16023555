"""The command line `cmms`: what an operator types.

What belongs here: the tree of commands, and how a failure is told. What does not: the commands themselves (`commands/`), which
import what they need when they run, so that `cmms db url` does not wait for Dagster.
"""

import sys
from typing import Any, NoReturn

import typer

from cmms_pipelines.commands import (
    alerts,
    api,
    config,
    conflict_policies,
    conflicts,
    database,
    events,
    export,
    hook,
    maintenance,
    rejections,
    report,
    services,
    source_token,
    sync,
    tokens,
)
from cmms_pipelines.domain.errors import CmmsError


class _Cli(typer.Typer):
    """Tells a failure that was foreseen in one sentence on stderr, with exit code 1, and shows no stack trace for it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - typer's own signature
        try:
            return super().__call__(*args, **kwargs)
        except CmmsError as error:
            _fail(str(error))
        except _database_failures() as error:
            _fail(f"the database refused: {str(error).strip().splitlines()[0]}")


def _fail(reason: str) -> NoReturn:
    typer.echo(f"cmms: {reason}", err=True)
    sys.exit(1)


def _database_failures() -> tuple[type[Exception], ...]:
    """Return the exceptions of those database libraries that are loaded."""
    names = {"psycopg": "Error", "sqlalchemy.exc": "SQLAlchemyError"}
    return tuple(getattr(sys.modules[module], name) for module, name in names.items() if module in sys.modules)


app = _Cli(
    name="cmms",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The data platform of a maintenance department: machines, running hours and maintenance events in PostgreSQL.",
)
services.add_to(app)
export.add_to(app)
report.add_to(app)
app.add_typer(database.app, name="db")
app.add_typer(sync.app, name="sync")
app.add_typer(api.app, name="api")
app.add_typer(events.app, name="events")
app.add_typer(hook.app, name="hook")
app.add_typer(rejections.app, name="rejections")
app.add_typer(alerts.app, name="alerts")
app.add_typer(config.app, name="config")
config.app.command(name="api-token")(source_token.api_token)
config.app.add_typer(conflict_policies.app, name="conflicts")
app.add_typer(conflicts.app, name="conflicts")
app.add_typer(maintenance.app, name="maintenance")
app.add_typer(tokens.app, name="tokens")

if __name__ == "__main__":
    app()

"""`cmms db`: where the database is, its migrations, and the embedded server's end."""

from enum import StrEnum
from typing import Annotated

import typer

from cmms_pipelines.commands.output import tell
from cmms_pipelines.settings import Settings, read_settings

app = typer.Typer(help="The database: its address, its migrations, the embedded server.", no_args_is_help=True)


class Driver(StrEnum):
    """The drivers that an address can name."""

    PSYCOPG = "psycopg"
    PSYCOPG2 = "psycopg2"


@app.command()
def url(
    driver: Annotated[Driver | None, typer.Option(help="Name this SQLAlchemy driver in the URL.")] = None,
) -> None:
    """Print the URL of the database, starting the embedded server if it is the one in use. The URL holds the password."""
    address = _address(read_settings())
    typer.echo(address.replace("postgresql://", f"postgresql+{driver}://", 1) if driver else address)


@app.command()
def migrate() -> None:
    """Create the databases where they are missing and bring ours to the schema of this version."""
    from cmms_pipelines.operate.stack import prepare_databases  # noqa: PLC0415 - loads SQLAlchemy

    prepare_databases(read_settings(), tell)


@app.command()
def stop() -> None:
    """Stop the embedded server."""
    from cmms_pipelines.storage import embedded  # noqa: PLC0415 - the settings may forbid it

    home = read_settings().home
    tell(f"stopped the database of {home}" if embedded.stop(home) else f"no database of {home} runs")


def _address(settings: Settings) -> str:
    """Return the URL of an existing database; the usual case, an embedded server that has it, does without SQLAlchemy (0.6 s)."""
    if settings.database_url is None:
        import psycopg  # noqa: PLC0415

        from cmms_pipelines.storage import embedded  # noqa: PLC0415

        address = embedded.ensure_running(settings.home).url("cmms")
        try:
            with psycopg.connect(address, connect_timeout=5):
                return address
        except psycopg.OperationalError:
            tell("creating the database")
    from cmms_pipelines.storage.engine import cmms_address, ensure_database  # noqa: PLC0415

    address = cmms_address(settings)
    ensure_database(address)
    return address

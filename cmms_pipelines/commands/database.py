"""`cmms db`: where the database is, its migrations, backup and restore, and the embedded server's end."""

import datetime as dt
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cmms_pipelines.commands.output import AsJson, show_json, tell
from cmms_pipelines.settings import Settings, read_settings

app = typer.Typer(
    help="The database: its address, its migrations, backup and restore, the embedded server.", no_args_is_help=True
)


class Driver(StrEnum):
    """The drivers that an address can name."""

    PSYCOPG = "psycopg"
    PSYCOPG2 = "psycopg2"


@app.command()
def url(
    driver: Annotated[Driver | None, typer.Option(help="Name this SQLAlchemy driver in the URL.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print the URL of the database, starting the embedded server if it is the one in use. The URL holds the password."""
    address = _address(read_settings())
    named = address.replace("postgresql://", f"postgresql+{driver}://", 1) if driver else address
    if as_json:
        show_json({"url": named})
    else:
        typer.echo(named)


@app.command()
def migrate(*, as_json: AsJson = False) -> None:
    """Create the databases where they are missing and bring both to the schema of this version: ours, and Dagster's own."""
    from cmms_pipelines.operate.services import dagster_environment  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.operate.stack import has_dagster_tables, prepare_databases  # noqa: PLC0415

    settings = read_settings()
    databases = prepare_databases(settings, tell)
    has_dagster = has_dagster_tables(databases.dagster)
    if has_dagster:
        import dagster as dg  # noqa: PLC0415 - takes a second

        os.environ.update(dagster_environment(settings, databases))  # Dagster finds its instance through the environment alone
        with dg.DagsterInstance.get() as instance:
            instance.upgrade()
        tell("Dagster's storage is ready")
    if as_json:
        show_json({"is_migrated": True, "has_dagster_storage": has_dagster})


@app.command()
def stop(*, as_json: AsJson = False) -> None:
    """Stop the embedded server."""
    from cmms_pipelines.storage import embedded  # noqa: PLC0415 - the settings may forbid it

    home = read_settings().home
    has_stopped = embedded.stop(home)
    if as_json:
        show_json({"home": str(home), "has_stopped": has_stopped})
    else:
        tell(f"stopped the database of {home}" if has_stopped else f"no database of {home} runs")


@app.command()
def backup(
    output: Annotated[Path, typer.Option(help="The file to write; or a folder, and the file is named after the time.")],
    *,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Of the backups in the folder, keep the newest so many and remove the others.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write both databases to one file, while everything runs, and read it back. The key of sealed secrets is not in it."""
    from cmms_pipelines.operate.backup import back_up  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.secrets import KEY_FILE  # noqa: PLC0415

    settings = read_settings()
    made = back_up(settings, output.absolute(), now=dt.datetime.now(dt.UTC), keep=keep, progress=tell)
    if made.manifest.key_check is not None and settings.secret_key is None:
        tell(f"sealed secrets need their key, which is not in a backup: keep {settings.home / KEY_FILE} in another safe place")
    if as_json:
        show_json(made.figures())
    else:
        tell(f"{made.file} is written and verified: {made.bytes / 1e6:.1f} MB" + _removed(made.removed))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file of `cmms db backup`.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also into databases that are not empty: what they hold is removed.")
    ] = False,
    any_key: Annotated[
        bool, typer.Option("--any-key", help="Also without the key that sealed the secrets: they must be given anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup back, compare every table with what was written, and say so; the services must be stopped."""
    from cmms_pipelines.operate.restore import restore as put_back  # noqa: PLC0415 - loads SQLAlchemy

    restored = put_back(read_settings(), file.absolute(), replace=replace, any_key=any_key, progress=tell)
    if as_json:
        show_json(restored.figures())
        return
    tell(f"{file} is in force again" + (": `cmms db migrate` brings it to this version" if restored.needs_migration else ""))


def _removed(files: tuple[Path, ...]) -> str:
    return f"; removed {len(files)} older ones" if files else ""


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

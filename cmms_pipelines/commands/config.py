"""`cmms config`: the configuration centre, every kind of configuration with its versions and the way back to one.

What belongs here: what is typed and what is printed. What does not: the kinds (`storage.configuration_centre`).

Where a kind is asked for, the name of a source of events may stand instead: `cmms config show plant-cmms` is
`cmms config show webhook plant-cmms`, with its secrets listed.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmms_pipelines.commands.config_places import Place, find_place, read_document, stored_places
from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.commands.runs import operator
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

KINDS = "api, schedules, mapping, thresholds, alerts, webhook or conflicts"

app = typer.Typer(
    help="Everything that is configured: checked, versioned, and taken back where it was wrong.", no_args_is_help=True
)
_Kind = Annotated[str, typer.Argument(metavar="KIND", help=f"{KINDS}; or the name of a source of events.")]
_OfSystem = Annotated[
    str | None,
    typer.Argument(metavar="[SYSTEM]", help="For webhook and conflicts the system; for mapping, by default that of the API."),
]
_File = Annotated[
    Path | None, typer.Option("--file", help="A document, as JSON or (by its name) TOML; '-' reads JSON from stdin.")
]


@app.command(name="list")
def list_all(*, as_json: AsJson = False) -> None:
    """List all sources, inactive ones too, with what to know about them."""
    from cmms_pipelines.storage.configuration_changes import list_sources  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.configurations import warnings_of  # noqa: PLC0415

    with _engine().connect() as connection:
        found = list_sources(connection)
    rows = [
        {
            "source": stored.cmms_system_id,
            "scheme": stored.configuration.get("scheme"),
            "format": stored.configuration.get("format"),
            "is_active": stored.is_active,
            "version": stored.version,
            "warnings": "; ".join(warnings_of(stored.configuration)),
        }
        for stored in found
    ]
    show_rows(rows, as_json=as_json, nothing="no sources of events")


@app.command()
def show(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help=f"{KINDS}; or a source of events. By default all.")] = None,
    system: _OfSystem = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what is in force, and where each value comes from: the environment, a stored version, or the default."""
    from cmms_pipelines.storage import configuration_centre as centre  # noqa: PLC0415 - loads SQLAlchemy

    settings = read_settings()
    with _engine().connect() as connection:
        if kind is not None and kind not in centre.KINDS and system is None:
            return _show_source(connection, kind)
        places = stored_places(connection, settings) if kind is None else [find_place(connection, settings, kind, system)]
        found = [centre.show(connection, settings, place.kind, place.system) for place in places]
    if as_json:
        return show_json([asdict(one) for one in found] if kind is None else asdict(found[0]))
    rows = [
        {"kind": one.kind, "system": one.cmms_system_id, "key": key, **value}
        for one in found
        for key, value in one.values.items()
    ]
    show_rows(rows, as_json=False, nothing="nothing is configured")
    for one in found:
        if one.problem:
            tell(f"{one.kind} for {one.cmms_system_id}: {one.problem}")
        if not one.is_active:
            tell(f"{one.kind} for {one.cmms_system_id}: version {one.version} is switched off")
    return None


@app.command()
def validate(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help=f"{KINDS}; or a source of events. By default all.")] = None,
    system: _OfSystem = None,
    file: _File = None,
    *,
    reachable: Annotated[
        bool, typer.Option("--reachable", help="Also test the connection to the external API with it, as `cmms api check` does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check what is stored, or a file, without changing anything; exit code 1 if something is not usable."""
    settings = read_settings()
    if file is not None and kind is None:
        rows = [_judged(str(file), "webhook", read_document(file), {})]  # a file alone is a source of events
    else:
        with _engine().connect() as connection:
            places = [find_place(connection, settings, kind, system)] if kind else stored_places(connection, settings)
            rows = [_judged_at(connection, place, file) for place in places]
    if reachable and all(row["is_usable"] for row in rows):
        rows.append(_reached(read_document(file) if file is not None and kind == "api" else None))
    show_rows(rows, as_json=as_json, nothing="nothing is configured")
    if not all(row["is_usable"] for row in rows):
        raise typer.Exit(1)


@app.command(name="set")
def set_document(
    kind: _Kind,
    system: _OfSystem = None,
    *,
    file: Annotated[Path, typer.Option("--file", help="The document, as JSON or (by its name) TOML; '-' reads JSON from stdin.")],
    version: Annotated[int | None, typer.Option(min=0, help="Only if it is still at this version; 0: nothing is stored.")] = None,
    is_active: Annotated[
        bool | None, typer.Option("--on/--off", help="Switch it on, or off as if nothing were stored; by default as it is.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a document the configuration in force; what it leaves out is as by default. One that does not fit changes nothing."""
    from cmms_pipelines.storage import configuration_centre as centre  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.secrets import secret_box  # noqa: PLC0415

    settings, document = read_settings(), read_document(file)
    with _engine().begin() as connection:
        place = find_place(connection, settings, kind, system)
        stored = centre.change(
            connection,
            lambda: secret_box(settings),
            place.kind,
            place.system,
            document,
            expected_version=version,
            actor=operator(),
            is_active=is_active,
        )
        shown = centre.show(connection, settings, place.kind, place.system)
    if as_json:
        return show_json(asdict(shown))
    tell(f"{place} is at version {stored.version}")
    for key, value in shown.values.items():
        if key in document and str(value["source"]).startswith("environment"):
            tell(f"{key}: the {value['source']} wins over what is stored")
    if place.kind.name in ("schedules", "thresholds"):
        tell(
            "Times of schedules and what partitions depend on hold once the code locations are loaded again (restart `cmms up`)."
        )
    return None


@app.command()
def diff(
    kind: _Kind,
    system: _OfSystem = None,
    first: Annotated[
        int | None,
        typer.Option("--from", min=0, help="A version, 0 the defaults; by default the one before, with a file the newest."),
    ] = None,
    to: Annotated[int | None, typer.Option("--to", min=0, help="A version; by default the newest.")] = None,
    file: _File = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what two versions differ in, or the newest version and a file."""
    from cmms_pipelines.storage import configuration_centre as centre  # noqa: PLC0415 - loads SQLAlchemy

    if file is not None and to is not None:
        raise typer.BadParameter("give --to or --file, not both")
    with _engine().connect() as connection:
        place = find_place(connection, read_settings(), kind, system)
        newest = place.newest(connection)
        before = first if first is not None else newest if file is not None else max(newest - 1, 0)
        left = centre.version_of(connection, place.kind, place.system, before)
        if file is None:
            right: Mapping[str, Any] = centre.version_of(connection, place.kind, place.system, newest if to is None else to)
        else:
            right = centre.judge(place.kind, read_document(file), place.document(connection))
    rows = [asdict(one) for one in centre.compare(place.kind, left, right)]
    show_rows(rows, as_json=as_json, nothing="they do not differ")


@app.command()
def history(kind: _Kind, system: _OfSystem = None, *, as_json: AsJson = False) -> None:
    """List all versions, the newest first, with who changed it and when."""
    from cmms_pipelines.storage import configuration_centre as centre  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        place = find_place(connection, read_settings(), kind, system)
        rows = [asdict(version) for version in centre.history(connection, place.kind, place.system)]
    show_rows(rows, as_json=as_json, nothing="no versions")


@app.command()
def rollback(
    kind: _Kind,
    system: _OfSystem = None,
    *,
    to: Annotated[
        int, typer.Option("--to", min=0, help="The version whose content becomes the newest version; 0: the defaults.")
    ],
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier version; secrets of a source are not part of it."""
    from cmms_pipelines.storage import configuration_centre as centre  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().begin() as connection:
        place = find_place(connection, read_settings(), kind, system)
        actor = "command line" if place.kind.name == "webhook" else operator()  # as sources have been noted from the start
        stored = centre.rollback(connection, place.kind, place.system, to, expected_version=None, actor=actor)
    if as_json:
        document = centre.shown_document(place.kind, stored.configuration)
        show_json(
            {"kind": place.kind.name, "cmms_system_id": place.system, "version": stored.version, "configuration": dict(document)}
        )
    else:
        tell(f"{place} is at version {stored.version}, with the content of version {to}")


def _show_source(connection: "sa.Connection", system: str) -> None:
    """Print a source as JSON: its configuration, and its secrets without their values."""
    from cmms_pipelines.storage.configuration_changes import list_secrets  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.configurations import warnings_of  # noqa: PLC0415

    place = find_place(connection, read_settings(), system, None)
    stored = place.stored(connection)
    show_json(
        {
            "cmms_system_id": stored.cmms_system_id,
            "configuration": dict(stored.configuration),
            "is_active": stored.is_active,
            "version": stored.version,
            "warnings": warnings_of(stored.configuration),
            "secrets": [asdict(secret) for secret in list_secrets(connection, system)],
        }
    )


def _judged_at(connection: "sa.Connection", place: Place, file: Path | None) -> dict[str, object]:
    stored = place.document(connection)
    return _judged(place.system, place.kind.name, stored if file is None else read_document(file), stored)


def _judged(name: str, kind: str, document: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, object]:
    from cmms_pipelines.storage import configuration_centre as centre  # noqa: PLC0415 - loads SQLAlchemy

    row: dict[str, object] = {"source": name, "kind": kind, "is_usable": True, "problem": None, "warnings": ""}
    try:
        checked = centre.judge(centre.KINDS[kind], document, before)
    except PermanentError as error:
        return row | {"is_usable": False, "problem": str(error)}
    if kind == "webhook":
        from cmms_pipelines.storage.configurations import read_source  # noqa: PLC0415

        row["warnings"] = "; ".join(read_source(checked).warnings)
    return row


def _reached(document: Mapping[str, Any] | None) -> dict[str, object]:
    """Test the connection with what is in force, or with the API's settings of a file."""
    import datetime as dt  # noqa: PLC0415

    from cmms_pipelines.storage import settings_in_force as stored  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.sync.api_check import check_api  # noqa: PLC0415 - loads pandas and httpx

    environment = read_settings()
    settings = stored.settings_in_force(_engine(), environment, tell)
    if document is not None:
        of_file = stored.overlaid(environment, [stored.InForce(stored.API, stored.INSTALLATION, document, 0)])
        settings = settings.model_copy(update={name: getattr(of_file, name) for name in stored.FIELDS[stored.API].values()})
    found = check_api(settings, now=lambda: dt.datetime.now(dt.UTC))
    problem = None if found.is_well else found.diagnosis
    return {"source": found.url, "kind": "api", "is_usable": found.is_well, "problem": problem, "warnings": ""}


def _engine() -> "sa.Engine":
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy

    return shared_engine(cmms_address(read_settings()))

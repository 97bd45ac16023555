"""`cmms rejections`: the records that were refused: found, looked at, exported, judged again, discarded."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.commands.rejection_options import picks_records
from cmms_pipelines.commands.runs import job_runner, operator
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from cmms_pipelines.storage.rejection_search import RejectionFilter

app = typer.Typer(help="Refused records: what came, which rule refused it, and whether it is settled.", no_args_is_help=True)

_LISTED = (
    "id", "sync_type", "rule", "severity", "record_key", "plant_code", "equipment_number", "date", "column_name", "value",
    "times_seen", "first_seen_at", "last_seen_at",
)  # fmt: skip
_ABOUT = (
    "id", "sync_type", "record_key", "plant_code", "equipment_number", "date", "sync_log_id", "status", "times_seen",
    "first_seen_at", "last_seen_at",
)  # fmt: skip
_RESOLVED = ("resolved_at", "resolved_by", "resolution_reason")
_TOLD = ("rule", "severity", "column_name", "value", "message")


@app.command(name="list")
@picks_records(has_status=True)
def list_rejections(
    wanted: "RejectionFilter",
    *,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List refused records, the newest first; the JSON has the whole record as it came."""
    from cmms_pipelines.storage.rejection_search import find  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        rows = find(connection, wanted, limit)
    shown = rows if as_json else [{name: row[name] for name in _LISTED} for row in rows]
    show_rows(shown, as_json=as_json, nothing=f"no {wanted.status} rejections")


@app.command()
def show(
    rejection_id: Annotated[int, typer.Argument(metavar="ID", help="As `list` numbers it.")], *, as_json: AsJson = False
) -> None:
    """Show one refused record whole: every rule that it failed with what to do about it, and the record as it came."""
    from cmms_pipelines.storage.rejection_search import show as read  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        record = read(connection, rejection_id)
    if as_json:
        show_json(record)
        return
    about = _ABOUT if record["status"] == "open" else _ABOUT + _RESOLVED
    show_rows([{name: record[name] for name in about}], as_json=False, nothing="")
    failures = [record, *(record["other_failures"] or ())]
    show_rows([{name: failure[name] for name in _TOLD} for failure in failures], as_json=False, nothing="")
    show_json(record["payload"])


@app.command()
@picks_records(has_status=True)
def export(
    wanted: "RejectionFilter",
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; without it, standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print how many were written as JSON; needs --output.")] = False,
) -> None:
    """Write refused records as CSV: all that is known of each, and the record as it came in the column `payload`."""
    from cmms_pipelines.storage.rejection_search import export_csv  # noqa: PLC0415 - loads SQLAlchemy

    if as_json and output is None:
        raise typer.BadParameter("--json needs --output: standard output has the records otherwise.")
    with _engine().connect() as connection:
        if output is None:
            written = export_csv(connection, wanted, sys.stdout)
        else:
            try:
                with output.open("w", encoding="utf-8", newline="") as file:
                    written = export_csv(connection, wanted, file)
            except OSError as error:
                raise PermanentError(f"{output} cannot be written: {error.strerror}") from error
    if as_json:
        show_json({"records": written, "file": str(output)})
    else:
        tell(f"{written} records were written{f' to {output}' if output else ''}")


@app.command()
@picks_records(has_status=False)
def replay(
    wanted: "RejectionFilter",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge open records again, all of them or a selection, and say what was accepted and why the rest was not."""
    config = {**_config(wanted), "dry_run": dry_run}
    with job_runner() as runner:
        ended = runner.run("replay_rejections", run_config={"ops": {"replay": {"config": config}}})
        if ended.failure is not None:
            raise PermanentError(ended.failure)
        report: dict[str, Any] = ended.result.output_for_node("replay")
    if as_json:
        show_json({**report, "dagster_run_id": ended.run_id})
        return
    would = "would be " if dry_run else ""
    tell(f"{report['judged']} judged again: {report['accepted']} {would}accepted, {report['refused']} {would}refused")
    if report["overtaken"]:
        tell(f"{report['overtaken']} left alone: something newer is stored in their place; sync their days to settle them")
    show_rows(report["still_refused"], as_json=False, nothing="none is refused any more")


@app.command()
@picks_records(has_status=False)
def discard(
    wanted: "RejectionFilter",
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept with each record.")],
    as_json: AsJson = False,
) -> None:
    """Close open records for good; one that comes again unchanged stays closed, one that has changed is refused anew."""
    from cmms_pipelines.storage.rejection_search import discard as close  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().begin() as connection:
        closed = close(connection, wanted, actor=operator(), reason=reason)
    if as_json:
        show_json({"discarded": closed})
    else:
        tell(f"{len(closed)} records were discarded")


def _config(wanted: "RejectionFilter") -> dict[str, Any]:
    """Return the filter as the job takes it."""
    names = {"plant_codes": "plants", "equipment_numbers": "equipment"}
    described = wanted.described()
    return {names.get(name, name): list(value) if isinstance(value, tuple) else value for name, value in described.items()}


def _engine() -> "sa.Engine":
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415

    return shared_engine(cmms_address(read_settings()))

"""`cmms maintenance rules`: what is to be done to which machines after how many running hours or days."""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.commands.runs import operator
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

app = typer.Typer(help="Maintenance that is due by running hours or days.", no_args_is_help=True)
rules = typer.Typer(help="The rules that say when maintenance is due.", no_args_is_help=True)
app.add_typer(rules, name="rules")

_Group = Annotated[str | None, typer.Option("--group", help="All machines of this group.")]
_Machine = Annotated[str | None, typer.Option("--equipment", help="This machine alone.")]
_Version = Annotated[int | None, typer.Option(min=1, help="Only if it is still at this version.")]
_SHOWN = (
    "id", "version", "name", "equipment_group", "equipment_number", "interval_hours", "interval_days", "tolerance_hours",
    "tolerance_days", "scheduling", "work_type", "title_contains", "is_active",
)  # fmt: skip


@rules.command(name="list")
def list_rules(group: _Group = None, equipment: _Machine = None, *, as_json: AsJson = False) -> None:
    """List all rules, or those that are set for a group or a machine."""
    from cmms_pipelines.storage.maintenance_rules import find_rules  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        rows = [stored.as_row() for stored in find_rules(connection, group=group, number=equipment)]
    shown = rows if as_json else [{name: row[name] for name in _SHOWN} for row in rows]
    show_rows(shown, as_json=as_json, nothing="no maintenance rules: nothing is ever due")


@rules.command(name="set")
def set_rule(
    name: Annotated[str, typer.Argument(help="The rule's name, such as '250 h inspection'.")],
    *,
    group: _Group = None,
    equipment: _Machine = None,
    hours: Annotated[str | None, typer.Option(help="Running hours from one time to the next.")] = None,
    days: Annotated[int | None, typer.Option(help="Days from one time to the next.")] = None,
    tolerance_hours: Annotated[str, typer.Option(help="Hours before and after.")] = "0",
    tolerance_days: Annotated[int, typer.Option(help="Days before and after.")] = 0,
    fixed: Annotated[
        bool, typer.Option("--fixed/--floating", help="Stay on the grid from the first baseline, or count from the completion.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="What is to be done.")] = None,
    work_type: Annotated[str | None, typer.Option(help="Only work orders of this kind complete it.")] = None,
    title_contains: Annotated[str | None, typer.Option(help="Only work with these words completes it.")] = None,
    baseline_hours: Annotated[str | None, typer.Option(help="Lifetime hours to count from at first.")] = None,
    baseline_on: Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day to count from at first.")] = None,
    active: Annotated[bool, typer.Option("--active/--inactive", help="An inactive rule counts as not there.")] = True,
    as_json: AsJson = False,
) -> None:
    """Create a rule, or replace the one of this name for the same group or machine; what is left out is as by default."""
    from cmms_pipelines.domain.maintenance_rules import read_rule  # noqa: PLC0415 - loads pydantic's models
    from cmms_pipelines.storage.maintenance_rules import put_rules  # noqa: PLC0415 - loads SQLAlchemy

    rule = read_rule(
        {
            "name": name,
            "task": task,
            "equipment_group": group,
            "equipment_number": equipment,
            "interval_hours": hours,
            "interval_days": days,
            "tolerance_hours": tolerance_hours,
            "tolerance_days": tolerance_days,
            "scheduling": "fixed" if fixed else "floating",
            "work_type": work_type,
            "title_contains": title_contains,
            "baseline_hours": baseline_hours,
            "baseline_on": baseline_on.date() if baseline_on else None,
            "is_active": active,
        }
    )
    with _engine().begin() as connection:
        [(change, stored)] = put_rules(connection, [rule], actor=operator())
    if as_json:
        show_json({"change": change.value, **stored.as_row()})
    else:
        tell(f"rule {stored.id}, {rule.name!r} for {rule.subject}, is {change} (version {stored.version})")


@rules.command()
def remove(
    rule_id: Annotated[int, typer.Argument(help="The rule's id, as `list` shows it.")],
    *,
    version: _Version = None,
    as_json: AsJson = False,
) -> None:
    """Remove a rule; the audit log keeps it."""
    from cmms_pipelines.storage.maintenance_rules import remove_rule  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().begin() as connection:
        removed = remove_rule(connection, rule_id, expected_version=version, actor=operator())
    if as_json:
        show_json({"change": "removed", **removed.as_row()})
    else:
        tell(f"rule {rule_id}, {removed.rule.name!r} for {removed.rule.subject}, is removed")


@rules.command(name="import")
def import_rules(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header, or a JSON array of objects.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create or replace the rules of a file, all of them or none; rules that are not in it stay."""
    from cmms_pipelines.domain.maintenance_rules import read_rules  # noqa: PLC0415 - loads pydantic's models
    from cmms_pipelines.storage.maintenance_rules import put_rules  # noqa: PLC0415 - loads SQLAlchemy

    given = read_rules(_records(file))
    with _engine().connect() as connection, connection.begin() as transaction:
        done = put_rules(connection, given, actor=operator())
        if dry_run:
            transaction.rollback()
    rows = [
        {"change": change.value, "name": stored.rule.name, "for": stored.rule.subject, "version": stored.version}
        for change, stored in done
    ]
    show_rows(rows, as_json=as_json, nothing="the file has no rules")


def _records(file: Path) -> list[dict[str, Any]]:
    """Return the records of a file, as they stand there.

    Raises:
        PermanentError: it is neither a CSV with a header nor a JSON array of objects.
    """
    import csv  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    content = file.read_bytes()
    if file.suffix.lower() == ".json":
        try:
            found = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise PermanentError(f"{file} is not JSON: {error}.") from error
        if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
            raise PermanentError(f"{file} must be a JSON array of objects, one for each rule.")
        return found
    try:
        reader = csv.DictReader(content.decode("utf-8-sig").splitlines(), strict=True)
        records = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise PermanentError(f"{file} is no CSV in UTF-8: {error}.") from error
    if any(None in record or None in record.values() for record in records):
        raise PermanentError(f"{file} has a line with more or fewer values than its header has names.")
    return records


def _engine() -> "sa.Engine":
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy

    return shared_engine(cmms_address(read_settings()))

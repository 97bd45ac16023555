"""`cmms conflicts`: the queue of fields that both sides have changed: found, looked at, decided, and decisions taken back."""

import datetime as dt
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmms_pipelines.commands.output import AsJson, show_json, show_rows, tell
from cmms_pipelines.commands.runs import operator
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from cmms_pipelines.storage.conflict_search import ConflictFilter

app = typer.Typer(help="Fields that both sides have changed: what waits, what was decided.", no_args_is_help=True)

_LISTED = ("id", "cmms_system_id", "entity", "field", "severity", "rule", "ours", "theirs", "occurrences", "created_at", "age_h")
_DECIDED = ("decision", "resolution", "resolved_by", "resolved_at", "resolution_reason")


class Status(StrEnum):
    """How a conflict stands."""

    OPEN = "open"
    RESOLVED = "resolved"
    CONVERGED = "converged"
    UNDONE = "undone"


class Take(StrEnum):
    """Whose value counts."""

    OURS = "ours"
    THEIRS = "theirs"


_System = Annotated[list[str] | None, typer.Option("--source", help="With this system; repeatable.")]
_Type = Annotated[list[str] | None, typer.Option("--entity-type", help="work_order or equipment; repeatable.")]
_Entity = Annotated[list[str] | None, typer.Option("--entity", help="About the order or machine of this number; repeatable.")]
_Field = Annotated[list[str] | None, typer.Option("--field", help="About this field; repeatable.")]
_Rule = Annotated[list[str] | None, typer.Option("--rule", help="That met this rule; repeatable.")]
_Severity = Annotated[list[str] | None, typer.Option("--severity", help="Of this severity; repeatable.")]
_Older = Annotated[float | None, typer.Option("--older-than-h", min=0, help="Opened at least so many hours ago.")]
_Id = Annotated[int, typer.Argument(metavar="ID", help="As `list` numbers it.")]
_Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the decision.")]
_Version = Annotated[int | None, typer.Option("--version", min=1, help="Only if it is still at this version.")]


@app.command(name="list")
def list_conflicts(
    *,
    status: Annotated[list[Status], typer.Option(help="How they stand; repeatable.")] = [Status.OPEN],  # noqa: B006 - typer copies it
    source: _System = None,
    entity_type: _Type = None,
    entity: _Entity = None,
    field: _Field = None,
    rule: _Rule = None,
    severity: _Severity = None,
    older_than_h: _Older = None,
    before: Annotated[int | None, typer.Option(min=1, help="With a smaller id than this: the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List conflicts, open ones unless told otherwise, the newest first."""
    from cmms_pipelines.storage.conflict_search import find_conflicts  # noqa: PLC0415 - loads SQLAlchemy

    wanted = _filter([one.value for one in status], None, source, entity_type, entity, field, rule, severity, older_than_h)
    with _engine().connect() as connection:
        rows = find_conflicts(connection, wanted, before=before, limit=limit)
    shown = rows if as_json else [_listed(row) for row in rows]
    show_rows(shown, as_json=as_json, nothing="no such conflicts")


@app.command()
def show(conflict_id: _Id, *, as_json: AsJson = False) -> None:
    """Show a conflict as a diff: base, ours and theirs with who and when, where it came from and what was done about it."""
    from cmms_pipelines.storage.conflict_search import show_conflict  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().connect() as connection:
        row = show_conflict(connection, conflict_id)
    if as_json:
        show_json(row)
        return
    tell(f"conflict {row['id']} ({row['severity']}, {row['status']}): {row['entity_type']} {row['entity_key']}, {row['field']}")
    tell(f"{row['rule']}: {row['reason']}")
    show_rows(
        [
            {"side": "base", "value": row["base"], "by": "agreed", "at": None},
            {"side": "ours", "value": row["ours"], "by": row["ours_by"], "at": row["ours_at"]},
            {"side": "theirs", "value": row["theirs"], "by": row["cmms_system_id"], "at": row["theirs_at"]},
        ],
        as_json=False,
        nothing="",
    )
    if row["status"] != "open":
        show_rows([{name: row[name] for name in _DECIDED}], as_json=False, nothing="")
    steps = [{name: step[name] for name in ("at", "actor", "action", "reason")} for step in row["history"]]
    show_rows(steps, as_json=False, nothing="nothing was done about it")


@app.command()
def resolve(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="As `list` numbers them.")] = None,
    *,
    take: Annotated[Take | None, typer.Option("--take", help="Whose value counts.")] = None,
    value: Annotated[
        str | None, typer.Option("--value", help="Another value, as JSON or as plain text; for one conflict.")
    ] = None,
    reason: _Reason,
    source: _System = None,
    entity_type: _Type = None,
    entity: _Entity = None,
    field: _Field = None,
    rule: _Rule = None,
    severity: _Severity = None,
    older_than_h: _Older = None,
    version: _Version = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would decide, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Decide one conflict, several, or all open ones that a filter finds."""
    from cmms_pipelines.storage import conflict_queue  # noqa: PLC0415 - loads SQLAlchemy

    if (take is None) == (value is None):
        raise typer.BadParameter("Say whose value counts: --take ours, --take theirs or --value.")
    choice = conflict_queue.Choice(take.value) if take else conflict_queue.Choice.BY_HAND
    by = conflict_queue.Resolution(choice, operator(), reason, _value(value))
    wanted = _filter(["open"], ids, source, entity_type, entity, field, rule, severity, older_than_h)
    now = dt.datetime.now(dt.UTC)
    is_one = ids is not None and len(ids) == 1
    if version is not None and not is_one:
        raise typer.BadParameter("--version is for one conflict.")
    with _engine().connect() as connection, connection.begin() as transaction:
        if is_one and ids:
            rows = [conflict_queue.resolve(connection, ids[0], by, now=now, expected_version=version)]
        else:
            rows = conflict_queue.resolve_all(connection, wanted, by, now=now)
        if dry_run:
            transaction.rollback()
    if as_json:
        show_json({"is_dry_run": dry_run, "resolved": [_decided(row) for row in rows]})
        return
    tell(f"{len(rows)} conflicts {'would be' if dry_run else 'were'} decided")
    show_rows([_decided(row) for row in rows], as_json=False, nothing="no open conflict is among them")


@app.command()
def undo(conflict_id: _Id, *, reason: _Reason, version: _Version = None, as_json: AsJson = False) -> None:
    """Take back a decision, a person's or a rule's; the question is open again, and only a person decides it."""
    from cmms_pipelines.storage import conflict_queue  # noqa: PLC0415 - loads SQLAlchemy

    with _engine().begin() as connection:
        opened = conflict_queue.undo(
            connection, conflict_id, actor=operator(), reason=reason, now=dt.datetime.now(dt.UTC), expected_version=version
        )
    if as_json:
        show_json({"undone": conflict_id, "open": opened["id"]})
    else:
        tell(f"the decision of conflict {conflict_id} was taken back: conflict {opened['id']} is open instead")


def _filter(  # noqa: PLR0917 - the options of two commands, in their order
    statuses: list[str],
    ids: list[int] | None,
    source: list[str] | None,
    entity_type: list[str] | None,
    entity: list[str] | None,
    field: list[str] | None,
    rule: list[str] | None,
    severity: list[str] | None,
    older_than_h: float | None,
) -> "ConflictFilter":
    from cmms_pipelines.storage.conflict_search import ConflictFilter  # noqa: PLC0415 - loads SQLAlchemy

    return ConflictFilter(
        statuses=statuses,
        ids=ids or (),
        systems=source or (),
        entity_types=entity_type or (),
        entity_keys=entity or (),
        fields=field or (),
        rules=rule or (),
        severities=severity or (),
        older_than_s=None if older_than_h is None else older_than_h * 3600,
    )


def _listed(row: Mapping[str, Any]) -> dict[str, object]:
    shown = {**row, "entity": f"{row['entity_type']} {row['entity_key']}", "age_h": round(row["age_s"] / 3600, 1)}
    return {name: shown[name] for name in _LISTED}


def _decided(row: Mapping[str, Any]) -> dict[str, object]:
    return {name: row[name] for name in ("id", "entity_type", "entity_key", "field", "decision", "ours", "theirs", "resolution")}


def _value(text: str | None) -> Any:  # noqa: ANN401 - any value of a field
    import orjson  # noqa: PLC0415

    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _engine() -> "sa.Engine":
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415 - loads SQLAlchemy

    return shared_engine(cmms_address(read_settings()))

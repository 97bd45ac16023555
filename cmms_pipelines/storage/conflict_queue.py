"""The queue of conflicts as people work it: resolve one or many, and undo a decision, be it a person's or a rule's.

What belongs here: changing the queue with optimistic versions, and its audit. What does not: finding conflicts
(`storage.conflict_search`), how they come and end by themselves (`storage.conflict_records`), what a decision means for an entity
(`storage.conflict_sides`).

A resolution says what our side is from now on, and that the source's statement is settled; the entity is then merged once more,
so that what hangs on the field follows. An undo restores value, edit and base as they were, and puts the question back into the
queue.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import JsonValue, ValidationError

from cmms_pipelines.domain.assets import ATTRIBUTE
from cmms_pipelines.domain.comparing import compared_form, kind_of
from cmms_pipelines.domain.errors import NotFoundError, PermanentError, VersionConflictError
from cmms_pipelines.domain.falling_meters import METER, corrections
from cmms_pipelines.domain.local_edits import WORK_ORDER, EquipmentEdit, WorkOrderEdit
from cmms_pipelines.storage.conflict_records import undo_state
from cmms_pipelines.storage.conflict_search import ConflictFilter, find_conflicts
from cmms_pipelines.storage.conflict_sides import side_of
from cmms_pipelines.storage.machine_merges import load_machines
from cmms_pipelines.storage.tables import audit_log, sync_conflicts
from cmms_pipelines.storage.work_order_rows import load_orders

AT_ONCE = 1_000
_conflicts = sync_conflicts.c


class Choice(StrEnum):
    """What a person decides."""

    OURS = "ours"
    """Our value stays, and what the source stated is settled: a newer statement of it is judged afresh."""
    THEIRS = "theirs"
    """The source's value is taken over, and the local edit is over."""
    BY_HAND = "by_hand"
    """Another value, as a local edit of whoever decides."""


@dataclass(frozen=True)
class Resolution:
    """What to decide, by whom and why; `value` counts for `by_hand` alone."""

    choice: Choice
    actor: str
    reason: str
    value: JsonValue = None
    run_id: str | None = None


def resolve(
    connection: sa.Connection, conflict_id: int, resolution: Resolution, *, now: datetime, expected_version: int | None = None
) -> dict[str, Any]:
    """Decide a conflict; return its row. Deciding it again in the same way changes nothing.

    Raises:
        NotFoundError: there is no such conflict.
        VersionConflictError: it is at another version than `expected_version`, or decided otherwise already.
        PermanentError: no reason, or the value does not fit the field.
    """
    if not resolution.reason.strip():
        raise PermanentError("Say why: the reason is kept with the decision.")
    conflict = _locked(connection, conflict_id)
    if conflict["status"] != "open":
        if _is_same(conflict, resolution):
            return conflict
        raise VersionConflictError(f"Conflict {conflict_id} is {conflict['status']} already.", conflict["version"])
    _expect(conflict, expected_version)
    field, side = conflict["field"], side_of(connection, conflict)
    ours = side.values.get(field)
    state = undo_state(ours, side.edits.get(field), side.agreed, field)
    if resolution.choice is Choice.THEIRS:
        side.take_over(field, conflict["theirs"])
    elif resolution.choice is Choice.OURS:
        side.settle(field, conflict["theirs"])
    else:
        side.edit(field, _fitting(conflict, resolution.value), resolution.actor, now)
        side.settle(field, conflict["theirs"])
    closed = {
        "status": "resolved",
        "decision": resolution.choice.value,
        "resolved_by": resolution.actor,
        "resolved_at": sa.func.now(),
        "resolution_reason": resolution.reason,
        "undo_state": state,
    }
    _change(connection, conflict_id, closed)
    side.write()
    value = side.read(field)
    _change(connection, conflict_id, {"resolution": sa.null() if value is None else value, "version": _conflicts.version})
    side.note_status(ours, value, resolution.actor, resolution.reason, now)
    _audit(connection, "conflict.resolved", conflict, ours, value, by=resolution)
    return _row(connection, conflict_id)


def resolve_all(
    connection: sa.Connection, wanted: ConflictFilter, resolution: Resolution, *, now: datetime, limit: int = AT_ONCE
) -> list[dict[str, Any]]:
    """Decide all open conflicts that a filter finds, the oldest first; return their rows.

    Raises:
        PermanentError: nothing restricts the choice, no reason, or values by hand, which are for one conflict alone.
    """
    if resolution.choice is Choice.BY_HAND:
        raise PermanentError("A value by hand is for one conflict: name its id.")
    if wanted.is_everything:
        raise PermanentError("Say which conflicts: by id, entity, system, field, rule, severity or age.")
    if not resolution.reason.strip():
        raise PermanentError("Say why: the reason is kept with each decision.")
    found = find_conflicts(connection, replace(wanted, statuses=("open",)), limit=limit, is_oldest_first=True)
    resolved = []
    for row in found:
        with suppress(VersionConflictError):  # it ended by itself since, or with one before it
            resolved.append(resolve(connection, row["id"], resolution, now=now))
    return resolved


def undo(
    connection: sa.Connection,
    conflict_id: int,
    *,
    actor: str,
    reason: str,
    now: datetime,
    expected_version: int | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    """Take back a decision of a person or of a rule; return the conflict that is open instead.

    No rule decides the same statement again: that is left to a person.

    Raises:
        NotFoundError: there is no such conflict.
        VersionConflictError: it is at another version than `expected_version`; or its field, or what the source says of it, has
            changed since the decision.
        PermanentError: no reason, or the conflict was not decided.
    """
    if not reason.strip():
        raise PermanentError("Say why: the reason is kept with the decision.")
    conflict = _locked(connection, conflict_id)
    _expect(conflict, expected_version)
    if conflict["status"] != "resolved":
        raise PermanentError(f"Conflict {conflict_id} is {conflict['status']}: only a decision can be undone.")
    field, side = conflict["field"], side_of(connection, conflict)
    state = conflict["undo_state"]
    is_as_left = _means(field, side.values.get(field)) == _means(field, conflict["resolution"])
    if not is_as_left or _means(field, side.stated(field)) != _means(field, conflict["theirs"]):
        raise VersionConflictError(f"{field} has changed since the decision: it cannot be undone any more.", conflict["version"])
    if connection.scalar(sa.select(sa.exists().where(*_same_field(conflict), _conflicts.status == "open"))):
        raise VersionConflictError(f"A newer conflict on {field} is open: decide that one.", conflict["version"])
    _change(connection, conflict_id, {"status": "undone"})
    names = [*_OPENED, "cmms_system_id", "entity_type", "entity_key", "field"]
    opened = {name: conflict[name] for name in names} | {"is_reopened": True, "reason": f"undone by {actor}: {reason}"}
    opened |= {name: sa.null() for name in ("base", "ours", "theirs") if opened[name] is None}
    identifier: int = connection.execute(sa.insert(sync_conflicts).values(**opened).returning(_conflicts.id)).scalar_one()
    before = side.values.get(field)
    side.restore(field, state)
    side.write()
    resolution = Resolution(Choice.OURS, actor, reason, run_id=run_id)
    value = side.read(field)
    side.note_status(before, value, actor, reason, now)
    _audit(connection, "conflict.undone", conflict, before, value, by=resolution)
    return _row(connection, identifier)


_OPENED = ("base", "ours", "theirs", "rule", "severity", "ours_by", "ours_at", "theirs_at", "hook_id")


def _locked(connection: sa.Connection, conflict_id: int) -> dict[str, Any]:
    """Return a conflict after its entity is locked: whoever applies events locks the entity first as well."""
    known = _row(connection, conflict_id)
    if known["entity_type"] == WORK_ORDER:
        load_orders(connection, [(known["cmms_system_id"], known["entity_key"])])
    else:
        load_machines(connection, [known["entity_key"]])
    connection.execute(sa.select(_conflicts.id).where(_conflicts.id == conflict_id).with_for_update())
    return _row(connection, conflict_id)


def _row(connection: sa.Connection, conflict_id: int) -> dict[str, Any]:
    found = connection.execute(sa.select(sync_conflicts).where(_conflicts.id == conflict_id)).mappings().one_or_none()
    if found is None:
        raise NotFoundError(f"There is no conflict {conflict_id}.")
    return dict(found)


def _change(connection: sa.Connection, conflict_id: int, values: Mapping[str, Any]) -> None:
    statement = sa.update(sync_conflicts).where(_conflicts.id == conflict_id)
    connection.execute(statement.values(**{"version": _conflicts.version + 1, **values}))


def _expect(conflict: Mapping[str, Any], expected: int | None) -> None:
    if expected is not None and conflict["version"] != expected:
        message = f"Conflict {conflict['id']} is at version {conflict['version']} by now: read it again."
        raise VersionConflictError(message, conflict["version"])


def _is_same(conflict: Mapping[str, Any], resolution: Resolution) -> bool:
    if conflict["status"] != "resolved" or conflict["decision"] != resolution.choice.value:
        return False
    wanted = conflict["resolution"]
    if resolution.choice is Choice.BY_HAND:
        wanted = _fitting(conflict, resolution.value) if conflict["entity_type"] == METER else resolution.value
    return _means(conflict["field"], wanted) == _means(conflict["field"], conflict["resolution"])


def _same_field(conflict: Mapping[str, Any]) -> Sequence[sa.ColumnElement[bool]]:
    return [_conflicts[name] == conflict[name] for name in ("cmms_system_id", "entity_type", "entity_key", "field")]


def _means(field: str, value: JsonValue) -> JsonValue:
    return compared_form(kind_of(field), value)


def _fitting(conflict: Mapping[str, Any], value: JsonValue) -> JsonValue:
    """Return a value by hand as its field takes it."""
    field = str(conflict["field"])
    if conflict["entity_type"] == METER:
        return corrections(value, conflict["theirs"])
    form = WorkOrderEdit if conflict["entity_type"] == WORK_ORDER else EquipmentEdit
    attribute = field.removeprefix(ATTRIBUTE)
    given: dict[str, Any] = {"attributes": {attribute: value}} if field.startswith(ATTRIBUTE) else {field: value}
    try:
        return form.model_validate(given).fields()[field]
    except ValidationError as error:
        problems = "; ".join(problem["msg"] for problem in error.errors(include_input=False, include_url=False))
        raise PermanentError(f"The value does not fit {field}: {problems}.") from error


def _audit(
    connection: sa.Connection, action: str, conflict: Mapping[str, Any], before: JsonValue, after: JsonValue, *, by: Resolution
) -> None:
    about = {"field": conflict["field"], "conflict_id": conflict["id"], "cmms_system_id": conflict["cmms_system_id"]}
    decision = by.choice.value if action == "conflict.resolved" else conflict["decision"]
    connection.execute(
        sa.insert(audit_log).values(
            actor=by.actor,
            action=action,
            entity_type=conflict["entity_type"],
            entity_key=conflict["entity_key"],
            before=orjson.loads(orjson.dumps({**about, "value": before, "theirs": conflict["theirs"], "base": conflict["base"]})),
            after=orjson.loads(orjson.dumps({**about, "value": after, "decision": decision})),
            reason=by.reason,
            dagster_run_id=by.run_id,
        )
    )

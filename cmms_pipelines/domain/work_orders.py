"""What an event changes on a work order; decides and explains, and neither stores nor reads a clock.

What belongs here: the state of an order as its source tells it, and how one event moves it. What does not: edits of our own side
(they meet this state in the conflict engine) and the table that holds the order (`storage.work_order_effects`).

The state is the same for every order of arrival: fields are registers in which the newest statement wins, the status follows
from the set of all statements about it, notes are a set.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import JsonValue

from cmms_pipelines.domain.event_payloads import WorkOrderPayload, stated_fields
from cmms_pipelines.domain.payload_types import STATUS_RANK, WorkOrderStatus
from cmms_pipelines.domain.registers import FieldChange, Registers, stamp, to_json, to_millisecond
from cmms_pipelines.domain.status_lattice import DONE

_STAGES = {
    "work_order_created": "created",
    "work_order_closed": "closed",
    "maintenance_completed": "closed",
    "maintenance_cancelled": "closed",
}
_IMPLIED_STATUS = {
    "work_order_created": WorkOrderStatus.OPEN,
    "work_order_closed": WorkOrderStatus.CLOSED,
    "maintenance_scheduled": WorkOrderStatus.SCHEDULED,
    "maintenance_completed": WorkOrderStatus.COMPLETED,
    "maintenance_cancelled": WorkOrderStatus.CANCELLED,
}
RECORDED = "work_order_recorded"
"""Told by the external API, not by an event: the whole order as it stands."""
_CREATING = ("work_order_created", "maintenance_scheduled", RECORDED)
_LIFE = ("started_at", "completed_at", "closed_at")
_NOT_REGISTERS = ("work_order_number", "status", "notes")

_RANKS: Mapping[str, int] = {status.value: rank for status, rank in STATUS_RANK.items()}

StatusStatement = tuple[datetime, str]


@dataclass(frozen=True)
class WorkOrderEvent:
    """One event about an order. `stated_at` is the source's time, or that of its arrival when the source gives none."""

    event_type: str
    payload: WorkOrderPayload
    stated_at: datetime
    has_source_time: bool


@dataclass(frozen=True)
class WorkOrder:
    """An order as its source tells it; `is_partial` until the event that creates it has arrived.

    `is_timed`: every statement so far came with the source's own time, so that its times can be compared with ours.
    """

    registers: Registers
    statuses: tuple[StatusStatement, ...]
    notes: tuple[JsonValue, ...]
    is_partial: bool
    source_updated_at: datetime | None
    is_timed: bool = True

    def stated_at(self) -> dict[str, datetime | None]:
        """Return when the source stated each field of `values`, as far as that is known."""
        status_at = self.statuses[-1][0] if self.statuses else None
        return {**dict.fromkeys(_LIFE, status_at), **self.registers.times, "status": status_at}

    def values(self) -> dict[str, JsonValue]:
        """Return the fields of the order, with the status and its times derived from all statements."""
        derived = _life(self.statuses)
        values = {**self.registers.values, **derived, "notes": list(self.notes)}
        for field in _LIFE:
            values[field] = self._reached_at(field, derived[field])
        return values

    def _reached_at(self, field: str, derived: JsonValue) -> JsonValue:
        """Return the time that the source gives for a step, unless it was given before the order reached that step (again)."""
        stated, stated_at = self.registers.values.get(field), self.registers.times.get(field)
        if field == "started_at":
            return stated or derived
        is_of_this_life = stated_at is not None and derived is not None and to_millisecond(stated_at).isoformat() >= str(derived)
        return stated if stated and is_of_this_life else derived


NEW = WorkOrder(Registers({}, {}), (), (), True, None)


@dataclass(frozen=True)
class Change:
    """What an event did: the order after it, and field by field what was taken over, what was ignored and why."""

    work_order: WorkOrder
    fields: tuple[FieldChange, ...]
    is_new_state: bool
    """False when a replay finds nothing to do."""


def apply(current: WorkOrder | None, event: WorkOrderEvent) -> Change:
    """Return what `event` makes of `current` (None: an order never heard of).

    - A statement older than the one that is held is ignored, field by field.
    - The status is that of the newest statement, so an order can be reopened at its source; of two statements with the same time
      the further one counts. A statement without a source time moves the status forward only.
    - An update that arrives before the creation makes a partial order in status `requested`, which the creation completes.
    """
    before = current or NEW
    registers = before.registers.copy()
    stated_at = stamp(event.stated_at, _STAGES.get(event.event_type, "updated"))
    stated = stated_fields(event.payload)
    taken = [
        registers.take(field, to_json(value), stated_at) for field, value in sorted(stated.items()) if field not in _NOT_REGISTERS
    ]
    status, statuses = _status_change(before, event, stated_at)
    after = WorkOrder(
        registers=registers,
        statuses=statuses,
        notes=_joined(before.notes, event.payload.notes or []),
        is_partial=before.is_partial and event.event_type not in _CREATING,
        source_updated_at=max(filter(None, (before.source_updated_at, to_millisecond(event.stated_at)))),
        is_timed=before.is_timed and event.has_source_time,
    )
    fields = [change for change in (*taken, status) if change is not None]
    if after.notes != before.notes:
        fields.append(FieldChange("notes", list(before.notes), list(after.notes), True, "notes are added, never taken away"))
    return Change(after, tuple(fields), is_new_state=current is None or replace(after) != before)


def _status_change(
    before: WorkOrder, event: WorkOrderEvent, stated_at: datetime
) -> tuple[FieldChange | None, tuple[StatusStatement, ...]]:
    wanted = event.payload.status or _IMPLIED_STATUS.get(event.event_type)
    if wanted is None:
        return None, before.statuses
    known = _life(before.statuses)["status"]
    is_backward = STATUS_RANK[wanted] < STATUS_RANK[WorkOrderStatus(str(known))]
    if before.statuses and is_backward and not event.has_source_time:
        reason = "without a source time a status only moves forward"
        return FieldChange("status", known, wanted.value, False, reason), before.statuses
    statuses = tuple(sorted({*before.statuses, (stated_at, wanted.value)}, key=_status_order))
    now = _life(statuses)["status"]
    if before.statuses and now == known:
        if now == wanted:
            return None, statuses
        return FieldChange("status", known, wanted.value, False, "older than what the source said since"), statuses
    reason = (
        "first statement of the source"
        if not before.statuses
        else "reopened at the source"
        if is_backward
        else "newer at the source"
    )
    return FieldChange("status", known if before.statuses else None, now, True, reason), statuses


def _status_order(statement: StatusStatement) -> tuple[datetime, int]:
    return statement[0], _RANKS[statement[1]]


def _life(statuses: tuple[StatusStatement, ...]) -> dict[str, JsonValue]:
    """Return the status that the statements lead to, and when the order was started, completed and closed."""
    started_at = completed_at = closed_at = None
    status: str = WorkOrderStatus.REQUESTED.value
    for stated_at, name in statuses:
        status = name
        if status == WorkOrderStatus.IN_PROGRESS:
            started_at = started_at or to_millisecond(stated_at).isoformat()
        if status not in DONE:
            completed_at = closed_at = None
            continue
        completed_at = completed_at or to_millisecond(stated_at).isoformat()
        closed_at = (closed_at or to_millisecond(stated_at).isoformat()) if status == WorkOrderStatus.CLOSED else None
    return {"status": status, "started_at": started_at, "completed_at": completed_at, "closed_at": closed_at}


def _joined(known: tuple[JsonValue, ...], added: list[JsonValue]) -> tuple[JsonValue, ...]:
    if not added:
        return known
    by_text = {json.dumps(note, sort_keys=True): note for note in (*known, *added)}
    return tuple(by_text[text] for text in sorted(by_text, key=lambda text: (_written_at(by_text[text]), text)))


def _written_at(note: JsonValue) -> str:
    return str(note.get("at") or note.get("created_at") or "") if isinstance(note, dict) else ""

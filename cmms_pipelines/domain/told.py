"""An entity as its source tells it: registers of fields, and when each type of event about it was first and last told.

What belongs here: what failures, inspections and items of a schedule have in common. What does not: which fields each has and
what follows from its events (`domain.failures`, `domain.inspections`, `domain.schedules`), work orders and machines.

The state is the same for every order of arrival: in each field the newest statement wins, and of the events themselves only the
earliest and the latest time by type are kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue

from cmms_pipelines.domain.maintenance_payloads import FailurePayload, InspectionPayload, SchedulePayload
from cmms_pipelines.domain.registers import FieldChange, Registers, stamp, to_json, to_millisecond

MaintenancePayload = FailurePayload | InspectionPayload | SchedulePayload
Values = dict[str, JsonValue]

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Statement:
    """One event. `stated_at` is the source's time, or that of its arrival when the source gives none."""

    event_type: str
    payload: MaintenancePayload
    stated_at: datetime
    has_source_time: bool


@dataclass(frozen=True)
class Told:
    """Everything that a source has told of one entity."""

    registers: Registers
    first: Mapping[str, datetime]
    last: Mapping[str, datetime]
    source_updated_at: datetime | None = None


NOTHING = Told(Registers({}, {}), {}, {})


@dataclass(frozen=True)
class Family:
    """What one kind of entity is.

    Attributes:
        entity_type: its name in `cmms.source_snapshots` and in the outcomes of events.
        key_of: how its source names it.
        stages: event type to the stage of `domain.registers` that decides between statements of the same millisecond.
        stated: the fields that an event states, with their values; null clears a field.
        derived: what follows for the row, by column, from everything that was told; columns that it leaves out are registers.
        never_undoes: an event type that undoes no other one unless the source gives its time.
    """

    entity_type: str
    key_of: Callable[[Statement], str]
    stages: Mapping[str, str]
    stated: Callable[[Statement], Values]
    derived: Callable[[Told], Values]
    never_undoes: str | None = None

    def values(self, told: Told) -> Values:
        """Return the entity's fields."""
        return {**told.registers.values, **self.derived(told)}


@dataclass(frozen=True)
class Change:
    """What an event did: the entity after it, and field by field what was taken over, what was ignored and why."""

    told: Told
    fields: tuple[FieldChange, ...]
    is_new_state: bool


def apply(current: Told | None, statement: Statement, family: Family) -> Change:
    """Return what an event makes of an entity (None: never heard of).

    A statement older than the one that is held is ignored, field by field; a repeated one changes nothing.
    """
    before = current or NOTHING
    registers = before.registers.copy()
    moment = stamp(statement.stated_at, family.stages[statement.event_type])
    taken = [registers.take(field, value, moment) for field, value in sorted(family.stated(statement).items())]
    is_timeless = statement.event_type == family.never_undoes and not statement.has_source_time
    told_at = _LONG_AGO if is_timeless else to_millisecond(statement.stated_at)
    after = Told(
        registers=registers,
        first=_merged(before.first, statement.event_type, told_at, min),
        last=_merged(before.last, statement.event_type, told_at, max),
        source_updated_at=_newest(before.source_updated_at, statement),
    )
    status = _status_change(family, current, after)
    fields = tuple(change for change in (*taken, status) if change is not None)
    return Change(after, fields, is_new_state=current is None or after != before)


def fields_of(statement: Statement, *left_out: str) -> Values:
    """Return the fields that a payload states, `updated_at`, `left_out` and a machine that is null left out."""
    payload = statement.payload
    names = payload.model_fields_set - {"updated_at", *left_out}
    if payload.equipment_number is None:
        names -= {"equipment_number"}
    return {name: to_json(getattr(payload, name)) for name in names}


def _newest(known: datetime | None, statement: Statement) -> datetime | None:
    if not statement.has_source_time:
        return known
    stated_at = to_millisecond(statement.stated_at)
    return stated_at if known is None else max(known, stated_at)


def _merged(
    times: Mapping[str, datetime], event_type: str, told_at: datetime, choose: Callable[[datetime, datetime], datetime]
) -> Mapping[str, datetime]:
    return {**times, event_type: choose(times.get(event_type, told_at), told_at)}


def _status_change(family: Family, current: Told | None, after: Told) -> FieldChange | None:
    known = family.derived(current)["status"] if current is not None else None
    status = family.derived(after)["status"]
    if status == known:
        return None
    reason = "first statement of the source" if known is None else "follows from what the source has told"
    return FieldChange("status", known, status, True, reason)

"""An entity whose conflict is decided or taken back: row, edits and what was agreed, loaded, changed and merged once more.

What belongs here: what a decision means for a work order, a machine and a meter. What does not: whether somebody may decide
(`storage.conflict_queue`), the merge (`storage.work_order_effects`, `storage.machine_merges`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from cmms_pipelines.domain.claimed_machines import EXTERNAL_API
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.falling_meters import METER, READINGS, marks_by_hand
from cmms_pipelines.domain.local_edits import EQUIPMENT, WORK_ORDER, LocalEdit, from_stored
from cmms_pipelines.storage.falling_meters import mark, readings_in_question
from cmms_pipelines.storage.local_edits import ANY_SYSTEM, change_edits, load_edits
from cmms_pipelines.storage.machine_days import work_out_days
from cmms_pipelines.storage.machine_merges import judge_machines, load_machines, remember_masters, update_machines
from cmms_pipelines.storage.snapshots import Key, Snapshot, load_snapshots, write_snapshots
from cmms_pipelines.storage.work_order_effects import judge_orders
from cmms_pipelines.storage.work_order_history import ChangedBy, StatusChange, record_status_changes
from cmms_pipelines.storage.work_order_rows import fields_of, load_orders


class Side:
    """An entity whose conflict is worked on: its row, edits and bases, locked; `write` merges it once more."""

    entity_type: str

    def __init__(self, connection: sa.Connection, conflict: Mapping[str, Any]) -> None:
        self.connection, self.conflict = connection, conflict
        self.system, self.entity_key = str(conflict["cmms_system_id"]), str(conflict["entity_key"])
        self.load()
        self.known_edits = load_edits(connection, self.entity_type, [self.edit_key]).get(self.edit_key, {})
        self.edits: dict[str, LocalEdit] = dict(self.known_edits)

    values: dict[str, JsonValue]
    snapshots: dict[str, Snapshot]
    agreed: dict[str, JsonValue]

    @property
    def edit_key(self) -> Key:
        raise NotImplementedError

    def load(self) -> None:
        """Read row and statements, locked."""
        raise NotImplementedError

    def write(self) -> None:
        """Store edits and bases, and merge the entity once more."""
        raise NotImplementedError

    def read(self, field: str) -> JsonValue:
        """Return what the row says now."""
        self.load()
        return self.values.get(field)

    def stated(self, field: str) -> JsonValue:
        """Return what the source states now."""
        raise NotImplementedError

    def take_over(self, field: str, value: JsonValue) -> None:
        """Make the source's value ours; the edit is over."""
        self.edits.pop(field, None)
        self.agreed.pop(field, None)
        self.values[field] = value

    def settle(self, field: str, theirs: JsonValue) -> None:
        """Make the source's statement the base of the next merge: only a newer one counts."""
        self.agreed[field] = theirs

    def edit(self, field: str, value: JsonValue, actor: str, now: datetime) -> None:
        """Make a value by hand our edit."""
        known = self.edits.get(field)
        made = LocalEdit(field, value, self.conflict["base"], actor, now)
        self.edits[field] = known.changed_to(value, by=actor, at=now) if known else made
        self.values[field] = value

    def restore(self, field: str, state: Mapping[str, Any]) -> None:
        """Bring value, edit and base back to what a decision had found (`conflict_records.undo_state`)."""
        self.values[field] = state["value"]
        self.edits.pop(field, None)
        if state["edit"] is not None:
            self.edits[field] = from_stored(state["edit"])
        self.agreed.pop(field, None)
        if "agreed" in state:
            self.agreed[field] = state["agreed"]

    def note_status(self, before: JsonValue, after: JsonValue, actor: str, reason: str, now: datetime) -> None:
        """Enter the step of an order's status that a decision has made; nothing else has steps."""

    def _write_edits(self) -> None:
        change_edits(self.connection, self.entity_type, {self.edit_key: self.known_edits}, {self.edit_key: self.edits})


class OrderSide(Side):
    entity_type = WORK_ORDER

    @property
    def edit_key(self) -> Key:
        return self.system, self.entity_key

    def load(self) -> None:
        key = self.edit_key
        self.values = fields_of(load_orders(self.connection, [key])[key])
        found = load_snapshots(self.connection, WORK_ORDER, [key])
        self.snapshots = {self.system: found[key]} if key in found else {}
        self.agreed = dict(found[key].agreed) if key in found else {}

    def stated(self, field: str) -> JsonValue:
        snapshot = self.snapshots.get(self.system)
        return (
            self.conflict["theirs"]
            if snapshot is None or field not in snapshot.registers.values
            else snapshot.registers.values[field]
        )

    def write(self) -> None:
        self._write_edits()
        if self.system in self.snapshots:
            write_snapshots(
                self.connection, WORK_ORDER, {self.edit_key: replace(self.snapshots[self.system], agreed=self.agreed)}
            )
        judge_orders(self.connection, [self.edit_key])

    def note_status(self, before: JsonValue, after: JsonValue, actor: str, reason: str, now: datetime) -> None:
        if self.conflict["field"] == "status" and before != after:
            step = StatusChange(*self.edit_key, str(before), str(after), now, ChangedBy.RESOLUTION, actor, reason)
            record_status_changes(self.connection, [step])


class MachineSide(Side):
    entity_type = EQUIPMENT

    @property
    def edit_key(self) -> Key:
        return ANY_SYSTEM, self.entity_key

    def load(self) -> None:
        self.machines = load_machines(self.connection, [self.entity_key])
        self.values = self.machines.rows[self.entity_key]
        self.snapshots = {system: found for (system, _), found in self.machines.snapshots.items()}
        self.agreed = dict(self._own.agreed)

    @property
    def _source(self) -> str:
        """The system whose snapshot has what the conflict calls theirs."""
        snapshot = self.snapshots.get(self.system)
        is_its_own = snapshot is not None and self.conflict["field"] in snapshot.registers.values
        return self.system if is_its_own else EXTERNAL_API

    @property
    def _own(self) -> Snapshot:
        return self.snapshots[self._source]

    def stated(self, field: str) -> JsonValue:
        return self._own.registers.values.get(field)

    def take_over(self, field: str, value: JsonValue) -> None:
        super().take_over(field, value)
        self._settle_all(field)

    def settle(self, field: str, theirs: JsonValue) -> None:
        super().settle(field, theirs)
        self._settle_all(field)

    def _settle_all(self, field: str) -> None:
        """What the other systems say of the field has lost for now as well; only something newer of theirs counts."""
        for system, snapshot in self.snapshots.items():
            if field in snapshot.registers.values:
                settled = {**snapshot.agreed, field: snapshot.registers.values[field]}
                self.snapshots[system] = replace(snapshot, agreed=settled)
        if field in self._own.registers.values:
            self.agreed[field] = self._own.registers.values[field]

    def write(self) -> None:
        self._write_edits()
        self.snapshots[self._source] = replace(self._own, agreed=self.agreed)
        kept = {(system, self.entity_key): snapshot for system, snapshot in self.snapshots.items()}
        write_snapshots(self.connection, EQUIPMENT, kept)
        field = str(self.conflict["field"])
        identifier = self.machines.ids[self.entity_key]
        update_machines(self.connection, {identifier: {field: self.values.get(field)}})
        remember_masters(self.connection, self.machines, [self.entity_key])
        judge_machines(self.connection, load_machines(self.connection, [self.entity_key]), [self.entity_key])


class MeterSide(Side):
    """Readings whose counter fell: taken over they are a reset, ours means that they do not count, by hand they are corrected."""

    entity_type = METER

    @property
    def edit_key(self) -> Key:
        return ANY_SYSTEM, self.entity_key

    def load(self) -> None:
        self.readings = readings_in_question(self.connection, self.entity_key, self.system, self.conflict["theirs"])
        standing: list[JsonValue] = [one.standing for one in self.readings if one.standing is not None]
        self.values = {READINGS: standing or self.conflict["ours"]}
        self.snapshots, self.agreed = {}, {}
        self.marks: Mapping[tuple[int, date], Mapping[str, Any]] = {}

    def stated(self, field: str) -> JsonValue:  # noqa: ARG002 - a meter has readings alone
        return [one.reading for one in self.readings]

    def take_over(self, field: str, value: JsonValue) -> None:  # noqa: ARG002
        self.marks = {one.day: {"is_accepted": True} for one in self.readings}

    def settle(self, field: str, theirs: JsonValue) -> None:  # noqa: ARG002
        self.marks = self.marks or {one.day: {"is_dismissed": True} for one in self.readings}

    def edit(self, field: str, value: JsonValue, actor: str, now: datetime) -> None:  # noqa: ARG002
        self.marks = {one.day: marks_by_hand(value, one.reading["at"]) for one in self.readings}

    def restore(self, field: str, state: Mapping[str, Any]) -> None:  # noqa: ARG002
        self.marks = {}

    def write(self) -> None:
        days = mark(self.connection, self.readings, self.marks)
        work_out_days(self.connection, dict.fromkeys(days))


_SIDES: Mapping[str, Callable[[sa.Connection, Mapping[str, Any]], Side]] = {
    WORK_ORDER: OrderSide,
    EQUIPMENT: MachineSide,
    METER: MeterSide,
}


def side_of(connection: sa.Connection, conflict: Mapping[str, Any]) -> Side:
    """Return the entity of a conflict, locked until the transaction ends.

    Raises:
        PermanentError: it is not there any more.
    """
    try:
        return _SIDES[conflict["entity_type"]](connection, conflict)
    except KeyError as error:
        raise PermanentError(f"The {conflict['entity_type']} {conflict['entity_key']} is not there any more.") from error

"""Edits made here: what may be edited, and what becomes of an edit once the source has said something too.

What belongs here: the forms of an edit, the edit in force, and what one merge makes of edits and waiting conflicts.
What does not: the rules of the merge (`domain.conflicts`), and storing any of it (`storage.local_edits`).

An edit is in force from when it is made until the source says the same, or until its value has given way to the source's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from cmms_pipelines.domain.assets import ATTRIBUTE
from cmms_pipelines.domain.conflict_cases import Base, Case, Decision, Delivery, Operation, Side, Values, Verdict
from cmms_pipelines.domain.conflict_policy import ConflictPolicy
from cmms_pipelines.domain.conflicts import fingerprint_of_field, merge
from cmms_pipelines.domain.payload_types import Deadline, EntityNumber, Instant, Money, Priority, Status, WorkOrderStatus
from cmms_pipelines.domain.registers import to_json

WORK_ORDER = "work_order"
EQUIPMENT = "equipment"
MAX_EARLIER_VALUES = 20


class _Edit(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    @model_validator(mode="after")
    def _says_something(self) -> "_Edit":
        if not self.model_fields_set:
            raise ValueError("name at least one field")
        return self

    def fields(self) -> dict[str, JsonValue]:
        """Return the fields that are named, null ones included, as they are kept."""
        return {name: to_json(getattr(self, name)) for name in sorted(self.model_fields_set)}


class WorkOrderEdit(_Edit):
    """What to change on a work order: fields left out stay, null clears one."""

    status: Status | None = Field(default=None, description="where the work stands", examples=["in_progress"])
    priority: Priority | None = Field(default=None, examples=["high"])
    title: Annotated[str, Field(max_length=255)] | None = None
    description: Annotated[str, Field(max_length=100_000)] | None = None
    work_type: Annotated[str, Field(max_length=50)] | None = None
    assignee: Annotated[str, Field(max_length=200)] | None = None
    due_at: Deadline | None = Field(default=None, description="a date alone means its last second, UTC")
    scheduled_at: Instant | None = None
    started_at: Instant | None = None
    completed_at: Instant | None = None
    closed_at: Instant | None = None
    cost: Money | None = Field(default=None, examples=["1250.00"])
    currency: Annotated[str, Field(min_length=3, max_length=3)] | None = None
    parts: Annotated[list[JsonValue], Field(max_length=1000)] | None = Field(default=None, description="all of them")
    tags: Annotated[list[str], Field(max_length=1000)] | None = Field(default=None, description="all of them")
    notes: Annotated[list[JsonValue], Field(max_length=1000)] | None = Field(
        default=None, description="to be added; notes are never taken away"
    )
    equipment_number: EntityNumber | None = Field(default=None, max_length=50, description="the machine")

    @model_validator(mode="after")
    def _has_a_status(self) -> "WorkOrderEdit":
        if "status" in self.model_fields_set and self.status is None:
            raise ValueError("an order always has a status")
        return self


LOCAL = "local"
"""The system of orders that are made here, unless another is named."""


class NewWorkOrder(WorkOrderEdit):
    """A work order that is made here, for a machine; what the edits of an order may say, and whose it is.

    Name the system and its number of the order where the CMMS has one already or will have: what it says of that order is merged
    with what was entered here.
    """

    title: Annotated[str, Field(min_length=1, max_length=255)] = Field(examples=["Bearing runs hot"])
    equipment_number: EntityNumber = Field(max_length=50, description="the machine")
    status: Status = Field(default=WorkOrderStatus.OPEN, description="where the work stands")
    cmms_system_id: Annotated[str, Field(min_length=1, max_length=100)] = Field(default=LOCAL, description="whose order it is")
    work_order_number: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="its number there; left out: one is given here"
    )

    def fields(self) -> dict[str, JsonValue]:
        """Return what the order says, its status included."""
        named = super().fields() | {"status": to_json(self.status)}
        return {name: value for name, value in named.items() if name not in {"cmms_system_id", "work_order_number"}}


class EquipmentEdit(_Edit):
    """What to change on a machine: fields left out stay, null clears one."""

    equipment_description: Annotated[str, Field(max_length=255)] | None = None
    object_number: Annotated[str, Field(max_length=50)] | None = None
    point: Annotated[str, Field(max_length=50)] | None = None
    company_code: Annotated[str, Field(max_length=10)] | None = None
    is_active: bool | None = None
    attributes: Annotated[dict[str, JsonValue], Field(max_length=200)] | None = Field(
        default=None, description="each by itself; null removes one", examples=[{"HERST": "AIRBUS"}]
    )

    @model_validator(mode="after")
    def _is_active_or_not(self) -> "EquipmentEdit":
        if "is_active" in self.model_fields_set and self.is_active is None:
            raise ValueError("a machine is active or not")
        return self

    def fields(self) -> dict[str, JsonValue]:
        """Return the fields that are named, each attribute as a field of its own."""
        named = super().fields()
        attributes = named.pop("attributes", None)
        return named | {f"{ATTRIBUTE}{key}": value for key, value in (attributes if isinstance(attributes, dict) else {}).items()}


@dataclass(frozen=True)
class LocalEdit:
    """One field that was edited here and has not been taken over or given up since.

    `base` is what both sides agreed on when the edit was made; `earlier_values` were written here before, the oldest first.
    """

    field: str
    value: JsonValue
    base: JsonValue
    edited_by: str
    edited_at: datetime
    earlier_values: tuple[JsonValue, ...] = ()

    def changed_to(self, value: JsonValue, *, by: str, at: datetime) -> "LocalEdit":
        """Return the edit after another one on top of it."""
        earlier = (*(one for one in self.earlier_values if one != value), self.value)[-MAX_EARLIER_VALUES:]
        return replace(self, value=value, edited_by=by, edited_at=at, earlier_values=earlier)


@dataclass(frozen=True)
class Waiting:
    """An open conflict on a field; `is_reopened`: a decision was undone, so that only a person decides on the same statement."""

    theirs: JsonValue
    is_reopened: bool = False


@dataclass(frozen=True)
class Statement:
    """What one source says of an entity that was edited here, or that others speak of as well.

    Attributes:
        row: our side: all fields as they are stored, the edits in force among them.
        agreed: what of the source's statements was settled last, where that is not told by `row` or the edit.
        contested: fields of which nothing was ever agreed, because another system has stated them first.
        received_at: when the newest of what the source says came in, by our clock.
        waiting: the open conflicts with this source.
    """

    entity_type: str
    row: Values
    edits: Mapping[str, LocalEdit]
    theirs: Side
    agreed: Values = field(default_factory=dict)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    claims: Mapping[str, Values] = field(default_factory=dict)
    contested: frozenset[str] = frozenset()
    operation: Operation = Operation.CHANGE
    received_at: datetime | None = None
    times: Mapping[str, datetime | None] = field(default_factory=dict)
    """When fields of ours were set that are no edits: by another system."""


@dataclass(frozen=True)
class Settled:
    """What a merge leaves behind.

    Attributes:
        values: the row.
        edits: those in force afterwards.
        agreed: the bases of the next merge with this source that nothing else tells.
        escalated: conflicts that wait for somebody.
        decided: true conflicts that a rule decided.
        over: fields whose conflict has ended by itself, with the reason.
    """

    values: Mapping[str, JsonValue]
    edits: Mapping[str, LocalEdit]
    agreed: Mapping[str, JsonValue]
    escalated: tuple[Decision, ...]
    decided: tuple[Decision, ...]
    over: Mapping[str, str]


def settle(statement: Statement, policy: ConflictPolicy) -> Settled:
    """Merge a source's statement with our side, and say what becomes of edits, bases and waiting conflicts."""
    ours = {**statement.row, **{name: edit.value for name, edit in statement.edits.items()}}
    base = {name: value for name, value in ours.items() if name not in statement.contested}
    base |= {name: None for name in statement.theirs.values if name not in ours and name not in statement.contested}
    base |= {name: edit.base for name, edit in statement.edits.items()} | dict(statement.agreed)
    merged = merge(
        Case(
            entity_type=statement.entity_type,
            base=Base(base),
            ours=Side(
                ours,
                {**statement.times, **{name: edit.edited_at for name, edit in statement.edits.items()}},
                writer=_last_writer(statement.edits),
            ),
            theirs=statement.theirs,
            operation=statement.operation,
            delivery=Delivery(received_at=statement.received_at, own_writes=_own_writes(statement)),
            claims=statement.claims,
        ),
        policy,
    )
    books = _Books(statement, base, dict(merged.values), dict(statement.edits), dict(statement.agreed))
    for decision in merged.decisions:
        books.enter(decision, merged.base.values)
    named = {decision.field for decision in merged.decisions}
    for name in statement.waiting.keys() - named:
        books.over[name] = "neither side differs from what was agreed any more"
    for name in statement.edits.keys() - named:
        books.end(name)
    return Settled(books.values, books.edits, books.agreed, tuple(books.escalated), tuple(books.decided), books.over)


@dataclass
class _Books:
    """What a merge changes, entered decision by decision."""

    statement: Statement
    base: Mapping[str, JsonValue]
    values: dict[str, JsonValue]
    edits: dict[str, LocalEdit]
    agreed: dict[str, JsonValue]
    escalated: list[Decision] = field(default_factory=list)
    decided: list[Decision] = field(default_factory=list)
    over: dict[str, str] = field(default_factory=dict)

    def enter(self, decision: Decision, next_base: Values) -> None:
        name = decision.field
        waiting = self.statement.waiting.get(name)
        if decision.verdict is Verdict.ESCALATED or self._is_for_a_person(decision, waiting):
            self.values[name] = decision.ours
            if decision.leader is None or decision.is_conflict or name in self.edits:
                self.escalated.append(decision)
                if name in self.base:
                    self._agree(name, self.base[name])
            return
        if decision.verdict is Verdict.IGNORED:
            return
        if decision.is_conflict:
            self.decided.append(decision)
        if waiting is not None and not decision.is_conflict:
            self.over[name] = decision.reason
        is_theirs = decision.verdict in {Verdict.TAKEN, Verdict.CONVERGED} or decision.value == decision.theirs
        if is_theirs and name in self.statement.theirs.values:
            self.end(name)
            return
        if name in self.edits and decision.verdict is Verdict.MERGED:
            self.edits[name] = replace(self.edits[name], value=decision.value)
        if name in self.edits or decision.is_conflict:
            self._agree(name, next_base.get(name))

    def end(self, name: str) -> None:
        """The two sides agree on the field: nothing more has to be known of it."""
        self.edits.pop(name, None)
        self.agreed.pop(name, None)

    def _agree(self, name: str, value: JsonValue) -> None:
        if name in self.edits and self.edits[name].base == value:
            self.agreed.pop(name, None)
        else:
            self.agreed[name] = value

    def _is_for_a_person(self, decision: Decision, waiting: Waiting | None) -> bool:
        return waiting is not None and waiting.is_reopened and decision.is_conflict and decision.theirs == waiting.theirs


def _last_writer(edits: Mapping[str, LocalEdit]) -> str:
    return max(edits.values(), key=lambda edit: edit.edited_at).edited_by if edits else ""


def _own_writes(statement: Statement) -> frozenset[str]:
    return frozenset(
        fingerprint_of_field(statement.entity_type, name, value)
        for name, edit in statement.edits.items()
        for value in edit.earlier_values
        if value != edit.base
    )


def as_stored(edit: LocalEdit | None) -> dict[str, Any] | None:
    """Return an edit as JSON takes it."""
    if edit is None:
        return None
    return {
        "field": edit.field,
        "value": edit.value,
        "base": edit.base,
        "edited_by": edit.edited_by,
        "edited_at": edit.edited_at.isoformat(),
        "earlier_values": list(edit.earlier_values),
    }


def from_stored(stored: Mapping[str, Any]) -> LocalEdit:
    """Return an edit from what `as_stored` or a row of `cmms.local_edits` says."""
    at = stored["edited_at"]
    return LocalEdit(
        field=stored["field"],
        value=stored["value"],
        base=stored["base"],
        edited_by=stored["edited_by"],
        edited_at=at if isinstance(at, datetime) else datetime.fromisoformat(at),
        earlier_values=tuple(stored["earlier_values"]),
    )

"""Work orders, machines and conflicts as the management API takes and gives them.

What belongs here: shapes with descriptions, for the OpenAPI. What does not: behaviour, and the shapes of everything else
(`schemas`).
"""

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from cmms_pipelines.domain.conflict_policy import ConflictPolicy
from cmms_pipelines.domain.local_edits import EquipmentEdit, NewWorkOrder, WorkOrderEdit
from cmms_pipelines.storage.conflict_queue import Choice


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


Reason = Annotated[str, Field(max_length=500)]
GivenReason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S", description="why; it is kept with the decision")]


class WorkOrderChange(_Input):
    """An edit of a work order."""

    version: Annotated[int, Field(ge=1)] = Field(description="the version that you have seen")
    changes: WorkOrderEdit
    reason: Reason | None = Field(default=None, description="for the audit log")


class WorkOrderWanted(_Input):
    """A work order to be made here."""

    order: NewWorkOrder
    reason: Reason | None = Field(default=None, description="for the audit log")


class EquipmentChange(_Input):
    """An edit of a machine."""

    version: Annotated[int, Field(ge=1)] = Field(description="the version that you have seen")
    changes: EquipmentEdit
    reason: Reason | None = Field(default=None, description="for the audit log")


class EditInForce(BaseModel):
    """A field that was edited here and that its source has not come to agree with."""

    field: str
    value: JsonValue
    base: JsonValue = Field(description="what both sides agreed on when it was edited")
    by: str
    at: dt.datetime


class WorkOrderSummary(BaseModel):
    """A work order as it stands here."""

    id: int
    cmms_system_id: str
    work_order_number: str
    status: str
    priority: str | None
    title: str | None
    equipment_number: str | None
    plant_code: str | None
    assignee: str | None
    due_at: dt.datetime | None
    is_partial: bool
    version: int
    updated_at: dt.datetime


class WorkOrderRecord(WorkOrderSummary):
    """A work order with everything that is stored of it."""

    description: str | None
    work_type: str | None
    scheduled_at: dt.datetime | None
    started_at: dt.datetime | None
    completed_at: dt.datetime | None
    closed_at: dt.datetime | None
    cost: str | None = Field(description="a decimal number")
    currency: str | None
    parts: list[JsonValue]
    tags: list[str]
    notes: list[JsonValue]
    source_updated_at: dt.datetime | None
    created_at: dt.datetime
    edits: list[EditInForce]
    open_conflicts: list[int] = Field(description="their ids")


class WorkOrderPage(BaseModel):
    """A page of work orders, the newest first."""

    work_orders: list[WorkOrderSummary]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one")


class EquipmentSummary(BaseModel):
    """A machine as it stands here."""

    id: int
    equipment_number: str
    plant_code: str
    equipment_group: str | None
    equipment_description: str | None
    is_active: bool
    version: int
    updated_at: dt.datetime


class EquipmentRecord(EquipmentSummary):
    """A machine with everything that is stored of its master data."""

    company_code: str | None
    object_number: str | None
    point: str | None
    attributes: dict[str, Any]
    api_created_at: dt.datetime | None
    created_at: dt.datetime
    edits: list[EditInForce]
    open_conflicts: list[int] = Field(description="their ids")


class EquipmentPage(BaseModel):
    """A page of machines, the newest first."""

    equipment: list[EquipmentSummary]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one")


class Conflict(BaseModel):
    """A field that both sides had changed: base, ours and theirs side by side, and what became of it."""

    id: int
    cmms_system_id: str
    entity_type: str
    entity_key: str
    field: str
    base: JsonValue = Field(description="what both sides agreed on last")
    ours: JsonValue
    ours_by: str | None
    ours_at: dt.datetime | None
    theirs: JsonValue
    theirs_at: dt.datetime | None = Field(description="by the source's clock")
    rule: str
    reason: str
    severity: str
    status: Literal["open", "resolved", "converged", "undone"]
    decision: Literal["ours", "theirs", "merged", "by_hand"] | None
    is_automatic: bool = Field(description="decided by a rule")
    is_reopened: bool = Field(description="a decision was undone")
    resolution: JsonValue = Field(description="the value that counts since")
    resolved_by: str | None
    resolved_at: dt.datetime | None
    resolution_reason: str | None
    occurrences: int
    created_at: dt.datetime
    last_seen_at: dt.datetime
    age_s: float = Field(description="until now, or until it was over")
    hook_id: uuid.UUID | None = Field(description="the event that brought it")
    version: int


class ConflictEvent(BaseModel):
    """The event that brought a conflict."""

    id: uuid.UUID
    event_type: str
    occurred_at: dt.datetime | None
    received_at: dt.datetime


class ConflictStep(BaseModel):
    """What was done about a conflict."""

    at: dt.datetime
    actor: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    dagster_run_id: str | None


class ConflictWithHistory(Conflict):
    """A conflict with where it came from and what was done about it."""

    event: ConflictEvent | None
    history: list[ConflictStep]


class ConflictPage(BaseModel):
    """A page of conflicts, the newest first."""

    conflicts: list[Conflict]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one")


class Decide(_Input):
    """What to decide."""

    choice: Choice
    value: JsonValue = Field(default=None, description="the value by hand; for the others left out")
    reason: GivenReason
    version: Annotated[int, Field(ge=1)] | None = Field(default=None, description="the version that you have seen")

    @model_validator(mode="after")
    def _has_a_value_where_it_takes_one(self) -> "Decide":
        if ("value" in self.model_fields_set) != (self.choice is Choice.BY_HAND):
            raise ValueError("a value belongs to the choice by_hand, and to no other")
        return self


class DecideMany(_Input):
    """Which open conflicts to decide, and how; what is left out does not restrict, but something must."""

    choice: Literal["ours", "theirs"]
    reason: GivenReason
    ids: Annotated[list[int], Field(max_length=1_000)] = []
    systems: list[str] = []
    entity_types: list[str] = []
    entity_keys: list[str] = []
    fields: list[str] = []
    rules: list[str] = []
    severities: list[str] = []
    older_than_s: Annotated[float, Field(ge=0)] | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 1_000
    dry_run: bool = Field(default=False, description="say what it would decide, and change nothing")


class DecidedMany(BaseModel):
    """What was decided, or would be."""

    is_dry_run: bool
    conflicts: list[Conflict]


class Undo(_Input):
    """Why to take a decision back."""

    reason: GivenReason
    version: Annotated[int, Field(ge=1)] | None = Field(default=None, description="the version that you have seen")


class QueueStatus(BaseModel):
    """How the queue stands."""

    open: int
    oldest_age_s: float | None
    counts: dict[str, int] = Field(description="open, decided_by_rule, decided_by_hand, converged, undone")
    by_severity: dict[str, int] = Field(description="open ones")
    by_rule: dict[str, int] = Field(description="open ones")


class Policy(BaseModel):
    """How conflicts with a system are decided."""

    cmms_system_id: str
    policy: ConflictPolicy
    version: int = Field(description="for If-Match of the next change; 0: the default policy")


class Policies(BaseModel):
    """The policies that are configured; other systems have the default one."""

    policies: list[Policy]


class PolicyRollback(_Input):
    """Which version's content becomes the newest version."""

    to_version: Annotated[int, Field(ge=0)] = Field(description="0: the default policy")

"""Payloads of events about machines that need attention: failures, inspections, and items of a maintenance plan.

What belongs here: their fields with accepted names, units and examples. What does not: work orders, master data and meter
readings (`domain.event_payloads`), and what an event changes (`domain.failures`, `domain.inspections`, `domain.schedules`).
"""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from cmms_pipelines.domain.events import EQUIPMENT_FIELDS, WORK_ORDER_FIELDS
from cmms_pipelines.domain.payload_base import MACHINE, Duration, Items, Payload, Unit, named
from cmms_pipelines.domain.payload_types import Deadline, EntityNumber, InspectionResult, Instant, Priority, Severity

_ORDER = "Number of the work order about it, if there is one; the order itself may arrive later."


class _AboutMachine(Payload):
    equipment_number: EntityNumber | None = Field(
        default=None, validation_alias=named(*EQUIPMENT_FIELDS), max_length=50, description=MACHINE, examples=["N526JB"]
    )


class FailurePayload(_AboutMachine):
    """A failure of a machine, whole or in part; it is known by its number, else by the machine and the time of the failure."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "failure_number": "10000456",
                    "equipment_number": "N526JB",
                    "failed_at": "2026-03-02T06:40:00Z",
                    "severity": "high",
                    "failure_code": "HYD-LEAK",
                    "downtime": 90,
                    "unit": "min",
                }
            ]
        }
    )

    failure_number: EntityNumber | None = Field(
        default=None,
        validation_alias=named("failure_number", "failure_id", "breakdown_id", "notification_number", "notification"),
        max_length=100,
        description="Number of the failure, or of its notification, at the source.",
        examples=["10000456"],
    )
    failed_at: Instant | None = Field(
        default=None,
        validation_alias=named("failed_at", "failure_at", "failure_date", "malfunction_start", "started_at"),
        description="When the machine failed; without it the time of the first event about it counts.",
    )
    detected_at: Instant | None = Field(
        default=None, validation_alias=named("detected_at", "reported_at", "detection_date"), description="When it was noticed."
    )
    repaired_at: Instant | None = Field(
        default=None,
        validation_alias=named("repaired_at", "restored_at", "resolved_at", "malfunction_end", "ended_at"),
        description="When the machine ran again; null while it does not.",
    )
    severity: Severity | None = Field(
        default=None,
        validation_alias=named("severity", "criticality", "priority"),
        description="critical, high, medium or low, or a sender's word for one.",
        examples=["high", "major"],
    )
    failure_code: str | None = Field(
        default=None, validation_alias=named("failure_code", "code", "problem_code", "failure_mode"), max_length=50
    )
    cause: str | None = Field(
        default=None, validation_alias=named("cause", "root_cause", "cause_code", "cause_text"), max_length=4000
    )
    damage: str | None = Field(default=None, validation_alias=named("damage", "damage_code", "damage_text"), max_length=4000)
    description: str | None = Field(
        default=None, validation_alias=named("description", "title", "short_text", "details", "message"), max_length=100_000
    )
    downtime: Duration | None = Field(
        default=None,
        validation_alias=named("downtime", "downtime_hours", "breakdown_duration"),
        description="How long the machine stood, in `unit`; kept in hours.",
        examples=[1.5],
    )
    unit: Unit = Field(default="h", validation_alias=named("unit", "downtime_unit", "uom"), examples=["h"])
    work_order_number: EntityNumber | None = Field(
        default=None, validation_alias=named(*WORK_ORDER_FIELDS), max_length=100, description=_ORDER
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.failure_number is None and self.equipment_number is None:
            raise ValueError("a failure names its number or its machine")
        if self.failed_at is not None and self.repaired_at is not None and self.repaired_at < self.failed_at:
            raise ValueError("repaired_at is before failed_at")
        return self


class InspectionPayload(_AboutMachine):
    """An inspection that is due or done; it is known by its number, else by machine, type and the day on which it is due."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inspection_number": "890000123",
                    "equipment_number": "N526JB",
                    "inspection_type": "safety",
                    "due_date": "2026-03-09",
                    "result": "passed",
                    "inspector": "ann",
                    "next_due_date": "2026-09-09",
                }
            ]
        }
    )

    inspection_number: EntityNumber | None = Field(
        default=None,
        validation_alias=named("inspection_number", "inspection_id", "inspection_lot"),
        max_length=100,
        description="Number of the inspection at the source.",
        examples=["890000123"],
    )
    inspection_type: str | None = Field(
        default=None,
        validation_alias=named("inspection_type", "type", "checklist", "category"),
        max_length=100,
        examples=["safety"],
    )
    due_at: Deadline | None = Field(
        default=None, validation_alias=named("due_at", "due_date", "dueDate", "due_on"), examples=["2026-03-09"]
    )
    completed_at: Instant | None = Field(
        default=None,
        validation_alias=named("completed_at", "completed_date", "performed_at", "inspected_at"),
        description="When it was done; without it the time of the first event that says so counts.",
    )
    result: InspectionResult | None = Field(
        default=None,
        validation_alias=named("result", "outcome", "verdict"),
        description="passed, conditional or failed, or a sender's word for one.",
        examples=["passed", "ok"],
    )
    findings: Items | None = Field(default=None, validation_alias=named("findings", "remarks", "defects"))
    inspector: str | None = Field(
        default=None, validation_alias=named("inspector", "inspected_by", "performed_by", "technician"), max_length=200
    )
    next_due_at: Deadline | None = Field(
        default=None, validation_alias=named("next_due_at", "next_due_date", "next_inspection"), examples=["2026-09-09"]
    )
    priority: Priority | None = Field(default=None, description="critical, high, medium, low or none.", examples=["high", 2])
    work_order_number: EntityNumber | None = Field(
        default=None, validation_alias=named(*WORK_ORDER_FIELDS), max_length=100, description=_ORDER
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.inspection_number is None and self.equipment_number is None:
            raise ValueError("an inspection names its number or its machine")
        return self


class SchedulePayload(_AboutMachine):
    """An item of a maintenance plan: it is known by its number, else by machine, plan or task, and day.

    An event that names a work order is about that order instead.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "item_number": "MP-77-3",
                    "plan_number": "MP-77",
                    "equipment_number": "N526JB",
                    "task": "250 h service",
                    "scheduled_date": "2026-03-09",
                    "estimated_duration": 90,
                    "unit": "min",
                }
            ]
        }
    )

    item_number: EntityNumber | None = Field(
        default=None,
        validation_alias=named(
            "item_number", "schedule_number", "schedule_id", "schedule_item", "maintenance_item", "call_number"
        ),
        max_length=100,
        description="Number of the item at the source.",
        examples=["MP-77-3"],
    )
    plan_number: EntityNumber | None = Field(
        default=None,
        validation_alias=named("plan_number", "plan_id", "maintenance_plan", "plan"),
        max_length=100,
        examples=["MP-77"],
    )
    task: str | None = Field(
        default=None, validation_alias=named("task", "title", "name", "short_text", "maintenance_type"), max_length=100
    )
    scheduled_at: Instant | None = Field(
        default=None, validation_alias=named("scheduled_at", "scheduled_date", "scheduled_for", "planned_start", "date")
    )
    due_at: Deadline | None = Field(
        default=None, validation_alias=named("due_at", "due_date", "dueDate"), examples=["2026-03-09"]
    )
    completed_at: Instant | None = Field(
        default=None, validation_alias=named("completed_at", "completed_date", "performed_at", "actual_end")
    )
    cancelled_at: Instant | None = Field(default=None, validation_alias=named("cancelled_at", "canceled_at"))
    cancelled_because: str | None = Field(
        default=None, validation_alias=named("cancelled_because", "cancellation_reason", "reason"), max_length=4000
    )
    priority: Priority | None = Field(default=None, description="critical, high, medium, low or none.", examples=["high", 2])
    description: str | None = Field(
        default=None, validation_alias=named("description", "long_text", "details"), max_length=100_000
    )
    assignee: str | None = Field(
        default=None, validation_alias=named("assignee", "assigned_to", "technician", "assignedTo"), max_length=200
    )
    estimated_duration: Duration | None = Field(
        default=None,
        validation_alias=named("estimated_duration", "estimated_hours", "planned_hours"),
        description="In `unit`; kept in hours.",
    )
    unit: Unit = Field(default="h", validation_alias=named("unit", "duration_unit", "uom"), examples=["h"])

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        has_day = self.scheduled_at is not None or self.due_at is not None
        has_task = self.plan_number is not None or self.task is not None
        if self.item_number is None and not (self.equipment_number is not None and has_task and has_day):
            raise ValueError("names no work order, and no item of a plan: its number, or machine, plan or task, and date")
        return self

"""What the payload of each event type says, as documented models, and how one is read.

What belongs here: fields with their accepted names, units and examples; they are shown in the sidecar's OpenAPI too.
What does not: the envelope around a payload (`domain.events`), failures, inspections and schedules
(`domain.maintenance_payloads`), and what an event changes (`domain.work_orders`, `domain.assets`, `domain.meter_readings`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import ConfigDict, Field, JsonValue, ValidationError

from cmms_pipelines.domain.events import EQUIPMENT_FIELDS, WORK_ORDER_FIELDS
from cmms_pipelines.domain.hours import hours_of
from cmms_pipelines.domain.maintenance_payloads import FailurePayload, InspectionPayload, SchedulePayload
from cmms_pipelines.domain.payload_base import (
    MACHINE,
    MAX_HOURS,
    EquipmentNumber,
    Items,
    Payload,
    Unit,
    Words,
    named,
)
from cmms_pipelines.domain.payload_types import Deadline, EntityNumber, Instant, Money, Priority, Status

_MAX_PROBLEMS = 5


class WorkOrderPayload(Payload):
    """A work order, whole or in part: a field that is absent says nothing, a field that is null clears the value."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "work_order_number": "4000123",
                    "equipment_number": "N526JB",
                    "status": "in_progress",
                    "priority": "high",
                    "title": "250 h inspection",
                    "due_date": "2026-03-09",
                    "assigned_to": "hangar-2",
                }
            ]
        }
    )

    work_order_number: EntityNumber = Field(
        validation_alias=named(*WORK_ORDER_FIELDS),
        max_length=100,
        description="Number of the order at its source.",
        examples=["4000123"],
    )
    equipment_number: EntityNumber | None = Field(
        default=None, validation_alias=named(*EQUIPMENT_FIELDS), max_length=50, description=MACHINE, examples=["N526JB"]
    )
    plant_code: EntityNumber | None = Field(
        default=None, validation_alias=named("plant_code", "plant"), max_length=20, examples=["B6JFK"]
    )
    status: Status | None = Field(
        default=None,
        validation_alias=named("status", "new_status", "newStatus", "order_status", "state"),
        description="requested, open, scheduled, in_progress, on_hold, completed, closed, cancelled, or a sender's word for one.",
        examples=["in_progress", "TECO"],
    )
    priority: Priority | None = Field(default=None, description="critical, high, medium, low or none.", examples=["high", 2])
    title: str | None = Field(default=None, validation_alias=named("title", "short_text", "name", "subject"), max_length=255)
    description: str | None = Field(
        default=None, validation_alias=named("description", "long_text", "details"), max_length=100_000
    )
    work_type: str | None = Field(
        default=None, validation_alias=named("work_type", "order_type", "category", "type"), max_length=50, examples=["PM01"]
    )
    assignee: str | None = Field(
        default=None, validation_alias=named("assignee", "assigned_to", "technician", "assignedTo"), max_length=200
    )
    due_at: Deadline | None = Field(
        default=None, validation_alias=named("due_at", "due_date", "dueDate", "planned_completion"), examples=["2026-03-09"]
    )
    scheduled_at: Instant | None = Field(
        default=None, validation_alias=named("scheduled_at", "scheduled_date", "scheduled_for", "planned_start")
    )
    started_at: Instant | None = Field(default=None, validation_alias=named("started_at", "actual_start"))
    completed_at: Instant | None = Field(
        default=None, validation_alias=named("completed_at", "completed_date", "actual_end", "technical_completion")
    )
    closed_at: Instant | None = Field(default=None, validation_alias=named("closed_at", "closed_date", "closed"))
    cost: Money | None = Field(default=None, validation_alias=named("cost", "total_cost", "actual_cost"), examples=["1250.00"])
    currency: str | None = Field(default=None, min_length=3, max_length=3, examples=["EUR"])
    parts: Items | None = None
    tags: Words | None = Field(default=None, validation_alias=named("tags", "labels"))
    notes: Items | None = Field(
        default=None,
        validation_alias=named("notes", "note", "comments", "comment"),
        description="Notes are only ever added: those of all events are kept.",
    )


class AssetPayload(Payload):
    """Master data of a machine that the CMMS knows; the machine itself comes from the external API."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"equipment_number": "N526JB", "description": "A320-232 JetBlue", "is_active": True}]}
    )

    equipment_number: EquipmentNumber
    equipment_description: str | None = Field(
        default=None, validation_alias=named("equipment_description", "description", "name", "asset_name"), max_length=255
    )
    object_number: str | None = Field(default=None, max_length=50)
    is_active: bool | None = Field(default=None, validation_alias=named("is_active", "active", "enabled"))
    attributes: dict[str, JsonValue] | None = Field(
        default=None,
        validation_alias=named("attributes", "custom_fields", "specifications"),
        max_length=200,
        description="Further fields of the machine; each is taken over on its own.",
        examples=[{"HERST": "AIRBUS", "BAUJJ": "2005"}],
    )


class MeterReadingPayload(Payload):
    """A reading of a running-hours counter."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"equipment_number": "N526JB", "reading": 680.1833, "reading_at": "2026-03-02T08:15:00Z", "unit": "h"}]
        }
    )

    equipment_number: EquipmentNumber
    reading: Decimal = Field(
        validation_alias=named("reading", "cumulative_hours", "meter_value", "reading_value", "value"),
        ge=0,
        allow_inf_nan=False,
        description="The counter as it stands.",
        examples=[680.1833],
    )
    reading_at: Instant | None = Field(
        default=None,
        validation_alias=named("reading_at", "recorded_at", "read_at", "reading_date"),
        description="When the counter was read; without it the event's own time counts. Its day is the plant's local day.",
    )
    running_hours: Decimal | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="What the machine ran on that day, in `unit`; without it the difference to the reading before.",
    )
    counter_limit: Decimal | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        validation_alias=named("counter_limit", "overflow_at", "rollover_at"),
        description="Where the counter starts again from 0, in `unit`. Told once, it explains lower readings from then on.",
    )
    unit: Unit = Field(default="h", validation_alias=named("unit", "reading_unit", "uom"), examples=["h"])

    def cumulative_h(self) -> Decimal:
        """Return the counter in hours."""
        return hours_of(self.reading, self.unit)

    def limit_h(self) -> Decimal | None:
        """Return the counter's limit in hours, None when the source did not give it."""
        return None if self.counter_limit is None else hours_of(self.counter_limit, self.unit)

    def running_h(self) -> Decimal | None:
        """Return the day's running time in hours, None when the source did not give it."""
        return None if self.running_hours is None else hours_of(self.running_hours, self.unit)


AnyPayload = WorkOrderPayload | AssetPayload | MeterReadingPayload | FailurePayload | InspectionPayload | SchedulePayload

_ORDER_OR_ITEM = (WorkOrderPayload, SchedulePayload)
PAYLOADS: Mapping[str, tuple[type[AnyPayload], ...]] = {
    "work_order_created": (WorkOrderPayload,),
    "work_order_updated": (WorkOrderPayload,),
    "work_order_closed": (WorkOrderPayload,),
    "maintenance_scheduled": _ORDER_OR_ITEM,
    "maintenance_completed": _ORDER_OR_ITEM,
    "maintenance_cancelled": _ORDER_OR_ITEM,
    "equipment_failure": (FailurePayload,),
    "inspection_due": (InspectionPayload,),
    "inspection_completed": (InspectionPayload,),
    "asset_created": (AssetPayload,),
    "asset_updated": (AssetPayload,),
    "asset_deleted": (AssetPayload,),
    "meter_reading_recorded": (MeterReadingPayload,),
}
"""The models of each event type; of two the first one is for payloads that name a work order."""

NO_HANDLER = "no_handler"


@dataclass(frozen=True)
class Refusal:
    """Why an event cannot be applied, now or ever again as it stands."""

    rule: str
    message: str


def read_payload(event_type: str, payload: object) -> AnyPayload | Refusal:
    """Read the payload of an event, or say why it cannot be read.

    Rules: `no_handler` (an event type that this version does not apply, to be kept for one that does), `invalid_payload` (names
    each field and what it should be, never its value).
    """
    models = PAYLOADS.get(event_type)
    if models is None:
        return Refusal(NO_HANDLER, f"This version has no handler for {event_type!r}: replay the event once it has one.")
    try:
        read = models[0 if _names_order(payload) else -1].model_validate(payload)
    except ValidationError as error:
        return Refusal("invalid_payload", _describe(error))
    if isinstance(read, MeterReadingPayload) and read.cumulative_h() > MAX_HOURS:
        return Refusal("invalid_payload", f"reading: a counter above {MAX_HOURS} hours cannot be stored")
    return read


def _names_order(payload: object) -> bool:
    return isinstance(payload, Mapping) and any(payload.get(name) not in (None, "") for name in WORK_ORDER_FIELDS)


def stated_fields(payload: Payload) -> dict[str, Any]:
    """Return the fields that the payload states, null ones included."""
    return {name: getattr(payload, name) for name in payload.model_fields_set if name != "updated_at"}


def _describe(error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_url=False)
    named = [
        f"{'.'.join(str(step) for step in problem['loc']) or 'payload'}: {problem['msg']}" for problem in problems[:_MAX_PROBLEMS]
    ]
    more = len(problems) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")

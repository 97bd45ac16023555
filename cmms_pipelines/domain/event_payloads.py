"""What the payload of each event type says, as documented models, and how one is read.

What belongs here: fields with their accepted names, units and examples; they are shown in the sidecar's OpenAPI too.
What does not: the envelope around a payload (`domain.events`) and what an event changes (`domain.work_orders`, `domain.assets`,
`domain.meter_readings`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from cmms_pipelines.domain.events import EQUIPMENT_FIELDS, WORK_ORDER_FIELDS
from cmms_pipelines.domain.payload_types import Deadline, EntityNumber, Instant, Money, Priority, Status

_MACHINE = "Number of the machine, as in the equipment master."
_MAX_PROBLEMS = 5
_MAX_HOURS = 9_999_999_999  # what NUMERIC(14, 4) holds

_UNITS = {
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), Decimal(1)),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), Decimal(60)),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), Decimal(3600)),
}


def _named(*names: str) -> AliasChoices:
    return AliasChoices(*names)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


def _read_unit(value: object) -> object:
    unit = str(value).strip().lower()
    if unit not in _UNITS:
        raise ValueError("the unit of running hours is h, min or s")
    return unit


EquipmentNumber = Annotated[
    EntityNumber,
    Field(
        validation_alias=_named(*EQUIPMENT_FIELDS),
        max_length=50,
        description=_MACHINE,
        examples=["N526JB", "10020570"],
    ),
]


class Payload(BaseModel):
    """What every payload shares: unknown fields are kept in the inbox and otherwise left alone."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, str_strip_whitespace=True, coerce_numbers_to_str=True, populate_by_name=True
    )

    updated_at: Instant | None = Field(
        default=None,
        validation_alias=_named("updated_at", "modified_at", "changed_at", "last_modified"),
        description="When the source changed the entity; without it the event's own time counts.",
        examples=["2026-03-02T08:15:00Z"],
    )


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
        validation_alias=_named(*WORK_ORDER_FIELDS),
        max_length=100,
        description="Number of the order at its source.",
        examples=["4000123"],
    )
    equipment_number: EntityNumber | None = Field(
        default=None, validation_alias=_named(*EQUIPMENT_FIELDS), max_length=50, description=_MACHINE, examples=["N526JB"]
    )
    plant_code: EntityNumber | None = Field(
        default=None, validation_alias=_named("plant_code", "plant"), max_length=20, examples=["B6JFK"]
    )
    status: Status | None = Field(
        default=None,
        validation_alias=_named("status", "new_status", "newStatus", "order_status", "state"),
        description="requested, open, scheduled, in_progress, on_hold, completed, closed, cancelled, or a sender's word for one.",
        examples=["in_progress", "TECO"],
    )
    priority: Priority | None = Field(default=None, description="critical, high, medium, low or none.", examples=["high", 2])
    title: str | None = Field(default=None, validation_alias=_named("title", "short_text", "name", "subject"), max_length=255)
    description: str | None = Field(
        default=None, validation_alias=_named("description", "long_text", "details"), max_length=100_000
    )
    work_type: str | None = Field(
        default=None, validation_alias=_named("work_type", "order_type", "category", "type"), max_length=50, examples=["PM01"]
    )
    assignee: str | None = Field(
        default=None, validation_alias=_named("assignee", "assigned_to", "technician", "assignedTo"), max_length=200
    )
    due_at: Deadline | None = Field(
        default=None, validation_alias=_named("due_at", "due_date", "dueDate", "planned_completion"), examples=["2026-03-09"]
    )
    scheduled_at: Instant | None = Field(
        default=None, validation_alias=_named("scheduled_at", "scheduled_date", "scheduled_for", "planned_start")
    )
    started_at: Instant | None = Field(default=None, validation_alias=_named("started_at", "actual_start"))
    completed_at: Instant | None = Field(
        default=None, validation_alias=_named("completed_at", "completed_date", "actual_end", "technical_completion")
    )
    closed_at: Instant | None = Field(default=None, validation_alias=_named("closed_at", "closed_date", "closed"))
    cost: Money | None = Field(default=None, validation_alias=_named("cost", "total_cost", "actual_cost"), examples=["1250.00"])
    currency: str | None = Field(default=None, min_length=3, max_length=3, examples=["EUR"])
    parts: Annotated[list[JsonValue], BeforeValidator(_as_list)] | None = Field(default=None, max_length=1000)
    tags: Annotated[list[str], BeforeValidator(_as_list)] | None = Field(
        default=None, validation_alias=_named("tags", "labels"), max_length=1000
    )
    notes: Annotated[list[JsonValue], BeforeValidator(_as_list)] | None = Field(
        default=None,
        validation_alias=_named("notes", "note", "comments", "comment"),
        max_length=1000,
        description="Notes are only ever added: those of all events are kept.",
    )


class AssetPayload(Payload):
    """Master data of a machine that the CMMS knows; the machine itself comes from the external API."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"equipment_number": "N526JB", "description": "A320-232 JetBlue", "is_active": True}]}
    )

    equipment_number: EquipmentNumber
    equipment_description: str | None = Field(
        default=None, validation_alias=_named("equipment_description", "description", "name", "asset_name"), max_length=255
    )
    object_number: str | None = Field(default=None, max_length=50)
    is_active: bool | None = Field(default=None, validation_alias=_named("is_active", "active", "enabled"))
    attributes: dict[str, JsonValue] | None = Field(
        default=None,
        validation_alias=_named("attributes", "custom_fields", "specifications"),
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
        validation_alias=_named("reading", "cumulative_hours", "meter_value", "reading_value", "value"),
        ge=0,
        allow_inf_nan=False,
        description="The counter as it stands.",
        examples=[680.1833],
    )
    reading_at: Instant | None = Field(
        default=None,
        validation_alias=_named("reading_at", "recorded_at", "read_at", "reading_date"),
        description="When the counter was read; without it the event's own time counts. Its day is the plant's local day.",
    )
    running_hours: Decimal | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="What the machine ran on that day, in `unit`; without it the difference to the reading before.",
    )
    unit: Annotated[str, BeforeValidator(_read_unit)] = Field(
        default="h", validation_alias=_named("unit", "reading_unit", "uom"), examples=["h"]
    )

    def cumulative_h(self) -> Decimal:
        """Return the counter in hours."""
        return _hours(self.reading, self.unit)

    def running_h(self) -> Decimal | None:
        """Return the day's running time in hours, None when the source did not give it."""
        return None if self.running_hours is None else _hours(self.running_hours, self.unit)


def _hours(value: Decimal, unit: str) -> Decimal:
    return (value / _UNITS[unit]).quantize(Decimal("0.0001"))


PAYLOADS: Mapping[str, type[WorkOrderPayload] | type[AssetPayload] | type[MeterReadingPayload]] = {
    "work_order_created": WorkOrderPayload,
    "work_order_updated": WorkOrderPayload,
    "work_order_closed": WorkOrderPayload,
    "maintenance_scheduled": WorkOrderPayload,
    "maintenance_completed": WorkOrderPayload,
    "maintenance_cancelled": WorkOrderPayload,
    "asset_created": AssetPayload,
    "asset_updated": AssetPayload,
    "asset_deleted": AssetPayload,
    "meter_reading_recorded": MeterReadingPayload,
}


NO_HANDLER = "no_handler"


@dataclass(frozen=True)
class Refusal:
    """Why an event cannot be applied, now or ever again as it stands."""

    rule: str
    message: str


def read_payload(event_type: str, payload: object) -> WorkOrderPayload | AssetPayload | MeterReadingPayload | Refusal:
    """Read the payload of an event, or say why it cannot be read.

    Rules: `no_handler` (an event type that this version does not apply, to be kept for one that does), `invalid_payload` (names
    each field and what it should be, never its value).
    """
    model = PAYLOADS.get(event_type)
    if model is None:
        return Refusal(NO_HANDLER, f"This version has no handler for {event_type!r}: replay the event once it has one.")
    try:
        read = model.model_validate(payload)
    except ValidationError as error:
        return Refusal("invalid_payload", _describe(error))
    if isinstance(read, MeterReadingPayload) and read.cumulative_h() > _MAX_HOURS:
        return Refusal("invalid_payload", f"reading: a counter above {_MAX_HOURS} hours cannot be stored")
    return read


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

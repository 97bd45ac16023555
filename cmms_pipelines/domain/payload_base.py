"""What the payloads of all event types share: how a machine is named, when a source changed something, units of hours.

What belongs here: the base of the models. What does not: the models (`domain.event_payloads`, `domain.maintenance_payloads`) and
the types of single values (`domain.payload_types`).
"""

from decimal import Decimal
from typing import Annotated

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from cmms_pipelines.domain.events import EQUIPMENT_FIELDS
from cmms_pipelines.domain.hours import UNITS
from cmms_pipelines.domain.payload_types import EntityNumber, Instant

MACHINE = "Number of the machine, as in the equipment master."
MAX_HOURS = 9_999_999_999  # what NUMERIC(14, 4) holds


def named(*names: str) -> AliasChoices:
    """Return the names under which a field is accepted; the first one that a payload has wins."""
    return AliasChoices(*names)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


def _read_unit(value: object) -> object:
    unit = str(value).strip().lower()
    if unit not in UNITS:
        raise ValueError("the unit of running hours is h, min or s")
    return unit


EquipmentNumber = Annotated[
    EntityNumber,
    Field(validation_alias=named(*EQUIPMENT_FIELDS), max_length=50, description=MACHINE, examples=["N526JB", "10020570"]),
]

Unit = Annotated[str, BeforeValidator(_read_unit)]
"""Hours, minutes or seconds, in any usual spelling."""

Items = Annotated[list[JsonValue], BeforeValidator(_as_list), Field(max_length=1000)]
"""A list, or one thing that stands for a list of one."""

Words = Annotated[list[str], BeforeValidator(_as_list), Field(max_length=1000)]
"""The same of texts."""

Duration = Annotated[Decimal, Field(ge=0, le=MAX_HOURS, allow_inf_nan=False)]
"""An amount of time, in the unit that the payload names."""


class Payload(BaseModel):
    """What every payload shares: unknown fields are kept in the inbox and otherwise left alone."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, str_strip_whitespace=True, coerce_numbers_to_str=True, populate_by_name=True
    )

    updated_at: Instant | None = Field(
        default=None,
        validation_alias=named("updated_at", "modified_at", "changed_at", "last_modified"),
        description="When the source changed the entity; without it the event's own time counts.",
        examples=["2026-03-02T08:15:00Z"],
    )

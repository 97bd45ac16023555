"""What the API's description says about the events endpoint: texts, examples and schemas for OpenAPI.

What belongs here: words for senders. What does not: behaviour (`receive`).
"""

from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from cmms_pipelines.domain.event_payloads import PAYLOADS
from cmms_pipelines.domain.events import EventType
from cmms_webhook.problems import MEDIA_TYPE, Kind, Problem, example, status_of

TITLE = "CMMS Pipelines: maintenance events"
OVERVIEW = """
Takes maintenance events from CMMS products. An event is stored before it is answered, applied within seconds by a run in
Dagster, and applied once however often it is sent.

**Naming the system.** In the path, or in the header `X-CMMS-System`. A body may repeat the name; it must be the same one.

**Signing.** As agreed for the system. The default is the hex HMAC-SHA256 of the body's bytes in `X-HMAC-Signature`, with or
without `sha256=` before it; Standard Webhooks and the formats of several CMMS products are there too.

**Sending again** is safe after any 5xx, 408 or lost answer: an event is recognised by its signed message id, else by its
`event_id`, else by its body.
"""
RECEIVE = """
Send one event. 202 means that it is stored durably. `status` says whether it is new (`accepted`), was known already
(`duplicate`), or was set aside because its id came before with another body (`quarantined`). Event types that are not known
here are accepted and held.

The body is strict JSON in UTF-8: no duplicate keys, no NaN or Infinity, numbers within 64 bits, at most 32 levels deep,
no NUL characters; `timestamp` has an offset. It is sent uncompressed.
"""


class Receipt(BaseModel):
    """The event is stored."""

    id: str = Field(description="the stored event", examples=["0197b1f0-6d1e-7c3a-9f7e-3a5de1a0c001"])
    status: Literal["accepted", "duplicate", "quarantined"]


class Event(BaseModel):
    """The canonical event; other top-level fields are kept with the original bytes."""

    event_type: str = Field(max_length=50, description=f"one of {', '.join(EventType)}; others are held")
    timestamp: str = Field(
        json_schema_extra={"format": "date-time"}, description="when it happened at the source, with an offset"
    )
    payload: dict[str, Any] = Field(description="what happened, by event type")
    cmms_system_id: str | None = Field(default=None, description="the system again; must be the authenticated one")
    event_id: str | int | None = Field(default=None, description="the source's id of this event, the same in every delivery")


_SCHEMA = "#/components/schemas/{model}"
_EXAMPLES = {
    "work_order_updated": {
        "event_type": "work_order_updated",
        "cmms_system_id": "plant-cmms",
        "event_id": "evt-48213",
        "timestamp": "2026-03-01T08:30:00Z",
        "payload": {"work_order_number": "4711", "status": "in_progress", "equipment_number": "N355NB"},
    },
    "meter_reading_recorded": {
        "event_type": "meter_reading_recorded",
        "timestamp": "2026-03-01T10:30:00+02:00",
        "payload": {"equipment_number": "10020570", "cumulative_hours": 20720.5, "read_at": "2026-03-01T10:29:41+02:00"},
    },
}
_DESCRIPTIONS = {
    Kind.BODY_INCOMPLETE: "The connection ended before the body did.",
    Kind.UNAUTHENTICATED: "Not signed by a source known here. An unknown system and a wrong signature get this same answer.",
    Kind.BODY_TOO_SLOW: "The body did not arrive in time.",
    Kind.BODY_TOO_LARGE: "The body is larger than the limit (1 MiB by default), whatever Content-Length says.",
    Kind.UNSUPPORTED_MEDIA_TYPE: "Not JSON in UTF-8, or compressed.",
    Kind.TOO_MANY_EVENTS: "Over the rate limit of the system, or too many refused requests from one address. Send it again "
    "after `Retry-After` seconds.",
    Kind.UNUSABLE_BODY: "Signed correctly, but the body breaks a rule, which is named.",
    Kind.UNAVAILABLE: "Nothing was accepted. Send it again after `Retry-After` seconds.",
}


def responses() -> dict[int | str, dict[str, Any]]:
    """Return the answers of the events endpoint beside 202."""
    result: dict[int | str, dict[str, Any]] = {}
    for kind, description in _DESCRIPTIONS.items():
        shown = example(kind)
        if kind is Kind.UNUSABLE_BODY:
            shown |= {"detail": "A key is given twice in one object.", "rule": "duplicate_key", "where": "status"}
        content = {"schema": Problem.model_json_schema(), "example": shown}
        result[status_of(kind)] = {"description": description, "content": {MEDIA_TYPE: content}}
    return result


def describe_payloads(described: dict[str, Any]) -> None:
    """Put the payload of every event type into an OpenAPI description, as schemas that the request refers to."""
    models = dict.fromkeys(model for models in PAYLOADS.values() for model in models)
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_SCHEMA)
    described["components"]["schemas"] |= definitions["$defs"]


def _payload() -> dict[str, Any]:
    of_types = ", ".join(
        f"`{event_type}`: {' or '.join(model.__name__ for model in models)}" for event_type, models in PAYLOADS.items()
    )
    names = dict.fromkeys(model.__name__ for models in PAYLOADS.values() for model in models)
    return {
        "description": f"What happened, by event type. {of_types}. The payload of another type is kept as it is.",
        "anyOf": [*({"$ref": _SCHEMA.format(model=name)} for name in names), {"type": "object"}],
    }


def request(*, has_system_header: bool) -> dict[str, Any]:
    """Return the request of the events endpoint, which reads raw bytes and so describes itself."""
    event = Event.model_json_schema()
    event["properties"]["payload"] = _payload()
    examples = {name: {"value": value} for name, value in _EXAMPLES.items()}
    system = {
        "name": "X-CMMS-System",
        "in": "header",
        "required": has_system_header,
        "description": "the system that sends",
        "schema": {"type": "string", "maxLength": 100},
        "example": "plant-cmms",
    }
    signature = {
        "name": "X-HMAC-Signature",
        "in": "header",
        "required": False,
        "description": "hex HMAC-SHA256 of the body's bytes (systems with another scheme send that scheme's headers)",
        "schema": {"type": "string"},
        "example": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    }
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": event, "examples": examples}}},
        "parameters": [system, signature] if has_system_header else [signature],
    }

"""From a sender's body to the canonical event: which sender writes how, and what a source's own mapping changes about it.

What belongs here: the formats, the choice among them, the mapping (`EventMapping`), and the rule for what is not known.
What does not: a sender's fields (`domain.senders`), the canonical envelope (`domain.events`), where a mapping is kept
(`domain.webhook_source`).

An event that is not understood is never refused for that: it keeps its sender's name and its whole body as payload, and is
held. So is one that is about a work order or a machine but names none. Refused is only what no table can hold
(`domain.strict_json`), and a canonical event that breaks its own contract.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import ModuleType
from zoneinfo import ZoneInfo

from cmms_pipelines.domain.events import (
    ABOUT_EQUIPMENT,
    EQUIPMENT_FIELDS,
    MAX_EVENT_ID,
    WORK_ORDER_FIELDS,
    CanonicalEvent,
    EventType,
    parse_event,
)
from cmms_pipelines.domain.senders import atlas, cloudevents, field_nation, frappe, maintainx, servicechannel
from cmms_pipelines.domain.senders.reading import Delivery, Request, instant, text, value_at
from cmms_pipelines.domain.strict_json import BodyRefusal, RefusedBodyError, read_json

MAX_TYPE = 50
UNNAMED = "unnamed"
_CANONICAL_TYPES = frozenset(event_type.value for event_type in EventType)
_NOT_IN_A_TYPE = re.compile(r"[^A-Za-z0-9_.:-]+")


class BodyFormat(StrEnum):
    """How the body of an event is written."""

    CANONICAL = "canonical"
    ATLAS = "atlas"
    MAINTAINX = "maintainx"
    FRAPPE = "frappe"
    SERVICECHANNEL = "servicechannel"
    FIELD_NATION = "field_nation"
    CLOUDEVENTS = "cloudevents"
    MAPPED = "mapped"


_SENDERS: Mapping[BodyFormat, ModuleType] = {
    BodyFormat.ATLAS: atlas,
    BodyFormat.MAINTAINX: maintainx,
    BodyFormat.FRAPPE: frappe,
    BodyFormat.SERVICECHANNEL: servicechannel,
    BodyFormat.FIELD_NATION: field_nation,
}
_READERS: Mapping[BodyFormat, Callable[[Request], Delivery]] = {
    **{name: sender.read for name, sender in _SENDERS.items()},
    BodyFormat.CLOUDEVENTS: cloudevents.read,
}


@dataclass(frozen=True)
class EventMapping:
    """What a source says about its events beyond its format.

    `event_types`: canonical type by the sender's name of an event. `fields`: JSON pointers by payload field, the first that finds
    something counts, over what the format reads; beside payload fields `event_type`, `timestamp` and `event_id`, which the format
    `mapped` has no other source for. `zone`: of times without an offset.
    """

    event_types: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    zone: ZoneInfo | None = None


NO_MAPPING = EventMapping()
_ENVELOPE_FIELDS = ("event_type", "timestamp", "event_id")


def read_event(
    body_format: BodyFormat, raw: bytes, headers: Mapping[str, str], mapping: EventMapping = NO_MAPPING
) -> CanonicalEvent | BodyRefusal:
    """Read a verified body as one canonical event; raises nothing. `headers` has lower-case names."""
    if body_format is BodyFormat.CANONICAL and mapping is NO_MAPPING:
        return parse_event(raw)
    try:
        body = read_json(raw)
    except RefusedBodyError as refused:
        return refused.refusal
    if not isinstance(body, dict):
        return BodyRefusal("not_an_object", "The body must be a JSON object.")
    if body_format is BodyFormat.CANONICAL:
        event = parse_event(raw)
        if isinstance(event, BodyRefusal):
            return event
        delivery = Delivery(event.event_type, event.payload, event.occurred_at, event.event_id)
        return _canonical(body_format, delivery, body, mapping, event.cmms_system_id)
    request = Request(body, headers, mapping.zone)
    delivery = _READERS[body_format](request) if body_format in _READERS else Delivery("", {})
    return _canonical(body_format, delivery, body, mapping)


def known_names(body_format: BodyFormat) -> Mapping[str, str]:
    """Return the canonical event type by the sender's name of an event, as far as the format brings it along."""
    names: Mapping[str, str] = _SENDERS[body_format].EVENT_TYPES if body_format in _SENDERS else {}
    return names


def _canonical(
    body_format: BodyFormat, delivery: Delivery, body: Mapping[str, object], mapping: EventMapping, system: str | None = None
) -> CanonicalEvent:
    found = {name: value for name in mapping.fields if (value := _first(body, mapping.fields[name])) is not None}
    name = text(found.get("event_type")) or delivery.name
    event_id = text(found.get("event_id")) or delivery.event_id
    occurred_at = instant(found.get("timestamp"), mapping.zone) or delivery.occurred_at
    payload = {**delivery.payload, **{key: value for key, value in found.items() if key not in _ENVELOPE_FIELDS}}
    event_type = mapping.event_types.get(name) or _known_type(body_format, name)
    if event_type is None or not _names_its_entity(event_type, payload):
        return CanonicalEvent(_held_name(name), occurred_at, dict(body), system, _short(event_id), is_understood=False)
    return CanonicalEvent(event_type, occurred_at, payload, system, _short(event_id))


def _known_type(body_format: BodyFormat, name: str) -> str | None:
    if body_format is BodyFormat.CLOUDEVENTS:
        return cloudevents.event_type_of(name)
    if body_format in {BodyFormat.CANONICAL, BodyFormat.MAPPED}:
        return name if name in _CANONICAL_TYPES or body_format is BodyFormat.CANONICAL else None
    return known_names(body_format).get(name)


def _names_its_entity(event_type: str, payload: Mapping[str, object]) -> bool:
    if event_type not in _CANONICAL_TYPES or event_type == EventType.SYNC_REQUESTED:
        return True
    fields = EQUIPMENT_FIELDS if event_type in ABOUT_EQUIPMENT else (*WORK_ORDER_FIELDS, *EQUIPMENT_FIELDS)
    return any(text(payload.get(name)) for name in fields)


def _held_name(name: str) -> str:
    """Return a sender's name as an event type can be written: the end of a long one, which tells more than its beginning."""
    return _NOT_IN_A_TYPE.sub("_", name)[-MAX_TYPE:].lstrip("_.:-") or UNNAMED


def _short(event_id: str | None) -> str | None:
    return event_id if event_id is None or (len(event_id) <= MAX_EVENT_ID and event_id.isprintable()) else None


def _first(body: Mapping[str, object], pointers: Sequence[str]) -> object:
    return next((value for pointer in pointers if (value := value_at(body, pointer)) is not None), None)

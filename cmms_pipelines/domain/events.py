"""The canonical maintenance event: its envelope, its types, and the keys under which it is ordered and de-duplicated.

What belongs here: bytes to a `CanonicalEvent` or a typed refusal. What does not: signatures (`domain.signatures`), storing
(`storage.inbox`), what an event changes (its handlers).

The envelope is `{"event_type", "timestamp", "payload", "cmms_system_id"?, "event_id"?}`; other top-level keys stay in the
raw bytes, which are kept. A timestamp without an offset is refused (`naive_timestamp`): events of one entity are ordered by
it, and a local time of an unnamed zone would order them wrongly without anybody noticing. Event types that nobody knows
yet are valid events: they are stored and held, never lost.
"""

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cmms_pipelines.domain.keys import without_alpha_zeros
from cmms_pipelines.domain.strict_json import MAX_DEPTH, BodyRefusal, RefusedBodyError, read_json

SYSTEM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_EVENT_ID = 200
MAX_ENTITY_NUMBER = 200
_EVENT_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,49}")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


class EventType(StrEnum):
    """The event types that have a handler."""

    MAINTENANCE_SCHEDULED = "maintenance_scheduled"
    MAINTENANCE_COMPLETED = "maintenance_completed"
    MAINTENANCE_CANCELLED = "maintenance_cancelled"
    EQUIPMENT_FAILURE = "equipment_failure"
    INSPECTION_DUE = "inspection_due"
    INSPECTION_COMPLETED = "inspection_completed"
    WORK_ORDER_CREATED = "work_order_created"
    WORK_ORDER_UPDATED = "work_order_updated"
    WORK_ORDER_CLOSED = "work_order_closed"
    ASSET_CREATED = "asset_created"
    ASSET_UPDATED = "asset_updated"
    ASSET_DELETED = "asset_deleted"
    METER_READING_RECORDED = "meter_reading_recorded"
    SYNC_REQUESTED = "sync_requested"


class HookStatus(StrEnum):
    """Where an event stands in the inbox (`maintenance_event_hooks.processing_status`)."""

    PENDING = "pending"
    HELD = "held"
    PROCESSED = "processed"
    IGNORED = "ignored"
    QUARANTINED = "quarantined"
    DEAD_LETTER = "dead_letter"


ABOUT_EQUIPMENT = frozenset(
    {EventType.ASSET_CREATED, EventType.ASSET_UPDATED, EventType.ASSET_DELETED, EventType.METER_READING_RECORDED}
)
WORK_ORDER_FIELDS = ("work_order_number", "work_order_id", "wo_number")
EQUIPMENT_FIELDS = ("equipment_number", "asset_number", "equipment_id", "asset_id")


@dataclass(frozen=True)
class CanonicalEvent:
    """One event, strictly parsed; `payload` holds only what jsonb can hold.

    `occurred_at` is in UTC, or None where the sender gives no time that can be trusted (ours always do). `is_understood` is
    False for what a sender's format could not read: it is held as it came.
    """

    event_type: str
    occurred_at: dt.datetime | None
    payload: Mapping[str, Any]
    cmms_system_id: str | None = None
    event_id: str | None = None
    is_understood: bool = True

    @property
    def is_known(self) -> bool:
        """Whether its type has a handler; the others are held until one does."""
        return self.is_understood and self.event_type in _KNOWN

    @property
    def first_status(self) -> HookStatus:
        return HookStatus.PENDING if self.is_known else HookStatus.HELD


_KNOWN = frozenset(event_type.value for event_type in EventType)


def parse_event(raw: bytes, max_depth: int = MAX_DEPTH) -> CanonicalEvent | BodyRefusal:
    """Read the envelope strictly; raises nothing.

    Rules beside those of `strict_json`: `not_an_object`, `invalid_event_type`, `invalid_timestamp`, `naive_timestamp`,
    `invalid_payload`, `invalid_system`, `invalid_event_id`.
    """
    try:
        return _read_envelope(read_json(raw, max_depth))
    except RefusedBodyError as refused:
        return refused.refusal


def entity_key(event: CanonicalEvent, body_sha256: bytes = b"") -> str:
    """Return the entity whose events must apply in order: `work_order:<number>`, `equipment:<number>` or `event:<id>`.

    A work order comes before the equipment that it is about, except for events about equipment itself. Leading zeros
    (SAP's ALPHA conversion) go only from numbers that are all digits. An event about nothing is an entity of its own.
    """
    work_order = ("work_order", WORK_ORDER_FIELDS)
    equipment = ("equipment", EQUIPMENT_FIELDS)
    order = (equipment, work_order) if event.event_type in ABOUT_EQUIPMENT else (work_order, equipment)
    for kind, fields in order:
        for name in fields:
            number = canonical_number(event.payload.get(name))
            if number:
                return f"{kind}:{number}"
    at = event.occurred_at.isoformat() if event.occurred_at else body_sha256.hex()
    return f"event:{event.event_id or f'{event.event_type}@{at}'}"


def canonical_number(value: object) -> str | None:
    """Return the one spelling of a number that systems write differently; None for what is no number or name.

    `000000000010020570` and `10020570` are the same machine, `N355NB` stays. Longer than 200 characters becomes its hash.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    number = without_alpha_zeros(str(value).strip())
    if len(number) > MAX_ENTITY_NUMBER:
        return f"sha256-{hashlib.sha256(number.encode()).hexdigest()}"
    return number or None


def dedup_key(event: CanonicalEvent, body_sha256: bytes, message_id: str | None = None) -> str:
    """Return what makes two deliveries of one source the same: the signed message id, else the event id, else the body."""
    identifier = message_id or event.event_id
    return f"id:{identifier}" if identifier else f"sha256:{body_sha256.hex()}"


def _read_envelope(body: object) -> CanonicalEvent:
    if not isinstance(body, dict):
        raise RefusedBodyError("not_an_object", "The body must be a JSON object with event_type, timestamp and payload.")
    event_type, payload, system = body.get("event_type"), body.get("payload"), body.get("cmms_system_id")
    if not isinstance(event_type, str) or not _EVENT_TYPE.fullmatch(event_type):
        detail = "event_type must be text of 1 to 50 letters, digits, '_', '.', ':' or '-'."
        raise RefusedBodyError("invalid_event_type", detail, "/event_type")
    if not isinstance(payload, dict):
        raise RefusedBodyError("invalid_payload", "payload must be an object.", "/payload")
    if system is not None and not (isinstance(system, str) and SYSTEM_ID.fullmatch(system)):
        raise RefusedBodyError("invalid_system", "cmms_system_id must be the name of a system.", "/cmms_system_id")
    return CanonicalEvent(event_type, _read_instant(body.get("timestamp")), payload, system, _read_event_id(body.get("event_id")))


def _read_event_id(value: object) -> str | None:
    if value is None:
        return None
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not (0 < len(text) <= MAX_EVENT_ID and text.isprintable()):
        detail = f"event_id must be text of 1 to {MAX_EVENT_ID} characters without control characters, or an integer."
        raise RefusedBodyError("invalid_event_id", detail, "/event_id")
    return text


def _read_instant(value: object) -> dt.datetime:
    detail = "timestamp must be RFC 3339 text with an offset, such as 2026-03-01T08:30:00Z."
    match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise RefusedBodyError("invalid_timestamp", detail, "/timestamp")
    date, time, fraction, offset = match.groups()
    if offset is None:
        raise RefusedBodyError("naive_timestamp", "timestamp has no offset; add Z or one such as +02:00.", "/timestamp")
    try:
        return dt.datetime.fromisoformat(f"{date}T{time}{(fraction or '')[:7]}{offset.upper()}").astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise RefusedBodyError("invalid_timestamp", detail, "/timestamp") from error

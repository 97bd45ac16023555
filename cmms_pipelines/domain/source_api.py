"""The API of a source of events: where its entities and its changes are asked for, how hard, and which fields mean what.

What belongs here: the model, the addresses that it makes, and what a reply says in our fields. What does not: requests
(`sync.source_api`), the token (`storage.source_tokens`), and the external API of the syncs (`clients`).

All addresses are below `base_url`: a path with another scheme or host, or one that leads out of it, is refused. A host that is a
link-local address is refused too: cloud machines answer there with credentials.
"""

import datetime as dt
import ipaddress
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from cmms_pipelines.domain.events import ABOUT_EQUIPMENT, EQUIPMENT_FIELDS, WORK_ORDER_FIELDS, canonical_number
from cmms_pipelines.domain.senders.reading import instant, text, value_at

POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")
FIELD = re.compile(r"[a-z][a-z_]{0,49}")
KEY_FIELDS = frozenset({*WORK_ORDER_FIELDS, *EQUIPMENT_FIELDS, "plant_code", "plant", "work_type", "updated_at"})
"""A payload that states nothing else is a key: the rest is for us to fetch."""
_PATH = re.compile(r"[!-~]{1,500}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_ENDINGS = frozenset({"asset_deleted", "maintenance_cancelled"})
_NUMBER_FIELDS = {"work_order": WORK_ORDER_FIELDS, "equipment": EQUIPMENT_FIELDS}


class ApiAuth(StrEnum):
    """How the token travels: as the whole `Authorization` header, after `Bearer`, or as basic credentials (`user:password`)."""

    RAW = "raw"
    BEARER = "bearer"
    BASIC = "basic"


class EntityKind(StrEnum):
    """What a source's API can be asked about."""

    WORK_ORDER = "work_order"
    EQUIPMENT = "equipment"


class OnMissing(StrEnum):
    """What becomes of an event whose entity the source does not know."""

    DEAD = "dead"
    HELD = "held"


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Pointers = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1, max_length=10)]
Fields = Annotated[dict[str, Pointers], Field(max_length=100)]


def check_pointers(fields: Mapping[str, Sequence[str]]) -> None:
    """Make sure that payload fields and JSON pointers are written as such.

    Raises:
        ValueError: one is not; the message names it.
    """
    for name, pointers in fields.items():
        if not FIELD.fullmatch(name):
            raise ValueError(f"{name!r} is no field of an event: lower-case letters and '_'")
        for pointer in pointers:
            if not POINTER.fullmatch(pointer):
                raise ValueError(f"{pointer!r} (of {name}) is no JSON pointer: write it as '/asset/customId'")


class Changes(BaseModel):
    """How the source lists what changed, for the sweep that looks for missed events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="below base_url, with {since}, and {until} where the source takes one: times of RFC 3339 in UTC",
        examples=["work-orders?updatedSince={since}"],
    )
    records: str = Field(default="", description="JSON pointer to the list of entities; empty: the reply itself")
    next: str | None = Field(default=None, description="JSON pointer to the address of the next page, absolute or below base_url")
    updated_at: Pointers | None = Field(
        default=None, description="in an entity: when it changed; what changed in the last minutes is left to the next sweep"
    )
    max_pages: Annotated[int, Field(ge=1, le=10_000)] = 1_000

    @field_validator("path")
    @classmethod
    def _names_its_beginning(cls, value: str) -> str:
        return _checked_path(value, needed={"{since}"}, known={"{since}", "{until}"})

    @model_validator(mode="after")
    def _points(self) -> Self:
        for pointer in (self.records, self.next or "", *(self.updated_at or ())):
            if pointer and not POINTER.fullmatch(pointer):
                raise ValueError(f"{pointer!r} is no JSON pointer: write it as '/data/items'")
        return self

    def address(self, since: dt.datetime, until: dt.datetime) -> str:
        """Return the path of the first page."""
        return self.path.replace("{since}", _stamp(since)).replace("{until}", _stamp(until))

    def changed_at(self, record: object) -> dt.datetime | None:
        """Return when an entity changed, None where it does not say."""
        found = (instant(value_at(record, pointer)) for pointer in self.updated_at or ())
        return next((at for at in found if at is not None), None)


class Entity(BaseModel):
    """How one kind of entity is fetched and read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = Field(
        default=None,
        description="of one entity, below base_url, with {number}; without it this kind is never fetched",
        examples=["work-orders/{number}", "A_MaintenanceOrder('{number}')"],
    )
    fields: Fields = Field(
        default_factory=dict,
        description="JSON pointers into one entity by payload field, the first that finds something counts; none: the entity "
        "has our fields",
    )
    record: str = Field(default="", description="JSON pointer to the entity in the reply for one; empty: the reply itself")
    changes: Changes | None = None

    @field_validator("path")
    @classmethod
    def _names_its_number(cls, value: str | None) -> str | None:
        return None if value is None else _checked_path(value, needed={"{number}"}, known={"{number}"})

    @model_validator(mode="after")
    def _points(self) -> Self:
        check_pointers(self.fields)
        if self.record and not POINTER.fullmatch(self.record):
            raise ValueError(f"{self.record!r} is no JSON pointer: write it as '/data'")
        return self

    def address(self, number: str) -> str | None:
        """Return the path of one entity; None for a number that would lead elsewhere."""
        if self.path is None or not number.strip("."):
            return None
        return self.path.replace("{number}", quote(number, safe=""))

    def payload_of(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an entity says, in the fields of a payload."""
        if not self.fields:
            return dict(record)
        found = ((name, _first(record, pointers)) for name, pointers in self.fields.items())
        return {name: value for name, value in found if value is not None}


class SourceApi(BaseModel):
    """A source's own API; its token is kept apart, encrypted, and is never shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: Annotated[str, Field(max_length=500)] = Field(
        description="https://host/path of all addresses; redirects are not followed", examples=["https://cmms.example.com/api/v1"]
    )
    auth: ApiAuth = ApiAuth.BEARER
    entities: Annotated[dict[EntityKind, Entity], Field(min_length=1)] = Field(description="what can be asked for")
    thin: bool = Field(
        default=False, description="fetch the entity of every event; as it stands only of events that hold nothing but a key"
    )
    on_missing: OnMissing = Field(default=OnMissing.DEAD, description="what an event gets whose entity the source does not know")
    requests_per_s: Annotated[float, Field(gt=0, le=1_000)] = 5.0
    max_in_flight: Annotated[int, Field(ge=1, le=32)] = 2
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    attempts: Annotated[int, Field(ge=1, le=5)] = Field(default=2, description="of one fetch; then the event waits for its retry")
    overlap_s: Annotated[int, Field(ge=0, le=604_800)] = Field(
        default=3_600, description="how far before the end of the last sweep the next one begins"
    )
    grace_s: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=300, description="how long a webhook may take before its change counts as missed"
    )
    first_look_back_s: Annotated[int, Field(ge=0, le=31_536_000)] = Field(default=86_400, description="of the first sweep")

    @field_validator("base_url")
    @classmethod
    def _is_base(cls, value: str) -> str:
        try:
            found = urlsplit(value)
            _ = found.port
        except ValueError as error:
            raise ValueError("base_url is no address") from error
        if found.scheme not in {"http", "https"} or not found.hostname:
            raise ValueError("base_url must begin with http:// or https:// and name a host")
        if found.username or found.password or found.query or found.fragment:
            raise ValueError("base_url must be an address alone: the token is set apart")
        if _is_link_local(found.hostname):
            raise ValueError("base_url must not be a link-local address")
        return value.rstrip("/")

    def fetched_kind(self, event_type: str, payload: Mapping[str, Any]) -> EntityKind | None:
        """Return what has to be fetched before an event can be applied; None where it says enough itself, or nothing can be."""
        kind = EntityKind.EQUIPMENT if event_type in ABOUT_EQUIPMENT else EntityKind.WORK_ORDER
        entity = self.entities.get(kind)
        if event_type == "meter_reading_recorded" or entity is None or entity.path is None or number_of(kind, payload) is None:
            return None
        return kind if self.thin or is_key_only(payload) else None


def is_key_only(payload: Mapping[str, Any]) -> bool:
    """Tell whether a payload only names what changed."""
    return payload.keys() <= KEY_FIELDS


def number_of(kind: EntityKind, payload: Mapping[str, Any]) -> str | None:
    """Return the number of an entity as its source writes it."""
    return next((number for name in _NUMBER_FIELDS[kind] if (number := text(payload.get(name)))), None)


def with_number(kind: EntityKind, payload: Mapping[str, Any], number: str) -> dict[str, Any] | None:
    """Return the payload of a fetched entity under the number that was asked for; None where it names another one."""
    said = number_of(kind, payload)
    if said is not None and canonical_number(said) != canonical_number(number):
        return None
    others = {name: value for name, value in payload.items() if name not in _NUMBER_FIELDS[kind]}
    linked = {} if kind is EntityKind.EQUIPMENT else {name: payload[name] for name in EQUIPMENT_FIELDS if name in payload}
    return {**others, **linked}


def may_be_gone(event_type: str) -> bool:
    """Tell whether an event says the end of its entity, which its source then rightly does not know any more."""
    return event_type in _ENDINGS


def records_at(body: object, pointer: str) -> list[Any] | None:
    """Return the entities of a reply, None where there is no list."""
    found = value_at(body, pointer) if pointer else body
    return found if isinstance(found, list) else None


def _checked_path(path: str, *, needed: set[str], known: set[str]) -> str:
    named = set(_PLACEHOLDER.findall(path))
    if not needed <= named or named - known:
        raise ValueError(f"{path!r} must have {', '.join(sorted(needed))} and no other placeholder")
    bare = path.lstrip("/")
    steps = bare.partition("?")[0].split("/")
    if not _PATH.fullmatch(path) or "\\" in path or "#" in path or ":" in steps[0] or {".", ".."} & set(steps):
        raise ValueError(f"{path!r} is no path below base_url")
    return bare


def _first(record: Mapping[str, Any], pointers: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON value
    return next((value for pointer in pointers if (value := value_at(record, pointer)) is not None), None)


def _stamp(at: dt.datetime) -> str:
    return quote(at.astimezone(dt.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z"), safe=":")


def _is_link_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False

"""How events of one system are received: the fields of a source's configuration, their defaults and what makes them valid.

What belongs here: the model, and what follows from it (dedup key, event mapping). What does not: storing it
(`storage.configurations`), secrets (`storage.secrets`), and the receiving itself (`cmms_webhook`).
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cmms_pipelines.domain.event_formats import NO_MAPPING, BodyFormat, EventMapping
from cmms_pipelines.domain.events import MAX_EVENT_ID, CanonicalEvent, EventType, dedup_key
from cmms_pipelines.domain.presets import PRESETS, preset_of
from cmms_pipelines.domain.retry_policy import DEFAULT_RETRIES, RetryPolicy
from cmms_pipelines.domain.scoped_syncs import SyncStart
from cmms_pipelines.domain.senders.reading import text, value_at
from cmms_pipelines.domain.signatures import SchemeName
from cmms_pipelines.domain.source_api import POINTER, Fields, SourceApi, check_pointers
from cmms_pipelines.domain.strict_json import RefusedBodyError, read_json

UNSIGNED_WARNING = "unsigned: anybody who reaches the receiver can send as this system"
_HEADER = re.compile(r"header:[a-z0-9-]{1,100}")
_SECRET_HEADERS = re.compile(r"authorization|cookie|signature|sign-data|token|secret|key")


class RateLimit(BaseModel):
    """A token bucket: `per_s` on average, `burst` at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_s: Annotated[float, Field(gt=0, le=1_000_000, description="events a second, on average")]
    burst: Annotated[int, Field(ge=1, le=1_000_000, description="events at once")]


DEFAULT_RATE = RateLimit(per_s=500, burst=5000)
DEFAULT_ADDRESS_RATE = RateLimit(per_s=250, burst=2500)


class WebhookSource(BaseModel):
    """How events of one system are received: the configuration of sync type `webhook`.

    What is left out gets the default of the kind of sender that `scheme` belongs to (`domain.presets`); `null` switches a rate
    limit off. Senders that never try again are neither limited nor shed by default: a refusal would lose the event.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: SchemeName = Field(default=SchemeName.HMAC_HEX, description="how the system signs")
    allow_unsigned: bool = Field(
        default=False, description="explicit consent to scheme `unsigned`: anybody can send as this system"
    )
    tolerance_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=300, description="clock difference allowed to a signed time, in seconds"
    )
    format: BodyFormat = Field(
        default=BodyFormat.CANONICAL, description="how the system writes its events; by default that of its kind of sender"
    )
    event_types: Annotated[dict[str, EventType], Field(max_length=200)] = Field(
        default_factory=dict, description="our event type by the system's name of an event, over those of the format"
    )
    fields: Fields = Field(
        default_factory=dict,
        description="JSON pointers into the body by payload field, the first that finds something counts; also `event_type`, "
        "`timestamp`, `event_id`",
        examples=[{"equipment_number": ["/changedWorkOrder/asset/customId", "/newWorkOrder/asset/customId"]}],
    )
    time_zone: str | None = Field(
        default=None, description="IANA zone of times without an offset; without it such times are not used for ordering"
    )
    dedup_key: str = Field(
        default="auto",
        description="what tells duplicates: `auto` (signed message id, else event id, else the body), `body`, a JSON pointer, "
        "or `header:<name>`",
        examples=["auto", "/delivery/id", "header:x-request-id"],
    )
    may_shed: bool = Field(default=False, description="the system sends again after 503, so it yields first under overload")
    rate_limit: RateLimit | None = Field(
        default=None, description="events of this system; more are answered 429 with Retry-After"
    )
    address_rate_limit: RateLimit | None = Field(default=None, description="the same, of one address of this system")
    retries: RetryPolicy = Field(default=DEFAULT_RETRIES, description="of its events that fail for a passing reason")
    api: SourceApi | None = Field(
        default=None, description="its own API, for events that hold a key only and for the sweep that looks for missed events"
    )
    starts_syncs: Annotated[dict[EventType, SyncStart], Field(max_length=20)] = Field(
        default_factory=dict,
        description="which of its events start a sync, by our event type",
        examples=[{"asset_created": "equipment_of_plant", "sync_requested": "named_scope"}],
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_its_kind(cls, values: Any) -> Any:  # noqa: ANN401 - whatever came, before it is checked
        if not isinstance(values, Mapping):
            return values
        try:
            kind = preset_of(SchemeName(values.get("scheme", SchemeName.HMAC_HEX)))
        except ValueError:
            return values  # the scheme itself is refused, with the list of known ones
        is_limited = bool(values.get("may_shed", kind.is_retrying))
        defaults = {
            "format": kind.body_format,
            "may_shed": kind.is_retrying,
            "rate_limit": DEFAULT_RATE if is_limited else None,
            "address_rate_limit": DEFAULT_ADDRESS_RATE if is_limited else None,
        }
        return defaults | dict(values)

    @classmethod
    def of_preset(cls, name: str, **changes: Any) -> Self:  # noqa: ANN401 - any field of the model
        """Return the configuration of a kind of sender, with changes.

        Raises:
            ValueError: there is no such preset, or a change is not valid.
        """
        if name not in PRESETS:
            raise ValueError(f"{name!r} is no kind of sender: take one of {', '.join(PRESETS)}")
        preset = PRESETS[name]
        return cls.model_validate({"scheme": preset.scheme, "format": preset.body_format} | changes)

    @field_validator("time_zone")
    @classmethod
    def _is_known_zone(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone of the IANA database (example: Europe/Berlin)") from error
        return value

    @field_validator("dedup_key")
    @classmethod
    def _is_dedup_key(cls, value: str) -> str:
        if value in {"auto", "body"} or POINTER.fullmatch(value):
            return value
        if not _HEADER.fullmatch(value):
            raise ValueError("say 'auto', 'body', a JSON pointer such as '/delivery/id', or 'header:<name>' in lower case")
        if _SECRET_HEADERS.search(value):
            raise ValueError(f"{value!r} holds a secret or a signature: a dedup key is stored in the clear")
        return value

    @field_validator("fields")
    @classmethod
    def _are_pointers(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        check_pointers(value)
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.scheme is SchemeName.UNSIGNED) != self.allow_unsigned:
            raise ValueError("scheme 'unsigned' and allow_unsigned=true go together: say both or neither")
        if self.format is BodyFormat.MAPPED and "event_type" not in self.fields:
            raise ValueError("format 'mapped' needs fields.event_type: where the body names the event")
        for event_type, start in self.starts_syncs.items():
            if (event_type is EventType.SYNC_REQUESTED) != (start is SyncStart.NAMED_SCOPE):
                raise ValueError("starts_syncs: sync_requested starts the named_scope, every other type equipment_of_plant")
        return self

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what every listing of this source must show beside it."""
        return (UNSIGNED_WARNING,) if self.scheme is SchemeName.UNSIGNED else ()

    def mapping(self) -> EventMapping:
        """Return what the source says about its events beyond their format; made once, not per event."""
        if not (self.event_types or self.fields or self.time_zone):
            return NO_MAPPING
        zone = ZoneInfo(self.time_zone) if self.time_zone else None
        return EventMapping({name: kind.value for name, kind in self.event_types.items()}, dict(self.fields), zone)

    def dedup_key_of(
        self, event: CanonicalEvent, raw: bytes, body_sha256: bytes, headers: Mapping[str, str], message_id: str | None
    ) -> str:
        """Return what makes two deliveries of this source the same; where the configured key is missing, that of `auto`."""
        if self.dedup_key == "auto":
            return dedup_key(event, body_sha256, message_id)
        if self.dedup_key == "body":
            return f"sha256:{body_sha256.hex()}"
        if self.dedup_key.startswith("/"):
            try:
                identifier = text(value_at(read_json(raw), self.dedup_key))
            except RefusedBodyError:
                identifier = None
        else:
            identifier = text(headers.get(self.dedup_key.removeprefix("header:")))
        is_usable = identifier is not None and len(identifier) <= MAX_EVENT_ID and identifier.isprintable()
        return f"id:{identifier}" if is_usable else dedup_key(event, body_sha256, message_id)

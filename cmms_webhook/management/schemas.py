"""What the management API takes and gives, as documented models.

What belongs here: shapes with descriptions, for the OpenAPI. What does not: behaviour. No model has a place for a stored secret.
"""

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from cmms_pipelines.domain.events import HookStatus
from cmms_pipelines.domain.webhook_source import WebhookSource

SystemId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["plant-cmms"])]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Configuration(BaseModel):
    """A source of events as it is configured; its secrets are listed apart, without their values."""

    cmms_system_id: str
    configuration: dict[str, Any] = Field(description="how its events are received")
    is_active: bool
    warnings: list[str] = Field(description="what to know about it, such as that it signs nothing")
    version: int = Field(description="for If-Match of the next change")


class Configurations(BaseModel):
    """All sources."""

    configurations: list[Configuration]


class NewConfiguration(_Input):
    """A source to create."""

    cmms_system_id: SystemId
    configuration: WebhookSource = Field(default_factory=WebhookSource)
    is_active: bool = True


class ChangedConfiguration(_Input):
    """A source as it shall be: the whole configuration, fields left out take their defaults."""

    configuration: WebhookSource
    is_active: bool = True


class ConfigurationVersion(BaseModel):
    """One version."""

    version: int
    configuration: dict[str, Any]
    is_active: bool
    changed_by: str
    changed_at: dt.datetime


class History(BaseModel):
    """All versions, the newest first."""

    versions: list[ConfigurationVersion]


class Rollback(_Input):
    """Which version's content becomes the newest version."""

    to_version: Annotated[int, Field(ge=1)]


class Secret(BaseModel):
    """A secret, without its value."""

    id: uuid.UUID
    created_at: dt.datetime
    expires_at: dt.datetime | None
    last_used_at: dt.datetime | None
    revoked_at: dt.datetime | None
    is_in_force: bool


class Secrets(BaseModel):
    """The secrets of a source, the newest first."""

    secrets: list[Secret]


class Rotation(_Input):
    """How to add a secret."""

    secret: SecretStr | None = Field(default=None, description="the sender's own; left out, one is generated")
    expires_at: AwareDatetime | None = Field(default=None, description="of the new one; by default it has no end")
    others_expire_in_s: Annotated[int, Field(ge=0, le=31_536_000)] | None = Field(
        default=86_400, description="how long those in force now stay so; null leaves them alone"
    )

    def others_expire_in(self) -> dt.timedelta | None:
        """Return the same as a duration."""
        return None if self.others_expire_in_s is None else dt.timedelta(seconds=self.others_expire_in_s)


class NewSecret(BaseModel):
    """The secret that was added; a generated one is shown this once."""

    id: uuid.UUID
    secret: str | None = Field(description="null where the request gave it")


class Sample(_Input):
    """A delivery as a sender would make it, to be judged and not stored."""

    headers: dict[str, str] = Field(description="as they came", examples=[{"X-HMAC-Signature": "sha256=..."}])
    body: Annotated[str, Field(max_length=262_144)] = Field(description="the body's text, byte for byte as it came (UTF-8)")
    at: AwareDatetime | None = Field(default=None, description="when it came; by default now")
    configuration: WebhookSource | None = Field(default=None, description="judge by this one instead of the stored one")


class Verification(BaseModel):
    """What would become of a delivery."""

    is_accepted: bool
    reason: str | None = Field(default=None, description="why it would be refused: the reason that the audit log would have")
    detail: str | None = Field(default=None, description="the same in words, and where")
    secret_id: uuid.UUID | None = Field(default=None, description="the secret that the signature matches")
    event_type: str | None = None
    entity_key: str | None = None
    dedup_key: str | None = None
    occurred_at: dt.datetime | None = None
    first_status: HookStatus | None = Field(default=None, description="pending, or held for a type that has no handler")
    is_known_already: bool | None = Field(default=None, description="an event with this key is stored: it would be a duplicate")


class TestEvent(_Input):
    """A sample event to send through the receiver."""

    wait_s: Annotated[float, Field(ge=0, le=30)] = Field(default=10.0, description="how long to follow it")


class TestReport(BaseModel):
    """How far the sample event came."""

    is_accepted: bool
    http_status: int = Field(description="what the receiver answered")
    answer: dict[str, Any]
    event_id: uuid.UUID | None = None
    status: HookStatus | None = Field(default=None, description="where the event stands at the end")
    applied_after_ms: float | None = Field(default=None, description="from acceptance; null while it is not applied")
    outcome: dict[str, Any] | None = None
    error_message: str | None = None


class EventSummary(BaseModel):
    """An event of the inbox, without its payload."""

    id: uuid.UUID
    sequence: int = Field(description="order of arrival")
    cmms_system_id: str
    event_type: str
    entity_key: str = Field(description="the thing that it is about; events of one thing keep their order")
    processing_status: HookStatus
    error_message: str | None
    retry_count: int = Field(description="failed attempts since it came or was put back")
    retries_total: int = Field(description="failed attempts, over all replays")
    replays: int
    occurred_at: dt.datetime | None = Field(description="by the sender's clock")
    received_at: dt.datetime
    processed_at: dt.datetime | None
    next_attempt_at: dt.datetime
    replayed_at: dt.datetime | None
    latency_ms: float | None = Field(description="from acceptance, or the last replay, until applied")
    dagster_run_id: str | None
    origin: Literal["webhook", "sweep"] = Field(description="sweep: no webhook had brought it")


class Event(EventSummary):
    """An event of the inbox, whole but for its signature and raw bytes."""

    event_payload: dict[str, Any]
    fetched_payload: dict[str, Any] | None = Field(description="what the source's API said of a thin event")
    fetched_at: dt.datetime | None
    outcome: dict[str, Any] | None = Field(description="what applying it did, field by field")
    headers: dict[str, Any]
    dedup_key: str
    body_sha256: str


class EventPage(BaseModel):
    """A page of events, the newest first."""

    events: list[EventSummary]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one")


class DeadLetterGroup(BaseModel):
    """Dead letters with one cause."""

    rule: str
    cmms_system_id: str
    event_type: str
    events: int
    oldest_at: dt.datetime
    newest_at: dt.datetime
    example_id: uuid.UUID
    example_error: str | None


class DeadLetters(BaseModel):
    """Dead letters by cause, the largest group first."""

    events: int
    causes: list[DeadLetterGroup]


class ReplayRequest(_Input):
    """Which events to put back; what is left out does not restrict. Without ids or statuses only dead letters are meant."""

    ids: Annotated[list[uuid.UUID], Field(max_length=1_000)] = []
    statuses: list[HookStatus] = []
    systems: list[str] = []
    types: list[str] = []
    entity_key: str | None = None
    received_since: AwareDatetime | None = None
    received_until: AwareDatetime | None = Field(default=None, description="not included")
    limit: Annotated[int, Field(ge=1, le=100_000)] = Field(default=10_000, description="at most so many, the oldest first")
    reread: bool = Field(default=False, description="read their bytes first, with their source's mapping as it is now")
    dry_run: bool = Field(default=False, description="show what it would do, and change nothing")
    reason: Annotated[str, Field(max_length=500)] | None = Field(default=None, description="for the audit log")


class Retry(_Input):
    """Why, for the audit log."""

    reason: Annotated[str, Field(max_length=500)] | None = None


class ReplayTrial(BaseModel):
    """What applying one event again would do."""

    id: uuid.UUID
    event_type: str
    status: str
    verdict: Literal["applied", "ignored", "held", "retry", "dead"]
    outcome: dict[str, Any]
    error: str | None
    reread: dict[str, Any] = Field(description="with `reread`: what a new reading would change, before and after")


class ReplayReport(BaseModel):
    """What was put back, or would be."""

    is_dry_run: bool
    events: int
    ids: list[uuid.UUID] = Field(description="in order of arrival; the first 1,000; empty for a dry run")
    by_status: dict[str, int] | None = Field(default=None, description="dry run only")
    by_type: dict[str, int] | None = Field(default=None, description="dry run only")
    trials: list[ReplayTrial] | None = Field(default=None, description="dry run only: the first 100, applied on trial")


class NewestEvent(BaseModel):
    """The event that came last."""

    cmms_system_id: str
    event_type: str
    received_at: dt.datetime


class Inbox(BaseModel):
    """How the inbox stands."""

    counts: dict[HookStatus, int]
    oldest_pending_at: dt.datetime | None
    oldest_pending_age_s: float | None
    oldest_due_age_s: float | None = Field(description="age of the oldest event that could be applied now")
    waiting_for_retry: int
    newest: NewestEvent | None
    drain: Literal["absent", "working", "leaving", "handing_over"]


class SyncLog(BaseModel):
    """One sync."""

    id: int
    sync_type: str
    status: str
    sync_started_at: dt.datetime
    sync_completed_at: dt.datetime | None
    records_processed: int
    records_success: int
    records_failed: int
    slices_total: int | None
    slices_done: int
    activity: str | None
    error_message: str | None
    dagster_run_id: str | None


class Syncs(BaseModel):
    """How the syncs stand."""

    running: list[SyncLog]
    last: dict[str, SyncLog] = Field(description="by sync type")
    is_paused: bool


class Status(BaseModel):
    """How events and syncs stand now."""

    at: dt.datetime
    inbox: Inbox
    syncs: Syncs


SyncRequestStatus = Literal["waiting", "requested", "running", "success", "failed", "cancelled"]


class SyncRequest(BaseModel):
    """A sync that an event has asked for."""

    id: int
    cmms_system_id: str
    hook_id: uuid.UUID | None = Field(description="the event")
    sync_type: Literal["equipment", "running_times"]
    scope: dict[str, Any] = Field(description="plants, machines and days; empty lists mean all")
    status: SyncRequestStatus
    lead_id: int | None = Field(description="the request whose run serves this one too")
    dagster_run_id: str | None
    error_message: str | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    ended_at: dt.datetime | None


class SyncRequests(BaseModel):
    """A page of requests, the newest first."""

    requests: list[SyncRequest]
    next_before: int | None = Field(description="`before` of the next page; null on the last one")


class Sweep(BaseModel):
    """One round of asking a source what changed; entities = known + waiting + missed + refused."""

    id: int
    cmms_system_id: str
    status: Literal["running", "success", "failed"]
    changed_since: dt.datetime
    changed_until: dt.datetime
    entities: int = Field(description="that the source named as changed")
    known: int = Field(description="that events had brought")
    waiting: int = Field(description="whose events are in the inbox, not applied yet")
    missed: int = Field(description="put into the inbox by this sweep")
    refused: int = Field(description="that could not be read")
    examples: list[dict[str, Any]]
    error_message: str | None
    dagster_run_id: str | None
    started_at: dt.datetime
    ended_at: dt.datetime | None


class Sweeps(BaseModel):
    """A page of sweeps, the newest first."""

    sweeps: list[Sweep]
    next_before: int | None = Field(description="`before` of the next page; null on the last one")


class ApiToken(BaseModel):
    """What is known of the token for a source's API; never the token."""

    is_set: bool
    changed_by: str | None = None
    changed_at: dt.datetime | None = None


class NewApiToken(_Input):
    """The token for a source's API, sent as `api.auth` says; `user:password` for `basic`."""

    token: Annotated[SecretStr, Field(min_length=1, max_length=8_192)]


class EventAnalytics(BaseModel):
    """Figures of one source, type and stretch of time; latencies in milliseconds, from acceptance until applied."""

    since: dt.datetime
    cmms_system_id: str
    event_type: str
    received: int = Field(description="stored events, quarantined ones included")
    duplicates: int = Field(description="deliveries that were known already")
    pending: int
    held: int
    processed: int
    ignored: int
    quarantined: int
    dead_letters: int
    retried: int = Field(description="events with at least one failed attempt")
    retried_successfully: int
    retries_exhausted: int = Field(description="dead letters whose retries were used up")
    retry_success: float | None = Field(description="share of the retried events that were applied in the end; poison apart")
    poison: int = Field(description="dead letters that no retry can help")
    found_by_sweep: int = Field(description="events that no webhook had brought")
    retries: int = Field(description="failed attempts")
    replays: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None


class Refusals(BaseModel):
    """Refused deliveries of one source, reason and stretch of time; without a source where it could not be told."""

    since: dt.datetime
    cmms_system_id: str | None
    reason: str
    refused: int


class Analytics(BaseModel):
    """Figures per source and type over time, and refusals by reason."""

    since: dt.datetime
    until: dt.datetime
    bucket: Literal["minute", "hour", "day", "all"]
    events: list[EventAnalytics]
    refusals: list[Refusals]

"""What requests and answers about alerts look like."""

import datetime as dt
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cmms_pipelines.domain.alerts import AlertStatus, Severity


class Alert(BaseModel):
    """Something that somebody must know, until it is over."""

    id: int
    fingerprint: str = Field(description="the cause: what was looked for, and what it is about", examples=["sync:equipment"])
    severity: Severity
    status: AlertStatus
    title: str
    detail: str
    cause: str = Field(description="what it probably comes from, and what to do first")
    figures: dict[str, float | int | str] = Field(description="how much, by name")
    occurrences: int = Field(description="how often it was told")
    first_seen_at: dt.datetime
    last_seen_at: dt.datetime
    acknowledged_by: str | None
    acknowledged_at: dt.datetime | None
    acknowledgement: str | None
    resolved_at: dt.datetime | None
    dagster_run_id: str | None


class AlertDelivery(BaseModel):
    """A message about an alert to one channel."""

    id: int
    channel: str
    kind: str = Field(description="opened, raised, repeated or resolved")
    severity: Severity
    title: str
    status: str = Field(description="pending, delivered, superseded (a newer message says it too) or given_up")
    attempts: int
    next_attempt_at: dt.datetime
    error: str | None = Field(description="why the last attempt failed")
    created_at: dt.datetime
    delivered_at: dt.datetime | None


class AlertWithDeliveries(Alert):
    """An alert, and what was sent about it."""

    deliveries: list[AlertDelivery]


class AlertPage(BaseModel):
    """A page of alerts."""

    standing: dict[Severity, int] = Field(description="how many are not resolved, by severity")
    alerts: list[Alert]
    next_before: int | None


class Acknowledgement(BaseModel):
    """What the one who takes an alert says."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[str, Field(max_length=500)] | None = None

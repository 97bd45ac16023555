"""Who is told of what, how often, and from when on: the configuration of sync type `alerts`.

What belongs here: the model with its defaults and what makes it valid. What does not: storing it (`storage.alert_configuration`),
and what a channel's address means (`notify.channels`).
"""

import datetime as dt
import re
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cmms_pipelines.domain.alerts import Pace, Severity

CHANNEL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{1,99}")

Minutes = Annotated[int, Field(ge=1, le=60 * 24 * 30)]


class Channel(BaseModel):
    """Where messages go, as an Apprise URL (`mailto://...`, `slack://...`, `msteams://...`).

    The URL holds secrets, so it is never written here: it is read from an environment variable, or kept encrypted with
    `CMMS_SECRET_KEY`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url_env: str | None = Field(default=None, description="name of the environment variable that holds the URL")
    url_sealed: Annotated[str, Field(max_length=10_000)] | None = Field(
        default=None, description="the URL, encrypted; `cmms alerts configure` seals it", repr=False
    )

    @field_validator("url_env")
    @classmethod
    def _is_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ValueError("url_env is the name of an environment variable, such as CMMS_ALERT_MAIL_URL, never the URL itself")
        return value

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.url_env is None) == (self.url_sealed is None):
            raise ValueError("a channel has either url_env or url_sealed")
        return self


class Routes(BaseModel):
    """Channels by severity. Nothing is sent until one is named; everything is on the dashboard in any case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    critical: tuple[str, ...] = Field(default=(), description="a sync failed completely: e-mail and Slack, by the specification")
    high: tuple[str, ...] = Field(default=(), description="more than 10 % of the records failed: e-mail")
    medium: tuple[str, ...] = Field(default=(), description="fewer: the dashboard")
    low: tuple[str, ...] = Field(default=(), description="warnings: the log")
    report: tuple[str, ...] = Field(default=(), description="the daily report, as a file")

    def of(self, severity: Severity) -> tuple[str, ...]:
        """Return the channels of a severity."""
        named: tuple[str, ...] = getattr(self, severity.value, ())
        return named


class RepeatMinutes(BaseModel):
    """After how many minutes an alert that lasts is told again; null: never."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    critical: Minutes | None = 60
    high: Minutes | None = 240
    medium: Minutes | None = 1440
    low: Minutes | None = None


class Thresholds(BaseModel):
    """From when on something is an alert."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settle_s: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=180, description="a failed sync may be retried for so long before anybody is told"
    )
    consecutive_failures: Annotated[int, Field(ge=2, le=100)] = Field(
        default=3, description="so many syncs of a type that did not succeed, in a row, are critical"
    )
    database_unreachable_s: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=30, description="the database is away for so long"
    )
    oldest_due_s: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=300, description="an event that could be applied waits for so long"
    )
    daemon_silent_s: Annotated[int, Field(ge=60, le=86_400)] = Field(
        default=300, description="Dagster's daemon has given no sign for so long"
    )
    dead_letters: Annotated[int, Field(ge=1, le=1_000_000)] = Field(default=1, description="so many events nobody could apply")
    conflict_age_h: Annotated[int, Field(ge=1, le=8760)] = Field(default=24, description="a conflict is undecided for so long")
    day_due_at: dt.time = Field(
        default=dt.time(6), description="at this time of a plant's own clock its yesterday must be there (HH:MM)"
    )
    missing_days_back: Annotated[int, Field(ge=1, le=31)] = Field(default=3, description="days before today that must be there")
    plants_named_one_by_one: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="when more plants than this lack a day, that is one cause and one alert"
    )
    band_weeks: Annotated[int, Field(ge=2, le=26)] = Field(
        default=10, description="refusals of a plant are held against the same weekday of so many weeks"
    )
    band_least_days: Annotated[int, Field(ge=2, le=26)] = Field(default=4, description="with fewer of them nothing is odd yet")
    band_floor_records: Annotated[float, Field(ge=0)] = Field(
        default=5, description="the band reaches at least so many records beyond the median"
    )
    band_floor_share: Annotated[float, Field(ge=0, le=10)] = Field(default=0.25, description="and at least this share of it")
    failed_ticks: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="so many ticks of a sensor have failed in a row; of a schedule, the last one is enough"
    )


class AlertConfiguration(BaseModel):
    """Channels, routes, repeats and thresholds; everything has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Annotated[dict[str, Channel], Field(max_length=50)] = Field(default_factory=dict)
    routes: Routes = Routes()
    repeat_after_min: RepeatMinutes = RepeatMinutes()
    clear_after_s: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=120, description="gone for so long counts as cleared, so that what comes and goes does not ring each time"
    )
    thresholds: Thresholds = Thresholds()

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Self:
        for name in self.channels:
            if not CHANNEL_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a channel: small letters, digits, '-', '_', at most 50")
        for severity in (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW):
            unknown = sorted(set(self.routes.of(severity)) - set(self.channels))
            if unknown:
                raise ValueError(f"routes.{severity} names channels that do not exist: {', '.join(unknown)}")
        if unknown := sorted(set(self.routes.report) - set(self.channels)):
            raise ValueError(f"routes.report names channels that do not exist: {', '.join(unknown)}")
        return self

    def pace(self) -> Pace:
        """Return how often the same cause is told."""
        minutes = self.repeat_after_min.model_dump()
        every = {Severity(name): dt.timedelta(minutes=value) if value else None for name, value in minutes.items()}
        return Pace(every, dt.timedelta(seconds=self.clear_after_s))

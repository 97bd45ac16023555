"""Every `CMMS_*` environment variable, read when a process asks for its settings and never at import.

What belongs here: names, types, defaults and cross-checks of the environment. What does not: what the values are used for, and
what of them may stand in the database instead (`storage.settings_in_force`).
"""

import re
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from cmms_pipelines.domain.classification import GroupRule
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.field_names import FieldNames
from cmms_pipelines.domain.kpi_limits import KpiLimits
from cmms_pipelines.domain.schedule_times import ScheduleTime, known_schedules, known_time_zone

Port = Annotated[int, Field(ge=0, le=65535)]


class ApiAuth(StrEnum):
    """How the token travels: as the whole `Authorization` header, after `Bearer`, or as basic credentials (`user:password`)."""

    RAW = "raw"
    BEARER = "bearer"
    BASIC = "basic"


class ApiDialect(StrEnum):
    """Which API the external system speaks."""

    IMS = "ims"
    ODATA_V2 = "odata_v2"
    ODATA_V4 = "odata_v4"


class UnknownPlantPolicy(StrEnum):
    """What a record gets whose plant is not in `cmms.plants`."""

    REJECT = "reject"
    CREATE = "create"


class Settings(BaseSettings):
    """The environment of one process; secrets are `SecretStr`, so that no log or traceback shows them."""

    model_config = SettingsConfigDict(env_prefix="CMMS_", env_ignore_empty=True, extra="ignore", frozen=True)

    home: Path = Path(".cmms")
    database_url: SecretStr | None = None
    dagster_database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DAGSTER_DATABASE_URL", "dagster_database_url")
    )

    api_url: str | None = Field(default=None, description="base address of the external API")
    api_token: SecretStr | None = None
    api_auth: ApiAuth = Field(
        default=ApiAuth.RAW, description="how the token travels: `raw` (the whole Authorization header), `bearer` or `basic`"
    )
    api_dialect: ApiDialect = Field(default=ApiDialect.IMS, description="which API the source speaks: ims, odata_v2 or odata_v4")
    api_system_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = Field(
        default="sap", description="the system that the API belongs to: the name under which its webhooks come, if it sends any"
    )
    api_decimal_comma: bool = Field(default=False, description="the source writes `8,5` and `1.234,50`; never guessed")
    api_timeout_s: Annotated[float, Field(gt=0)] = Field(default=300.0, description="seconds that one reply may take")
    api_max_in_flight: Annotated[int, Field(ge=1)] = Field(default=4, description="requests at the same time")
    api_requests_per_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="requests a second at the most; null: no limit"
    )
    api_plants_per_call: Annotated[int, Field(ge=1)] = Field(default=5, description="plants that one request asks for")
    sync_plants_per_slice: Annotated[int, Field(ge=1)] = Field(
        default=50, description="plants that are written, and resumed, together"
    )
    sync_slices_in_flight: Annotated[int, Field(ge=1)] = Field(
        default=2, description="slices of one day that are worked on at the same time, and how many are fetched ahead"
    )
    sync_chunk_rows: Annotated[int, Field(ge=100)] = Field(
        default=25_000, description="records that are read, judged and written together; memory is bounded by it"
    )
    sync_wait_s: Annotated[float, Field(ge=0)] = Field(
        default=600.0, description="seconds that a sync waits for another one of overlapping plants and days"
    )

    plants_file: Path | None = Field(default=None, description="plants as CSV; without it, the API's list of plants")
    on_unknown_plant: UnknownPlantPolicy = Field(
        default=UnknownPlantPolicy.REJECT, description="what a record with an unknown plant gets: `reject` or `create`"
    )
    equipment_groups_file: Path | None = Field(default=None, description="classification rules as TOML")
    equipment_groups: tuple[GroupRule, ...] = Field(
        default=(), description="the same rules written out, in their order; the first that matches gives the group"
    )
    field_names: FieldNames = Field(
        default_factory=FieldNames,
        description="by dialect, kind of record and column: the source's own fields, looked at before those that are built in",
    )
    time_zone: Annotated[str, AfterValidator(known_time_zone)] = Field(
        default="UTC", description="IANA zone of schedules and daily partitions"
    )
    schedules: Annotated[Mapping[str, ScheduleTime], AfterValidator(known_schedules)] = Field(
        default={}, description="by schedule: `cron` in the time zone, and `is_on`; what is left out is as built in"
    )
    first_day: date = Field(
        default=date(2013, 1, 1), description="first daily partition of running hours, and how far the first sync of orders goes"
    )
    look_back_days: Annotated[int, Field(ge=1, le=366)] = Field(
        default=3, description="days that the nightly sync of running hours brings, yesterday being the last"
    )
    backfill_days_per_run: Annotated[int, Field(ge=1)] = Field(
        default=31, description="days of one run when a range of days is backfilled in the UI"
    )
    keep_logs_days: Annotated[int, Field(ge=1)] = Field(
        default=90, description="age at which finished logs, settled rejections and tokens out of force are removed"
    )
    keep_runs_days: Annotated[int, Field(ge=1)] = Field(
        default=30, description="age at which Dagster's finished runs are removed"
    )
    keep_reports_days: Annotated[int, Field(ge=1)] = Field(
        default=90, description="age at which daily reports are removed from CMMS_HOME/reports"
    )
    keep_deliveries_days: Annotated[int, Field(ge=1)] = Field(
        default=400, description="age at which the receiver's counts of deliveries are removed"
    )
    inbox_oldest_due_s: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="seconds that an event may wait before the check `oldest_pending_under_limit` fails"
    )
    kpi_limits: KpiLimits = Field(
        default=KpiLimits(), description="what the checks of the daily key figures hold them against, by figure"
    )

    webhook_host: str = "127.0.0.1"
    webhook_port: Port = 8000
    webhook_max_body_bytes: Annotated[int, Field(ge=1024)] = 1_048_576
    webhook_trusted_proxies: str | None = None
    dagster_port: Port = 3000
    dagster_read_only_port: Port | None = None
    dagster_url: str | None = None
    emulator_port: Port = 8090

    secret_key: SecretStr | None = None

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def dagster_address(self) -> str:
        """Return where people reach the Dagster UI: links in messages begin with it."""
        return (self.dagster_url or f"http://127.0.0.1:{self.dagster_port}").rstrip("/")


def read_settings() -> Settings:
    """Read the environment of this process.

    Raises:
        PermanentError: a variable has a value that cannot be used; the message names the variable, never a secret's value.
    """
    try:
        return Settings()
    except SettingsError as error:
        names = [variable_of(name) for name in re.findall(r'field "(\w+)"', str(error))]
        raise PermanentError(f"The environment is not usable. {', '.join(names)}: it must be JSON.") from error
    except ValidationError as error:
        problems = "; ".join(f"{_variable(problem['loc'])}: {problem['msg']}" for problem in error.errors(include_input=False))
        raise PermanentError(f"The environment is not usable. {problems}") from error


def variable_of(field: str) -> str:
    """Return the environment variable of a field of `Settings`."""
    name = field.upper()
    return name if name == "DAGSTER_DATABASE_URL" else f"CMMS_{name}"


def _variable(location: tuple[int | str, ...]) -> str:
    rest = "".join(f".{part}" for part in location[1:])
    return variable_of(str(location[0])) + rest

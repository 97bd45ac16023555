"""Every `CMMS_*` environment variable, read when a process asks for its settings and never at import.

What belongs here: names, types, defaults and cross-checks of the environment. What does not: what the values are used for.
"""

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cmms_pipelines.domain.errors import PermanentError

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

    api_url: str | None = None
    api_token: SecretStr | None = None
    api_auth: ApiAuth = ApiAuth.RAW
    api_dialect: ApiDialect = ApiDialect.IMS
    api_system_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = "sap"
    api_decimal_comma: bool = False
    api_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    api_max_in_flight: Annotated[int, Field(ge=1)] = 4
    api_requests_per_s: Annotated[float, Field(gt=0)] | None = None
    api_plants_per_call: Annotated[int, Field(ge=1)] = 5
    sync_plants_per_slice: Annotated[int, Field(ge=1)] = 50
    sync_slices_in_flight: Annotated[int, Field(ge=1)] = 2
    sync_chunk_rows: Annotated[int, Field(ge=100)] = 12_500
    sync_wait_s: Annotated[float, Field(ge=0)] = 600.0

    plants_file: Path | None = None
    on_unknown_plant: UnknownPlantPolicy = UnknownPlantPolicy.REJECT
    equipment_groups_file: Path | None = None
    time_zone: str = "UTC"
    first_day: date = date(2013, 1, 1)
    look_back_days: Annotated[int, Field(ge=1, le=366)] = 3
    backfill_days_per_run: Annotated[int, Field(ge=1)] = 31
    keep_logs_days: Annotated[int, Field(ge=1)] = 90
    keep_runs_days: Annotated[int, Field(ge=1)] = 30
    keep_deliveries_days: Annotated[int, Field(ge=1)] = 400

    webhook_host: str = "127.0.0.1"
    webhook_port: Port = 8000
    webhook_max_body_bytes: Annotated[int, Field(ge=1024)] = 1_048_576
    webhook_trusted_proxies: str | None = None
    dagster_port: Port = 3000
    dagster_url: str | None = None
    emulator_port: Port = 8090

    secret_key: SecretStr | None = None

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("time_zone")
    @classmethod
    def _known_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is no time zone of the IANA database (example: Europe/Berlin)") from error
        return value

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
    except ValidationError as error:
        problems = "; ".join(f"{_variable(problem['loc'])}: {problem['msg']}" for problem in error.errors(include_input=False))
        raise PermanentError(f"The environment is not usable. {problems}") from error


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]).upper()
    return name if name == "DAGSTER_DATABASE_URL" else f"CMMS_{name}"

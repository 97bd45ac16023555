"""The settings in force: the environment, else what is stored in `cmms.sync_configurations`, else the default.

What belongs here: which settings may be stored, under which kind and key, and the overlay. What does not: changing what is stored
(`storage.configuration_centre`), and what a setting means (`settings`).

| rule | |
|---|---|
| precedence | a variable that is set wins over the stored value, which wins over the default |
| what is stored and not usable | the newest version that is usable stays in force, without one the default; it is told |
| switched off (`is_active` false) | as if nothing were stored |
| secrets | never stored here: no kind has a key for one |
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, create_model

from cmms_pipelines.domain.configuration_documents import UnusableDocumentError, checked
from cmms_pipelines.settings import Settings, variable_of
from cmms_pipelines.storage.availability import WAIT_S, when_available
from cmms_pipelines.storage.configurations import StoredConfiguration, read_configurations
from cmms_pipelines.storage.tables import sync_configuration_versions

API, SCHEDULES, MAPPING, THRESHOLDS = "api", "schedules", "mapping", "thresholds"
INSTALLATION = "cmms"
"""The system under which a kind stands that an installation has once."""

FIELDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        API: {
            "url": "api_url",
            "auth": "api_auth",
            "dialect": "api_dialect",
            "system_id": "api_system_id",
            "decimal_comma": "api_decimal_comma",
            "timeout_s": "api_timeout_s",
            "max_in_flight": "api_max_in_flight",
            "requests_per_s": "api_requests_per_s",
            "plants_per_call": "api_plants_per_call",
            "plants_per_slice": "sync_plants_per_slice",
            "slices_in_flight": "sync_slices_in_flight",
            "chunk_rows": "sync_chunk_rows",
            "wait_s": "sync_wait_s",
        },
        SCHEDULES: {"time_zone": "time_zone", "schedules": "schedules"},
        MAPPING: {
            "plants_file": "plants_file",
            "on_unknown_plant": "on_unknown_plant",
            "equipment_groups_file": "equipment_groups_file",
            "equipment_groups": "equipment_groups",
            "fields": "field_names",
        },
        THRESHOLDS: {
            "first_day": "first_day",
            "look_back_days": "look_back_days",
            "backfill_days_per_run": "backfill_days_per_run",
            "keep_logs_days": "keep_logs_days",
            "keep_runs_days": "keep_runs_days",
            "keep_reports_days": "keep_reports_days",
            "keep_deliveries_days": "keep_deliveries_days",
            "inbox_oldest_due_s": "inbox_oldest_due_s",
            "kpi_limits": "kpi_limits",
        },
    }
)
"""Kind -> key in its document -> field of `Settings`; types, bounds and defaults are those of the field."""

AT_LOAD = (SCHEDULES, THRESHOLDS)
"""What the definitions of Dagster depend on, beside the environment."""

PER_SYSTEM = frozenset({MAPPING})
_ONE_OF = frozenset({"equipment_groups_file", "equipment_groups"})

Source = Literal["environment", "stored", "default"]


@dataclass(frozen=True)
class InForce:
    """What of a stored configuration holds: its usable content, the version that it is of (0: nothing), and what is wrong."""

    kind: str
    cmms_system_id: str
    document: Mapping[str, Any]
    version: int
    problem: str | None = None


@dataclass(frozen=True)
class Value:
    """One setting as it is in force, and where it comes from."""

    key: str
    value: Any
    source: Source
    variable: str
    version: int | None

    def origin(self) -> str:
        """Return where the value comes from, for people."""
        return {
            "environment": f"environment ({self.variable})",
            "stored": f"stored version {self.version}",
            "default": "default",
        }[self.source]


@cache
def model_of(kind: str) -> type[BaseModel]:
    """Return the model of a kind's document, made of the settings that it may hold."""
    fields: dict[str, Any] = {
        key: (Settings.model_fields[name].rebuild_annotation(), Settings.model_fields[name]) for key, name in FIELDS[kind].items()
    }
    config = ConfigDict(extra="forbid", frozen=True)
    return create_model(f"{kind.capitalize()}Configuration", __config__=config, **fields)


def check_settings(kind: str, document: object) -> dict[str, Any]:
    """Return a document of a kind as it is stored: only what it says, in the types of JSON.

    Raises:
        UnusableDocumentError: a key or a value does not fit; the message names it.
    """
    what = f"The configuration of {kind}"
    found = checked(model_of(kind), document, what).model_dump(mode="json", exclude_unset=True)
    if problems := list(_problems(found)):
        raise UnusableDocumentError(what, problems)
    return found


def in_force(connection: sa.Connection, kind: str, system: str = INSTALLATION) -> InForce:
    """Return what of a kind's stored configuration holds."""
    stored = next(iter(read_configurations(connection, kind, system)), None)
    return newest_usable(connection, kind, system, stored, lambda document: check_settings(kind, document))


def newest_usable(
    connection: sa.Connection,
    kind: str,
    system: str,
    stored: StoredConfiguration | None,
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> InForce:
    """Return the stored configuration, or where it was changed by hand into one that `check` refuses, the version before it."""
    if stored is None or not stored.is_active:
        return InForce(kind, system, {}, 0)
    try:
        return InForce(kind, system, check(stored.configuration), stored.version)
    except UnusableDocumentError as error:
        problem = str(error)
    table = sync_configuration_versions.c
    query = (
        sa.select(table.version, table.configuration).where(table.configuration_id == stored.id).order_by(table.version.desc())
    )
    for row in connection.execute(query):
        try:
            told = f"{problem} Version {row.version} stays in force."
            return InForce(kind, system, check(row.configuration), row.version, told)
        except UnusableDocumentError:
            continue
    return InForce(kind, system, {}, 0, f"{problem} The defaults are in force.")


def settings_in_force(
    engine: sa.Engine,
    environment: Settings,
    tell: Callable[[str], None],
    kinds: Sequence[str] = tuple(FIELDS),
    *,
    wait_s: float = WAIT_S,
) -> Settings:
    """Return the settings in force; `tell` hears of each stored configuration that is not usable.

    Where the database is away, it is waited for, `wait_s` at the most.

    Raises:
        TransientError: the database stays away.
        PermanentError: it does not let us in.
    """
    settings, problems = when_available(engine, lambda: _read(engine, environment, kinds), wait_s=wait_s)
    for problem in problems:
        tell(problem)
    return settings


def overlaid(environment: Settings, found: Sequence[InForce]) -> Settings:
    """Return the settings with what is stored, where the environment says nothing."""
    values: dict[str, Any] = {}
    for one in found:
        read = model_of(one.kind).model_validate(one.document)
        names = FIELDS[one.kind]
        values |= {names[key]: getattr(read, key) for key in one.document if _is_free(environment, names[key])}
    return environment.model_copy(update=values)


def values_of(environment: Settings, found: InForce) -> list[Value]:
    """Return each value of a kind with where it comes from."""
    settings = overlaid(environment, [found])
    shown = settings.model_dump(mode="json", include=set(FIELDS[found.kind].values()))
    return [
        Value(key, shown[name], source, variable_of(name), found.version if source == "stored" else None)
        for key, name in FIELDS[found.kind].items()
        for source in [_source(environment, found, key, name)]
    ]


def system_of(kind: str, environment: Settings, api: InForce) -> str:
    """Return the system under which a kind stands that the external API needs."""
    return overlaid(environment, [api]).api_system_id if kind in PER_SYSTEM else INSTALLATION


def _read(engine: sa.Engine, environment: Settings, kinds: Sequence[str]) -> tuple[Settings, list[str]]:
    with engine.connect() as connection:
        api = in_force(connection, API) if API in kinds else InForce(API, INSTALLATION, {}, 0)
        others = [in_force(connection, kind, system_of(kind, environment, api)) for kind in kinds if kind != API]
    found = [api, *others]
    return overlaid(environment, found), [one.problem for one in found if one.problem]


def _source(environment: Settings, found: InForce, key: str, name: str) -> Source:
    if name in environment.model_fields_set:
        return "environment"
    return "stored" if key in found.document and _is_free(environment, name) else "default"


def _is_free(environment: Settings, name: str) -> bool:
    """Tell whether the environment leaves a setting open; of groups it gives a file or the rules, not half of each."""
    given = environment.model_fields_set
    return name not in given and not (name in _ONE_OF and given & _ONE_OF)


def _problems(document: Mapping[str, Any]) -> list[str]:
    problems = []
    if url := document.get("url"):
        problems += _url_problems(str(url))
    for key in ("plants_file", "equipment_groups_file"):
        if (path := document.get(key)) and not str(path).startswith("/"):
            problems.append(f"{key}: {path!r} must be an absolute path: processes run in different folders")
    if document.get("equipment_groups_file") and document.get("equipment_groups"):
        problems.append("equipment_groups: say either equipment_groups_file or equipment_groups")
    return problems


def _url_problems(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ["url: it is no URL; it looks like https://host/path"]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ["url: it is no URL; it looks like https://host/path"]
    if parts.username or parts.password or parts.query:
        return ["url: secrets are never part of a configuration: no user, no password, no query; the token is CMMS_API_TOKEN"]
    return []

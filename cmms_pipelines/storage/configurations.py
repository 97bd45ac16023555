"""Configurations of every kind: `cmms.sync_configurations`, where every change leaves a version and an audit row.

What belongs here: reading and writing them and their versions, whatever they say. What does not: what may stand in one
(`storage.configuration_centre` knows the kinds), and what it does.
"""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pydantic import SecretStr, ValidationError

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.events import SYSTEM_ID
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.source_changes import tell_receivers
from cmms_pipelines.storage.tables import audit_log, sync_configuration_versions, sync_configurations

if TYPE_CHECKING:
    from cmms_pipelines.domain.webhook_source import WebhookSource

WEBHOOK = "webhook"


@dataclass(frozen=True)
class StoredConfiguration:
    """A row of `sync_configurations`; `configuration` as stored, for `WebhookSource.model_validate` or another model."""

    id: uuid.UUID
    cmms_system_id: str
    sync_type: str
    configuration: Mapping[str, Any]
    is_active: bool
    version: int


@dataclass(frozen=True)
class Version:
    """One version of a configuration, as its history shows it."""

    version: int
    configuration: Mapping[str, Any]
    is_active: bool
    changed_by: str
    changed_at: dt.datetime


def read_configurations(
    connection: sa.Connection, sync_type: str, cmms_system_id: str | None = None
) -> list[StoredConfiguration]:
    """Return the configurations of a sync type, inactive ones too, by system: of one system, or of all."""
    table = sync_configurations.c
    query = sa.select(table.id, table.cmms_system_id, table.sync_type, table.configuration, table.is_active, table.version).where(
        table.sync_type == sync_type
    )
    if cmms_system_id is not None:
        query = query.where(table.cmms_system_id == cmms_system_id)
    return [StoredConfiguration(**row) for row in connection.execute(query.order_by(table.cmms_system_id)).mappings()]


def find_configuration(connection: sa.Connection, sync_type: str, cmms_system_id: str) -> StoredConfiguration | None:
    """Return one configuration, an inactive one too."""
    return next(iter(read_configurations(connection, sync_type, cmms_system_id)), None)


def read_versions(connection: sa.Connection, sync_type: str, cmms_system_id: str) -> list[Version]:
    """Return all versions of a configuration, the newest first; none of one that does not exist."""
    stored = find_configuration(connection, sync_type, cmms_system_id)
    if stored is None:
        return []
    table = sync_configuration_versions.c
    columns = (table.version, table.configuration, table.is_active, table.changed_by, table.changed_at)
    query = sa.select(*columns).where(table.configuration_id == stored.id).order_by(table.version.desc())
    return [Version(**row) for row in connection.execute(query).mappings()]


def lock_configuration(connection: sa.Connection, sync_type: str, cmms_system_id: str) -> None:
    """Hold off other writers of a configuration until the transaction ends."""
    key = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
    connection.execute(key, {"key": f"sync_configurations:{sync_type}:{cmms_system_id}"})


def write_configuration(
    connection: sa.Connection,
    cmms_system_id: str,
    sync_type: str,
    configuration: Mapping[str, Any],
    *,
    actor: str,
    is_active: bool = True,
) -> StoredConfiguration:
    """Create or change a configuration; a change adds a version and an audit row, an identical write adds nothing.

    Raises:
        PermanentError: `cmms_system_id` is no name of a system.
    """
    if not SYSTEM_ID.fullmatch(cmms_system_id):
        raise PermanentError(f"{cmms_system_id!r} is no name of a system: letters, digits, '.', '_', '-', at most 100.")
    lock_configuration(connection, sync_type, cmms_system_id)
    before = find_configuration(connection, sync_type, cmms_system_id)
    wanted = dict(configuration)
    if before and dict(before.configuration) == wanted and before.is_active == is_active:
        return before
    table = sync_configurations.c
    values = {"configuration": wanted, "is_active": is_active, "version": before.version + 1 if before else 1}
    if before:
        statement = sa.update(sync_configurations).where(table.id == before.id).values(**values, updated_at=sa.func.now())
        connection.execute(statement)
        identifier = before.id
    else:
        insert = sa.insert(sync_configurations).values(cmms_system_id=cmms_system_id, sync_type=sync_type, **values)
        identifier = connection.execute(insert.returning(table.id)).scalar_one()
    connection.execute(sa.insert(sync_configuration_versions).values(configuration_id=identifier, changed_by=actor, **values))
    if sync_type == WEBHOOK:
        tell_receivers(connection)
    connection.execute(
        sa.insert(audit_log).values(
            actor=actor,
            action="configuration.changed" if before else "configuration.created",
            entity_type="sync_configuration",
            entity_key=f"{sync_type}:{cmms_system_id}",
            before=_shown(before.configuration, is_active=before.is_active) if before else sa.null(),
            after=_shown(wanted, is_active=is_active),
        )
    )
    return read_configurations(connection, sync_type, cmms_system_id)[0]


def register_source(
    engine: sa.Engine,
    settings: Settings,
    cmms_system_id: str,
    configuration: "WebhookSource",
    *,
    secret: SecretStr | None,
    actor: str,
) -> StoredConfiguration:
    """Make sure that a system is an active source of events with this configuration and, among others, this secret.

    Doing it again changes nothing. A running receiver knows the source a moment later.

    Raises:
        PermanentError: the name or the secret does not fit, or a scheme that signs comes without a secret.
    """
    from cmms_pipelines.domain.signatures import SchemeName, key_of  # noqa: PLC0415 - not for every run that reads its settings
    from cmms_pipelines.storage import secrets  # noqa: PLC0415

    if secret is not None:
        key_of(configuration.scheme, secret.get_secret_value())
    elif configuration.scheme is not SchemeName.UNSIGNED:
        raise PermanentError(f"A source of scheme {configuration.scheme} needs a secret.")
    box = secrets.secret_box(settings)
    with engine.begin() as connection:
        stored = write_configuration(
            connection, cmms_system_id, WEBHOOK, configuration.model_dump(mode="json"), actor=actor, is_active=True
        )
        if secret is not None:
            now = connection.execute(sa.select(sa.func.now())).scalar_one()
            in_force = secrets.active_secrets(connection, box, now, cmms_system_id)
            if all(known.value != secret for known in in_force):
                secrets.add_secret(connection, box, cmms_system_id, secret, actor=actor)
    return stored


def read_source(configuration: Mapping[str, Any]) -> "WebhookSource":
    """Read a stored configuration of sync type `webhook`.

    Raises:
        PermanentError: it was changed by hand into something that is none; the message names the fields.
    """
    from cmms_pipelines.domain.webhook_source import WebhookSource  # noqa: PLC0415 - not for every run that reads its settings

    try:
        return WebhookSource.model_validate(configuration)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise PermanentError(f"A webhook configuration is not usable: {problems}") from error


def warnings_of(configuration: Mapping[str, Any]) -> list[str]:
    """Return what every listing shows beside a stored source: that it signs nothing, or why it is not usable."""
    try:
        return list(read_source(configuration).warnings)
    except PermanentError as error:
        return [str(error)]


def _shown(configuration: Mapping[str, Any], *, is_active: bool) -> dict[str, Any]:
    return {"configuration": dict(configuration), "is_active": is_active}

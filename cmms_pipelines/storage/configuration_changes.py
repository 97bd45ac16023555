"""Changing a source by somebody who has seen a certain version of it: create, change, delete, roll back, secrets.

What belongs here: optimistic versions, history, generated secrets, and the audit of each. What does not: the model of a
configuration and its plain write (`storage.configurations`), encryption (`storage.secrets`). No secret is in any audit row.
"""

import base64
import datetime as dt
import secrets as random
import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from cryptography.fernet import MultiFernet
from pydantic import SecretStr

from cmms_pipelines.domain.errors import NotFoundError, PermanentError, VersionConflictError
from cmms_pipelines.domain.signatures import SCHEMES, SchemeName, key_of
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage import secrets
from cmms_pipelines.storage.configurations import (
    WEBHOOK,
    StoredConfiguration,
    Version,
    lock_configuration,
    read_configurations,
    read_source,
    read_versions,
    write_configuration,
)
from cmms_pipelines.storage.source_changes import tell_receivers
from cmms_pipelines.storage.source_tokens import remove_api_token
from cmms_pipelines.storage.tables import audit_log, sync_configurations, webhook_secrets

_SECRET_BYTES = 32


@dataclass(frozen=True)
class SecretInfo:
    """A secret as it is listed: everything but itself. `is_in_force`: neither revoked nor expired now."""

    id: uuid.UUID
    created_at: dt.datetime
    expires_at: dt.datetime | None
    last_used_at: dt.datetime | None
    revoked_at: dt.datetime | None
    is_in_force: bool


def list_sources(connection: sa.Connection) -> list[StoredConfiguration]:
    """Return all sources of events by name, inactive ones too."""
    return read_configurations(connection, WEBHOOK)


def find_source(connection: sa.Connection, system: str) -> StoredConfiguration:
    """Return a source of events.

    Raises:
        NotFoundError: there is none of this name.
    """
    found = read_configurations(connection, WEBHOOK, system)
    if not found:
        raise NotFoundError(f"No source of events is named {system!r}.")
    return found[0]


def create_source(
    connection: sa.Connection, system: str, source: WebhookSource, *, actor: str, is_active: bool = True
) -> StoredConfiguration:
    """Create a source at version 1; a scheme that signs needs a secret before it can receive (`rotate_secret`).

    Raises:
        VersionConflictError: it exists already.
        PermanentError: `system` is no name of a system.
    """
    lock_configuration(connection, WEBHOOK, system)
    found = read_configurations(connection, WEBHOOK, system)
    if found:
        raise VersionConflictError(f"A source named {system!r} exists at version {found[0].version}.", found[0].version)
    return write_configuration(connection, system, WEBHOOK, source.model_dump(mode="json"), actor=actor, is_active=is_active)


def update_source(
    connection: sa.Connection, system: str, source: WebhookSource, *, is_active: bool, expected_version: int, actor: str
) -> StoredConfiguration:
    """Change a source; an identical write adds no version.

    Raises:
        NotFoundError: there is none of this name.
        VersionConflictError: it is at another version than `expected_version`.
    """
    _locked_at(connection, system, expected_version)
    return write_configuration(connection, system, WEBHOOK, source.model_dump(mode="json"), actor=actor, is_active=is_active)


def delete_source(connection: sa.Connection, system: str, *, expected_version: int, actor: str) -> StoredConfiguration:
    """Delete a source with its history, revoke its secrets and forget its API token; its events stay.

    The audit log keeps the last version.

    Raises:
        NotFoundError: there is none of this name.
        VersionConflictError: it is at another version than `expected_version`.
    """
    before = _locked_at(connection, system, expected_version)
    table = webhook_secrets.c
    mine = sa.and_(table.cmms_system_id == system, table.revoked_at.is_(None))
    remove_api_token(connection, system, actor=actor)
    revoked = connection.execute(sa.update(webhook_secrets).where(mine).values(revoked_at=sa.func.now())).rowcount
    connection.execute(sa.delete(sync_configurations).where(sync_configurations.c.id == before.id))
    tell_receivers(connection)
    connection.execute(
        sa.insert(audit_log).values(
            actor=actor,
            action="configuration.deleted",
            entity_type="sync_configuration",
            entity_key=f"{WEBHOOK}:{system}",
            before={
                "configuration": dict(before.configuration),
                "is_active": before.is_active,
                "version": before.version,
                "secrets_revoked": revoked,
            },
        )
    )
    return before


def history(connection: sa.Connection, system: str) -> list[Version]:
    """Return all versions of a source, the newest first.

    Raises:
        NotFoundError: there is none of this name.
    """
    find_source(connection, system)
    return read_versions(connection, WEBHOOK, system)


def rollback(
    connection: sa.Connection, system: str, to_version: int, *, expected_version: int | None, actor: str
) -> StoredConfiguration:
    """Make an earlier version's content the newest version; secrets are not part of it.

    Args:
        expected_version: the version that the caller has seen; None takes whatever is there.

    Raises:
        NotFoundError: there is no source of this name, or it has no such version.
        VersionConflictError: it is at another version than `expected_version`.
        PermanentError: the earlier version is not valid any more.
    """
    _locked_at(connection, system, expected_version)
    found = next((version for version in history(connection, system) if version.version == to_version), None)
    if found is None:
        raise NotFoundError(f"The source {system!r} has no version {to_version}.")
    source = read_source(found.configuration)
    return write_configuration(
        connection, system, WEBHOOK, source.model_dump(mode="json"), actor=actor, is_active=found.is_active
    )


def list_secrets(connection: sa.Connection, system: str) -> list[SecretInfo]:
    """Return the secrets of a source, the newest first, never their values."""
    table = webhook_secrets.c
    is_in_force = sa.and_(table.revoked_at.is_(None), sa.or_(table.expires_at.is_(None), table.expires_at > sa.func.now()))
    columns = (table.id, table.created_at, table.expires_at, table.last_used_at, table.revoked_at)
    query = (
        sa.select(*columns, is_in_force.label("is_in_force"))
        .where(table.cmms_system_id == system)
        .order_by(table.created_at.desc(), table.id)
    )
    return [SecretInfo(**row) for row in connection.execute(query).mappings()]


def rotate_secret(
    connection: sa.Connection,
    box: MultiFernet,
    system: str,
    *,
    actor: str,
    now: dt.datetime,
    given: SecretStr | None = None,
    expires_at: dt.datetime | None = None,
    others_expire_in: dt.timedelta | None = None,
) -> tuple[uuid.UUID, SecretStr]:
    """Add a secret, generated unless `given`, and return it with its id; it cannot be read again.

    Args:
        others_expire_in: how long the secrets that are in force now stay so; None leaves them alone. None of them lives longer
            than it would have.

    Raises:
        NotFoundError: there is no source of this name.
        PermanentError: the source takes no secret, or `given` cannot be one of its scheme.
    """
    lock_configuration(connection, WEBHOOK, system)
    scheme = read_source(find_source(connection, system).configuration).scheme
    if scheme is SchemeName.UNSIGNED:
        raise PermanentError("A source of scheme unsigned has no secrets.")
    secret = given or generate_secret(scheme)
    key_of(scheme, secret.get_secret_value())
    if others_expire_in is not None:
        _expire_others(connection, system, now + others_expire_in, now, actor)
    return secrets.add_secret(connection, box, system, secret, actor=actor, expires_at=expires_at), secret


def revoke_secret(connection: sa.Connection, system: str, secret_id: uuid.UUID, *, actor: str, now: dt.datetime) -> bool:
    """Take a secret of a source out of force at once; False if it has none of this id in force."""
    table = webhook_secrets.c
    is_mine = connection.scalar(sa.select(table.id).where(table.id == secret_id, table.cmms_system_id == system))
    return is_mine is not None and secrets.revoke(connection, secret_id, actor, now)


def generate_secret(scheme: SchemeName) -> SecretStr:
    """Return a new secret of 256 random bits in the form that the scheme's senders take."""
    if scheme in SCHEMES and SCHEMES[scheme].has_encoded_secret:
        return SecretStr("whsec_" + base64.b64encode(random.token_bytes(_SECRET_BYTES)).decode("ascii"))
    return SecretStr(random.token_urlsafe(_SECRET_BYTES))


def _expire_others(connection: sa.Connection, system: str, at: dt.datetime, now: dt.datetime, actor: str) -> None:
    table = webhook_secrets.c
    later = sa.or_(table.expires_at.is_(None), table.expires_at > at)
    theirs = sa.and_(table.cmms_system_id == system, table.revoked_at.is_(None), later)
    before = connection.execute(sa.select(table.id, table.expires_at).where(theirs).with_for_update()).all()
    if not before:
        return
    ends_at = max(at, now)
    connection.execute(sa.update(webhook_secrets).where(table.id.in_([row.id for row in before])).values(expires_at=ends_at))
    tell_receivers(connection)
    entry = {"actor": actor, "action": "secret.expiry_set", "entity_type": "webhook_source", "entity_key": system}
    connection.execute(
        sa.insert(audit_log),
        [{**entry, "before": _expiry(row.id, row.expires_at), "after": _expiry(row.id, ends_at)} for row in before],
    )


def _expiry(secret_id: uuid.UUID, at: dt.datetime | None) -> dict[str, str | None]:
    return {"secret_id": str(secret_id), "expires_at": at.isoformat() if at else None}


def _locked_at(connection: sa.Connection, system: str, expected_version: int | None) -> StoredConfiguration:
    lock_configuration(connection, WEBHOOK, system)
    found = find_source(connection, system)
    if expected_version is not None and found.version != expected_version:
        raise VersionConflictError(f"The source {system!r} is at version {found.version} by now.", found.version)
    return found

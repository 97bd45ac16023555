"""Webhook secrets at rest: encrypted with a key that never enters the database.

What belongs here: the key (`CMMS_SECRET_KEY` or a file of its own), and adding, reading and revoking secrets.
What does not: how a secret is used (`domain.signatures`). No function here logs, prints or audits a secret.
"""

import datetime as dt
import os
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.source_changes import tell_receivers
from cmms_pipelines.storage.tables import audit_log, webhook_secrets

KEY_FILE = "secret.key"


@dataclass(frozen=True)
class StoredSecret:
    """A secret in force; `value` is None when our key cannot decrypt it (it was stored under another one)."""

    id: uuid.UUID
    cmms_system_id: str
    value: SecretStr | None
    expires_at: dt.datetime | None = None


def secret_box(settings: Settings) -> MultiFernet:
    """Return what encrypts and decrypts: the key of `CMMS_SECRET_KEY`, else of `CMMS_HOME/secret.key`, made on first use.

    `CMMS_SECRET_KEY` may hold several keys separated by commas: the first encrypts, all decrypt (a rotation). The file is
    readable by its owner alone; processes that start together agree on one key.

    Raises:
        PermanentError: a key is not 32 bytes in URL-safe base64, or the file can be neither read nor made.
    """
    given = settings.secret_key.get_secret_value() if settings.secret_key else None
    origin = "CMMS_SECRET_KEY" if given else str(settings.home / KEY_FILE)
    text = given or _key_file(settings.home)
    try:
        return MultiFernet([Fernet(key.strip()) for key in text.split(",")])
    except ValueError as error:
        raise PermanentError(
            f"{origin} is no usable key: it must be 32 bytes in URL-safe base64. "
            'Make one with: python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        ) from error


def add_secret(
    connection: sa.Connection,
    box: MultiFernet,
    cmms_system_id: str,
    secret: SecretStr,
    *,
    actor: str,
    expires_at: dt.datetime | None = None,
) -> uuid.UUID:
    """Store a secret of a source, encrypted, and audit that it came; secrets added before stay in force beside it."""
    identifier = uuid.uuid4()
    ciphertext = box.encrypt(secret.get_secret_value().encode("utf-8"))
    connection.execute(
        sa.insert(webhook_secrets).values(
            id=identifier, cmms_system_id=cmms_system_id, ciphertext=ciphertext, expires_at=expires_at
        )
    )
    tell_receivers(connection)
    after = {"secret_id": str(identifier), "expires_at": expires_at.isoformat() if expires_at else None}
    _audit(connection, "secret.added", actor, cmms_system_id, after)
    return identifier


def active_secrets(
    connection: sa.Connection, box: MultiFernet, now: dt.datetime, cmms_system_id: str | None = None
) -> list[StoredSecret]:
    """Return the secrets that are neither revoked nor expired at `now`, newest first: of one source, or of all."""
    secrets = webhook_secrets.c
    query = (
        sa.select(secrets.id, secrets.cmms_system_id, secrets.ciphertext, secrets.expires_at)
        .where(secrets.revoked_at.is_(None), sa.or_(secrets.expires_at.is_(None), secrets.expires_at > now))
        .order_by(secrets.created_at.desc(), secrets.id)
    )
    if cmms_system_id is not None:
        query = query.where(secrets.cmms_system_id == cmms_system_id)
    return [
        StoredSecret(row.id, row.cmms_system_id, _decrypt(box, bytes(row.ciphertext)), row.expires_at)
        for row in connection.execute(query)
    ]


def revoke(connection: sa.Connection, secret_id: uuid.UUID, actor: str, now: dt.datetime) -> bool:
    """Take a secret out of force from `now` on; False if there is none in force with this id."""
    secrets = webhook_secrets.c
    revoked = connection.execute(
        sa.update(webhook_secrets)
        .where(secrets.id == secret_id, secrets.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(secrets.cmms_system_id, secrets.expires_at)
    ).one_or_none()
    if revoked is None:
        return False
    tell_receivers(connection)
    was = {"secret_id": str(secret_id), "expires_at": revoked.expires_at.isoformat() if revoked.expires_at else None}
    _audit(connection, "secret.revoked", actor, revoked.cmms_system_id, was | {"revoked_at": now.isoformat()}, before=was)
    return True


def mark_used(connection: sa.Connection, used: Mapping[uuid.UUID, dt.datetime]) -> None:
    """Note when each secret last verified an event; several processes may do so, the latest time stays."""
    secrets = webhook_secrets.c
    for identifier in sorted(used):
        at = sa.func.greatest(sa.func.coalesce(secrets.last_used_at, used[identifier]), used[identifier])
        connection.execute(sa.update(webhook_secrets).where(secrets.id == identifier).values(last_used_at=at))


def _audit(
    connection: sa.Connection,
    action: str,
    actor: str,
    cmms_system_id: str,
    after: dict[str, str | None],
    *,
    before: dict[str, str | None] | None = None,
) -> None:
    entry = {"actor": actor, "action": action, "entity_type": "webhook_source", "entity_key": cmms_system_id}
    sides = {"before": before, "after": after} if before else {"after": after}
    connection.execute(sa.insert(audit_log).values(**entry, **sides))


def _decrypt(box: MultiFernet, ciphertext: bytes) -> SecretStr | None:
    try:
        return SecretStr(box.decrypt(ciphertext).decode("utf-8"))
    except InvalidToken:
        return None


def _key_file(home: Path) -> str:
    path = home / KEY_FILE
    try:
        if not path.exists():
            _make_key_file(path)
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(f"The key file {path} can be neither read nor made: {error}.") from error


def _make_key_file(path: Path) -> None:
    """Write the key beside its place and link it there: whoever comes second finds the first one's, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{KEY_FILE}.")  # mode 0600 from the start
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        Path(draft).unlink()

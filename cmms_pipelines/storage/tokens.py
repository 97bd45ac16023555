"""Bearer tokens of the management API: made, listed, revoked, and compared in constant time.

What belongs here: the table `cmms.api_tokens`. What does not: what a role may do (`cmms_webhook.management`). A token is 256
random bits; the database holds only its SHA-256, which for that many bits is as good as a slow hash.
"""

import datetime as dt
import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage.tables import api_tokens, audit_log

PREFIX = "cmms_"
_RANDOM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,99}")


@dataclass(frozen=True)
class Token:
    """A token as it is listed: everything but itself."""

    id: uuid.UUID
    name: str
    role: Role
    created_by: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    last_used_at: dt.datetime | None
    revoked_at: dt.datetime | None


@dataclass(frozen=True)
class TokenInForce:
    """What is needed to recognise a token; `digest` is its SHA-256."""

    id: uuid.UUID
    name: str
    role: Role
    digest: bytes
    expires_at: dt.datetime | None

    @property
    def actor(self) -> str:
        """Return how the audit log names its holder."""
        return f"token {self.name}"


def create_token(
    connection: sa.Connection, name: str, role: Role, *, actor: str, expires_at: dt.datetime | None = None
) -> tuple[uuid.UUID, SecretStr]:
    """Make a token and return its id and itself, which nobody can read again; audited.

    Raises:
        PermanentError: the name does not fit, or a token of this name is in force.
    """
    if not _NAME.fullmatch(name):
        raise PermanentError(f"{name!r} is no name of a token: letters, digits, '.', '_', '-', '@' and spaces, at most 100.")
    text = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    values = {"name": name, "role": role.value, "token_sha256": digest_of(text), "created_by": actor, "expires_at": expires_at}
    try:
        with connection.begin_nested():
            identifier: uuid.UUID = connection.execute(
                sa.insert(api_tokens).values(**values).returning(api_tokens.c.id)
            ).scalar_one()
    except sa.exc.IntegrityError as error:
        raise PermanentError(f"A token named {name!r} is in force: revoke it first, or take another name.") from error
    after = {"name": name, "role": role.value, "expires_at": expires_at.isoformat() if expires_at else None}
    _audit(connection, "token.created", actor, identifier, {"after": after})
    return identifier, SecretStr(text)


def list_tokens(connection: sa.Connection) -> list[Token]:
    """Return all tokens, those in force first, then by name."""
    table = api_tokens.c
    columns = (
        table.id,
        table.name,
        table.role,
        table.created_by,
        table.created_at,
        table.expires_at,
        table.last_used_at,
        table.revoked_at,
    )
    order = (table.revoked_at.is_not(None), table.name, table.created_at.desc())
    rows = connection.execute(sa.select(*columns).order_by(*order)).mappings()
    return [Token(**{**row, "role": Role(row["role"])}) for row in rows]


def revoke_token(connection: sa.Connection, name_or_id: str, *, actor: str) -> Token | None:
    """Take a token back, by its id or by the name under which it is in force; None if there is none. Audited."""
    table = api_tokens.c
    wanted = table.id == uuid.UUID(name_or_id) if _is_uuid(name_or_id) else table.name == name_or_id
    revoked = connection.execute(
        sa.update(api_tokens).where(wanted, table.revoked_at.is_(None)).values(revoked_at=sa.func.now()).returning(table.id)
    ).scalar_one_or_none()
    if revoked is None:
        return None
    token = next(token for token in list_tokens(connection) if token.id == revoked)
    change = {"before": {"name": token.name, "role": token.role.value}}
    _audit(connection, "token.revoked", actor, token.id, change)
    return token


def tokens_in_force(connection: sa.Connection, now: dt.datetime) -> list[TokenInForce]:
    """Return the tokens that are neither revoked nor expired at `now`."""
    table = api_tokens.c
    query = sa.select(table.id, table.name, table.role, table.token_sha256, table.expires_at).where(
        table.revoked_at.is_(None), sa.or_(table.expires_at.is_(None), table.expires_at > now)
    )
    return [
        TokenInForce(row.id, row.name, Role(row.role), bytes(row.token_sha256), row.expires_at)
        for row in connection.execute(query)
    ]


def digest_of(token: str) -> bytes:
    """Return what the database knows a token by."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def matching_token(token: str, known: Iterable[TokenInForce], now: dt.datetime) -> TokenInForce | None:
    """Return the one of `known` that `token` is; every one of them is compared, in time independent of the contents."""
    digest = digest_of(token)
    found = None
    for candidate in known:
        is_equal = hmac.compare_digest(candidate.digest, digest)
        if is_equal and (candidate.expires_at is None or candidate.expires_at > now):
            found = candidate
    return found


def mark_tokens_used(connection: sa.Connection, used: Mapping[uuid.UUID, dt.datetime]) -> None:
    """Note when tokens were last used; several processes may do so, the latest time stays."""
    table = api_tokens.c
    for identifier in sorted(used):
        at = sa.func.greatest(sa.func.coalesce(table.last_used_at, used[identifier]), used[identifier])
        connection.execute(sa.update(api_tokens).where(table.id == identifier).values(last_used_at=at))


def _audit(connection: sa.Connection, action: str, actor: str, identifier: uuid.UUID, change: Mapping[str, Any]) -> None:
    entry = {"actor": actor, "action": action, "entity_type": "api_token", "entity_key": str(identifier)}
    connection.execute(sa.insert(audit_log).values(**entry, **change))


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True

"""Tokens for the APIs of sources: encrypted at rest with the key of the webhook secrets, one of each source, never shown.

What belongs here: setting, reading and removing them. What does not: how a token is sent (`clients`), secrets that sign
(`storage.secrets`). No function here logs, prints or audits a token.
"""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from pydantic import SecretStr
from sqlalchemy.dialects import postgresql as pg

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage.tables import audit_log, source_api_tokens

_tokens = source_api_tokens.c


@dataclass(frozen=True)
class TokenInfo:
    """What is known of a token but for itself."""

    changed_by: str
    changed_at: dt.datetime


def set_api_token(connection: sa.Connection, box: MultiFernet, cmms_system_id: str, token: SecretStr, *, actor: str) -> None:
    """Store the token with which a source's API is asked, in the place of the one before."""
    before = api_token_info(connection, cmms_system_id)
    values = {"ciphertext": box.encrypt(token.get_secret_value().encode("utf-8")), "changed_by": actor}
    insert = pg.insert(source_api_tokens).values(cmms_system_id=cmms_system_id, **values)
    changed = {**values, "changed_at": sa.func.now()}
    connection.execute(insert.on_conflict_do_update(index_elements=[_tokens.cmms_system_id], set_=changed))
    _audit(connection, "api_token.set", cmms_system_id, actor, before=before, after=api_token_info(connection, cmms_system_id))


def remove_api_token(connection: sa.Connection, cmms_system_id: str, *, actor: str) -> bool:
    """Forget the token of a source; False if there was none."""
    before = api_token_info(connection, cmms_system_id)
    found = connection.execute(sa.delete(source_api_tokens).where(_tokens.cmms_system_id == cmms_system_id)).rowcount
    if found:
        _audit(connection, "api_token.removed", cmms_system_id, actor, before=before, after=None)
    return bool(found)


def api_token_info(connection: sa.Connection, cmms_system_id: str) -> TokenInfo | None:
    """Return who set the token of a source, and when; None where there is none."""
    row = connection.execute(
        sa.select(_tokens.changed_by, _tokens.changed_at).where(_tokens.cmms_system_id == cmms_system_id)
    ).one_or_none()
    return TokenInfo(row.changed_by, row.changed_at) if row else None


def read_api_token(connection: sa.Connection, box: MultiFernet, cmms_system_id: str) -> SecretStr:
    """Return the token with which a source's API is asked.

    Raises:
        PermanentError: none is set, or our key cannot decrypt it.
    """
    query = sa.select(_tokens.ciphertext).where(_tokens.cmms_system_id == cmms_system_id)
    stored = connection.scalar(query)
    if stored is None:
        raise PermanentError(f"The API of {cmms_system_id} has no token: set one (`cmms config api-token {cmms_system_id}`).")
    try:
        return SecretStr(box.decrypt(bytes(stored)).decode("utf-8"))
    except InvalidToken as error:
        raise PermanentError(f"CMMS_SECRET_KEY is not the key that the API token of {cmms_system_id} was stored with.") from error


def _audit(
    connection: sa.Connection, action: str, cmms_system_id: str, actor: str, *, before: TokenInfo | None, after: TokenInfo | None
) -> None:
    """Note who did what; of a token only who had set it, and when."""
    sides = {
        side: {"changed_by": info.changed_by, "changed_at": info.changed_at.isoformat()}
        for side, info in (("before", before), ("after", after))
        if info is not None
    }
    entry = {"actor": actor, "action": action, "entity_type": "webhook_source", "entity_key": cmms_system_id}
    connection.execute(sa.insert(audit_log).values(**entry, **sides))

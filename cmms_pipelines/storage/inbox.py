"""The receiving side of the inbox `cmms.maintenance_event_hooks`: store what was verified, exactly once.

What belongs here: the insert with its de-duplication, and counts. What does not: verifying and parsing (`domain`), claiming
and applying (`storage.drain`).
"""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.domain.events import HookStatus
from cmms_pipelines.storage.tables import maintenance_event_hooks as hooks_table

CHANNEL = "cmms_inbox"
MAX_SIGNATURE = 255
_ATTEMPTS = 3


@dataclass(frozen=True)
class ReceivedHook:
    """One verified event as it will be stored; `first_status` is pending, or held for a type without a handler.

    `occurred_at` is None where the sender gives no time that can be trusted: the order of arrival counts then.
    """

    cmms_system_id: str
    event_type: str
    payload: Mapping[str, Any]
    occurred_at: dt.datetime | None
    entity_key: str
    dedup_key: str
    raw_body: bytes
    body_sha256: bytes
    signature: str = ""
    headers: Mapping[str, str] | None = None
    first_status: HookStatus = HookStatus.PENDING


class Outcome(StrEnum):
    """What became of a delivery: stored, known already, or stored aside because its key came with another body before."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class Accepted:
    """The stored event's id (the earlier one's for a duplicate) and what became of the delivery."""

    id: uuid.UUID
    outcome: Outcome


# Parameters travel in binary (`b`): psycopg writes arrays as text in Python, with some 15 microseconds for each body and each
# payload instead of 0.4.
_INSERT = f"""
    WITH stored AS (
        INSERT INTO {hooks_table.fullname} (
            cmms_system_id, event_type, event_payload, hmac_signature, processing_status, processed_at, error_message,
            raw_body, body_sha256, dedup_key, headers, occurred_at, entity_key
        )
        SELECT cmms_system_id, event_type, event_payload::jsonb, hmac_signature, processing_status,
               CASE WHEN processing_status = 'quarantined' THEN now() END,
               CASE WHEN processing_status = 'quarantined' THEN 'the same key came before with another body' END,
               raw_body, body_sha256, dedup_key, headers::jsonb, occurred_at, entity_key
        FROM unnest(
            %(systems)b::text[], %(types)b::text[], %(payloads)b::text[], %(signatures)b::text[], %(statuses)b::text[],
            %(bodies)b::bytea[], %(hashes)b::bytea[], %(keys)b::text[], %(headers)b::text[], %(times)b::timestamptz[],
            %(entities)b::text[]
        ) AS hook (
            cmms_system_id, event_type, event_payload, hmac_signature, processing_status, raw_body, body_sha256,
            dedup_key, headers, occurred_at, entity_key
        )
        ON CONFLICT (cmms_system_id, dedup_key) DO NOTHING
        RETURNING id, cmms_system_id, dedup_key
    )
    SELECT id, cmms_system_id, dedup_key, (SELECT pg_notify('{CHANNEL}', '')) FROM stored
"""

_FIND = f"""
    SELECT stored.id, stored.cmms_system_id, stored.dedup_key, stored.body_sha256
    FROM unnest(%(systems)b::text[], %(keys)b::text[]) AS wanted (cmms_system_id, dedup_key)
    JOIN {hooks_table.fullname} AS stored USING (cmms_system_id, dedup_key)
"""

_Key = tuple[str, str]


def accept(connection: sa.Connection, hooks: Sequence[ReceivedHook]) -> list[Accepted]:
    """Store a group of verified events in order of arrival; the caller answers after the commit.

    One insert for the group: on a connection that commits by itself (AUTOCOMMIT), one round trip for all that is new, and
    what is returned is durable; in a transaction the caller commits. A delivery whose key its source has used before is a
    `duplicate` if the body is the same, and otherwise stored under a key of its own as `quarantined`. Wakes whoever listens
    on `cmms_inbox` at the commit.

    Raises:
        TransientError: rows with the same keys come and go so fast that no answer holds.
    """
    results: dict[int, Accepted] = {}
    waiting = list(range(len(hooks)))
    for _ in range(_ATTEMPTS):
        waiting = _accept_once(connection, hooks, waiting, results)
        if not waiting:
            return [results[index] for index in range(len(hooks))]
    raise TransientError("Events with the same key appear and vanish in the inbox at the same time.")


def inbox_counts(engine: sa.Engine) -> dict[str, int]:
    """Return how many events stand in each status; every status is there, with 0 where none does."""
    status = hooks_table.c.processing_status
    with engine.connect() as connection:
        found = {row[0]: int(row[1]) for row in connection.execute(sa.select(status, sa.func.count()).group_by(status))}
    return {known.value: found.get(known.value, 0) for known in HookStatus}


def _accept_once(
    connection: sa.Connection, hooks: Sequence[ReceivedHook], waiting: list[int], results: dict[int, Accepted]
) -> list[int]:
    """Settle what one round can; return the positions for which the row that was in the way has vanished since."""
    first: dict[_Key, int] = {}
    for index in waiting:
        first.setdefault(_key(hooks[index]), index)
    stored = _insert(connection, [hooks[index] for index in first.values()])
    for key, identifier in stored.items():
        results[first[key]] = Accepted(identifier, Outcome.ACCEPTED)
    others = [index for index in waiting if index not in results]
    if not others:
        return []
    known = _find(connection, {_key(hooks[index]) for index in others})
    aside: dict[_Key, list[int]] = {}
    for index in others:
        hook = hooks[index]
        earlier = known.get(_key(hook))
        if earlier and earlier[1] == hook.body_sha256:
            results[index] = Accepted(earlier[0], Outcome.DUPLICATE)
        elif earlier:
            aside.setdefault(_key_aside(hook), []).append(index)
    if aside:
        _quarantine(connection, hooks, aside, results)
    return [index for index in others if index not in results]


def _quarantine(
    connection: sa.Connection, hooks: Sequence[ReceivedHook], aside: dict[_Key, list[int]], results: dict[int, Accepted]
) -> None:
    stored = _insert(connection, [hooks[indexes[0]] for indexes in aside.values()], is_aside=True)
    known = _find(connection, aside.keys() - stored.keys())
    for key, indexes in aside.items():
        identifier = stored[key] if key in stored else known[key][0] if key in known else None
        if identifier:
            results.update(dict.fromkeys(indexes, Accepted(identifier, Outcome.QUARANTINED)))


def _insert(connection: sa.Connection, hooks: Sequence[ReceivedHook], *, is_aside: bool = False) -> dict[_Key, uuid.UUID]:
    rows = connection.exec_driver_sql(
        _INSERT,
        {
            "systems": [hook.cmms_system_id for hook in hooks],
            "types": [hook.event_type for hook in hooks],
            "payloads": [_json(hook.payload) for hook in hooks],
            "signatures": [hook.signature[:MAX_SIGNATURE] for hook in hooks],
            "statuses": [(HookStatus.QUARANTINED if is_aside else hook.first_status).value for hook in hooks],
            "bodies": [hook.raw_body for hook in hooks],
            "hashes": [hook.body_sha256 for hook in hooks],
            "keys": [(_key_aside(hook) if is_aside else _key(hook))[1] for hook in hooks],
            "headers": [_json(hook.headers or {}) for hook in hooks],
            "times": [hook.occurred_at for hook in hooks],
            "entities": [hook.entity_key for hook in hooks],
        },
    )
    return {(row.cmms_system_id, row.dedup_key): row.id for row in rows}


def _find(connection: sa.Connection, keys: set[_Key]) -> dict[_Key, tuple[uuid.UUID, bytes]]:
    if not keys:
        return {}
    wanted = sorted(keys)
    rows = connection.exec_driver_sql(_FIND, {"systems": [key[0] for key in wanted], "keys": [key[1] for key in wanted]})
    return {(row.cmms_system_id, row.dedup_key): (row.id, bytes(row.body_sha256)) for row in rows}


def _key(hook: ReceivedHook) -> _Key:
    return hook.cmms_system_id, hook.dedup_key


def _key_aside(hook: ReceivedHook) -> _Key:
    return hook.cmms_system_id, f"{hook.dedup_key}:{hook.body_sha256.hex()}"


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value).decode()

"""Which failures pass, and when an event that met one is tried again.

What belongs here: telling transient from permanent failures, and the end of an event that fails too often. What does not:
applying events (`storage.event_effects`), how long the waits are (`domain.retry_policy`).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import psycopg
import sqlalchemy as sa

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict
from cmms_pipelines.storage.known_sources import retries_of

EXHAUSTED = "retries_exhausted"
_TRANSIENT = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.QueryCanceled,
    psycopg.errors.InsufficientResources,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


def failure(event: ClaimedEvent, error: sa.exc.DBAPIError | TransientError) -> Settlement:
    """Return the settlement of an event that failed alone: `retry` if the failure may pass, `dead` if it cannot."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    message = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if not isinstance(cause, (*_TRANSIENT, TransientError)):
        return Settlement(event, Verdict.DEAD, {"rule": "refused_by_database"}, f"refused_by_database: {message}")
    return Settlement(event, Verdict.RETRY, {"rule": "transient"}, f"transient: {message}")


def scheduled(settlements: Sequence[Settlement], sources: Mapping[str, WebhookSource]) -> list[Settlement]:
    """Give each `retry` its wait by its source's policy; one whose retries are used up is `dead`, with its last failure."""
    return [_scheduled(one, sources) if one.verdict is Verdict.RETRY else one for one in settlements]


def _scheduled(settled: Settlement, sources: Mapping[str, WebhookSource]) -> Settlement:
    event, policy = settled.event, retries_of(sources, settled.event.cmms_system_id)
    if event.retry_count < policy.max_retries:
        return dataclasses.replace(settled, retry_in_s=policy.wait_s(event.retry_count, event.id))
    last = (settled.error or "").removeprefix("transient: ")
    said = f"{EXHAUSTED}: after {event.retry_count} retries still: {last}"
    return dataclasses.replace(settled, verdict=Verdict.DEAD, outcome={"rule": EXHAUSTED}, error=said)

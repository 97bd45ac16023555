"""Thin events: which of a claim need their entity from the source's API first, and what becomes of what that said.

What belongs here: dividing a claim, and writing what was fetched, or why not, to the inbox. What does not: requests, which a
`Fetcher` makes (`sync.thin_events`), and which events are thin (`domain.source_api`).

Nothing is fetched within a transaction: a thin event gets a lease, as if it waited for a retry, so that no claim is held while
the source thinks, and events of other entities go on. What was fetched is stored with the event, which is due again then. If the
fetching process dies, the lease ends and the event is fetched anew.
"""

import dataclasses
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.source_api import EntityKind, SourceApi, number_of
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.inbox import CHANNEL
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, lock_key, settle
from cmms_pipelines.storage.retrying import scheduled
from cmms_pipelines.storage.tables import maintenance_event_hooks

FULL_WAIT_S = 2.0
"""When an event is looked at again for which there is no place in the queue of its source."""
_MARGIN_S = 15.0
_HOOKS = maintenance_event_hooks.fullname

_STORE = sa.text(f"""
    UPDATE {_HOOKS} AS hooks
    SET fetched_payload = CAST(:payload AS jsonb), fetched_at = clock_timestamp(), next_attempt_at = clock_timestamp(),
        outcome = NULL
    WHERE id = ANY(CAST(:ids AS uuid[])) AND processing_status = 'pending' AND fetched_at IS NULL
    RETURNING (SELECT pg_notify('{CHANNEL}', ''))
""")
_STILL_WAITING = sa.text(f"""
    SELECT id FROM {_HOOKS}
    WHERE id = ANY(CAST(:ids AS uuid[])) AND processing_status = 'pending' AND fetched_at IS NULL
      AND outcome ->> 'rule' = 'fetching'
    ORDER BY sequence FOR UPDATE
""")


@dataclass(frozen=True)
class Order:
    """One entity to fetch for all of these events of one source, which name it."""

    cmms_system_id: str
    api: SourceApi
    kind: EntityKind
    number: str
    events: tuple[ClaimedEvent, ...]


class Fetcher(Protocol):
    """Fetches entities beside the drain, and stores what came with `store_fetched` or `store_failure`."""

    def has_place(self, cmms_system_id: str, api: SourceApi, beside: int) -> bool:
        """Tell whether one more order of this source would be taken, beside so many that are about to be."""
        ...

    def start(self, orders: Sequence[Order]) -> None:
        """Take orders, and return at once."""
        ...

    def is_busy(self) -> bool:
        """Tell whether anything is being fetched."""
        ...

    def finish(self) -> None:
        """Wait until everything that was taken is stored."""
        ...

    def close(self) -> None:
        """Let go of everything; what is not stored yet is fetched again later."""
        ...


class LateFetcher:
    """A fetcher that is made when the first entity has to be fetched: most drains never need one."""

    def __init__(self, make: Callable[[], Fetcher]) -> None:
        self._make = make
        self._made: Fetcher | None = None

    def has_place(self, cmms_system_id: str, api: SourceApi, beside: int) -> bool:
        if self._made is None:
            self._made = self._make()
        return self._made.has_place(cmms_system_id, api, beside)

    def start(self, orders: Sequence[Order]) -> None:
        if self._made is not None and orders:
            self._made.start(orders)

    def is_busy(self) -> bool:
        return self._made is not None and self._made.is_busy()

    def finish(self) -> None:
        if self._made is not None:
            self._made.finish()

    def close(self) -> None:
        if self._made is not None:
            self._made.close()


def divide(
    events: Sequence[ClaimedEvent], sources: Mapping[str, WebhookSource], fetcher: Fetcher | None, *, takes_orders: bool
) -> tuple[list[ClaimedEvent], list[Settlement], list[Order]]:
    """Divide a claim into events to apply now, settlements of those that wait, and what to fetch for them.

    Events behind a waiting one of their entity are `left`. Thin events that name one entity share an order. Where there is no
    place, or no orders are taken any more, they are looked at again in a moment. Without a fetcher thin events are applied as
    they are.
    """
    if fetcher is None or not any(source.api for source in sources.values()):
        return list(events), [], []
    ready: list[ClaimedEvent] = []
    waiting: list[Settlement] = []
    orders: dict[tuple[str, EntityKind, str], Order] = {}
    stopped: set[str] = set()
    for event in events:
        found = _wanted(event, sources)
        if found is None:
            if lock_key(event) in stopped:
                waiting.append(Settlement(event, Verdict.LEFT))
            else:
                ready.append(event)
            continue
        stopped.add(lock_key(event))
        key = (found.cmms_system_id, found.kind, found.number)
        beside = sum(system == found.cmms_system_id for system, _, _ in orders)
        if key in orders:
            orders[key] = dataclasses.replace(orders[key], events=(*orders[key].events, event))
        elif takes_orders and fetcher.has_place(found.cmms_system_id, found.api, beside):
            orders[key] = found
        else:
            waiting.append(Settlement(event, Verdict.FETCH, {"rule": "waits_to_be_fetched"}, lease_s=FULL_WAIT_S))
            continue
        waiting.append(Settlement(event, Verdict.FETCH, {"rule": "fetching"}, lease_s=lease_s(found.api)))
    return ready, waiting, list(orders.values())


def lease_s(api: SourceApi) -> float:
    """Return how long a fetch may take at the most, the queue before it included: then somebody else may try."""
    queue = capacity(api)
    return queue / api.requests_per_s + (queue / api.max_in_flight + 1) * api.attempts * api.timeout_s + _MARGIN_S


def capacity(api: SourceApi) -> int:
    """Return how many orders of a source wait at the same time: some seconds' worth."""
    return max(2 * api.max_in_flight, int(2 * api.requests_per_s))


def store_fetched(connection: sa.Connection, events: Sequence[ClaimedEvent], payload: Mapping[str, Any]) -> None:
    """Keep what the source said with its events, which are due then, and wake the drain."""
    connection.execute(_STORE, {"ids": [event.id for event in events], "payload": orjson.dumps(payload, default=str).decode()})


def store_failure(
    connection: sa.Connection,
    settlements: Sequence[Settlement],
    sources: Mapping[str, WebhookSource],
    run_id: str | None,
) -> None:
    """Settle events whose entity could not be fetched, unless somebody else has dealt with them since."""
    ids = [settled.event.id for settled in settlements]
    waiting: set[uuid.UUID] = set(connection.scalars(_STILL_WAITING, {"ids": ids}))
    settle(connection, scheduled([one for one in settlements if one.event.id in waiting], sources), run_id)
    connection.execute(sa.text(f"NOTIFY {CHANNEL}"))


def _wanted(event: ClaimedEvent, sources: Mapping[str, WebhookSource]) -> Order | None:
    source = sources.get(event.cmms_system_id)
    if event.is_fetched or source is None or source.api is None:
        return None
    kind = source.api.fetched_kind(event.event_type, event.payload)
    number = number_of(kind, event.payload) if kind is not None else None
    if kind is None or number is None:
        return None
    return Order(event.cmms_system_id, source.api, kind, number, (event,))

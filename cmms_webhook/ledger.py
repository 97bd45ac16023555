"""The record of deliveries and refusals: counted here, written down once in a while, without anything that was sent.

What belongs here: counting refusals by reason and source, and deliveries by source, type, outcome and minute; flushing in the
background; when each secret was last used. What does not: deciding to refuse (`receive`), what this process did since it started
(`metrics`). A source is named only when it exists; no signature, body or address is kept.
"""

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Mapping

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert as upsert

from cmms_pipelines.storage.inbox import Outcome
from cmms_pipelines.storage.secrets import mark_used
from cmms_pipelines.storage.tables import audit_log, delivery_counts

FLUSH_INTERVAL_S = 0.5
ACTOR = "webhook receiver"

_log = structlog.get_logger(__name__)
_Refusal = tuple[str, str | None]
_Delivery = tuple[dt.datetime, str, str, str]


class Ledger:
    """Counts in memory, bounded by reasons times sources, and a task that writes them."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], dt.datetime]) -> None:
        self._engine, self._clock = engine, clock
        self._refused: Counter[_Refusal] = Counter()
        self._delivered: Counter[tuple[str, str, str]] = Counter()
        self._unwritten: Counter[_Delivery] = Counter()
        self._used: dict[uuid.UUID, dt.datetime] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    def refused(self, reason: str, source: str | None) -> None:
        self._refused[reason, source] += 1
        self._wake.set()

    def delivered(self, source: str, event_type: str, outcome: Outcome) -> None:
        self._delivered[source, event_type, outcome.value] += 1
        self._wake.set()

    def used(self, secret_id: uuid.UUID, at: dt.datetime) -> None:
        self._used[secret_id] = at
        self._wake.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is counted, then stop; one attempt when the database is away."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._is_stopping:
            await self._wake.wait()
            if not self._is_stopping:
                await asyncio.sleep(FLUSH_INTERVAL_S)
            self._wake.clear()
            await self._flush()

    async def _flush(self) -> None:
        refused, self._refused = self._refused, Counter()
        used, self._used = self._used, {}
        minute = self._clock().replace(second=0, microsecond=0)
        self._unwritten.update({(minute, *key): count for key, count in self._delivered.items()})
        self._delivered.clear()
        delivered, self._unwritten = self._unwritten, Counter()
        if not refused and not used and not delivered:
            return
        for (reason, source), count in refused.items():
            _log.warning("hook_refused", reason=reason, source=source, count=count)
        try:
            await asyncio.to_thread(write, self._engine, refused, used, delivered)
        except sa.exc.SQLAlchemyError as error:
            self._refused.update(refused)
            self._used = used | self._used
            self._unwritten.update(delivered)
            _log.error("audit_not_written", refusals=refused.total(), error=type(error).__name__)
            self._wake.set()


def write(
    engine: sa.Engine,
    refused: Mapping[_Refusal, int],
    used: Mapping[uuid.UUID, dt.datetime],
    delivered: Mapping[_Delivery, int],
) -> None:
    """Write one audit row for each reason and source, the last use of secrets, and what was delivered by minute."""
    rows = [
        {
            "actor": ACTOR,
            "action": "hook.refused",
            "entity_type": "webhook_source" if source else None,
            "entity_key": source,
            "after": {"count": count},
            "reason": reason,
        }
        for (reason, source), count in refused.items()
    ]
    with engine.begin() as connection:
        if rows:
            connection.execute(sa.insert(audit_log), rows)
        mark_used(connection, used)
        if delivered:
            names = ("minute", "cmms_system_id", "event_type", "outcome", "deliveries")
            counts = [dict(zip(names, (*key, count), strict=True)) for key, count in sorted(delivered.items())]
            statement = upsert(delivery_counts).values(counts)
            total = delivery_counts.c.deliveries + statement.excluded.deliveries
            connection.execute(
                statement.on_conflict_do_update(index_elements=delivery_counts.primary_key, set_={"deliveries": total})
            )

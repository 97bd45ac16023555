"""The record of refusals: each one counted, written to the audit log and the log once in a while, without what was sent.

What belongs here: counting by reason and source, flushing in the background, when each secret was last used.
What does not: deciding to refuse (`receive`). A source is named only when it exists; no signature, body or address is kept.
"""

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Mapping

import sqlalchemy as sa
import structlog

from cmms_pipelines.storage.secrets import mark_used
from cmms_pipelines.storage.tables import audit_log

FLUSH_INTERVAL_S = 0.5
ACTOR = "webhook receiver"

_log = structlog.get_logger(__name__)
_Refusal = tuple[str, str | None]


class Ledger:
    """Counts in memory, bounded by reasons times sources, and a task that writes them."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._refused: Counter[_Refusal] = Counter()
        self._used: dict[uuid.UUID, dt.datetime] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    def refused(self, reason: str, source: str | None) -> None:
        self._refused[reason, source] += 1
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
        if not refused and not used:
            return
        for (reason, source), count in refused.items():
            _log.warning("hook_refused", reason=reason, source=source, count=count)
        try:
            await asyncio.to_thread(write, self._engine, refused, used)
        except sa.exc.SQLAlchemyError as error:
            self._refused.update(refused)
            self._used = used | self._used
            _log.error("audit_not_written", refusals=refused.total(), error=type(error).__name__)
            self._wake.set()


def write(engine: sa.Engine, refused: Mapping[_Refusal, int], used: Mapping[uuid.UUID, dt.datetime]) -> None:
    """Write one audit row for each reason and source, and the last use of secrets."""
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

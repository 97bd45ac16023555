"""One listener on the database for all live streams: inbox counts and event states, as they change.

What belongs here: listening, asking once for everybody, and handing out. What does not: HTTP (`status`). There is a connection
only while somebody listens. A client that does not keep up is ended, so that it costs the others nothing.
"""

import asyncio
import contextlib
import time
import uuid
from collections import deque
from typing import Any

import orjson
import psycopg
import structlog
from psycopg.rows import dict_row

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.storage.inbox import CHANNEL as INBOX_CHANNEL
from cmms_pipelines.storage.inbox_changes import CHANNEL as CHANGES_CHANNEL
from cmms_pipelines.storage.tables import HOOK_STATUSES

EVENTS_OF_ONE = 200
GATHER_S = 0.2  # what changes together is told together
LOOK_AGAIN_S = 1.5  # finds changes that nobody told
RECONNECT_S = 1.0
COUNTING_SHARE = 5  # counting takes a fifth of the time at most, while the inbox holds millions
_KEPT_MESSAGES = 64
_KEPT_SEQUENCES = 4_000
_OVERLAP = 500  # a sequence is given before its commit: a lower one may appear later

_COUNTS = "SELECT processing_status, count(*) AS count FROM cmms.maintenance_event_hooks GROUP BY 1"
_NEWEST = "SELECT coalesce(max(sequence), 0) AS sequence FROM cmms.maintenance_event_hooks"
_SHOWN = """
    SELECT sequence, id, cmms_system_id, event_type, entity_key, processing_status, error_message, retry_count,
           created_at AS received_at, processed_at, next_attempt_at
    FROM cmms.maintenance_event_hooks
"""
_NEW = f"{_SHOWN} WHERE sequence > %s ORDER BY sequence DESC LIMIT {EVENTS_OF_ONE + _OVERLAP}"
_COUNT_NEW = "SELECT count(*) AS count FROM cmms.maintenance_event_hooks WHERE sequence > %s"
_CHANGED = f"{_SHOWN} WHERE id = ANY(%s) ORDER BY sequence"

_log = structlog.get_logger(__name__)


class TooManyClientsError(TransientError):
    """All places at the stream are taken."""


class Subscription:
    """One client's place: messages as they go over the wire, and at the end a reason."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self.ended_because: str | None = None

    async def next(self, timeout_s: float) -> bytes | None:
        """Return the next message, None when none has come in time or the place has ended (`ended_because`)."""
        if not self._messages and self.ended_because is None:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_s)
        return self._messages.popleft() if self._messages else None

    def put(self, message: bytes) -> None:
        if len(self._messages) >= _KEPT_MESSAGES:
            self.end("too_slow")
        elif self.ended_because is None:
            self._messages.append(message)
            self._wake.set()

    def end(self, reason: str) -> None:
        if self.ended_because is None:
            self.ended_because = reason
            self._messages.clear()
            self._wake.set()


class EventHub:
    """Listens while there are clients, and tells all of them the same."""

    def __init__(self, address: str, *, max_clients: int, heartbeat_s: float) -> None:
        self._address, self._max_clients, self.heartbeat_s = address, max_clients, heartbeat_s
        self._clients: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._counts: bytes | None = None
        self._count_again_at = 0.0

    def join(self) -> Subscription:
        """Take a place; `leave` gives it back.

        Raises:
            TooManyClientsError: none is left.
        """
        if len(self._clients) >= self._max_clients:
            raise TooManyClientsError("All places at the stream are taken. Try again later, or read /sync/status.")
        client = Subscription()
        self._clients.add(client)
        if self._counts is not None:
            client.put(self._counts)
        if self._task is None or self._task.done():
            self._counts = None
            self._task = asyncio.create_task(self._run())
        return client

    def leave(self, client: Subscription) -> None:
        self._clients.discard(client)
        if not self._clients and self._task is not None:
            self._task.cancel()
            self._task, self._counts = None, None

    async def stop(self) -> None:
        """End all streams."""
        for client in self._clients:
            client.end("shutdown")
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._address, autocommit=True, connect_timeout=5, application_name="cmms-event-stream", row_factory=dict_row
                )
                async with connection:
                    await self._watch(connection)
            except psycopg.OperationalError as error:
                _log.error("event_stream_lost_the_database", error=type(error).__name__)
                await asyncio.sleep(RECONNECT_S)

    async def _watch(self, connection: "psycopg.AsyncConnection[dict[str, Any]]") -> None:
        for channel in (INBOX_CHANNEL, CHANGES_CHANNEL):
            await connection.execute(f"LISTEN {channel}".encode())
        row = await (await connection.execute(_NEWEST)).fetchone()
        newest = int(row["sequence"]) if row else 0
        seen: deque[int] = deque(range(newest - _OVERLAP, newest + 1), _KEPT_SEQUENCES)
        changed: set[uuid.UUID] = set()
        while True:
            await self._tell_counts(connection)
            newest = await self._tell_events(connection, newest, seen, changed)
            changed = await _gather(connection)

    async def _tell_counts(self, connection: "psycopg.AsyncConnection[dict[str, Any]]") -> None:
        started = time.monotonic()
        if started < self._count_again_at:
            return
        rows = await (await connection.execute(_COUNTS)).fetchall()
        took = time.monotonic() - started
        self._count_again_at = started + min(COUNTING_SHARE * took, LOOK_AGAIN_S)
        found = dict.fromkeys(HOOK_STATUSES, 0) | {row["processing_status"]: row["count"] for row in rows}
        message = as_message("counts", found)
        if message != self._counts:
            self._counts = message
            self._tell(message)

    async def _tell_events(
        self,
        connection: "psycopg.AsyncConnection[dict[str, Any]]",
        newest: int,
        seen: deque[int],
        changed: set[uuid.UUID],
    ) -> int:
        found = await (await connection.execute(_NEW, (newest - _OVERLAP,))).fetchall()
        known = set(seen)
        new = [row for row in reversed(found) if row["sequence"] not in known]
        seen.extend(row["sequence"] for row in new)
        told = {row["id"] for row in new}
        wanted = sorted(changed - told)
        if wanted:
            new += await (await connection.execute(_CHANGED, (wanted[:EVENTS_OF_ONE],))).fetchall()
        if new:
            more = max(0, len(new) - EVENTS_OF_ONE) + max(0, len(wanted) - EVENTS_OF_ONE)
            if len(found) >= EVENTS_OF_ONE + _OVERLAP:
                row = await (await connection.execute(_COUNT_NEW, (newest,))).fetchone()
                more += max(0, int(row["count"]) - len(found)) if row else 0
            self._tell(as_message("events", {"events": new[-EVENTS_OF_ONE:], "more": more}))
        return max([newest, *(int(row["sequence"]) for row in new)])

    def _tell(self, message: bytes) -> None:
        for client in self._clients:
            client.put(message)


async def _gather(connection: "psycopg.AsyncConnection[dict[str, Any]]") -> set[uuid.UUID]:
    """Wait for the first notification, then a moment for those that come with it; return the events they name."""
    changed: set[uuid.UUID] = set()
    for seconds in (LOOK_AGAIN_S, GATHER_S):
        has_come = False
        stop_after = 1 if seconds == LOOK_AGAIN_S else None
        async for notification in connection.notifies(timeout=seconds, stop_after=stop_after):
            has_come = True
            if notification.channel == CHANGES_CHANNEL:
                changed.update(uuid.UUID(text) for text in notification.payload.split(",") if text)
        if not has_come:
            break
    return changed


def as_message(event: str, data: object) -> bytes:
    """Return a server-sent event as it goes over the wire."""
    return f"event: {event}\ndata: ".encode() + orjson.dumps(data, default=str) + b"\n\n"

"""Storing what was accepted: requests that come together share one insert and one commit, and are answered after it.

What belongs here: grouping, the limits of what waits, and what a broken database means to those who wait. What does not: the SQL
(`storage.inbox`) and the connection (`store`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.storage.inbox import Accepted, Outcome, ReceivedHook
from cmms_webhook.store import InboxStore, Unstorable, sqlstate

MAX_GROUP = 200
LINGER_S = 0.003  # measured: groups of a few milliseconds under load; a single event does not wait
MAX_WAITING = 5_000
SHED_ABOVE = 1_000  # sources that send again yield first
PATIENCE_S = 10.0

_log = structlog.get_logger(__name__)


class UnavailableError(TransientError):
    """The database did not confirm that the event is stored."""


class OverloadedError(TransientError):
    """Too many events wait for the database."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    hook: ReceivedHook
    future: "asyncio.Future[Accepted | Unstorable]"
    since: float


class InboxWriter:
    """One thread and one connection that write groups; while one group commits the next one collects."""

    def __init__(
        self, engine: sa.Engine, patience_s: float = PATIENCE_S, on_waiting: Callable[[int], None] = lambda _: None
    ) -> None:
        self._store, self._patience_s, self._on_waiting = InboxStore(engine), patience_s, on_waiting
        self._waiting: deque[_Waiting] = deque()
        self._in_flight: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._executor = ThreadPoolExecutor(1, "inbox-writer")
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._is_stopping = False

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done() and not self._is_stopping

    def start(self) -> None:
        """Start writing, in the running event loop."""
        self._task = asyncio.create_task(self._run())
        self._watch = asyncio.create_task(self._give_up_in_time())

    async def stop(self) -> None:
        """Write what waits, then stop."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.get_running_loop().run_in_executor(self._executor, self._store.close)
        self._executor.shutdown(wait=False)

    async def store(self, hook: ReceivedHook, *, may_shed: bool) -> Accepted | Unstorable:
        """Return once the event is committed.

        Raises:
            OverloadedError: too many wait; a source that may be shed hears this first.
            UnavailableError: the database did not confirm in time; the event may or may not be stored.
        """
        if not self.is_running:
            raise UnavailableError("The inbox is not being written.")
        if len(self._waiting) >= (SHED_ABOVE if may_shed else MAX_WAITING):
            raise OverloadedError("Too many events wait for the database.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Accepted | Unstorable] = loop.create_future()
        self._waiting.append(_Waiting(hook, future, loop.time()))
        self._wake.set()
        return await future

    async def _give_up_in_time(self) -> None:
        """Tell those who have waited too long, in order of arrival: one watch for all costs less than a timer for each."""
        while True:
            await asyncio.sleep(self._patience_s / 20)
            latest = asyncio.get_running_loop().time() - self._patience_s
            for waiting in (*self._in_flight, *self._waiting):
                if waiting.since > latest:
                    break
                if not waiting.future.done():
                    waiting.future.set_exception(UnavailableError("The database did not confirm in time."))

    async def _run(self) -> None:
        size = 1
        while self._waiting or not self._is_stopping:
            await self._wake.wait()
            self._wake.clear()
            if size > 1 and len(self._waiting) < MAX_GROUP:
                await asyncio.sleep(LINGER_S)
            self._on_waiting(len(self._waiting))
            group = self._take()
            size = len(group)
            self._in_flight = group
            if group:
                await self._write(group)
            self._in_flight = []
            if self._waiting or self._is_stopping:
                self._wake.set()

    def _take(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        while self._waiting and len(group) < MAX_GROUP:
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                group.append(waiting)
        return group

    async def _write(self, group: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        failure = UnavailableError("The inbox stopped.")
        try:
            hooks = [waiting.hook for waiting in group]
            results = await loop.run_in_executor(self._executor, self._store.store, hooks)
            for waiting, result in zip(group, results, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(result)
            _log.info("hooks_stored", **_counted(results), duration_ms=round((loop.time() - started) * 1000, 1))
        except (sa.exc.SQLAlchemyError, TransientError) as error:
            failure = UnavailableError("The database did not confirm the event.")
            _log.error("hooks_not_stored", count=len(group), error=type(error).__name__, sqlstate=sqlstate(error))
        finally:
            for waiting in group:
                if not waiting.future.done():
                    waiting.future.set_exception(failure)


def _counted(results: Sequence[Accepted | Unstorable]) -> dict[str, int]:
    counts = dict.fromkeys((outcome.value for outcome in Outcome), 0)
    for result in results:
        name = result.outcome.value if isinstance(result, Accepted) else "unstorable"
        counts[name] = counts.get(name, 0) + 1
    return counts

"""Fetching what thin events leave out, beside the drain: a few threads for each source, within its budget.

What belongs here: threads and their answers. What does not: which events are thin and where an answer is kept
(`storage.fetching`), requests (`sync.source_api`).
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.source_api import OnMissing, SourceApi, may_be_gone, with_number
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.fetching import Order, capacity, store_failure, store_fetched
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict
from cmms_pipelines.storage.known_sources import KnownSources
from cmms_pipelines.storage.retrying import failure
from cmms_pipelines.storage.secrets import secret_box
from cmms_pipelines.storage.source_tokens import read_api_token
from cmms_pipelines.sync.source_api import SourceClient


class ThinEventFetcher:
    """A `storage.fetching.Fetcher` over HTTP; safe to ask from the drain's thread while others fetch."""

    def __init__(self, engine: sa.Engine, settings: Settings, run_id: str | None = None) -> None:
        """`run_id` is kept with events whose entity cannot be fetched. Threads and connections come with the first order."""
        self._engine, self._settings, self._run_id = engine, settings, run_id
        self._sources = KnownSources()
        self._lock = threading.Lock()
        self._clients: dict[str, _SourceWorkers] = {}
        self._taken: Counter[str] = Counter()
        self._futures: set[Future[None]] = set()

    def has_place(self, cmms_system_id: str, api: SourceApi, beside: int) -> bool:
        """Tell whether one more order of this source would be taken, beside so many that are about to be."""
        with self._lock:
            return self._taken[cmms_system_id] + beside < capacity(api)

    def start(self, orders: Sequence[Order]) -> None:
        """Take orders, and return at once."""
        for order in orders:
            with self._lock:
                self._taken[order.cmms_system_id] += 1
            workers = self._workers_of(order)
            future = workers.pool.submit(self._work, order, workers)
            self._futures.add(future)
        self._reap()

    def is_busy(self) -> bool:
        """Tell whether anything is being fetched."""
        self._reap()
        return bool(self._futures)

    def finish(self) -> None:
        """Wait until everything that was taken is stored."""
        wait(self._futures)
        self._reap()

    def close(self) -> None:
        """End what is in flight; its events are fetched again when their lease is over."""
        for workers in self._clients.values():
            workers.close()
        self._clients.clear()

    def _reap(self) -> None:
        """Forget what is done; raise what went wrong in storing it."""
        done = {future for future in self._futures if future.done()}
        self._futures -= done
        for future in done:
            if not future.cancelled():
                future.result()

    def _workers_of(self, order: Order) -> "_SourceWorkers":
        found = self._clients.get(order.cmms_system_id)
        if found is not None and found.api == order.api:
            return found
        if found is not None:
            found.close()
        self._clients[order.cmms_system_id] = _SourceWorkers(order.cmms_system_id, order.api)
        return self._clients[order.cmms_system_id]

    def _work(self, order: Order, workers: "_SourceWorkers") -> None:
        try:
            payload, settlements = self._answer(order, workers)
            if payload is not None:
                settlements = self._stored(order, payload)
            if settlements:
                with self._engine.begin() as connection:
                    store_failure(connection, settlements, self._sources.read(connection), self._run_id)
        finally:
            with self._lock:
                self._taken[order.cmms_system_id] -= 1

    def _stored(self, order: Order, payload: Mapping[str, object]) -> list[Settlement]:
        """Keep an answer; return settlements of its events where the database refuses it."""
        try:
            with self._engine.begin() as connection:
                store_fetched(connection, order.events, payload)
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            return [failure(event, error) for event in order.events]
        return []

    def _answer(self, order: Order, workers: "_SourceWorkers") -> tuple[dict[str, object] | None, list[Settlement]]:
        try:
            found = workers.client(self._engine, self._settings).entity(order.kind, order.number)
        except TransientError as error:
            return None, [_settled(event, Verdict.RETRY, "transient", str(error)) for event in order.events]
        except PermanentError as error:
            return None, [_settled(event, Verdict.DEAD, "fetch_refused", str(error)) for event in order.events]
        if found is not None:
            payload = with_number(order.kind, found, order.number)
            if payload is not None:
                return payload, []
            said = f"the source answered with another {order.kind} than {order.number!r}"
            return None, [_settled(event, Verdict.DEAD, "fetched_another_entity", said) for event in order.events]
        if all(may_be_gone(event.event_type) for event in order.events):
            return {}, []
        verdict = Verdict.HELD if order.api.on_missing is OnMissing.HELD else Verdict.DEAD
        said = f"the source knows no {order.kind} {order.number!r}"
        return None, [_settled(event, verdict, "entity_not_found", said) for event in order.events]


class _SourceWorkers:
    """The threads and the client of one source."""

    def __init__(self, cmms_system_id: str, api: SourceApi) -> None:
        self.api = api
        self.pool = ThreadPoolExecutor(max_workers=api.max_in_flight, thread_name_prefix=f"fetch-{cmms_system_id}")
        self._system = cmms_system_id
        self._lock = threading.Lock()
        self._client: SourceClient | None = None

    def client(self, engine: sa.Engine, settings: Settings) -> SourceClient:
        """Return the client, made with the token that is set when it is first asked for.

        Raises:
            PermanentError: the source has no token, or one that cannot be read or sent.
        """
        with self._lock:
            if self._client is None:
                with engine.connect() as connection:
                    token = read_api_token(connection, secret_box(settings), self._system)
                self._client = SourceClient(self._system, self.api, token)
            return self._client

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._client is not None:
                self._client.close()


def _settled(event: ClaimedEvent, verdict: Verdict, rule: str, said: str) -> Settlement:
    return Settlement(event, verdict, {"rule": rule}, f"{rule}: {said}")

"""`/metrics` for Prometheus: what this process answered, what stands in the inbox, and which alerts stand.

What belongs here: names, labels and help of the metrics, and the queries behind them. What does not: counts that are kept
(`ledger`). A source that does not exist has no name here: strangers would make labels without end.

The library's counters cost about a microsecond each, as long as their labels are looked up once; so they are kept by label here.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from cmms_pipelines.domain.events import HookStatus
from cmms_pipelines.storage.alerts import count_by_severity, is_watched
from cmms_pipelines.storage.tables import maintenance_event_hooks as hooks

TIME_TO_LIVE_S = 2.0
TIMEOUT_S = 3.0
MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
UNFINISHED = (HookStatus.PENDING, HookStatus.HELD, HookStatus.QUARANTINED, HookStatus.DEAD_LETTER)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Standing:
    """What the database shows: events that are not settled, alerts by severity, and whether the watcher of alerts lives."""

    events: list[tuple[str, str, int, dt.datetime]]
    alerts: dict[str, int]
    is_watched: bool


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], dt.datetime]) -> None:
        self._engine, self._clock = engine, clock
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "cmms_webhook_requests",
            "Deliveries by source and what became of them: accepted, duplicate, quarantined, or why they were refused.",
            ("source", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "cmms_webhook_request_duration_seconds",
            "From the head of a request to its answer, by status.",
            ("status",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "cmms_webhook_waiting_events", "Verified events that wait for the database in this process.", registry=self.registry
        )
        self.buffered = Gauge(
            "cmms_webhook_buffered_bytes", "Bodies that are held in memory in this process.", registry=self.registry
        )
        self._inbox = Gauge(
            "cmms_inbox_events",
            "Events that are not settled, by source and status.",
            ("source", "status"),
            registry=self.registry,
        )
        self._oldest = Gauge(
            "cmms_inbox_oldest_pending_seconds", "Age of the oldest pending event; 0 when there is none.", registry=self.registry
        )
        self._database = Gauge(
            "cmms_database_up", "1 when the database answered the last look at the inbox.", registry=self.registry
        )
        self._alerts = Gauge("cmms_alerts_standing", "Alerts that are not resolved.", ("severity",), registry=self.registry)
        self._watched = Gauge("cmms_alerts_watched", "1 while the watcher of alerts lives.", registry=self.registry)
        self._counted: dict[tuple[str, str], Counter] = {}
        self._timed: dict[int, Histogram] = {}
        self._looked_at = -TIME_TO_LIVE_S
        self._lock = asyncio.Lock()

    def answered(self, source: str | None, outcome: str, status: int, seconds: float) -> None:
        """Count one answer."""
        key = source or "", outcome
        counter = self._counted.get(key)
        if counter is None:
            counter = self._counted[key] = self._requests.labels(*key)
        counter.inc()
        timer = self._timed.get(status)
        if timer is None:
            timer = self._timed[status] = self._seconds.labels(str(status))
        timer.observe(seconds)

    async def page(self) -> bytes:
        """Return all metrics as text; the inbox is looked at every two seconds at the most, however many ask."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._looked_at >= TIME_TO_LIVE_S:
                self._looked_at = now
                await self._look()
        return generate_latest(self.registry)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = await asyncio.to_thread(standing, self._engine)
        except (sa.exc.SQLAlchemyError, TimeoutError):
            self._database.set(0)
            return
        self._database.set(1)
        self._inbox.clear()
        oldest: dt.datetime | None = None
        for source, status, count, first in found.events:
            self._inbox.labels(source, status).set(count)
            if status == HookStatus.PENDING:
                oldest = first if oldest is None else min(oldest, first)
        self._oldest.set(max(0.0, (self._clock() - oldest).total_seconds()) if oldest else 0)
        for severity, alerts in found.alerts.items():
            self._alerts.labels(severity).set(alerts)
        self._watched.set(found.is_watched)


def standing(engine: sa.Engine) -> Standing:
    """Return what stands now; three short queries."""
    with engine.connect() as connection:
        return Standing(list(unfinished(connection)), count_by_severity(connection), is_watched(connection))


def unfinished(connection: sa.Connection) -> Iterable[tuple[str, str, int, dt.datetime]]:
    """Return count and oldest arrival of events that are not settled, by source and status; settled ones are never counted."""
    table = hooks.c
    statement = (
        sa.select(table.cmms_system_id, table.processing_status, sa.func.count(), sa.func.min(table.created_at))
        .where(table.processing_status.in_([status.value for status in UNFINISHED]))
        .group_by(table.cmms_system_id, table.processing_status)
    )
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(statement)]

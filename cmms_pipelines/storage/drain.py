"""Drain the inbox: claim what is due, apply it, mark it, and stay until nothing has come for a while.

What belongs here: the loop, its waiting and its report. What does not: claiming (`storage.inbox_claims`), applying
(`storage.applying`), fetching the rest of thin events (`storage.fetching`), whose turn it is (`storage.drain_turns`), and that a
run of Dagster does it (`defs.maintenance`).
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
import sqlalchemy as sa

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.storage.applying import apply_claimed
from cmms_pipelines.storage.drain_turns import Turn
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.fetching import Fetcher, LateFetcher, divide
from cmms_pipelines.storage.inbox import CHANNEL
from cmms_pipelines.storage.inbox_claims import Verdict, claim, release_held, settle
from cmms_pipelines.storage.known_sources import KnownSources

WAIT_S = 1.0
BLOCKED_WAIT_S = 0.02
GRACE_S = 60.0  # on a busy machine the next run takes long to start
RELEASE_EVERY_S = 5.0
_LOCK_TIMEOUT = "200ms"  # a batch waits this long, some ten times when it is halved, before the event in the way stands alone
_KEPT_LATENCIES = 200_000


@dataclass
class DrainReport:
    """What a drain did; a retried event is claimed again, and counted again. Latencies run from acceptance to settlement."""

    claimed: int = 0
    applied: int = 0
    ignored: int = 0
    held: int = 0
    retried: int = 0
    dead: int = 0
    fetching: int = 0
    released: int = 0
    batches: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    ended_because: str = ""

    def percentile_ms(self, share: float) -> float | None:
        """Return the latency that `share` of the events stay within; None when none was settled."""
        if not self.latencies_ms:
            return None
        ordered = sorted(self.latencies_ms)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    def counts(self) -> dict[str, int]:
        """Return the counts by name; claimed = applied + ignored + held + retried + dead + fetching."""
        names = ("claimed", "applied", "ignored", "held", "retried", "dead", "fetching", "released", "batches")
        return {name: getattr(self, name) for name in names}


def drain(
    address: str,
    *,
    run_id: str | None = None,
    idle_s: float = 30.0,
    max_s: float = 600.0,
    grace_s: float = GRACE_S,
    batch_size: int = 500,
    limit: int | None = None,
    is_beside: bool = False,
    make_fetcher: Callable[[], Fetcher] | None = None,
    progress: Callable[[DrainReport], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> DrainReport:
    """Apply events until none has come for `idle_s` seconds, `max_s` have passed, `limit` are claimed, or `should_stop` says so.

    After `max_s` the drain goes on until the next one has announced itself, at most `grace_s` seconds, so that no event waits for
    the next one to start. It claims a last time after it has given up its place. A drain that finds another at work ends at once,
    unless `is_beside`: claiming beside others is safe, only never needed for long.

    Args:
        address: libpq URL of the database.
        run_id: kept with each event that this drain settles.
        make_fetcher: makes what gets the rest of events that hold a key only, when the first of them comes; without it they are
            applied as they are.
        progress: told of the report after each batch that did something.

    Raises:
        TransientError: the database cannot be reached, or was lost; what was not committed is pending as before.
    """
    engine = make_engine(address, pool_size=1)
    fetcher = LateFetcher(make_fetcher) if make_fetcher else None
    try:
        with psycopg.connect(address, autocommit=True, application_name="cmms-drain") as signals, engine.connect() as connection:
            signals.execute(f"LISTEN {CHANNEL}")
            turn = None if is_beside else Turn(signals)
            report = DrainReport()
            if turn is not None and not turn.take():
                report.ended_because = "another drain is at work"
                return report
            connection.execute(sa.text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
            connection.commit()
            loop = _Loop(connection, signals, report, run_id, batch_size, limit, progress, clock, fetcher)
            loop.run(turn, idle_s, max_s, grace_s, should_stop)
            if turn is not None:
                turn.give_up()
            if fetcher is not None:
                fetcher.finish()
            loop.work_off()
            return report
    except (psycopg.OperationalError, sa.exc.OperationalError) as error:
        raise TransientError(
            f"The database was lost while the inbox was drained: {str(error).strip().splitlines()[0]}"
        ) from error
    finally:
        if fetcher is not None:
            fetcher.close()
        engine.dispose()


@dataclass
class _Loop:
    connection: sa.Connection
    signals: psycopg.Connection
    report: DrainReport
    run_id: str | None
    batch_size: int
    limit: int | None
    progress: Callable[[DrainReport], None]
    clock: Callable[[], float]
    fetcher: Fetcher | None
    sources: KnownSources = field(default_factory=KnownSources)

    def run(self, turn: Turn | None, idle_s: float, max_s: float, grace_s: float, should_stop: Callable[[], bool]) -> None:
        started = busy_at = self.clock()
        release_at, is_leaving = started, False
        while True:
            now = self.clock()
            if now >= release_at:
                self._release()
                release_at = now + RELEASE_EVERY_S
            done, is_blocked = self._batch()
            if done:
                busy_at = self.clock()
            if should_stop():
                return self._end("it was told to stop")
            if self._is_full():
                return self._end("its limit is reached")
            now = self.clock()
            if turn is not None:
                turn.move_up()
            if now - started >= max_s:
                if turn is None or now - started >= max_s + grace_s or turn.is_followed():
                    return self._end("its time was over")
                if not is_leaving:
                    turn.start_to_leave()
                    is_leaving = True
            if not done:
                idle_for = now - busy_at
                if idle_for >= idle_s and not (self.fetcher is not None and self.fetcher.is_busy()):
                    return self._end("nothing came")
                longest = BLOCKED_WAIT_S if is_blocked and idle_for < WAIT_S else WAIT_S
                self._wait(min(longest, max(idle_s - idle_for, BLOCKED_WAIT_S)))

    def work_off(self) -> None:
        """Claim a last time: what was accepted before the place was free is still for this drain."""
        while not self._is_full() and self._batch(is_last=True)[0] == self.batch_size:
            continue

    def _batch(self, *, is_last: bool = False) -> tuple[int, bool]:
        """Claim, apply and mark in one transaction; return how many events that were, and whether others hold what is due."""
        size = self.batch_size if self.limit is None else min(self.batch_size, self.limit - self.report.claimed)
        if size <= 0:
            return 0, False
        with self.connection.begin():
            claimed = claim(self.connection, size)
            if not claimed.events:
                return 0, claimed.is_blocked
            sources = self.sources.read(self.connection)
            ready, waiting, orders = divide(claimed.events, sources, self.fetcher, takes_orders=not is_last)
            settlements = [*apply_claimed(self.connection, ready, sources), *waiting]
            latency = settle(self.connection, settlements, self.run_id)
        if self.fetcher is not None:
            self.fetcher.start(orders)
        verdicts = Counter(settled.verdict for settled in settlements)
        report = self.report
        report.claimed += len(settlements) - verdicts[Verdict.LEFT]
        report.applied += verdicts[Verdict.APPLIED]
        report.ignored += verdicts[Verdict.IGNORED]
        report.held += verdicts[Verdict.HELD]
        report.retried += verdicts[Verdict.RETRY]
        report.dead += verdicts[Verdict.DEAD]
        report.fetching += verdicts[Verdict.FETCH]
        report.batches += 1
        report.by_type.update(settled.event.event_type for settled in settlements if settled.verdict is not Verdict.LEFT)
        report.latencies_ms.extend(latency.milliseconds[: max(0, _KEPT_LATENCIES - len(report.latencies_ms))])
        self.progress(report)
        return len(settlements), False

    def _release(self) -> None:
        with self.connection.begin():
            self.report.released += release_held(self.connection)

    def _wait(self, seconds: float) -> None:
        for _ in self.signals.notifies(timeout=seconds, stop_after=1):
            pass

    def _is_full(self) -> bool:
        return self.limit is not None and self.report.claimed >= self.limit

    def _end(self, reason: str) -> None:
        self.report.ended_because = reason

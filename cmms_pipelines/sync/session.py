"""One sync from its first to its last slice: its log, its external requests, its counts, and what happens when a part fails.

What belongs here: everything that all syncs share. What does not: what one slice fetches and writes.

A slice is fetched and judged outside a transaction and written inside one, together with its refusals, its figures in the
log and its line in the ledger. Whatever kills the process in between, a slice is there as a whole or not at all.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
import stamina
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.errors import CmmsError, PermanentError, TransientError
from cmms_pipelines.domain.reports import SyncCounts, SyncStatus
from cmms_pipelines.storage import sync_log
from cmms_pipelines.storage.sync_log import SyncLog

PARTIAL_SHARE = 0.10  # the specification's border between single bad records and a sync that failed in part
SLICES_IN_FLIGHT = 2  # while one slice is fetched, another is judged and written
_WRITE_ATTEMPTS = 3
_LONGEST_NAMES = 400  # of the 500 characters that the ledger has for a slice

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Slice:
    """The unit of work that is done as a whole or not at all: some plants, of one day where the sync has days."""

    plant_codes: tuple[str, ...]
    day: date | None = None

    @property
    def key(self) -> str:
        """Return what names this slice in the ledger."""
        plants = ",".join(code or "(none)" for code in self.plant_codes)
        if len(plants) > _LONGEST_NAMES:
            plants = f"{len(self.plant_codes)} plants, sha256:{sha256(plants.encode()).hexdigest()}"
        return f"{self.day.isoformat()}|{plants}" if self.day else plants


@dataclass
class SyncSession:
    """A running sync: where its slices report."""

    engine: sa.Engine
    log: SyncLog
    progress: Progress
    counts: SyncCounts = field(default_factory=SyncCounts)
    slices_total: int = 0
    slices_done: int = 0
    failed_slices: dict[str, CmmsError] = field(default_factory=dict)
    slices_skipped: int = 0
    calls: list[ApiCall] = field(default_factory=list)
    counts_by_day: dict[date, SyncCounts] = field(default_factory=dict)
    _started_at: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on_call(self, call: ApiCall) -> None:
        """Note an external request; the client tells us of each."""
        with self._lock:
            self.calls.append(call)

    def plan(self, slices: Sequence[Slice]) -> None:
        """Say what the whole sync consists of, so that progress can tell how much is left."""
        self.slices_total = len(slices)

    def run_slices(self, slices: Sequence[Slice], work: Callable[[Slice], SyncCounts], *, max_in_flight: int) -> None:
        """Do the slices that no earlier attempt has done, several at once.

        A slice that fails for a passing reason is noted and the others go on; one that fails for good stops the sync.

        Raises:
            PermanentError: asking again is useless; slices not yet begun are left for the next attempt.
        """
        done = sync_log.done_slices(self.engine, self.log.sync_key)
        todo = [piece for piece in slices if piece.key not in done]
        self.slices_skipped += len(slices) - len(todo)
        if len(todo) < len(slices):
            self.progress(f"{len(slices) - len(todo)} slices were done by an earlier attempt and are left out")
        executor = ThreadPoolExecutor(max_workers=max_in_flight, thread_name_prefix="slice")
        try:
            futures = {executor.submit(work, piece): piece for piece in todo}
            self._collect(futures)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def write(self, piece: Slice, counts: SyncCounts, apply: Callable[[sa.Connection], SyncCounts]) -> SyncCounts:
        """Write one slice in one transaction and enter it into ledger and log.

        Args:
            piece: the slice.
            counts: what is known before the write: received, refused, merged, warned and the seconds so far.
            apply: writes; returns inserted, updated and unchanged.

        Raises:
            TransientError: the database refuses for a passing reason, several times.
            ArithmeticError: a record is unaccounted for; nothing is written.
        """
        started = time.perf_counter()
        try:
            for attempt in stamina.retry_context(on=_is_passing, attempts=_WRITE_ATTEMPTS, wait_initial=0.2):
                with attempt, self.engine.begin() as connection:
                    total = SyncCounts()
                    total.add(counts)
                    total.add(apply(connection))
                    total.spend("write", time.perf_counter() - started)
                    total.check()
                    is_ours = sync_log.mark_slice_done(
                        connection, self.log, piece.key, day=piece.day, plant_codes=piece.plant_codes, counts=total
                    )
                    if not is_ours:
                        connection.rollback()
                        return SyncCounts()
                    sync_log.add_counts(connection, self.log, total)
        except DBAPIError as error:
            raise TransientError(f"Slice {piece.key} could not be written: {_reason(error)}") from error
        return total

    def _add(self, piece: Slice, counts: SyncCounts) -> None:
        self.counts.add(counts)
        if piece.day is not None:
            self.counts_by_day.setdefault(piece.day, SyncCounts()).add(counts)

    def _collect(self, futures: Mapping[Future[SyncCounts], Slice]) -> None:
        open_futures = set(futures)
        while open_futures:
            finished, open_futures = wait(open_futures, timeout=1.0, return_when=FIRST_EXCEPTION)
            for future in finished:
                try:
                    self._add(futures[future], future.result())
                except TransientError as error:
                    self.failed_slices[futures[future].key] = error
            if finished:
                self.slices_done += len(finished)
                self.progress(self._pace())

    def _pace(self) -> str:
        elapsed = max(time.monotonic() - self._started_at, 1e-6)
        to_do = self.slices_total - self.slices_skipped
        left = elapsed / self.slices_done * (to_do - self.slices_done)
        return (
            f"slice {self.slices_done} of {to_do}: {self.counts.received} records, {self.counts.refused} refused, "
            f"{self.counts.received / elapsed:.0f} records/s, about {left:.0f} s left"
        )


@contextmanager
def sync_session(
    engine: sa.Engine,
    sync_type: str,
    scope: Mapping[str, Any],
    *,
    sync_key: str,
    run_id: str | None,
    progress: Progress,
) -> Iterator[SyncSession]:
    """Open a sync's log, hand out its session, and close the log with the truth, however the body ends.

    Raises:
        TransientError: some slices failed for a passing reason; the message names them, and a retry does only those.
    """
    log = sync_log.begin(engine, sync_type, scope, sync_key, run_id)
    session = SyncSession(engine, log, progress)
    started = time.monotonic()
    try:
        yield session
    except CmmsError as error:
        _close(session, _status_of_failure(session), started, str(error))
        raise
    except Exception as error:
        _close(session, SyncStatus.FAILED, started, f"{type(error).__name__}: a defect of the sync, see the run's log")
        raise
    except BaseException:
        _close(session, SyncStatus.CANCELLED, started, "Cancelled; finished slices are kept, a new run does the rest.")
        raise
    if session.failed_slices:
        message = _failure(session.failed_slices)
        _close(session, _status_of_failure(session), started, message)
        raise TransientError(message)
    _close(session, _status(session.counts), started, None)


def _close(session: SyncSession, status: SyncStatus, started: float, message: str | None) -> None:
    seconds = {**session.counts.stage_seconds, "total": time.monotonic() - started}
    sync_log.record_calls(session.engine, session.log, session.calls)
    sync_log.finish(session.engine, session.log, status, stage_seconds=seconds, error_message=message)


def _status(counts: SyncCounts) -> SyncStatus:
    is_partial = counts.received > 0 and counts.refused / counts.received > PARTIAL_SHARE
    return SyncStatus.PARTIAL if is_partial else SyncStatus.SUCCESS


def _status_of_failure(session: SyncSession) -> SyncStatus:
    """Ask the log, not the session: slices that were in flight when the sync stopped have been written since."""
    has_written = sync_log.read(session.engine, session.log.id)["records_processed"] > 0
    return SyncStatus.PARTIAL if has_written else SyncStatus.FAILED


def _failure(failed: Mapping[str, CmmsError]) -> str:
    first = next(iter(failed.items()))
    others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"{len(failed)} slices failed ({first[0]}: {first[1]}){others}. Retry the run: it does only what is missing."


def _is_passing(error: Exception) -> bool:
    """Tell what a new transaction may cure: two writers of one machine-day, a deadlock, a lost connection."""
    return isinstance(error, IntegrityError | OperationalError)


def _reason(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]


def require_plants(plant_codes: Sequence[str]) -> None:
    """Refuse a sync of no plants.

    Raises:
        PermanentError: there is none.
    """
    if not plant_codes:
        raise PermanentError("There are no active plants to sync: run sync_plants first, or check cmms.plants.")

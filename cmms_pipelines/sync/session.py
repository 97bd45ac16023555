"""One sync from its first to its last slice: its log, its external requests, its counts, and what happens when a part fails.

What belongs here: everything that all syncs share. What does not: what one slice fetches and writes.

A slice is fetched outside a transaction and written inside one, together with its refusals, its figures in the log and its
line in the ledger. Whatever kills the process in between, a slice is there as a whole or not at all. Between two
slices a sync can be paused and stopped; a slice that is being fetched when its sync ends is not written any more.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
import stamina
from sqlalchemy.exc import DBAPIError

from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.errors import CmmsError, PermanentError, SliceRefusedError, TransientError
from cmms_pipelines.domain.reports import SyncCounts, SyncStatus
from cmms_pipelines.log_context import bound, carried
from cmms_pipelines.storage import sync_log
from cmms_pipelines.storage.availability import WAIT_S, when_available
from cmms_pipelines.storage.refusals import is_permanent, is_worth_judging_again, reason_of
from cmms_pipelines.storage.sync_claims import SyncClaim, close_abandoned, open_log
from cmms_pipelines.storage.sync_log import SyncLog
from cmms_pipelines.sync.control import Patience, SyncStoppedError, Turn, Writes

PARTIAL_SHARE = 0.10  # the specification's border between single bad records and a sync that failed in part
_WRITE_ATTEMPTS = 3
_DAYS_AT_ONCE = 2
_LONGEST_NAMES = 400  # of the 500 characters that the ledger has for a slice
_CANCELLED = "Cancelled; finished slices are kept, a new run does the rest."
_WAIT_AFTER_FAILURE_S = 2.0  # for a database that is away: the next sync closes the log too

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

    @property
    def log_fields(self) -> dict[str, object]:
        """Return what lines about this slice say."""
        return {"slice": self.key, "plants": list(self.plant_codes), "day": self.day.isoformat() if self.day else None}


class PlantsRefusedError(SliceRefusedError):
    """Of a slice some plants are refused, the others are written.

    Attributes:
        counts: what became of the slice's records.
    """

    def __init__(self, message: str, counts: SyncCounts) -> None:
        super().__init__(message)
        self.counts = counts


@dataclass
class SyncSession:
    """A running sync: where its slices report.

    With `is_trial` every slice is written and rolled back: what would have happened is counted, and nothing stays.
    `before_commit` looks at each slice once it is written. `dialect` is the one in which its records come.
    """

    engine: sa.Engine
    log: SyncLog
    progress: Progress
    turn: Turn
    dialect: Dialect | None = None
    counts: SyncCounts = field(default_factory=SyncCounts)
    slices_total: int = 0
    slices_done: int = 0
    failed_slices: dict[str, CmmsError] = field(default_factory=dict)
    slices_skipped: int = 0
    calls: list[ApiCall] = field(default_factory=list)
    counts_by_day: dict[date, SyncCounts] = field(default_factory=dict)
    is_trial: bool = False
    before_commit: Callable[[sa.Connection], None] | None = None
    _done_earlier: int = 0
    _started_at: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writes: Writes = field(default_factory=Writes)

    def on_call(self, call: ApiCall) -> None:
        """Note an external request; the client tells us of each."""
        with self._lock:
            self.calls.append(call)

    def plan(self, slices: Sequence[Slice]) -> None:
        """Say what the whole sync consists of, so that progress can tell how much is left."""
        done = sync_log.done_slices(self.engine, self.log.sync_key)
        self.slices_total = len(slices)
        self._done_earlier = sum(piece.key in done for piece in slices)
        sync_log.plan(self.engine, self.log, len(slices))
        self._started_at = time.monotonic() - self.turn.seconds_held
        if self._done_earlier:
            self.progress(f"{self._done_earlier} of {len(slices)} slices were done by an earlier attempt and are left out")

    def run_slices(self, slices: Sequence[Slice], work: Callable[[Slice], SyncCounts], *, max_in_flight: int) -> None:
        """Do the slices that no earlier attempt has done, several at once.

        A day is compared with the one before it: of one plant no slice begins before the one in front of it has ended. Plants do
        not wait for one another, but for a day at most: what is between them is found by whoever writes last.

        A slice that fails for a passing reason, or is refused as a whole, is noted and the others go on; any other permanent
        failure stops the sync. While syncs are paused no slice begins; those in flight end as usual. A slice whose database
        goes away is done again once it is back, so `work` may be called twice for it.

        Raises:
            PermanentError: asking again is useless; slices not yet begun are left for the next attempt.
            SyncStoppedError: an operator stopped the sync; what is in flight is not written.
        """
        done = sync_log.done_slices(self.engine, self.log.sync_key)
        todo = deque(piece for piece in slices if piece.key not in done)
        self.slices_skipped += len(slices) - len(todo)
        executor = ThreadPoolExecutor(max_workers=max_in_flight, thread_name_prefix="slice")
        in_flight: dict[Future[SyncCounts], Slice] = {}
        is_awaited = True
        try:
            while todo or in_flight:
                while todo and len(in_flight) < max_in_flight and self.turn.may_go_on():
                    piece = _next_of(todo, in_flight.values())
                    if piece is None:
                        break
                    in_flight[executor.submit(carried(self._work_on), piece, work)] = piece
                self._collect(in_flight)
        except Exception as error:
            is_awaited = not isinstance(error, SyncStoppedError)
            raise
        except BaseException:  # an interruption: Ctrl-C, or Dagster's own when a run is cancelled
            is_awaited = False
            raise
        finally:
            if not is_awaited:
                self._writes.close()
            executor.shutdown(wait=is_awaited, cancel_futures=True)

    def write(
        self,
        piece: Slice,
        counts: SyncCounts,
        apply: Callable[[sa.Connection], SyncCounts],
        *,
        refused_plants: Collection[str] = (),
    ) -> SyncCounts:
        """Write one slice in one transaction and enter it into ledger and log.

        Args:
            piece: the slice.
            counts: what is known before the write.
            apply: writes; returns all other figures. It is called again, and judges anew, when what it wrote was undone by a
                passing trouble, or by a rule of a table that it breaks with what somebody else has written meanwhile. No other
                slice of the sync is written beside it then: two that wait for each other's machines would do so again.
            refused_plants: of which nothing is written. What became of the slice is entered, and the next attempt does it again.

        Raises:
            TransientError: the database refuses for a passing reason, several times.
            SliceRefusedError: the database cannot hold a value of this slice, however often one tries.
            SyncStoppedError: the sync has ended in the meantime; nothing is written.
            ArithmeticError: a record is unaccounted for; nothing is written.
        """
        try:
            for attempt in stamina.retry_context(on=is_worth_judging_again, attempts=_WRITE_ATTEMPTS, wait_initial=0.2):
                if attempt.num > 1:
                    when_available(self.engine, self.turn.renew, is_wanted=self._writes.are_open)
                with attempt, self._writes.one(self.engine, is_alone=attempt.num > 1) as connection:
                    total = SyncCounts()
                    total.add(counts)
                    total.add(apply(connection))
                    total.check()
                    if self.before_commit is not None:
                        self.before_commit(connection)
                    if self.is_trial:
                        connection.rollback()
                        return total
                    # under its own key the next attempt would leave it out
                    key = f"{piece.key}|refused by sync {self.log.id}" if refused_plants else piece.key
                    written = [code for code in piece.plant_codes if code not in refused_plants]
                    is_ours = sync_log.mark_slice_done(
                        connection, self.log, key, day=piece.day, plant_codes=written, counts=total
                    )
                    if not is_ours:
                        connection.rollback()
                        return SyncCounts()
                    sync_log.add_counts(connection, self.log, total, is_done=not refused_plants)
        except DBAPIError as error:
            kind = SliceRefusedError if is_permanent(error) else TransientError
            raise kind(f"Slice {piece.key} could not be written: {reason_of(error)}") from error
        return total

    def look_for_end(self) -> None:
        """Look, in the middle of a slice, whether its sync has ended, so that a long slice need not be written first.

        Raises:
            SyncStoppedError: it has; what is written of the slice is to be taken back.
        """
        self._writes.look_for_end()

    def _work_on(self, piece: Slice, work: Callable[[Slice], SyncCounts]) -> SyncCounts:
        with bound(**piece.log_fields):
            return when_available(self.engine, lambda: work(piece), is_wanted=self._writes.are_open)

    def _add(self, piece: Slice, counts: SyncCounts) -> None:
        self.counts.add(counts)
        if piece.day is not None:
            self.counts_by_day.setdefault(piece.day, SyncCounts()).add(counts)

    def _collect(self, in_flight: dict[Future[SyncCounts], Slice]) -> None:
        """Take in what has finished, waiting a moment for it."""
        if not in_flight:
            self.turn.rest()
            return
        finished, _ = wait(in_flight, timeout=self.turn.poll_s, return_when=FIRST_COMPLETED)
        for future in finished:
            piece = in_flight.pop(future)
            self.slices_done += 1
            with bound(**piece.log_fields):
                try:
                    self._add(piece, future.result())
                except (TransientError, SliceRefusedError) as error:
                    self.failed_slices[piece.key] = error
                    if isinstance(error, PlantsRefusedError):
                        self._add(piece, error.counts)
                    self.progress(f"slice {piece.key} failed: {error}")
                self.progress(self._pace())
        if not finished:
            self.turn.look_for_stop()

    def _pace(self) -> str:
        elapsed = max(time.monotonic() - self._started_at - self.turn.seconds_held, 1e-6)
        done = self._done_earlier + self.slices_done
        total = max(self.slices_total, done)
        left = elapsed / self.slices_done * (total - done)
        return (
            f"slice {done} of {total}: {self.counts.received} records, {self.counts.refused} refused, "
            f"{self.counts.received / elapsed:.0f} records/s, about {left:.0f} s left"
        )


def _next_of(todo: "deque[Slice]", in_flight: Collection[Slice]) -> Slice | None:
    """Take the first slice that may begin beside those in flight; None: none may yet.

    `todo` is in the order of days, and what is in flight was in front of it.
    """
    busy = {code for piece in in_flight for code in piece.plant_codes}
    days = {piece.day for piece in in_flight}
    for place, piece in enumerate(todo):
        days.add(piece.day)
        if len(days) > _DAYS_AT_ONCE:
            return None
        if busy.isdisjoint(piece.plant_codes):
            del todo[place]
            return piece
        busy.update(piece.plant_codes)
    return None


@contextmanager
def sync_session(
    engine: sa.Engine,
    sync_type: str,
    scope: Mapping[str, Any],
    *,
    sync_key: str,
    run_id: str | None,
    progress: Progress,
    dialect: Dialect | None = None,
    patience: Patience = Patience(),  # noqa: B008 - frozen
) -> Iterator[SyncSession]:
    """Open a sync's log, wait for its turn, hand out its session, and close the log with the truth, however the body ends.

    Two syncs of one type whose scopes (plants, days) overlap never run at the same time: the later one waits. A database that
    is away, or goes away for a moment, is waited for.

    Args:
        engine: of the `cmms` database.
        sync_type, scope, sync_key, run_id: see `storage.sync_claims.open_log`.
        progress: told what an operator wants to know.
        dialect: in which the records come; the quarantine keeps it with those that are refused.
        patience: how long the turn of another sync is waited for.

    Raises:
        TransientError: some slices failed for a passing reason; the message names them, and a retry does only those. Or another
            sync of overlapping scope did not end within the patience. Or the database stayed away.
        PermanentError: some slices were refused as a whole, and all the others are done.
        SyncStoppedError: an operator stopped all syncs.
    """

    def begin() -> SyncClaim:
        for log_id in close_abandoned(engine):
            progress(f"closed the log of sync {log_id}, whose process was killed")
        return open_log(engine, sync_type, scope, sync_key, run_id)

    claim = when_available(engine, begin)
    started = time.monotonic()
    session = SyncSession(engine, claim.log, progress, Turn(engine, claim, progress, patience), dialect)
    days = {name: scope.get(name) for name in ("from", "to")}
    try:
        with bound(sync_type=sync_type, sync_log_id=claim.log.id, run_id=run_id, plants=scope.get("plants"), **days):
            session.turn.wait_for_scope()
            yield session
            _raise_failures(session.failed_slices)
    except SyncStoppedError as error:
        _close(session, SyncStatus.CANCELLED, started, str(error))
        raise
    except CmmsError as error:
        _close(session, None, started, str(error))
        raise
    except DBAPIError as error:
        message = f"The database failed us: {reason_of(error)}"
        _close(session, None, started, message)
        raise (PermanentError if is_permanent(error) else TransientError)(message) from error
    except Exception as error:
        _close(session, SyncStatus.FAILED, started, f"{type(error).__name__}: a defect of the sync, see the run's log")
        raise
    except BaseException:
        _close(session, SyncStatus.CANCELLED, started, _CANCELLED)
        raise
    else:
        _close(session, SyncStatus.SUCCESS if session.is_trial else _status(session.counts), started, None)
    finally:
        claim.release()


def _close(session: SyncSession, status: SyncStatus | None, started: float, message: str | None) -> None:
    """Close the log; without a status it has failed, in part if anything was written.

    Where the database is away, the log is left to the next sync, and what had happened is still what is raised.
    """
    seconds = {**session.counts.stage_seconds, "total": time.monotonic() - started}
    wait_s = WAIT_S if message is None else _WAIT_AFTER_FAILURE_S
    try:
        when_available(session.engine, lambda: sync_log.record_calls(session.engine, session.log, session.calls), wait_s=wait_s)
        ended = status or _status_of_failure(session)
        sync_log.finish(session.engine, session.log, ended, stage_seconds=seconds, error_message=message, wait_s=wait_s)
    except TransientError as error:
        if message is None:
            raise TransientError(f"All is written, but the log could not be closed. {error}") from error
        session.progress(f"the log could not be closed, which the next sync does: {error}")


def _status(counts: SyncCounts) -> SyncStatus:
    is_partial = counts.received > 0 and counts.refused / counts.received > PARTIAL_SHARE
    return SyncStatus.PARTIAL if is_partial else SyncStatus.SUCCESS


def _status_of_failure(session: SyncSession) -> SyncStatus:
    """Ask the log, not the session: slices that were in flight when the sync stopped have been written since."""
    has_written = sync_log.read(session.engine, session.log.id)["records_success"] > 0
    return SyncStatus.PARTIAL if has_written else SyncStatus.FAILED


def _raise_failures(failed: Mapping[str, CmmsError]) -> None:
    if not failed:
        return
    key, error = next(iter(failed.items()))
    others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    text = f"{len(failed)} slices failed ({key}: {error}){others}."
    if all(isinstance(one, PermanentError) for one in failed.values()):
        raise PermanentError(f"{text} All others are done; once the cause is gone, run it again: it does only what is missing.")
    raise TransientError(f"{text} Retry the run: it does only what is missing.")


def require_plants(plant_codes: Sequence[str]) -> None:
    """Refuse a sync of no plants.

    Raises:
        PermanentError: there is none.
    """
    if not plant_codes:
        raise PermanentError("There are no active plants to sync: run sync_plants first, or check cmms.plants.")

"""Syncs that are cancelled, doubled or fail in part: what was written counts once, and a retry does the rest.

Killed ones, and syncs of several processes at once, are in `tests/endurance`.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.sync_log import done_slices
from cmms_pipelines.storage.tables import api_calls, equipment_running_times
from cmms_pipelines.sync.running_times import sync_running_times
from cmms_pipelines.sync.session import Slice, SyncSession, sync_session
from tests.conftest import Database
from tests.sync.conftest import Source, silent
from tests.sync.flown import Flown
from tests.sync.interruptions import Interrupted, next_ping_interrupted
from tests.sync.tables import count, hours_by_machine_and_day, log_of, newest_log, slices

DAYS = [date(2013, 10, 25), date(2013, 10, 26)]
SLICES = len(DAYS) * 7  # of five plants each


@pytest.fixture
def fine(ready: Source) -> Source:
    """A ready source whose slices are small, so that there are many."""
    ready.settings = ready.settings.model_copy(update={"sync_plants_per_slice": 5})
    return ready


def assert_every_slice_once(engine: sa.Engine, flown: Flown) -> None:
    done = slices(engine, "the-sync")
    assert len(done) == len({key for key, _ in done}) == SLICES
    assert sum(records for _, records in done) == len(flown.received(*DAYS))
    assert hours_by_machine_and_day(engine) == pytest.approx(flown.expected(*DAYS), abs=1e-3)


def test_a_cancelled_sync_says_so_and_its_figures_are_those_of_what_it_wrote(fine: Source, flown: Flown) -> None:
    told: list[str] = []

    def cancel(message: str) -> None:
        told.append(message)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync_running_times(fine.engine, fine.settings, DAYS, sync_key="the-sync", run_id=None, progress=cancel)
    log = newest_log(fine.engine)
    done = slices(fine.engine, "the-sync")
    assert log["status"] == "cancelled"
    assert log["sync_completed_at"] is not None
    assert log["records_processed"] == sum(records for _, records in done)
    assert 3 <= len(done) < SLICES
    assert log["records_inserted"] == count(fine.engine, equipment_running_times)

    fine.running_times(*DAYS, key="the-sync")
    assert_every_slice_once(fine.engine, flown)


def test_two_attempts_of_one_sync_at_once_do_every_slice_once(fine: Source, flown: Flown) -> None:
    start = threading.Barrier(2)

    def attempt(_: int) -> SyncSession:
        start.wait(10)
        return fine.running_times(*DAYS, key="the-sync")

    with ThreadPoolExecutor(2) as pool:
        sessions = list(pool.map(attempt, range(2)))
    assert_every_slice_once(fine.engine, flown)
    logged = [log_of(fine.engine, session.log.id)["records_processed"] for session in sessions]
    assert sum(logged) == len(flown.received(*DAYS))
    assert logged == [session.counts.received for session in sessions]


def interrupted_sync(database: Database) -> None:
    now = threading.Event()
    with (
        sync_session(database.engine, "running_times", {}, sync_key="the-sync", run_id=None, progress=silent),
        next_ping_interrupted(now),
    ):
        now.set()
        database.engine.connect()


def test_a_sync_that_is_interrupted_while_the_pool_looks_whether_a_connection_lives_is_cancelled(database: Database) -> None:
    with pytest.raises(Interrupted):
        interrupted_sync(database)
    log = newest_log(database.engine)
    assert (log["status"], log["error_message"]) == ("cancelled", "Cancelled; finished slices are kept, a new run does the rest.")
    assert run_pieces(database, {}).counts.inserted == len(PIECES)


PIECES = [Slice((code,), DAYS[0]) for code in ("B6EW", "B6JF", "B6LG")]


def write_one(session: SyncSession, piece: Slice) -> SyncCounts:
    return session.write(piece, SyncCounts(received=2, merged=1), lambda _connection: SyncCounts(inserted=1))


def run_pieces(database: Database, failing: dict[str, Exception]) -> SyncSession:
    def work(piece: Slice) -> SyncCounts:
        if error := failing.get(piece.plant_codes[0]):
            raise error
        return write_one(session, piece)

    with sync_session(database.engine, "running_times", {}, sync_key="the-sync", run_id=None, progress=silent) as session:
        session.plan(PIECES)
        session.run_slices(PIECES, work, max_in_flight=1)
    return session


def test_a_slice_that_fails_for_a_passing_reason_is_the_only_one_that_a_retry_does(database: Database) -> None:
    with pytest.raises(TransientError, match=r"1 slices failed \(2013-10-25\|B6JF: it is raining\)"):
        run_pieces(database, {"B6JF": TransientError("it is raining")})
    log = newest_log(database.engine)
    assert (log["status"], log["records_processed"], log["records_success"]) == ("partial", 4, 4)
    assert "B6JF" in log["error_message"]
    retry = run_pieces(database, {})
    assert (retry.slices_skipped, retry.counts.received) == (2, 2)
    assert [log["status"] for log in (log_of(database.engine, retry.log.id),)] == ["success"]


def test_a_slice_that_fails_for_good_leaves_those_behind_it_for_another_day(database: Database) -> None:
    with pytest.raises(PermanentError, match="no such plant"):
        run_pieces(database, {"B6JF": PermanentError("no such plant")})
    assert newest_log(database.engine)["status"] == "partial"
    assert "2013-10-25|B6JF" not in done_slices(database.engine, "the-sync")


def test_when_every_slice_fails_the_sync_has_failed(database: Database) -> None:
    with pytest.raises(TransientError, match=r"3 slices failed.* and 2 more"):
        run_pieces(database, dict.fromkeys(("B6EW", "B6JF", "B6LG"), TransientError("it is raining")))
    assert newest_log(database.engine)["status"] == "failed"


def test_a_defect_of_ours_is_a_failed_sync_and_never_a_refused_record(database: Database) -> None:
    def lose_a_record(piece: Slice) -> SyncCounts:
        return session.write(piece, SyncCounts(received=3), lambda _connection: SyncCounts(inserted=2))

    with (
        pytest.raises(ArithmeticError, match="received 3 records, but stored 2 and refused 0"),
        sync_session(database.engine, "running_times", {}, sync_key="the-sync", run_id=None, progress=silent) as session,
    ):
        session.run_slices(PIECES, lose_a_record, max_in_flight=1)
    log = newest_log(database.engine)
    assert (log["status"], log["records_processed"]) == ("failed", 0)
    assert done_slices(database.engine, "the-sync") == set()


@pytest.mark.parametrize("plant_codes", [("",), ("B6JF", "B6LG"), tuple(f"A-LONG-CODE-{number:08d}" for number in range(50))])
def test_any_slice_has_a_name_that_fits_the_ledger(database: Database, plant_codes: tuple[str, ...]) -> None:
    piece = Slice(plant_codes, DAYS[0])
    with sync_session(database.engine, "running_times", {}, sync_key="the-sync", run_id=None, progress=silent) as session:
        session.run_slices([piece], lambda one: write_one(session, one), max_in_flight=1)
    assert done_slices(database.engine, "the-sync") == {piece.key}
    assert piece.key != Slice((*plant_codes, "X"), DAYS[0]).key


def test_progress_tells_slices_records_and_pace_and_every_request_is_logged(fine: Source) -> None:
    told: list[str] = []
    session = sync_running_times(fine.engine, fine.settings, DAYS[:1], sync_key="the-sync", run_id=None, progress=told.append)
    assert told[-1].startswith(f"slice 7 of 7: {session.counts.received} records, {session.counts.refused} refused, ")
    with fine.engine.connect() as connection:
        of_sync = sa.select(sa.func.count()).select_from(api_calls).where(api_calls.c.sync_log_id == session.log.id)
        assert connection.scalar(of_sync) == len(session.calls) == 7


def test_the_source_is_asked_in_calls_of_the_configured_size(
    ready: Source,
) -> None:
    ready.settings = ready.settings.model_copy(update={"api_plants_per_call": 2})
    session = ready.running_times(DAYS[0], plants=["B6EW", "B6JF", "B6LG"], key="of-two")
    assert len(session.calls) == 2

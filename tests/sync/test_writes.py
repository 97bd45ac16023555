"""The write of a slice: whole or not at all, again where that helps, alone where it must be, and over when its sync is."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.sync_log import done_slices
from cmms_pipelines.storage.tables import plants
from cmms_pipelines.sync.ahead import Ahead
from cmms_pipelines.sync.control import SyncStoppedError, Writes
from cmms_pipelines.sync.reader import Mapped
from cmms_pipelines.sync.session import Slice, SyncSession
from cmms_pipelines.sync.writer import Judged, write_chunks
from tests.conftest import Database
from tests.sync.interruptions import Interrupted, next_ping_interrupted
from tests.sync.pieces import PIECES, count_one, stop, sync, until
from tests.sync.tables import newest_log


def test_a_write_that_takes_too_long_is_taken_back_when_its_sync_ends(database: Database) -> None:
    writes, is_inside = Writes(), threading.Event()

    def write() -> None:
        with writes.one(database.engine) as connection:
            connection.execute(sa.insert(plants).values(plant_code="B6JF", name="half-way"))
            is_inside.set()
            connection.execute(sa.text("SELECT pg_sleep(60)"))

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        assert is_inside.wait(10)
        started = time.monotonic()
        writes.close(grace_s=0.1)
        assert time.monotonic() - started < 5
        with pytest.raises(sa.exc.OperationalError, match="canceling statement"):
            written.result(5)
    with database.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(plants)) == 0
    with pytest.raises(SyncStoppedError), writes.one(database.engine):
        pass


def too_large(session: SyncSession, piece: Slice) -> SyncCounts:
    def apply(connection: sa.Connection) -> SyncCounts:
        if piece == PIECES[1]:
            connection.execute(sa.text("CREATE TEMPORARY TABLE staged (code varchar(4)) ON COMMIT DROP"))
            connection.execute(sa.text("INSERT INTO staged VALUES ('B6JF-too-long')"))
        if piece == PIECES[2]:
            connection.execute(sa.insert(plants).values(plant_code=" B6JF ", name="not trimmed"))
        return SyncCounts(inserted=1)

    return session.write(piece, SyncCounts(received=1), apply)


def test_a_value_that_the_database_cannot_hold_fails_its_slice_for_good_and_the_others_are_done(database: Database) -> None:
    with pytest.raises(PermanentError, match="2 slices failed") as raised:
        sync(database, too_large)
    assert "value too long for type character varying(4)" in str(raised.value)
    log = newest_log(database.engine)
    assert (log["status"], log["slices_done"], log["slices_total"]) == ("partial", len(PIECES) - 2, len(PIECES))


def test_the_record_that_broke_a_rule_of_the_table_is_named(database: Database) -> None:
    with pytest.raises(PermanentError, match=r"Failing row contains \(\d+,  B6JF , not trimmed"):
        sync(database, lambda session, piece: too_large(session, PIECES[2] if piece == PIECES[0] else piece))


def test_a_slice_whose_database_goes_away_for_a_moment_is_done_again(database: Database) -> None:
    lost = list[Slice]()

    def work(session: SyncSession, piece: Slice) -> SyncCounts:
        if piece == PIECES[1] and not lost:
            lost.append(piece)
            with session.engine.connect() as connection:
                connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return count_one(session, piece)

    assert sync(database, work).slices_done == len(PIECES)
    assert lost == [PIECES[1]]
    log = newest_log(database.engine)
    assert (log["status"], log["slices_done"], log["records_processed"]) == ("success", len(PIECES), len(PIECES))


def test_a_connection_that_is_lost_in_a_write_takes_back_what_was_written_and_the_slice_counts_once(database: Database) -> None:
    attempts = list[int]()

    def write(session: SyncSession, piece: Slice) -> SyncCounts:
        def apply(connection: sa.Connection) -> SyncCounts:
            connection.execute(sa.insert(plants).values(plant_code=piece.plant_codes[0], name="half-way"))
            if piece == PIECES[1]:
                attempts.append(len(attempts))
                if len(attempts) == 1:
                    connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
            return SyncCounts(inserted=1)

        return session.write(piece, SyncCounts(received=1), apply)

    assert sync(database, write).counts.inserted == len(PIECES)
    assert attempts == [0, 1]
    with database.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(plants)) == len(PIECES)


@pytest.mark.parametrize("how", ["cancel", "cancel in a ping", "stop"])
def test_a_long_slice_is_left_in_the_middle_when_its_sync_is_ended_and_nothing_of_it_stays(database: Database, how: str) -> None:
    """Its chunks would take a minute, and 60 of them the grace after which statements are cancelled."""
    written, is_third = list[int](), threading.Event()

    def judged(number: int) -> Judged:
        def write(connection: sa.Connection) -> SyncCounts:
            connection.execute(sa.insert(plants).values(plant_code=f"P{number}", name="of a chunk"))
            written.append(number)
            if number == 3 and how == "stop":
                stop(database)
            elif number == 3 and how == "cancel":
                signal.raise_signal(signal.SIGINT)  # as Dagster and Ctrl-C do; the main thread gets it
            elif number == 3:
                is_third.set()
            time.sleep(0.05)
            return SyncCounts(inserted=1)

        return Judged(SyncCounts(received=1), pd.DataFrame(), [], write)

    def work(session: SyncSession, piece: Slice) -> SyncCounts:
        numbers = [Mapped([], pd.DataFrame({"number": [number]})) for number in range(1200)]
        judge = lambda chunk: judged(int(chunk.frame["number"].iloc[0]))  # noqa: E731 - one expression
        return write_chunks(session, piece, lambda: Ahead(numbers), judge)

    ended = {"cancel": KeyboardInterrupt, "cancel in a ping": Interrupted, "stop": SyncStoppedError}[how]
    with next_ping_interrupted(is_third), pytest.raises(ended):
        sync(database, lambda session, piece: (count_one if piece == PIECES[0] else work)(session, piece))
    assert 3 < len(written) < 40
    assert newest_log(database.engine)["status"] == "cancelled"
    assert done_slices(database.engine, "the-sync") == {PIECES[0].key}
    with database.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(plants)) == 0


def test_a_write_that_is_alone_waits_for_those_under_way_and_keeps_others_waiting(database: Database) -> None:
    writes, order = Writes(), list[str]()
    is_begun, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with writes.one(database.engine):
            is_begun.set()
            assert may_end.wait(10)
            order.append("first")

    def one(name: str, *, is_alone: bool) -> None:
        with writes.one(database.engine, is_alone=is_alone):
            order.append(name)

    with ThreadPoolExecutor(3) as pool:
        going = [pool.submit(first)]
        assert is_begun.wait(10)
        going.append(pool.submit(one, "alone", is_alone=True))
        until(lambda: writes._alone)
        going.append(pool.submit(one, "third", is_alone=False))
        time.sleep(0.1)
        assert order == []
        may_end.set()
        for future in going:
            future.result(10)
    assert order == ["first", "alone", "third"]


def test_a_write_that_waits_to_be_alone_gives_up_when_the_session_ends(database: Database) -> None:
    writes = Writes()
    with ThreadPoolExecutor(1) as pool:
        with writes.one(database.engine):
            waiting = pool.submit(lambda: writes.one(database.engine, is_alone=True).__enter__())
            until(lambda: writes._alone)
            closing = threading.Thread(target=writes.close)
            closing.start()
            with pytest.raises(SyncStoppedError):
                waiting.result(10)
        closing.join(10)
    assert not writes._alone

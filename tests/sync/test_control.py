"""Who may sync what and when: one sync of a scope at a time, pauses between two slices, stops, and cancels that leave order."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import sync_controls
from cmms_pipelines.storage.sync_claims import SyncClaim, close_abandoned, open_log
from cmms_pipelines.storage.sync_log import done_slices
from cmms_pipelines.storage.tables import api_sync_logs, audit_log, plants, sync_claims
from cmms_pipelines.sync.ahead import Ahead
from cmms_pipelines.sync.control import Patience, SyncStoppedError, Writes
from cmms_pipelines.sync.reader import Mapped
from cmms_pipelines.sync.session import Slice, SyncSession, sync_session
from cmms_pipelines.sync.writer import Judged, write_chunks
from tests.conftest import Database
from tests.sync.conftest import silent
from tests.sync.interruptions import Interrupted, next_ping_interrupted
from tests.sync.tables import log_of, newest_log

QUICK = Patience(wait_s=20, poll_s=0.01, tell_every_s=0.2)
DAY = date(2013, 10, 28)
WEEK = {"plants": "all", "from": "2013-10-25", "to": "2013-10-31"}
PIECES = [Slice((f"P{number}",), DAY) for number in range(6)]
Work = Callable[[SyncSession, Slice], SyncCounts]


def count_one(session: SyncSession, piece: Slice) -> SyncCounts:
    return session.write(piece, SyncCounts(received=1), lambda _connection: SyncCounts(inserted=1))


def sync(
    database: Database,
    work: Work = count_one,
    *,
    key: str = "the-sync",
    scope: Mapping[str, Any] = WEEK,
    sync_type: str = "running_times",
    patience: Patience = QUICK,
    progress: Callable[[str], None] = silent,
) -> SyncSession:
    with sync_session(
        database.engine, sync_type, scope, sync_key=key, run_id=None, progress=progress, patience=patience
    ) as session:
        session.plan(PIECES)
        session.run_slices(PIECES, lambda piece: work(session, piece), max_in_flight=1)
    return session


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


class Gate:
    """Work that stops before its second slice until it is let go."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self.may_go = threading.Event()

    def __call__(self, session: SyncSession, piece: Slice) -> SyncCounts:
        if piece == PIECES[1]:
            self.is_reached.set()
            assert self.may_go.wait(20)
        return count_one(session, piece)


def statuses(database: Database) -> list[tuple[str, str | None]]:
    table = api_sync_logs.c
    with database.engine.connect() as connection:
        return [
            (row.status, row.activity) for row in connection.execute(sa.select(table.status, table.activity).order_by(table.id))
        ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (WEEK, WEEK),
        (WEEK, {"plants": ["B6JF"], "from": "2013-10-31", "to": "2013-11-02"}),
        ({"plants": ["B6JF", "B6LG"]}, {"plants": ["B6LG"]}),
        ({"plants": ["B6JF"]}, {"source": "api"}),
    ],
)
def test_a_sync_of_overlapping_scope_waits_and_its_slices_come_after_all_of_the_first(
    database: Database, first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    gate, told = Gate(), list[str]()
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(sync, database, gate, key="one", scope=first)
        assert gate.is_reached.wait(10)
        two = pool.submit(sync, database, key="two", scope=second, progress=told.append)
        until(lambda: told)
        assert done_slices(database.engine, "two") == set()
        assert statuses(database)[1][0] == "running"
        assert "waits for sync" in str(statuses(database)[1][1])
        gate.may_go.set()
        assert one.result(20).slices_done == two.result(20).slices_done == len(PIECES)
    assert told[0].startswith("waits for sync")
    assert "works on the same part" in told[0]
    assert any(message.startswith("goes on after") for message in told)
    assert statuses(database) == [("success", None)] * 2
    with database.engine.connect() as connection:
        order = connection.scalars(sa.text("SELECT sync_key FROM cmms.sync_slices ORDER BY completed_at, id")).all()
        assert connection.scalar(sa.select(sa.func.count()).select_from(sync_claims)) == 0
    assert order == ["one"] * len(PIECES) + ["two"] * len(PIECES)


@pytest.mark.parametrize(
    ("sync_type", "scope"),
    [
        ("running_times", {"plants": "all", "from": "2013-11-01", "to": "2013-11-01"}),
        ("running_times", {"plants": ["DLLG"], "from": "2013-10-25", "to": "2013-10-25"}),
        ("equipment", {"plants": "all"}),
    ],
)
def test_syncs_that_share_nothing_run_at_the_same_time(database: Database, sync_type: str, scope: Mapping[str, Any]) -> None:
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(sync, database, gate, key="one", scope={**WEEK, "plants": ["B6JF"]})
        assert gate.is_reached.wait(10)
        assert sync(database, key="two", sync_type=sync_type, scope=scope).slices_done == len(PIECES)
        gate.may_go.set()
        one.result(20)


def test_a_sync_that_has_waited_long_enough_gives_up_with_the_reason_and_has_done_nothing(database: Database) -> None:
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(sync, database, gate, key="one")
        assert gate.is_reached.wait(10)
        with pytest.raises(TransientError, match=r"Nothing was done: sync \d+ of running_times .* 0 s \(CMMS_SYNC_WAIT_S\)"):
            sync(database, key="two", patience=Patience(wait_s=0.05, poll_s=0.01))
        gate.may_go.set()
        one.result(20)
    assert [status for status, _ in statuses(database)] == ["success", "failed"]
    assert done_slices(database.engine, "two") == set()


def test_a_killed_process_holds_nobody_up_and_the_next_sync_closes_its_log(database: Database) -> None:
    program = (
        "import sys, time\n"
        "from cmms_pipelines.storage.engine import make_engine\n"
        "from cmms_pipelines.storage.sync_claims import open_log\n"
        "claim = open_log(make_engine(sys.argv[1]), 'running_times', {'plants': 'all'}, 'killed', 'run-1')\n"
        "print('open', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, database.url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert close_abandoned(database.engine) == []
        process.kill()
    killed = newest_log(database.engine)["id"]
    told: list[str] = []
    until(lambda: log_of(database.engine, killed)["status"] == "failed" or not sync(database, progress=told.append))
    assert log_of(database.engine, killed)["status"] == "failed"
    assert "was killed" in log_of(database.engine, killed)["error_message"]
    assert any(f"closed the log of sync {killed}" in message for message in told)


def test_a_pause_holds_a_sync_between_two_slices_and_a_resume_lets_it_go_on(database: Database) -> None:
    gate, told = Gate(), list[str]()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(sync, database, gate, progress=told.append)
        assert gate.is_reached.wait(10)
        with database.engine.begin() as connection:
            assert sync_controls.pause(connection, actor="jane", reason="the source is being moved")
            assert not sync_controls.pause(connection, actor="jane", reason="the source is being moved")
        gate.may_go.set()
        until(lambda: any("paused by jane" in message for message in told))
        done = len(done_slices(database.engine, "the-sync"))
        time.sleep(0.1)
        assert len(done_slices(database.engine, "the-sync")) == done == 2  # the slice in flight was finished, none was begun
        assert "the source is being moved" in str(statuses(database)[0][1])
        with database.engine.begin() as connection:
            assert sync_controls.resume(connection, actor="john")
            assert not sync_controls.resume(connection, actor="john")
        session = running.result(20)
    assert session.slices_done == len(PIECES)
    assert statuses(database) == [("success", None)]
    assert any(message.startswith("goes on after") for message in told)
    assert session.turn.seconds_held > 0.1
    with database.engine.connect() as connection:
        trail = connection.execute(sa.select(audit_log.c.actor, audit_log.c.action, audit_log.c.reason).order_by("id")).all()
    assert [row.action for row in trail] == ["syncs_paused", "syncs_paused", "syncs_resumed", "syncs_resumed"]
    assert tuple(trail[0]) == ("jane", "syncs_paused", "the source is being moved")


def stop(database: Database) -> None:
    with database.engine.begin() as connection:
        sync_controls.stop(connection, actor="jane", reason="wrong plant")


def test_a_stop_ends_the_syncs_that_have_begun_and_none_that_begins_later(database: Database) -> None:
    gate = Gate()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(sync, database, gate, key="one")
        assert gate.is_reached.wait(10)
        waiting: Future[SyncSession] = pool.submit(sync, database, key="two")
        until(lambda: len(statuses(database)) == 2)
        stop(database)
        for future in (running, waiting):
            with pytest.raises(SyncStoppedError, match=r"Stopped by jane since .*: wrong plant"):
                future.result(20)
        gate.may_go.set()
    assert [status for status, _ in statuses(database)] == ["cancelled"] * 2
    assert "wrong plant" in newest_log(database.engine)["error_message"]
    assert done_slices(database.engine, "one") == {PIECES[0].key}  # what was in flight is not written any more
    assert sync(database, key="one").slices_done == len(PIECES) - 1
    assert newest_log(database.engine)["status"] == "success"


def test_a_sync_that_is_cancelled_while_its_source_hangs_closes_its_log_at_once(database: Database) -> None:
    hang, late = threading.Event(), list[BaseException]()

    def slow(session: SyncSession, piece: Slice) -> SyncCounts:
        if piece == PIECES[2]:
            assert hang.wait(30)
            try:
                return count_one(session, piece)
            except SyncStoppedError as error:
                late.append(error)
                raise
        return count_one(session, piece)

    def interrupt(message: str) -> None:
        if message.startswith("slice 2"):
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sync(database, slow, progress=interrupt)
    assert time.monotonic() - started < 5
    log = newest_log(database.engine)
    assert (log["status"], log["records_processed"], log["slices_done"]) == ("cancelled", 2, 2)
    hang.set()
    assert done_slices(database.engine, "the-sync") == {PIECES[0].key, PIECES[1].key}
    assert sync(database).slices_done == len(PIECES) - 2


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


def end_lock_connections(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )


def test_a_sync_whose_lock_was_lost_takes_it_again_and_goes_on(database: Database) -> None:
    def work(session: SyncSession, piece: Slice) -> SyncCounts:
        if piece == PIECES[1]:
            end_lock_connections(database)
        return count_one(session, piece)

    assert sync(database, work).slices_done == len(PIECES)
    assert statuses(database) == [("success", None)]


def test_a_sync_whose_place_was_taken_while_it_was_away_does_not_go_on(database: Database) -> None:
    def work(session: SyncSession, piece: Slice) -> SyncCounts:
        if piece == PIECES[1]:
            end_lock_connections(database)
            others.append(open_log(database.engine, "running_times", WEEK, "another", None))
        return count_one(session, piece)

    others: list[SyncClaim] = []
    with pytest.raises(TransientError, match="lost its place to sync"):
        sync(database, work)
    assert len(done_slices(database.engine, "the-sync")) == 2
    for claim in others:
        claim.release()


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


def test_progress_counts_what_an_earlier_attempt_did_and_leaves_waiting_out_of_the_pace(database: Database) -> None:
    def fail_late(session: SyncSession, piece: Slice) -> SyncCounts:
        if piece == PIECES[4]:
            raise PermanentError("no such plant")
        return count_one(session, piece)

    with pytest.raises(PermanentError):
        sync(database, fail_late)
    told: list[str] = []
    sync(database, progress=told.append)
    assert told[0] == "4 of 6 slices were done by an earlier attempt and are left out"
    assert told[1].startswith("slice 5 of 6: 1 records, 0 refused, ")
    assert told[-1].startswith("slice 6 of 6: 2 records, 0 refused, ")
    assert told[-1].endswith("about 0 s left")
    log = newest_log(database.engine)
    assert (log["slices_total"], log["slices_done"]) == (6, 2)


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


def test_how_long_a_sync_waits_for_another_is_a_setting() -> None:
    assert Patience.of(Settings.model_validate({})).wait_s == 600
    assert Patience.of(Settings.model_validate({"sync_wait_s": 0})).wait_s == 0

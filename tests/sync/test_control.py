"""Who may sync what and when: one sync of a scope at a time, pauses between two slices, stops, and cancels that leave order."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import sync_controls
from cmms_pipelines.storage.sync_claims import SyncClaim, close_abandoned, open_log
from cmms_pipelines.storage.sync_log import done_slices
from cmms_pipelines.storage.tables import api_sync_logs, audit_log, sync_claims
from cmms_pipelines.sync.control import Patience, SyncStoppedError
from cmms_pipelines.sync.session import Slice, SyncSession
from tests.conftest import Database
from tests.sync.pieces import PIECES, WEEK, count_one, stop, sync, until
from tests.sync.tables import log_of, newest_log


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


def test_progress_counts_what_an_earlier_attempt_did_but_not_as_work_of_this_one(database: Database) -> None:
    def fail_late(session: SyncSession, piece: Slice) -> SyncCounts:
        if piece == PIECES[4]:
            raise PermanentError("no such plant")
        return count_one(session, piece)

    def slowly(session: SyncSession, piece: Slice) -> SyncCounts:
        time.sleep(0.8)
        return count_one(session, piece)

    with pytest.raises(PermanentError):
        sync(database, fail_late)
    told: list[str] = []
    sync(database, slowly, progress=told.append)
    assert told[0] == "4 of 6 slices were done by an earlier attempt and are left out"
    assert told[1].startswith("slice 5 of 6: 1 records, 0 refused, ")
    assert not told[1].endswith("about 0 s left")  # the sixth takes as long as the fifth
    assert told[-1].startswith("slice 6 of 6: 2 records, 0 refused, ")
    assert told[-1].endswith("about 0 s left")
    log = newest_log(database.engine)
    assert (log["slices_total"], log["slices_done"]) == (6, 2)


def test_pace_and_time_left_are_those_of_the_time_worked_without_the_waiting(database: Database) -> None:
    least_s, most_s, told = list[float](), list[float](), list[str]()
    begun_at, held_s = time.monotonic(), 0.0
    worked_at = begun_at

    def work(session: SyncSession, piece: Slice) -> SyncCounts:
        nonlocal worked_at, held_s
        worked_at, held_s = (time.monotonic() if piece == PIECES[0] else worked_at), session.turn.seconds_held
        time.sleep(0.2)
        counts = session.write(piece, SyncCounts(received=100), lambda _connection: SyncCounts(inserted=100))
        least_s.append(time.monotonic() - worked_at - held_s)
        return counts

    def progress(message: str) -> None:
        if message.startswith("slice"):
            most_s.append(time.monotonic() - begun_at - held_s)
            told.append(message)
        with database.engine.begin() as connection:
            if message.startswith("slice 2"):
                sync_controls.pause(connection, actor="jane", reason=None)
            elif message.startswith("paused"):
                time.sleep(2)
                sync_controls.resume(connection, actor="jane")

    sync(database, work, progress=progress)
    assert held_s >= 2
    for done, (message, least, most) in enumerate(zip(told, least_s, most_s, strict=True), start=1):
        found = re.fullmatch(r"slice (\d+) of 6: (\d+) records, 0 refused, (\d+) records/s, about (\d+) s left", message)
        assert found
        slices, records, rate, left = map(int, found.groups())
        assert (slices, records) == (done, 100 * done)
        assert records / most - 0.5 <= rate <= records / least + 0.5
        assert least / done * (6 - done) - 0.5 <= left <= most / done * (6 - done) + 0.5


def test_how_long_a_sync_waits_for_another_is_a_setting() -> None:
    assert Patience.of(Settings.model_validate({})).wait_s == 600
    assert Patience.of(Settings.model_validate({"sync_wait_s": 0})).wait_s == 0

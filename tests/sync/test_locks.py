"""A table that somebody holds: a look at the neighbours gives up after a while, and the slice is begun again."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date

import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.dialects import dialect_of
from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.sync.plants import known_plants
from cmms_pipelines.sync.readings import ReadingsWriter
from cmms_pipelines.sync.session import Slice, SyncSession, sync_session
from tests.conftest import Database
from tests.storage.readings_world import make_world, reading, stored
from tests.sync.conftest import silent
from tests.sync.tables import newest_log

DAY = date(2013, 10, 28)
SCOPE = {"plants": "all", "from": DAY.isoformat(), "to": DAY.isoformat()}


@contextmanager
def held(database: Database) -> Iterator[None]:
    """Nobody else may read the readings, as while a new month is made."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE cmms.equipment_running_times IN ACCESS EXCLUSIVE MODE"))
        yield


def sync(database: Database) -> SyncSession:
    engine = database.engine
    with sync_session(engine, "running_times", SCOPE, sync_key="locked", run_id=None, progress=silent) as session:
        writer = ReadingsWriter(session, dialect_of("ims"), known_plants(engine), lock_wait_s=0.1)
        session.run_slices(
            [Slice(("B6LG",), DAY)],
            lambda piece: writer.write_kept(piece, [reading("B6LG", DAY, 5, 100)], ["a reading"]),
            max_in_flight=1,
        )
    return session


def waiters(database: Database) -> int:
    statement = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'cmms.equipment_running_times'::regclass")
    with database.engine.connect() as connection:
        return connection.scalar(statement) or 0


def wait_until_one_gave_up(database: Database, going: "Future[SyncSession]") -> None:
    has_waited, deadline = False, time.monotonic() + 20
    while not has_waited or waiters(database):
        assert time.monotonic() < deadline
        assert not going.done()
        has_waited = has_waited or waiters(database) > 0
        time.sleep(0.005)


def test_a_slice_that_waited_too_long_for_a_lock_is_begun_again_and_stored_once(database: Database) -> None:
    make_world(database.engine)
    with ThreadPoolExecutor(1) as pool:
        with held(database):
            going = pool.submit(sync, database)
            wait_until_one_gave_up(database, going)
        assert going.result(20).counts.inserted == 1
    assert stored(database.engine) == [(5.0, 100.0, 1, "B6LG")]
    assert newest_log(database.engine)["status"] == "success"


def test_a_lock_that_is_never_let_go_is_a_passing_failure_that_writes_nothing(database: Database) -> None:
    make_world(database.engine)
    with held(database), pytest.raises(TransientError, match="could not be written: canceling statement due to lock timeout"):
        sync(database)
    assert stored(database.engine) == []
    log = newest_log(database.engine)
    assert (log["status"], log["records_processed"]) == ("failed", 0)
    assert sync(database).counts.inserted == 1

"""A sync of six slices whose work a test brings, and waiting for what comes about beside it."""

import time
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage import sync_controls
from cmms_pipelines.sync.control import Patience
from cmms_pipelines.sync.session import Slice, SyncSession, sync_session
from tests.conftest import Database
from tests.sync.conftest import silent

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


def stop(database: Database) -> None:
    with database.engine.begin() as connection:
        sync_controls.stop(connection, actor="jane", reason="wrong plant")

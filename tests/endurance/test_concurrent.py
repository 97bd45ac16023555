"""Two syncs at once, in processes of their own: where they would touch the same rows one goes after the other."""

from contextlib import ExitStack
from datetime import date
from itertools import groupby
from pathlib import Path

import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.tables import api_sync_logs, sync_slices
from tests.endurance.attempt import ALL, READY
from tests.endurance.conftest import WEEK, attempt, environment, wait_until
from tests.endurance.world import assert_books_balance, forget_running_times, outcome
from tests.sync.conftest import Source

DAYS = WEEK[:3]
SOME = "B6JF,DLLG,EVEW,UALG,WNEW"


def run_together(source: Source, scopes: list[tuple[str, list[date]]], folder: Path) -> None:
    """Sync each scope in a process of its own, all from the same moment on; each must end well."""
    said, signal = folder / "said.log", folder / "start"
    environ = environment(source, START_SIGNAL=str(signal))
    with ExitStack() as stack:
        started = []
        for number, (plants, days) in enumerate(scopes):
            arguments = ("sync", f"sync-{number}", plants, *(day.isoformat() for day in days))
            started.append(stack.enter_context(attempt(environ, *arguments, log=said)))
        wait_until(lambda: said.read_text().split().count(READY) == len(scopes), "all have loaded their code")
        signal.touch()
        assert [process.wait(300) for process in started] == [0] * len(scopes), said.read_text()[-3000:]


def assert_one_after_the_other(source: Source) -> None:
    """The slices of one sync are all written before those of the other, although both were started together."""
    logs, kept = api_sync_logs.c, sync_slices.c
    of_type = logs.sync_type == "running_times"
    with source.engine.connect() as connection:
        rows = connection.execute(sa.select(logs.id, logs.status, logs.created_at, logs.sync_completed_at).where(of_type)).all()
        writers = list(connection.scalars(sa.select(kept.sync_log_id).where(kept.sync_type == "running_times").order_by(kept.id)))
    first, second = sorted(rows, key=lambda row: row.id)
    assert second.created_at < first.sync_completed_at, "they did not run at the same time: the test says nothing"
    assert [log_id for log_id, _ in groupby(writers)] == [first.id, second.id]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param((ALL, DAYS), (ALL, DAYS), id="the same scope", marks=pytest.mark.soak),
        pytest.param((ALL, DAYS[:2]), (SOME, DAYS[1:]), id="some plants of overlapping days"),
    ],
)
def test_two_syncs_of_overlapping_scope_never_interleave_and_end_in_the_tables_of_one(
    ready: Source, tmp_path: Path, one: tuple[str, list[date]], other: tuple[str, list[date]]
) -> None:
    for plants, days in (one, other):
        ready.running_times(*days, plants=None if plants == ALL else plants.split(","))
    alone = outcome(ready.engine)
    forget_running_times(ready.engine)
    run_together(ready, [one, other], tmp_path)
    assert outcome(ready.engine) == alone
    assert_one_after_the_other(ready)
    assert_books_balance(ready.engine)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(10))
def test_five_syncs_at_once_end_in_the_tables_of_one(ready: Source, tmp_path: Path, number: int) -> None:
    ready.running_times(*WEEK)
    alone = outcome(ready.engine)
    forget_running_times(ready.engine)
    run_together(ready, [(ALL, WEEK[(sync + number) % 5 :] if sync else WEEK) for sync in range(5)], tmp_path)
    assert outcome(ready.engine) == alone
    assert_books_balance(ready.engine)

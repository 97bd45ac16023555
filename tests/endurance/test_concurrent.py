"""Two syncs at once, in processes of their own: where they would touch the same rows one goes after the other."""

from contextlib import ExitStack
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from cmms_pipelines.storage import sync_controls
from cmms_pipelines.storage.tables import api_calls, api_sync_logs, sync_slices
from tests.endurance.attempt import ALL, READY
from tests.endurance.conftest import WEEK, attempt, environment, of_dagster, wait_until
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


def test_two_runs_of_the_same_day_at_once_go_one_after_the_other_and_end_in_the_tables_of_one(
    ready: Source, dagster: dg.DagsterInstance, tmp_path: Path
) -> None:
    """A pause holds the first run until the second has come, so that they are there at the same time on any machine."""
    ready.running_times(WEEK[0])
    alone = outcome(ready.engine)
    forget_running_times(ready.engine)
    engine, day, said = ready.engine, WEEK[0].isoformat(), tmp_path / "runs.log"
    given = environment(ready, **of_dagster())
    with engine.begin() as connection:
        sync_controls.pause(connection, actor="test", reason="until both are there")
    with attempt(given, "run", day, day, log=said) as one, attempt(given, "run", day, day, log=said) as other:
        wait_until(lambda: len(activities(engine)) == 2, "both runs wait", 120)
        held, waiting = activities(engine)
        with engine.begin() as connection:
            sync_controls.resume(connection, actor="test", reason=None)
        assert [one.wait(120), other.wait(120)] == [0, 0], said.read_text()[-3000:]
    assert held.startswith("paused by test")
    assert outcome(engine) == alone
    assert_one_after_the_other(ready)
    assert_books_balance(engine)
    first, second = logs_and_first_calls(engine)
    assert first.sync_completed_at < second.asked_at, "the second asked the source before the first had ended"
    assert (second.records_inserted, second.records_updated, second.records_success) == (0, 0, first.records_success)
    assert waiting.startswith(f"waits for sync {first.id} of running_times (")
    assert f"run {first.dagster_run_id[:8]})" in waiting
    assert waiting in {entry.user_message for entry in dagster.all_logs(second.dagster_run_id)}
    statuses = {run.run_id: run.status for run in dagster.get_runs()}
    assert statuses == dict.fromkeys((first.dagster_run_id, second.dagster_run_id), dg.DagsterRunStatus.SUCCESS)


def activities(engine: sa.Engine) -> list[str]:
    """What running syncs wait for, the first to come first."""
    logs = api_sync_logs.c
    statement = sa.select(logs.activity).where(logs.status == "running", logs.activity.is_not(None)).order_by(logs.id)
    with engine.connect() as connection:
        return [str(activity) for activity in connection.scalars(statement)]


def logs_and_first_calls(engine: sa.Engine) -> list[sa.Row[Any]]:
    """The logs of running hours, the first to come first, each with the moment at which it first asked the source."""
    asked_at = sa.func.min(api_calls.c.started_at).label("asked_at")
    statement = (
        sa.select(api_sync_logs, asked_at)
        .join(api_calls, api_calls.c.sync_log_id == api_sync_logs.c.id)
        .where(api_sync_logs.c.sync_type == "running_times")
        .group_by(api_sync_logs.c.id)
        .order_by(api_sync_logs.c.id)
    )
    with engine.connect() as connection:
        return list(connection.execute(statement))


@pytest.mark.soak
@pytest.mark.parametrize("number", range(10))
def test_five_syncs_at_once_end_in_the_tables_of_one(ready: Source, tmp_path: Path, number: int) -> None:
    ready.running_times(*WEEK)
    alone = outcome(ready.engine)
    forget_running_times(ready.engine)
    run_together(ready, [(ALL, WEEK[(sync + number) % 5 :] if sync else WEEK) for sync in range(5)], tmp_path)
    assert outcome(ready.engine) == alone
    assert_books_balance(ready.engine)

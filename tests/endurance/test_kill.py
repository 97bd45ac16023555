"""kill -9 at any moment: what is done is done whole, the next attempt does the rest, and in the end nothing shows."""

import random
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import dagster as dg
import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.tables import api_sync_logs
from tests.endurance.attempt import JOB
from tests.endurance.conftest import Work, attempt, environment, kill, of_dagster, slices_done, wait_until, wait_until_alone

KEY = "the-sync"
Start = Callable[[], AbstractContextManager[subprocess.Popen[bytes]]]


def logs(engine: sa.Engine, sync_type: str) -> int:
    statement = sa.select(sa.func.count()).select_from(api_sync_logs).where(api_sync_logs.c.sync_type == sync_type)
    with engine.connect() as connection:
        return connection.scalar(statement) or 0


def kill_again_and_again(work: Work, start: Start, *, kills: int, seed: int) -> list[int]:
    """Kill attempts at moments that are drawn: after the log's beginning, after so many slices, or a moment later.

    After each the tables hold what the ledger says, and nothing else. Returns the slices that were done at each kill.
    """
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    engine, sync_type, done_at = work.source.engine, work.sync_type, []
    for number in range(kills):
        begun, done = logs(engine, sync_type), slices_done(engine, sync_type)
        wanted = done + chance.randint(0, max(1, 2 * (work.slices - done) // (kills - number + 1)))
        with start() as process:
            wait_until(lambda: logs(engine, sync_type) > begun or process.poll() is not None, "the sync begins")  # noqa: B023
            wait_until(lambda: slices_done(engine, sync_type) >= wanted or process.poll() is not None, "slices are done")  # noqa: B023
            time.sleep(chance.uniform(0, 0.05))
            assert process.poll() in {None, 0}, "an attempt ended by itself, and not well"
            kill(process)
        wait_until_alone(engine)
        work.assert_as_the_ledger_says()
        done_at.append(slices_done(engine, sync_type))
    assert done_at == sorted(done_at)
    assert done_at[-1] > 0, "no attempt got anywhere"
    return done_at


def kill_syncs(work: Work, *, kills: int, seed: int) -> None:
    def start() -> AbstractContextManager[subprocess.Popen[bytes]]:
        return attempt(environment(work.source), *work.arguments(KEY), log=said)

    said = work.source.settings.home / "attempts.log"
    done_at = kill_again_and_again(work, start, kills=kills, seed=seed)
    session = work.do(KEY)
    assert session.slices_skipped == done_at[-1]
    work.assert_as_undisturbed(KEY)


@pytest.mark.parametrize("dialect", ["ims", "odata_v4"])
def test_a_sync_that_is_killed_twice_ends_as_if_nothing_had_happened(little: Work) -> None:
    kill_syncs(little, kills=2, seed=3)


def test_a_sync_of_masters_that_is_killed_twice_ends_as_if_nothing_had_happened(few_masters: Work) -> None:
    kill_syncs(few_masters, kills=2, seed=3)


@pytest.mark.soak
@pytest.mark.parametrize("dialect", ["ims", "odata_v2", "odata_v4"])
@pytest.mark.parametrize("seed", [2, 3])
def test_a_sync_that_is_killed_fifty_times_ends_as_if_nothing_had_happened(much: Work, seed: int) -> None:
    kill_syncs(much, kills=50, seed=seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [4, 5])
def test_a_sync_of_masters_that_is_killed_twenty_times_ends_as_if_nothing_had_happened(many_masters: Work, seed: int) -> None:
    kill_syncs(many_masters, kills=20, seed=seed)


def kill_runs(work: Work, dagster: dg.DagsterInstance, *, kills: int) -> None:
    """Kill Dagster runs; each is marked as failed and started again as a child of the last, as Dagster's daemon does."""

    def newest() -> list[dg.DagsterRun]:
        return list(dagster.get_runs(dg.RunsFilter(job_name=JOB), limit=1))

    def start() -> AbstractContextManager[subprocess.Popen[bytes]]:
        parent = newest()
        for run in parent:
            if not run.is_finished:
                dagster.report_run_failed(run)
        given = environment(work.source, **of_dagster())
        days = (work.days[0].isoformat(), work.days[-1].isoformat())
        return attempt(given, "run", *days, *(run.run_id for run in parent), log=said)

    said = work.source.settings.home / "runs.log"
    kill_again_and_again(work, start, kills=kills, seed=7)
    with start() as last:
        assert last.wait(120) == 0, said.read_text()[-3000:]
    (run,) = newest()
    assert run.status is dg.DagsterRunStatus.SUCCESS
    work.assert_as_undisturbed(f"running_times:{run.root_run_id or run.run_id}")


def test_a_run_that_is_killed_is_taken_up_by_its_retry(little: Work, dagster: dg.DagsterInstance) -> None:
    kill_runs(little, dagster, kills=1)


@pytest.mark.soak
def test_a_run_that_is_killed_fifty_times_is_taken_up_by_its_retries(much: Work, dagster: dg.DagsterInstance) -> None:
    kill_runs(much, dagster, kills=50)

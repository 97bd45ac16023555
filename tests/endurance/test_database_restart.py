"""PostgreSQL goes away before a sync or in the middle, in order or by kill -9: it is waited for, nothing is lost or doubled."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import psycopg
import pytest
from sqlalchemy.engine import make_url

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.operate.services import dagster_environment
from cmms_pipelines.storage import embedded, migrate
from cmms_pipelines.storage.engine import Databases, ensure_database, make_engine
from cmms_pipelines.sync.session import SyncSession
from tests.conftest import Database
from tests.emulator_server import Emulator
from tests.endurance.attempt import JOB
from tests.endurance.conftest import Work, attempt, environment, slices_done, wait_until
from tests.endurance.world import forget_running_times
from tests.sync.conftest import Source, settings_for

KEY = "the-sync"


@dataclass(frozen=True)
class OwnServer:
    """A PostgreSQL that may be restarted, on one port for its whole life, as a server of one's own has."""

    home: Path
    url: str
    data: Path
    postgres: Path

    def postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))

    def stop(self) -> None:
        """Stop in order, and stay away."""
        self._end(signal.SIGINT)

    def restart(self) -> None:
        """Stop in order: sessions are told and end; then start again."""
        self.stop()
        self.start()

    def restart_at_once(self) -> None:
        """Stop without a word to anybody, so that the start must recover."""
        self._end(signal.SIGQUIT)
        self.start()

    def crash(self) -> None:
        """kill -9 of the postmaster; its children notice by themselves."""
        self._end(signal.SIGKILL)
        self.start()

    def _end(self, number: int) -> None:
        postmaster = self.postmaster()
        members = [postmaster, *postmaster.children(recursive=True)]
        os.kill(postmaster.pid, number)
        psutil.wait_procs(members, timeout=30)

    def start(self) -> None:
        account = embedded.server_account()
        changed = account.is_another
        port = str(make_url(self.url).port)
        with (self.home / "server.log").open("ab") as log:
            subprocess.Popen(
                [self.postgres, "-D", self.data, "-p", port],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                user=account.uid if changed else None,
                group=account.gid if changed else None,
                extra_groups=[] if changed else None,
            )
        wait_until(self._answers, "the server answers")

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    home = Path(tempfile.mkdtemp(prefix="cmms-restart-"))
    home.chmod(0o755)  # as root the server runs as another user, who must get in
    try:
        url = embedded.ensure_running(home).url("cmms")
        ensure_database(url)
        with psycopg.connect(url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
            assert row is not None
        data = Path(row[0])
        postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        yield OwnServer(home, url, data, Path(postmaster.exe()))
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def ready(server: OwnServer, emulator: Emulator, tmp_path: Path) -> Iterator[Source]:
    """A source whose plants and equipment are in the database of the server that may go away."""
    engine = make_engine(server.url)
    migrate.upgrade(engine)
    database = Database(server.url, engine)
    source = Source(database, settings_for(emulator, database, tmp_path))
    source.plants()
    source.equipment()
    yield source
    forget_running_times(engine)
    engine.dispose()


def sync_through(work: Work, disturb: Callable[[], None], at: int) -> None:
    """Sync and disturb the server once `at` slices are done; the sync waits for it and needs no retry."""
    source = work.source
    with ThreadPoolExecutor(1) as pool:
        going: Future[SyncSession] = pool.submit(source.running_times, *work.days, key=KEY)
        wait_until(lambda: slices_done(source.engine) >= at or going.done(), "slices are done")
        assert not going.done(), "the sync was over before the server went away"
        disturb()
        going.result(timeout=120)
    work.assert_as_undisturbed(KEY)


def disturbances(server: OwnServer) -> dict[str, Callable[[], None]]:
    return {"restart": server.restart, "at once": server.restart_at_once, "kill -9": server.crash}


@pytest.mark.parametrize("how", ["restart", "kill -9"])
def test_a_sync_whose_database_is_restarted_waits_for_it_and_loses_nothing(server: OwnServer, little: Work, how: str) -> None:
    sync_through(little, disturbances(server)[how], at=3)


def test_a_sync_that_begins_while_its_database_is_away_waits_for_it(server: OwnServer, little: Work) -> None:
    server.stop()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(little.source.running_times, *little.days, key=KEY)
        with pytest.raises(TimeoutError):
            going.result(timeout=0.5)
        server.start()
        going.result(timeout=120)
    little.assert_as_undisturbed(KEY)


@pytest.mark.soak
@pytest.mark.parametrize("how", ["restart", "at once", "kill -9"])
@pytest.mark.parametrize("at", [1, 34, 35, 36, 100, 200, 240])
def test_a_sync_survives_its_database_at_any_moment(server: OwnServer, much: Work, how: str, at: int) -> None:
    sync_through(much, disturbances(server)[how], at=at)


@pytest.mark.soak
def test_a_sync_survives_a_database_that_goes_away_again_and_again(server: OwnServer, much: Work) -> None:
    is_over, times, failures = threading.Event(), list[str](), list[str]()

    def disturb() -> None:
        while not is_over.is_set():
            for name, how in disturbances(server).items():
                if not is_over.wait(1.5):
                    times.append(name)
                    how()

    with ThreadPoolExecutor(1) as pool:
        disturbing = pool.submit(disturb)
        try:
            for _ in range(60):
                try:
                    much.source.running_times(*much.days, key=KEY)
                    break
                except TransientError as error:
                    failures.append(str(error))
            else:
                raise AssertionError(f"no attempt passed: {failures}")
        finally:
            is_over.set()
            disturbing.result(120)
    much.assert_as_undisturbed(KEY)
    print(f"the server went away {len(times)} times, {len(failures)} attempts failed: {failures}")  # noqa: T201 - shown with -rP


@pytest.mark.soak
@pytest.mark.parametrize("how", ["restart", "at once", "kill -9"])
def test_a_run_survives_a_database_that_holds_dagsters_tables_too(
    server: OwnServer, much: Work, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A run that Dagster's own loss of the database ends is started again as a child, as Dagster's daemon does."""
    url = make_url(server.url).set(database=f"dagster_{uuid.uuid4().hex[:8]}").render_as_string(hide_password=False)
    ensure_database(url)
    of_dagster = dagster_environment(much.source.settings, Databases(cmms=server.url, dagster=url))
    for name, value in of_dagster.items():
        monkeypatch.setenv(name, value)
    said, days = much.source.settings.home / "runs.log", (much.days[0].isoformat(), much.days[-1].isoformat())
    given = environment(much.source, **{name: of_dagster[name] for name in ("DAGSTER_HOME", "DAGSTER_DATABASE_URL")})
    parents: tuple[str, ...] = ()
    for number in range(4):
        with attempt(given, "run", *days, *parents, log=said) as process:
            if number == 0:
                wait_until(lambda: slices_done(much.source.engine) >= 20, "slices are done")
                disturbances(server)[how]()
            has_passed = process.wait(200) == 0
        with dg.DagsterInstance.get() as instance:
            (run,) = instance.get_runs(dg.RunsFilter(job_name=JOB), limit=1)
            if has_passed:
                break
            if not run.is_finished:
                instance.report_run_failed(run)
            parents = (run.run_id,)
    else:
        raise AssertionError(said.read_text()[-3000:])
    print(f"passed at attempt {number + 1}")  # noqa: T201 - shown with -rP
    much.assert_as_undisturbed(f"running_times:{run.root_run_id or run.run_id}")

"""PostgreSQL goes away in the middle of a sync, in order or by kill -9: a retry brings the rest, nothing is lost or doubled."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy.engine import make_url

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.storage import embedded, migrate
from cmms_pipelines.storage.engine import ensure_database, make_engine
from cmms_pipelines.sync.session import SyncSession
from tests.conftest import Database
from tests.emulator_server import Emulator
from tests.endurance.conftest import Work, slices_done, wait_until
from tests.endurance.world import forget_running_times
from tests.sync.conftest import Source, settings_for

KEY = "the-sync"

pytestmark = pytest.mark.xdist_group("restart")  # one server for the file


@dataclass(frozen=True)
class OwnServer:
    """A PostgreSQL that may be restarted, on one port for its whole life, as a server of one's own has."""

    home: Path
    url: str
    data: Path
    postgres: Path

    def postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))

    def restart(self) -> None:
        """Stop in order: sessions are told and end; then start again."""
        self._end(signal.SIGINT)

    def restart_at_once(self) -> None:
        """Stop without a word to anybody, so that the start must recover."""
        self._end(signal.SIGQUIT)

    def crash(self) -> None:
        """kill -9 of the postmaster; its children notice by themselves."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        postmaster = self.postmaster()
        members = [postmaster, *postmaster.children(recursive=True)]
        os.kill(postmaster.pid, number)
        psutil.wait_procs(members, timeout=30)
        self.start()

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
    """Sync and disturb the server once `at` slices are done; retry what fails for a passing reason, as the asset does."""
    source, failures = work.source, []
    with ThreadPoolExecutor(1) as pool:
        going: Future[SyncSession] = pool.submit(source.running_times, *work.days, key=KEY)
        wait_until(lambda: slices_done(source.engine) >= at or going.done(), "slices are done")
        assert not going.done(), "the sync was over before the server went away"
        disturb()
        for _ in range(4):
            try:
                going.result(timeout=120)
                break
            except TransientError as error:
                failures.append(str(error))
                going = pool.submit(source.running_times, *work.days, key=KEY)
        else:
            raise AssertionError(f"no attempt passed: {failures}")
    work.assert_as_undisturbed(KEY)


def disturbances(server: OwnServer) -> dict[str, Callable[[], None]]:
    return {"restart": server.restart, "at once": server.restart_at_once, "kill -9": server.crash}


@pytest.mark.parametrize("how", ["restart", "kill -9"])
def test_a_sync_whose_database_is_restarted_passes_after_a_retry(server: OwnServer, little: Work, how: str) -> None:
    sync_through(little, disturbances(server)[how], at=3)


@pytest.mark.soak
@pytest.mark.parametrize("how", ["restart", "at once", "kill -9"])
@pytest.mark.parametrize("at", [1, 34, 35, 36, 100, 200, 240])
def test_a_sync_survives_its_database_at_any_moment(server: OwnServer, much: Work, how: str, at: int) -> None:
    sync_through(much, disturbances(server)[how], at=at)


@pytest.mark.soak
def test_a_sync_survives_a_database_that_goes_away_again_and_again(server: OwnServer, much: Work) -> None:
    is_over = threading.Event()

    def disturb() -> None:
        while not is_over.is_set():
            for how in disturbances(server).values():
                if not is_over.wait(1.5):
                    how()

    with ThreadPoolExecutor(1) as pool:
        disturbing = pool.submit(disturb)
        try:
            for _ in range(60):
                try:
                    much.source.running_times(*much.days, key=KEY)
                    break
                except TransientError:
                    continue
            else:
                raise AssertionError("no attempt passed")
        finally:
            is_over.set()
            disturbing.result(120)
    much.assert_as_undisturbed(KEY)

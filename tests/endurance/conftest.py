"""An emulator for each test module, and processes that sync from it and can be killed."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from cmms_pipelines.operate.services import dagster_environment
from cmms_pipelines.settings import ApiDialect
from cmms_pipelines.storage.engine import Databases
from cmms_pipelines.storage.tables import sync_slices
from cmms_pipelines.sync.session import SyncSession
from tests.emulator_server import Emulator, running_emulator
from tests.endurance.attempt import ALL
from tests.endurance.world import (
    Arrival,
    arrivals,
    assert_books_balance,
    assert_every_slice_once,
    assert_tables_are_as_the_ledger_says,
    forget_masters,
    forget_running_times,
    outcome,
)
from tests.sync.conftest import Source, ready_source, with_masters
from tests.sync.flown import Flown

PROJECT = Path(__file__).resolve().parents[2]
WEEK = [date(2013, 10, 25) + timedelta(days=offset) for offset in range(7)]
PLANTS = 35


@pytest.fixture(scope="module")
def emulators() -> Iterator[Callable[[str], Emulator]]:
    """An emulator of each dialect that is asked for."""
    with ExitStack() as stack:
        yield cache(lambda dialect: stack.enter_context(running_emulator(dialect=dialect)))


@pytest.fixture
def dialect() -> str:
    """The dialect of the source; a test may say another."""
    return "ims"


@pytest.fixture
def emulator(emulators: Callable[[str], Emulator], dialect: str) -> Emulator:
    return emulators(dialect)


@pytest.fixture(scope="session")
def masters(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from with_masters(server_url, tmp_path_factory.mktemp("masters"))


@pytest.fixture
def ready(server_url: str, masters: str, emulator: Emulator, dialect: str, tmp_path: Path) -> Iterator[Source]:
    """A source whose plants and equipment are in the database."""
    for source in ready_source(server_url, masters, emulator, tmp_path):
        source.settings = source.settings.model_copy(update={"api_dialect": ApiDialect(dialect)})
        yield source


@dataclass(frozen=True)
class Work:
    """Masters, or days of running hours, in so many slices, and what their sync leaves behind when nobody disturbs it."""

    source: Source
    sync_type: str
    days: list[date]
    slices: int
    records: int
    undisturbed: dict[str, list[str]]
    arrivals: set[Arrival]

    def arguments(self, key: str) -> list[str]:
        """What an attempt of this work is told."""
        return ["sync", key, ALL, *(day.isoformat() for day in self.days)] if self.days else ["masters", key]

    def do(self, key: str) -> SyncSession:
        return self.source.running_times(*self.days, key=key) if self.days else self.source.equipment(key=key)

    def assert_as_the_ledger_says(self) -> None:
        assert_tables_are_as_the_ledger_says(self.source.engine, self.sync_type, self.arrivals)

    def assert_as_undisturbed(self, key: str) -> None:
        """All is as if nothing had happened, and the attempts that share `key` did every slice once."""
        assert outcome(self.source.engine) == self.undisturbed
        self.assert_as_the_ledger_says()
        assert_every_slice_once(self.source.engine, key, self.slices, self.records)
        assert_books_balance(self.source.engine)


def prepare(source: Source, flown: Flown, days: list[date], plants_per_slice: int) -> Work:
    """See what an undisturbed sync of running hours leaves behind, and take it back."""
    source.settings = source.settings.model_copy(update={"sync_plants_per_slice": 35})
    source.running_times(*days)
    undisturbed, arrived = outcome(source.engine), arrivals(source.engine, "running_times")
    forget_running_times(source.engine)
    source.settings = source.settings.model_copy(update={"sync_plants_per_slice": plants_per_slice})
    slices = len(days) * math.ceil(PLANTS / plants_per_slice)
    return Work(source, "running_times", days, slices, len(flown.received(*days)), undisturbed, arrived)


def prepare_masters(source: Source, flown: Flown, plants_per_slice: int) -> Work:
    """See what the undisturbed sync of masters has left behind, and take it back."""
    undisturbed, arrived = outcome(source.engine), arrivals(source.engine, "equipment")
    forget_masters(source.engine)
    source.settings = source.settings.model_copy(update={"sync_plants_per_slice": plants_per_slice})
    slices = math.ceil(PLANTS / plants_per_slice) + 1  # masters without a plant are one of their own
    return Work(source, "equipment", [], slices, len(flown.registered), undisturbed, arrived)


@pytest.fixture
def little(ready: Source, flown: Flown) -> Work:
    """Two days in 14 slices."""
    return prepare(ready, flown, WEEK[:2], plants_per_slice=5)


@pytest.fixture
def much(ready: Source, flown: Flown) -> Work:
    """A week in 245 slices."""
    return prepare(ready, flown, WEEK, plants_per_slice=1)


@pytest.fixture
def few_masters(ready: Source, flown: Flown) -> Work:
    """All masters in 8 slices."""
    return prepare_masters(ready, flown, plants_per_slice=5)


@pytest.fixture
def many_masters(ready: Source, flown: Flown) -> Work:
    """All masters in 36 slices."""
    return prepare_masters(ready, flown, plants_per_slice=1)


@pytest.fixture
def dagster(dagster_database: str, ready: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The product's Dagster instance, on a database of its own."""
    database_url = ready.settings.database_url
    assert database_url is not None
    databases = Databases(cmms=database_url.get_secret_value(), dagster=dagster_database)
    for name, value in dagster_environment(ready.settings, databases).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        yield instance


def of_dagster() -> dict[str, str]:
    """What a process needs besides `environment` to find the instance of `dagster`."""
    return {name: os.environ[name] for name in ("DAGSTER_HOME", "DAGSTER_DATABASE_URL")}


def environment(source: Source, **more: str) -> dict[str, str]:
    """What a process needs to sync as `source` does."""
    settings = source.settings
    assert settings.database_url is not None
    assert settings.api_token is not None
    given = {
        "CMMS_HOME": str(settings.home),
        "CMMS_DATABASE_URL": settings.database_url.get_secret_value(),
        "CMMS_API_URL": str(settings.api_url),
        "CMMS_API_TOKEN": settings.api_token.get_secret_value(),
        "CMMS_API_DIALECT": settings.api_dialect.value,
        "CMMS_SYNC_PLANTS_PER_SLICE": str(settings.sync_plants_per_slice),
        "CMMS_API_PLANTS_PER_CALL": str(settings.api_plants_per_call),
    }
    return {name: value for name, value in os.environ.items() if not name.startswith(("CMMS_", "DAGSTER_"))} | given | more


@contextmanager
def attempt(environ: dict[str, str], *arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that syncs; killed at the end of the block if it still runs."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.endurance.attempt", *arguments],
            env=environ,
            cwd=PROJECT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(30)


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.004)


def slices_done(engine: sa.Engine, sync_type: str = "running_times") -> int:
    statement = sa.select(sa.func.count()).select_from(sync_slices).where(sync_slices.c.sync_type == sync_type)
    with engine.connect() as connection:
        return connection.scalar(statement) or 0


def wait_until_alone(engine: sa.Engine) -> None:
    """Wait for the server to notice that killed processes are gone, and to roll back what they had begun."""
    others = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    engine.dispose()

    def is_alone() -> bool:
        with engine.connect() as connection:
            return connection.scalar(others) == 0

    wait_until(is_alone, "connections of killed processes end", 20)

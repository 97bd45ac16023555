"""One real PostgreSQL for the whole test session, and a fresh migrated database for each test that asks for one.

The controlling process starts the server and stops it; workers of pytest-xdist find it through the environment.
"""

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import settings as hypothesis_settings
from psycopg import sql
from sqlalchemy.engine import make_url

from cmms_pipelines.storage import embedded, migrate
from cmms_pipelines.storage.engine import make_engine
from tests.distribution import pytest_collection_modifyitems, pytest_xdist_make_scheduler
from tests.sync.flown import Flown, read_flown

__all__ = ["pytest_collection_modifyitems", "pytest_xdist_make_scheduler"]

SERVER_VARIABLE = "CMMS_TEST_SERVER_URL"
KEPT_VARIABLES = {SERVER_VARIABLE, "CMMS_BACKBLAZE_DIR"}
TEMPLATE = "cmms_template"

hypothesis_settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
hypothesis_settings.load_profile("ci")


@dataclass(frozen=True)
class Database:
    """A migrated database of one test: its libpq URL and an engine on it."""

    url: str
    engine: sa.Engine


def pytest_configure(config: pytest.Config) -> None:
    """Start the server in the controlling process; a server given by the environment is used as it is."""
    for name in [name for name in os.environ if name.startswith("CMMS_") and name not in KEPT_VARIABLES]:
        del os.environ[name]  # the tests say themselves what the environment is
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # so a shell starts what runs in its background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput") or SERVER_VARIABLE in os.environ:
        return
    home = Path(tempfile.mkdtemp(prefix="cmms-tests-", dir=_memory()))
    home.chmod(0o755)  # as root the server runs as another user, who must get in
    config.stash[_HOME] = home
    os.environ[SERVER_VARIABLE] = embedded.ensure_running(home).url("postgres")
    _make_template(os.environ[SERVER_VARIABLE])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what `pytest_configure` started."""
    home = config.stash.get(_HOME, None)
    if home is not None:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)
        del os.environ[SERVER_VARIABLE]


def _memory() -> Path | None:
    """Return a folder in memory that is large enough for the server, if there is one: a new database there takes a tenth."""
    folder = Path("/dev/shm")
    is_usable = folder.is_dir() and os.access(folder, os.W_OK) and "TMPDIR" not in os.environ
    return folder if is_usable and shutil.disk_usage(folder).free >= _ENOUGH_MEMORY else None


_ENOUGH_MEMORY = 8 << 30  # the logs of the longest tests take a quarter of it
_HOME: pytest.StashKey[Path] = pytest.StashKey()


@pytest.fixture(scope="session")
def server_url() -> str:
    """The libpq URL of the session's server, on its maintenance database."""
    return os.environ[SERVER_VARIABLE]


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """The URL of a new, empty database."""
    yield from new_database(server_url, template="template0")


@pytest.fixture
def database(server_url: str) -> Iterator[Database]:
    """A new database at the newest revision."""
    for url in new_database(server_url, template=TEMPLATE):
        engine = make_engine(url)
        yield Database(url, engine)
        engine.dispose()


@pytest.fixture
def dagster_database(server_url: str) -> Iterator[str]:
    """The URL of a new database with Dagster's tables."""
    from tests.dagster_instances import new_dagster_database  # noqa: PLC0415 - Dagster takes a second to load

    yield from new_dagster_database(server_url)


def new_database(server_url: str, template: str) -> Iterator[str]:
    """Yield the URL of a new database made from `template`; drop it afterwards."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")  # half of what the log takes
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _make_template(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):  # a test's data need not survive the machine; that of a killed server does
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    engine = make_engine(make_url(server_url).set(database=TEMPLATE).render_as_string(hide_password=False))
    migrate.upgrade(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def flown() -> Flown:
    return read_flown()

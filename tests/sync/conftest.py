"""One emulator for all tests of syncs, and the truth about its flights computed another way."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import pytest

from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.sync.equipment import sync_equipment
from cmms_pipelines.sync.plants import known_plants, sync_plants
from cmms_pipelines.sync.running_times import sync_running_times
from cmms_pipelines.sync.session import SyncSession
from tests.conftest import TEMPLATE, Database, new_database
from tests.emulator_server import Emulator, running_emulator


def silent(_message: str) -> None:
    """A progress that nobody reads."""


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as server:
        yield server


class Source:
    """The three syncs against one emulator and one database, each call a sync of its own unless it names its key."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.engine = database.engine
        self.settings = settings
        self._count = 0

    def plants(self) -> SyncSession:
        return sync_plants(self.engine, self.settings, sync_key=self._key(), run_id=None, progress=silent)

    def equipment(self, plant_codes: Sequence[str] | None = None, *, key: str | None = None) -> SyncSession:
        codes = plant_codes or known_plants(self.engine)["plant_code"].to_list()
        return sync_equipment(self.engine, self.settings, codes, sync_key=key or self._key(), run_id=None, progress=silent)

    def running_times(
        self,
        *days: date,
        plants: Sequence[str] | None = None,
        equipment: Sequence[str] | None = None,
        key: str | None = None,
    ) -> SyncSession:
        return sync_running_times(
            self.engine,
            self.settings,
            days,
            plant_codes=plants,
            equipment_numbers=equipment,
            sync_key=key or self._key(),
            run_id=None,
            progress=silent,
        )

    def _key(self) -> str:
        self._count += 1
        return f"sync-{self._count}"


def settings_for(server: Emulator, database: Database, home: Path, **changes: object) -> Settings:
    given = {"home": home, "database_url": database.url, "api_url": server.url, "api_token": server.token, **changes}
    return Settings.model_validate(given)


@pytest.fixture
def source(emulator: Emulator, database: Database, tmp_path: Path) -> Source:
    return Source(database, settings_for(emulator, database, tmp_path))


def with_masters(server_url: str, home: Path) -> Iterator[str]:
    """Yield the name of a database whose plants and equipment have been synced, to make others from; drop it afterwards."""
    for url in new_database(server_url, template=TEMPLATE):
        engine = make_engine(url)
        with running_emulator() as server:
            database = Database(url, engine)
            made = Source(database, settings_for(server, database, home))
            made.plants()
            made.equipment()
        engine.dispose()
        yield str(engine.url.database)


def ready_source(server_url: str, template: str, server: Emulator, home: Path) -> Iterator[Source]:
    """Yield a source whose plants and equipment are in a database of its own, made from `template`."""
    for url in new_database(server_url, template=template):
        database = Database(url, make_engine(url))
        yield Source(database, settings_for(server, database, home))
        database.engine.dispose()


@pytest.fixture(scope="session")
def masters(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from with_masters(server_url, tmp_path_factory.mktemp("masters"))


@pytest.fixture
def ready(server_url: str, masters: str, emulator: Emulator, tmp_path: Path) -> Iterator[Source]:
    """A source whose plants and equipment are in the database."""
    yield from ready_source(server_url, masters, emulator, tmp_path)

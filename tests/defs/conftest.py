"""One emulator for the tests of runs, a Dagster instance in PostgreSQL, and the definitions on a fresh database."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.settings import read_settings
from cmms_pipelines.storage.engine import with_driver
from cmms_pipelines.storage.pooling import with_pool
from tests.conftest import Database
from tests.dagster_instances import configured_instance_on, instance_on
from tests.defs.recording_launcher import RecordingLauncher
from tests.emulator_server import Emulator, running_emulator


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as server:
        yield server


@pytest.fixture
def instance(dagster_database: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    queue = "run_coordinator:\n  module: dagster.core.run_coordinator\n  class: QueuedRunCoordinator\n"
    with instance_on(dagster_database, tmp_path, queue) as found:
        yield found


@pytest.fixture
def configured_instance(dagster_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance as `dagster.yaml` configures it, but that a run is never launched: what was to be is written down."""
    monkeypatch.setenv("CMMS_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_DATABASE_URL", with_pool(with_driver(dagster_database, "psycopg2")))
    with configured_instance_on(tmp_path, RecordingLauncher) as found:
        yield found


@pytest.fixture
def defs(emulator: Emulator, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    monkeypatch.setenv("CMMS_HOME", str(tmp_path))
    monkeypatch.setenv("CMMS_API_URL", emulator.url)
    monkeypatch.setenv("CMMS_API_TOKEN", emulator.token)
    return build_defs(read_settings(), {"warehouse": Warehouse(database_url=database.url)})


def run(defs: dg.Definitions, instance: dg.DagsterInstance, job: str, **options: object) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, **options)  # type: ignore[arg-type]

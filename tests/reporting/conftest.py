"""A database filled with known rows, and the marts that one `dbt build` through Dagster made of them.

The build happens once for the folder: the tests compare what it left, they do not change it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from cmms_pipelines.defs.reporting.definitions import build
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.engine import make_engine
from tests.conftest import TEMPLATE, Database, new_database
from tests.reporting.known_rows import AS_OF, KnownRows, make_rows, store

MARTS = (
    "equipment_status", "sync_performance", "event_analytics", "conflict_resolution", "utilisation", "plant_utilisation",
    "gap_analysis", "data_freshness", "running_time_trends", "error_analysis", "api_response_times", "maintenance_due",
    "equipment_counts", "reliability", "daily_kpis",
)  # fmt: skip
LISTS = ("needs_maintenance", "sync_errors")


@dataclass(frozen=True)
class Built:
    """One build: what went in, what Dagster says of it, what came out."""

    rows: KnownRows
    home: Path
    database: Database
    definitions: dg.Definitions
    result: dg.ExecuteInProcessResult
    marts: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def built(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The marts of the known rows, in a database of their own."""
    home = tmp_path_factory.mktemp("reporting-home")
    with contextmanager(new_database)(server_url, template=TEMPLATE) as url:
        engine = make_engine(url)
        rows = make_rows()
        store(engine, rows)
        definitions = build(Settings(home=home), database_url=url, as_of=AS_OF)
        with dg.DagsterInstance.ephemeral() as instance:
            result = definitions.resolve_job_def("build_marts").execute_in_process(instance=instance, raise_on_error=False)
        marts = {name: read(engine, f"TABLE analytics.{name}") for name in MARTS + LISTS}
        yield Built(rows, home, Database(url, engine), definitions, result, marts)
        engine.dispose()


def read(engine: sa.Engine, statement: str) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(statement)).mappings()]

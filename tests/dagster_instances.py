"""Instances of Dagster for tests that keep runs and events in PostgreSQL, as `cmms up` has them: on pooled connections.

Making Dagster's tables takes as long as many a test: it is done once for the session, and each database is a copy.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import yaml
from dagster._core.launcher import RunLauncher
from psycopg import sql
from sqlalchemy.engine import make_url

from cmms_pipelines.operate.services import PROJECT
from cmms_pipelines.storage.engine import with_driver
from cmms_pipelines.storage.pooling import with_pool
from tests.conftest import new_database

TEMPLATE = "dagster_template"
_LOCK = 7_141_118


def new_dagster_database(server_url: str) -> Iterator[str]:
    """Yield the URL of a new database with Dagster's tables; drop it afterwards."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))  # workers share the server
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone() is None:
            _make_template(server_url, connection)
    yield from new_database(server_url, template=TEMPLATE)


@contextmanager
def instance_on(url: str, home: Path, more: str = "") -> Iterator[dg.DagsterInstance]:
    """Open an instance whose home is `home` and whose storage is the database `url`, with `more` in its `dagster.yaml`."""
    address = with_pool(with_driver(url, "psycopg2"))
    (home / "dagster.yaml").write_text(
        f'storage:\n  postgres:\n    postgres_url: "{address}"\ntelemetry:\n  enabled: false\n{more}'
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@contextmanager
def configured_instance_on(home: Path, launcher: type[RunLauncher[Any]]) -> Iterator[dg.DagsterInstance]:
    """Open an instance whose home is `home` and which is all that our `dagster.yaml` says, with another launcher."""
    configured = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    configured["run_launcher"] = {"module": launcher.__module__, "class": launcher.__name__}
    (home / "dagster.yaml").write_text(yaml.safe_dump(configured))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def _make_template(server_url: str, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    for url in new_database(server_url, template="template0"):
        with tempfile.TemporaryDirectory() as home, instance_on(url, Path(home)) as instance:
            instance.get_runs()
            instance.all_instigator_state()
            instance.get_dynamic_partitions("none")
        name = str(make_url(url).database)
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(TEMPLATE), sql.Identifier(name)))

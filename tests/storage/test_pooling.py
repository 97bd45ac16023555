"""Dagster's storage keeps its connections, and notices when the server has dropped them."""

import dagster as dg
import psycopg
import sqlalchemy as sa

from cmms_pipelines.storage.engine import with_driver
from cmms_pipelines.storage.pooling import with_pool


def test_an_engine_of_such_a_url_reuses_its_connection_and_replaces_one_that_the_server_dropped(server_url: str) -> None:
    engine = sa.create_engine(with_pool(with_driver(server_url, "psycopg2")), poolclass=sa.NullPool)  # as Dagster does
    backends = [_backend(engine) for _ in range(3)]
    assert len(set(backends)) == 1
    with psycopg.connect(server_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (backends[0],))
    assert _backend(engine) != backends[0]
    engine.dispose()


def test_the_url_keeps_its_other_options(server_url: str) -> None:
    url = sa.make_url(with_pool(f"{server_url}?application_name=dagster"))
    assert url.query == {"application_name": "dagster", "plugin": "cmms_pooled"}


def test_an_instance_of_dagster_works_on_pooled_connections(empty_database: str) -> None:
    address = with_pool(with_driver(empty_database, "psycopg2"))
    with dg.instance_for_test(overrides={"storage": {"postgres": {"postgres_url": address}}}) as instance:
        instance.add_dynamic_partitions("plants", ["B6JF"])
        opened = _sessions(empty_database)
        for _ in range(20):
            assert instance.get_dynamic_partitions("plants") == ["B6JF"]
        assert _sessions(empty_database) - opened < 5


def _backend(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def _sessions(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute("SELECT sessions FROM pg_stat_database WHERE datname = current_database()").fetchone()
        return int(row[0]) if row else 0

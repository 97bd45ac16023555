"""Dagster's storage keeps its connections, and notices when the server has dropped them."""

import gc
import time

import dagster as dg
import psycopg
import sqlalchemy as sa

from cmms_pipelines.storage.engine import with_driver
from cmms_pipelines.storage.pooling import POOL_SIZE, with_pool


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


def test_instances_of_one_process_share_their_connections(empty_database: str) -> None:
    address = with_pool(with_driver(empty_database, "psycopg2"))
    with dg.instance_for_test(overrides={"storage": {"postgres": {"postgres_url": address}}}) as first:
        others = [dg.DagsterInstance.from_ref(first.get_ref()) for _ in range(10)]  # as for each tick of a sensor
        for instance in others:
            assert instance.get_runs() == []
            assert instance.get_dynamic_partitions("plants") == []
            assert instance.all_instigator_state() == []
        assert _open(empty_database) <= POOL_SIZE


def test_connections_are_closed_with_the_last_engine_on_them(empty_database: str) -> None:
    engines = [sa.create_engine(with_pool(with_driver(empty_database, "psycopg2"))) for _ in range(3)]
    assert len({_backend(engine) for engine in engines}) == 1
    while engines:
        assert _open(empty_database) == 1
        engines.pop(0)
        gc.collect()
    deadline = time.monotonic() + 10
    while _open(empty_database):  # the server takes a moment to notice
        assert time.monotonic() < deadline


def test_engines_that_work_differently_share_nothing(server_url: str) -> None:
    address = with_pool(with_driver(server_url, "psycopg2"))
    at_once, in_blocks = sa.create_engine(address, isolation_level="AUTOCOMMIT"), sa.create_engine(address)
    assert at_once.pool is not in_blocks.pool
    assert in_blocks.pool is sa.create_engine(address).pool
    with at_once.connect() as one, in_blocks.connect() as other:
        assert [_is_autocommit(one), _is_autocommit(other)] == [True, False]
    at_once.dispose()
    in_blocks.dispose()


def _is_autocommit(connection: sa.Connection) -> bool:
    return bool(connection.connection.dbapi_connection.autocommit)  # type: ignore[union-attr]


def _open(url: str) -> int:
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(others + " AND backend_type = 'client backend'").fetchone()
        return int(row[0]) if row else 0


def _backend(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def _sessions(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute("SELECT sessions FROM pg_stat_database WHERE datname = current_database()").fetchone()
        return int(row[0]) if row else 0

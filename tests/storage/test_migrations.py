"""Migrations and tables are one truth, and every step goes up and down."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cmms_pipelines.storage import migrate
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.tables import SCHEMA, metadata
from tests.conftest import Database


def test_migrations_and_tables_describe_the_same_database(database: Database) -> None:
    options = {
        "version_table_schema": SCHEMA,
        "include_schemas": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
    }
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


def test_migrating_down_removes_every_table_and_up_brings_them_back(empty_database: str) -> None:
    engine = make_engine(empty_database)
    migrate.upgrade(engine)
    assert set(sa.inspect(engine).get_table_names(SCHEMA)) == {table.name for table in metadata.tables.values()} | {
        "alembic_version"
    }
    migrate.downgrade(engine, "base")
    assert sa.inspect(engine).get_table_names(SCHEMA) == ["alembic_version"]
    assert migrate.current_revision(engine) is None
    migrate.upgrade(engine)
    newest = ScriptDirectory.from_config(migrate.alembic_config(engine)).get_current_head()
    assert migrate.current_revision(engine) == newest
    engine.dispose()


def test_migrating_down_takes_the_marts_along_whose_views_hold_on_to_our_tables(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA analytics"))
        connection.execute(sa.text("CREATE VIEW analytics.stg_cmms__plants AS SELECT * FROM cmms.plants"))
    migrate.downgrade(database.engine, "base")
    assert sa.inspect(database.engine).get_table_names(SCHEMA) == ["alembic_version"]


def test_migrating_twice_changes_nothing(database: Database) -> None:
    before = migrate.current_revision(database.engine)
    migrate.upgrade(database.engine)
    assert migrate.current_revision(database.engine) == before

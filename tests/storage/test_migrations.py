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


_REFUSALS = """
    INSERT INTO cmms.sync_rejections
        (sync_type, record_key, rule, is_primary, severity, column_name, value, message, payload, status, times_seen,
         first_seen_at, last_seen_at, resolved_at)
    SELECT 'running_times', key, rule, is_primary, 'error', 'point', value, 'why ' || rule,
           '{"POINT": "\\u0000 1.10", "n": 1.10}', status, times_seen,
           timestamptz '2026-01-01' + first * interval '1 day', timestamptz '2026-02-01',
           CASE WHEN status <> 'open' THEN timestamptz '2026-03-01' + closed * interval '1 day' END
    FROM (VALUES
        ('several', 'point_too_long', false, '1', 'open', 3, 0, 0),
        ('several', 'plant_unknown', true, 'XX', 'open', 2, 1, 0),
        ('several', 'equipment_unknown', false, NULL, 'open', 2, 1, 0),
        ('one', 'plant_unknown', true, 'XX', 'open', 1, 0, 0),
        ('closed', 'plant_unknown', true, 'XX', 'discarded', 1, 0, 0),
        ('closed', 'equipment_unknown', false, 'N1', 'discarded', 1, 0, 0),
        ('closed', 'plant_unknown', true, 'XX', 'replayed', 1, 0, 1),
        ('closed', 'point_too_long', true, '1', 'open', 1, 0, 0)
    ) AS refused (key, rule, is_primary, value, status, times_seen, first, closed)
"""
_FOLDED = """
    SELECT record_key, status, rule, value, times_seen, first_seen_at::date::text, payload::text,
           (SELECT string_agg(other ->> 'rule' || ' ' || coalesce(other ->> 'value', '-'), ', ' ORDER BY place)
            FROM jsonb_array_elements(other_failures) WITH ORDINALITY AS each (other, place))
    FROM cmms.sync_rejections ORDER BY id
"""
_UNFOLDED = """
    SELECT record_key, status, resolved_at, is_primary, rule, column_name, value, message, payload::text
    FROM cmms.sync_rejections ORDER BY record_key, status, resolved_at, is_primary DESC, rule
"""


def test_rows_of_one_refused_record_become_one_and_downwards_several_again(empty_database: str) -> None:
    engine = make_engine(empty_database)

    def read(query: str) -> list[tuple[object, ...]]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    migrate.upgrade(engine, "0013")
    with engine.begin() as connection:
        connection.exec_driver_sql(_REFUSALS)
        connection.execute(sa.text("CREATE SCHEMA analytics"))
        connection.execute(sa.text("CREATE VIEW analytics.stg_cmms__sync_rejections AS SELECT * FROM cmms.sync_rejections"))
    before = read(_UNFOLDED)
    migrate.upgrade(engine, "0014")
    payload = '{"POINT": "\\u0000 1.10", "n": 1.10}'
    assert read(_FOLDED) == [
        ("several", "open", "plant_unknown", "XX", 3, "2026-01-01", payload, "point_too_long 1, equipment_unknown -"),
        ("one", "open", "plant_unknown", "XX", 1, "2026-01-01", payload, None),
        ("closed", "discarded", "plant_unknown", "XX", 1, "2026-01-01", payload, "equipment_unknown N1"),
        ("closed", "replayed", "plant_unknown", "XX", 1, "2026-01-01", payload, None),
        ("closed", "open", "point_too_long", "1", 1, "2026-01-01", payload, None),
    ]
    migrate.downgrade(engine, "0013")
    assert read(_UNFOLDED) == before
    engine.dispose()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    before = migrate.current_revision(database.engine)
    migrate.upgrade(database.engine)
    assert migrate.current_revision(database.engine) == before

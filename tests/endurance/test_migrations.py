"""Migrations on a database with data in it: down step by step and up again, nothing is lost that an older schema can hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.script import ScriptDirectory

from cmms_pipelines.storage import migrate
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.tables import SCHEMA
from tests.conftest import Database
from tests.emulator_server import running_emulator
from tests.endurance.conftest import WEEK
from tests.endurance.world import assert_books_balance, outcome
from tests.sync.conftest import Source, settings_for

FIRST = "0001"
DAYS = WEEK[:3]

Tables = dict[str, list[str]]


def columns(engine: sa.Engine) -> Tables:
    """The tables of a database with their columns, as they are just now."""
    inspector = sa.inspect(engine)
    names = set(inspector.get_table_names(SCHEMA)) - {migrate.VERSION_TABLE}
    return {name: [column["name"] for column in inspector.get_columns(name, SCHEMA)] for name in names}


def rows(engine: sa.Engine, wanted: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """What the wanted columns hold, as text, in an order that does not depend on where a row lies.

    Beside a schema in which a refused record is one row, of one that has a row for each failure the first one's counts.
    """
    found: dict[str, list[Any]] = {}
    present = columns(engine)
    with engine.connect() as connection:
        for table, names in wanted.items():
            shown = ", ".join(f'"{name}"' for name in names)
            chosen = "WHERE is_primary" if "is_primary" in set(present[table]) - set(names) else ""
            query = f'SELECT ROW({shown})::text FROM {SCHEMA}."{table}" {chosen} ORDER BY 1'  # noqa: S608 - from the catalogue
            statement = sa.text(query)
            found[table] = list(connection.scalars(statement))
    return found


def shared(one: Tables, other: Tables) -> Tables:
    return {table: [name for name in one[table] if name in other[table]] for table in sorted(one) if table in other}


def revisions(engine: sa.Engine) -> list[str]:
    """All revisions, the newest first."""
    script = ScriptDirectory.from_config(migrate.alembic_config(engine))
    return [revision.revision for revision in script.walk_revisions()]


def schemas(empty_database: str) -> dict[str, Tables]:
    """The tables of each revision, seen on the way up through an empty database."""
    engine = make_engine(empty_database)
    found = {}
    for revision in reversed(revisions(engine)):
        migrate.upgrade(engine, revision)
        found[revision] = columns(engine)
    engine.dispose()
    return found


def test_every_step_down_and_up_keeps_the_data_that_both_schemas_can_hold(
    database: Database, empty_database: str, tmp_path: Path
) -> None:
    engine, schema_of = database.engine, schemas(empty_database)
    with running_emulator(has_counters=True) as server:
        source = Source(database, settings_for(server, database, tmp_path))
        source.plants()
        source.equipment()
        source.running_times(*DAYS)
        before = outcome(engine)
        assert all(before[name] for name in ("machines", "readings", "events", "refused"))
        newer, *older = revisions(engine)
        assert older[-1] == FIRST
        for revision in older:
            common = shared(schema_of[newer], schema_of[revision])
            held = rows(engine, common)
            for step in (migrate.downgrade, migrate.upgrade, migrate.downgrade):
                engine.dispose()
                step(engine, revision if step is migrate.downgrade else newer)
                assert rows(engine, common) == held
            newer = revision
        engine.dispose()
        migrate.upgrade(engine)
        again = source.running_times(*DAYS)
        assert again.counts.inserted == 0
        assert outcome(engine) == before
        assert_books_balance(engine)

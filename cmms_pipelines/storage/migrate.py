"""Bring a database to the schema of this version, or back.

What belongs here: running Alembic from code, with its own version table in our schema.
What does not: the steps (`migrations/versions`).
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cmms_pipelines.storage.tables import SCHEMA

VERSION_TABLE = "alembic_version"
MARTS_SCHEMA = "analytics"
_LOCK = 0x636D6D73  # one migration at a time on one database, whoever starts it


def alembic_config(engine: sa.Engine) -> Config:
    """Return Alembic's configuration, bound to `engine`; there is no `alembic.ini` to drift from it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: sa.Engine, revision: str = "head") -> None:
    """Migrate up to `revision`; concurrent callers wait for one another."""
    with engine.connect() as lock:
        lock.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        try:
            if (
                current_revision(engine) != ScriptDirectory.from_config(alembic_config(engine)).get_current_head()
                or revision != "head"
            ):
                command.upgrade(alembic_config(engine), revision)
        finally:
            lock.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            lock.commit()


def downgrade(engine: sa.Engine, revision: str) -> None:
    """Migrate down to `revision` (`base` removes every table of ours).

    The marts go as well, since their views hold on to our tables; all of them is derived, and the next build brings them back.
    """
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(MARTS_SCHEMA, cascade=True, if_exists=True))
    command.downgrade(alembic_config(engine), revision)


def current_revision(engine: sa.Engine) -> str | None:
    """Return the revision that the database is at; None for one that has never been migrated."""
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "version_table_schema": SCHEMA}
        revision: str | None = MigrationContext.configure(connection, opts=options).get_current_revision()
        return revision

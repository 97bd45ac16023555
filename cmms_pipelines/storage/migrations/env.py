"""Alembic's entry: run the migrations on the engine that `storage.migrate` hands over."""

import sqlalchemy as sa
from alembic import context

from cmms_pipelines.storage.migrate import VERSION_TABLE
from cmms_pipelines.storage.tables import SCHEMA, metadata


def run() -> None:
    """Run all wanted steps in one transaction: a migration that fails leaves nothing behind."""
    engine: sa.Engine = context.config.attributes["engine"]
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
        context.configure(
            connection=connection,
            target_metadata=metadata,
            version_table=VERSION_TABLE,
            version_table_schema=SCHEMA,
            include_schemas=True,
        )
        with context.begin_transaction():
            context.run_migrations()


run()

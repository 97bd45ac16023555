"""What lets a record that came before be recognised without judging it again.

Revision: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = ("equipment", "equipment_running_times")

# whoever changes a row without bringing the digest of another record takes it away
_FORGET = """
    CREATE FUNCTION cmms.forget_record_digest() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.record_digest := NULL;
        RETURN NEW;
    END $$
"""


def upgrade() -> None:
    op.execute(_FORGET)
    for table in _TABLES:
        comment = "of the one record that the row was written from, while nothing else has changed the row"
        op.add_column(table, sa.Column("record_digest", sa.BigInteger(), nullable=True, comment=comment), schema="cmms")
        op.execute(
            f"CREATE TRIGGER forget_record_digest BEFORE UPDATE ON cmms.{table} FOR EACH ROW "
            "WHEN (NEW.record_digest = OLD.record_digest) EXECUTE FUNCTION cmms.forget_record_digest()"
        )


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"DROP TRIGGER forget_record_digest ON cmms.{table}")
        op.drop_column(table, "record_digest", schema="cmms")
    op.execute("DROP FUNCTION cmms.forget_record_digest()")

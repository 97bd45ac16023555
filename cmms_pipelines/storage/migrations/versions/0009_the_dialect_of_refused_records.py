"""The dialect under which a refused record arrived, so that a replay reads it as it was sent.

Revision: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column(
            "dialect",
            sa.String(length=20),
            nullable=True,
            comment="of the source that sent it; null: not known, a replay takes the one that is set",
        ),
        sa.Column("has_decimal_comma", sa.Boolean(), nullable=True, comment="how its numbers are written; null as for dialect"),
    ):
        op.add_column("sync_rejections", column, schema="cmms")


def downgrade() -> None:
    op.drop_column("sync_rejections", "has_decimal_comma", schema="cmms")
    op.drop_column("sync_rejections", "dialect", schema="cmms")

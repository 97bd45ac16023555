"""A connection draws the numbers of readings a thousand at a time: each one by itself is what slices in parallel wait for.

Numbers that a connection has not used when it ends are left out; nothing goes by them.

Revision: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE cmms.equipment_running_times ALTER COLUMN id SET CACHE 1000")


def downgrade() -> None:
    op.execute("ALTER TABLE cmms.equipment_running_times ALTER COLUMN id SET CACHE 1")

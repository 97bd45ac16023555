"""What is known of a machine's counter, and the hours of its whole life for SQL and dbt.

Revision: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ONLY_SEVERAL = "what each plant reported, by plant code, when more than one did; their sum is running_hours"
_ALL_OF_IT = "what each plant reported, by plant code, when more than one did or the row does not say it all"

# a counter that counts backwards has run what it went down since its first reading
_LIFETIME = """
    CREATE VIEW cmms.equipment_lifetime_hours AS
    SELECT r.equipment_id, r.date, r.cumulative_hours,
           (CASE WHEN COALESCE(f.is_counting_backwards, false) THEN began.cumulative_hours - r.cumulative_hours
                 ELSE r.cumulative_hours END + COALESCE(past.offset_hours, 0))::numeric(18, 4) AS lifetime_hours
    FROM cmms.equipment_running_times r
    LEFT JOIN cmms.counter_facts f ON f.equipment_id = r.equipment_id
    LEFT JOIN LATERAL (
        SELECT first.cumulative_hours FROM cmms.equipment_running_times first
        WHERE f.is_counting_backwards AND first.equipment_id = r.equipment_id AND first.cumulative_hours IS NOT NULL
        ORDER BY first.date LIMIT 1
    ) began ON true
    LEFT JOIN LATERAL (
        SELECT sum(event.offset_hours) AS offset_hours FROM cmms.counter_events event
        WHERE event.equipment_id = r.equipment_id AND event.date <= r.date
    ) past ON true
    WHERE r.cumulative_hours IS NOT NULL
"""


def upgrade() -> None:
    op.create_table(
        "counter_facts",
        sa.Column("equipment_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "overflow_at",
            sa.Numeric(precision=14, scale=4),
            nullable=True,
            comment="hours at which the counter starts again from 0: the most that a reading named",
        ),
        sa.Column("is_counting_backwards", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("overflow_at > 0", name=op.f("counter_facts_overflow_at_positive_check")),
        sa.ForeignKeyConstraint(["equipment_id"], ["cmms.equipment.id"], name=op.f("counter_facts_equipment_id_fkey")),
        sa.PrimaryKeyConstraint("equipment_id", name=op.f("counter_facts_pkey")),
        schema="cmms",
    )
    op.alter_column("equipment_running_times", "readings", comment=_ALL_OF_IT, existing_comment=_ONLY_SEVERAL, schema="cmms")
    op.execute(_LIFETIME)


def downgrade() -> None:
    op.execute("DROP VIEW cmms.equipment_lifetime_hours")
    op.alter_column("equipment_running_times", "readings", comment=_ONLY_SEVERAL, existing_comment=_ALL_OF_IT, schema="cmms")
    op.drop_table("counter_facts", schema="cmms")

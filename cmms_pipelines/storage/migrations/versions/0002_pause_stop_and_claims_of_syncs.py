"""Pause and stop for syncs, claims that keep syncs of one scope apart, and what operators list the quarantine by.

Revision: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sync_controls",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("is_set", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changed_by", sa.String(length=200), nullable=False),
        sa.Column("changed_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name IN ('pause', 'stop')", name=op.f("sync_controls_name_known_check")),
        sa.PrimaryKeyConstraint("name", name=op.f("sync_controls_pkey")),
        schema="cmms",
    )
    op.create_table(
        "sync_claims",
        sa.Column(
            "sync_log_id",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="counts only while its sync holds the session lock of this number (storage.sync_claims)",
        ),
        sa.Column("sync_type", sa.String(length=30), nullable=False),
        sa.Column("plant_codes", postgresql.ARRAY(sa.Text()), nullable=True, comment="null: all plants"),
        sa.Column("first_day", sa.Date(), nullable=True, comment="null: not a matter of days"),
        sa.Column("last_day", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "sync_type IN ('plants', 'equipment', 'running_times', 'work_orders', 'clean_up')",
            name=op.f("sync_claims_sync_type_known_check"),
        ),
        sa.CheckConstraint("(first_day IS NULL) = (last_day IS NULL)", name=op.f("sync_claims_days_are_both_given_check")),
        sa.ForeignKeyConstraint(
            ["sync_log_id"],
            ["cmms.api_sync_logs.id"],
            name=op.f("sync_claims_sync_log_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sync_log_id", name=op.f("sync_claims_pkey")),
        schema="cmms",
    )
    for column in (
        sa.Column(
            "slices_total",
            sa.Integer(),
            nullable=True,
            comment="of the whole sync, those of earlier attempts included; null until planned",
        ),
        sa.Column("slices_done", sa.Integer(), server_default="0", nullable=False, comment="by this attempt"),
        sa.Column("activity", sa.Text(), nullable=True, comment="what a running sync waits for, if it waits"),
    ):
        op.add_column("api_sync_logs", column, schema="cmms")
    op.create_index(
        "sync_rejections_open_rule_idx",
        "sync_rejections",
        ["sync_type", "rule", "date"],
        schema="cmms",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index(
        "sync_rejections_discarded_key_idx",
        "sync_rejections",
        ["sync_type", "record_key", "rule"],
        schema="cmms",
        postgresql_where=sa.text("status = 'discarded'"),
    )
    op.create_index(
        "sync_rejections_resolved_at_idx",
        "sync_rejections",
        ["resolved_at"],
        schema="cmms",
        postgresql_where=sa.text("status <> 'open'"),
    )
    op.create_index(
        "sync_slices_completed_at_idx",
        "sync_slices",
        ["completed_at"],
        schema="cmms",
        postgresql_using="brin",
    )


def downgrade() -> None:
    op.drop_index("sync_slices_completed_at_idx", table_name="sync_slices", schema="cmms")
    op.drop_index("sync_rejections_discarded_key_idx", table_name="sync_rejections", schema="cmms")
    op.drop_index("sync_rejections_resolved_at_idx", table_name="sync_rejections", schema="cmms")
    op.drop_index("sync_rejections_open_rule_idx", table_name="sync_rejections", schema="cmms")
    op.drop_column("api_sync_logs", "activity", schema="cmms")
    op.drop_column("api_sync_logs", "slices_done", schema="cmms")
    op.drop_column("api_sync_logs", "slices_total", schema="cmms")
    op.drop_table("sync_claims", schema="cmms")
    op.drop_table("sync_controls", schema="cmms")

"""Local edits, decisions of the conflict engine and the queue of conflicts.

Revision: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "local_edits",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "cmms_system_id",
            sa.String(length=100),
            server_default="",
            nullable=False,
            comment="the system whose work order it is; empty for a machine, which no system has alone",
        ),
        sa.Column("entity_type", sa.String(length=50), nullable=False),
        sa.Column("entity_key", sa.String(length=300), nullable=False),
        sa.Column("field", sa.String(length=300), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="null: cleared"),
        sa.Column(
            "base",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="the value that both sides agreed on last",
        ),
        sa.Column(
            "earlier_values",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
            comment="what was written here before, so that a late echo of it is recognised",
        ),
        sa.Column("edited_by", sa.String(length=200), nullable=False),
        sa.Column("edited_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("entity_type IN ('work_order', 'equipment')", name=op.f("local_edits_entity_type_known_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("local_edits_pkey")),
        sa.UniqueConstraint(
            "entity_type",
            "entity_key",
            "cmms_system_id",
            "field",
            name=op.f("local_edits_entity_type_entity_key_cmms_system_id_field_key"),
        ),
        schema="cmms",
    )
    op.create_index(
        "source_snapshots_equipment_idx",
        "source_snapshots",
        ["entity_key"],
        schema="cmms",
        postgresql_where=sa.text("entity_type = 'equipment'"),
    )
    op.add_column("equipment", sa.Column("version", sa.Integer(), server_default="1", nullable=False), schema="cmms")
    op.alter_column("sync_conflicts", "field", type_=sa.String(length=300), schema="cmms")
    for column in (
        sa.Column("decision", sa.String(length=20), nullable=True, comment="whose value counts; null while open"),
        sa.Column(
            "is_automatic",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="decided by a rule, not by a person",
        ),
        sa.Column("ours_by", sa.String(length=200), nullable=True),
        sa.Column("ours_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("theirs_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("occurrences", sa.Integer(), server_default="1", nullable=False),
        sa.Column("last_seen_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("resolution_reason", sa.Text(), nullable=True),
        sa.Column(
            "undo_state",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="value, local edit and base as they were before the decision: what an undo restores",
        ),
        sa.Column(
            "is_reopened",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="a decision was undone: no rule decides the same statement again",
        ),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
    ):
        op.add_column("sync_conflicts", column, schema="cmms")
    op.create_check_constraint(
        op.f("sync_conflicts_decision_known_check"),
        "sync_conflicts",
        "decision IN ('ours', 'theirs', 'merged', 'by_hand')",
        schema="cmms",
    )
    op.create_check_constraint(
        op.f("sync_conflicts_resolved_when_not_open_check"),
        "sync_conflicts",
        "(status = 'open') = (resolved_at IS NULL)",
        schema="cmms",
    )
    op.create_index(
        op.f("sync_conflicts_entity_type_entity_key_idx"), "sync_conflicts", ["entity_type", "entity_key"], schema="cmms"
    )


def downgrade() -> None:
    op.drop_index(op.f("sync_conflicts_entity_type_entity_key_idx"), table_name="sync_conflicts", schema="cmms")
    op.drop_constraint(op.f("sync_conflicts_resolved_when_not_open_check"), "sync_conflicts", schema="cmms")
    op.drop_constraint(op.f("sync_conflicts_decision_known_check"), "sync_conflicts", schema="cmms")
    for name in (
        "version", "is_reopened", "undo_state", "resolution_reason", "last_seen_at", "occurrences", "theirs_at", "ours_at",
        "ours_by", "is_automatic", "decision",
    ):  # fmt: skip
        op.drop_column("sync_conflicts", name, schema="cmms")
    op.alter_column("sync_conflicts", "field", type_=sa.String(length=100), schema="cmms")
    op.drop_column("equipment", "version", schema="cmms")
    op.drop_index("source_snapshots_equipment_idx", table_name="source_snapshots", schema="cmms")
    op.drop_table("local_edits", schema="cmms")

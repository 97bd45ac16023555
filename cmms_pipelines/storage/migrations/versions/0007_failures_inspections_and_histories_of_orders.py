"""Failures, inspections, schedules and the history of each work order's status.

Revision: 0007
Revises: 0006
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _at(name: str, comment: str | None = None) -> "sa.Column[Any]":
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=True, comment=comment)


def _now(name: str) -> "sa.Column[Any]":
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False)


def _hours(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.Numeric(precision=14, scale=4), nullable=True)


def _text(name: str, length: int | None = None, comment: str | None = None) -> "sa.Column[Any]":
    return sa.Column(name, sa.Text() if length is None else sa.String(length=length), nullable=True, comment=comment)


def _required(name: str, length: int, comment: str | None = None) -> "sa.Column[Any]":
    return sa.Column(name, sa.String(length=length), nullable=False, comment=comment)


def _id() -> "sa.Column[Any]":
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False)


def _create(table: str, key: str, key_comment: str, partial_comment: str, *parts: sa.schema.SchemaItem) -> None:
    """Create a table of what events tell about machines: `key` names the entity at its source."""
    op.create_table(
        table,
        _id(),
        _required("cmms_system_id", 100),
        _required(key, 300, key_comment),
        *parts,
        sa.Column("equipment_id", sa.BigInteger(), nullable=True),
        sa.Column("plant_id", sa.BigInteger(), nullable=True),
        sa.Column("is_partial", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment=partial_comment),
        _at("source_updated_at", "source time of the newest event applied"),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        _now("created_at"),
        _now("updated_at"),
        sa.ForeignKeyConstraint(["equipment_id"], ["cmms.equipment.id"], name=op.f(f"{table}_equipment_id_fkey")),
        sa.ForeignKeyConstraint(["plant_id"], ["cmms.plants.id"], name=op.f(f"{table}_plant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"{table}_pkey")),
        sa.UniqueConstraint("cmms_system_id", key, name=op.f(f"{table}_cmms_system_id_{key}_key")),
        schema="cmms",
    )
    for column in ("equipment_id", "plant_id"):
        op.create_index(op.f(f"{table}_{column}_idx"), table, [column], unique=False, schema="cmms")


def upgrade() -> None:
    op.create_table(
        "work_order_status_history",
        _id(),
        sa.Column("work_order_id", sa.BigInteger(), nullable=False),
        _text("from_status", 30, "null: the first status that was ever stated"),
        _required("to_status", 30),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="when it happened at whoever stated it"),
        _now("recorded_at"),
        _required("changed_by", 20),
        _required("source", 200, "id of the event or of the sync's log, or a person's name"),
        _text("reason"),
        sa.Column(
            "is_applied",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="false: it arrived too late to move the status",
        ),
        sa.CheckConstraint(
            "changed_by IN ('event', 'api_sync', 'local_edit', 'resolution')",
            name=op.f("work_order_status_history_changed_by_known_check"),
        ),
        sa.ForeignKeyConstraint(
            ["work_order_id"],
            ["cmms.work_orders.id"],
            name=op.f("work_order_status_history_work_order_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("work_order_status_history_pkey")),
        sa.UniqueConstraint(
            "work_order_id", "at", "to_status", name=op.f("work_order_status_history_work_order_id_at_to_status_key")
        ),
        schema="cmms",
    )
    _create(
        "failures",
        "failure_key",
        "number at the source, else machine and time of the failure",
        "its machine has not been named yet",
        _text("failure_number", 100),
        _required("status", 20, "follows from repaired_at"),
        _at("failed_at"),
        _at("detected_at"),
        _at("repaired_at"),
        _text("severity", 20),
        _text("failure_code", 50),
        _text("cause"),
        _text("damage"),
        _text("description"),
        _hours("downtime_hours"),
        _text("work_order_number", 100, "of the same system; the order may arrive later"),
        sa.CheckConstraint("status IN ('open', 'repaired')", name=op.f("failures_status_known_check")),
        sa.CheckConstraint(
            "(status = 'repaired') = (repaired_at IS NOT NULL)", name=op.f("failures_repaired_when_repaired_at_check")
        ),
        sa.CheckConstraint("downtime_hours >= 0", name=op.f("failures_downtime_hours_not_negative_check")),
    )
    op.create_index("failures_work_order_idx", "failures", ["cmms_system_id", "work_order_number"], unique=False, schema="cmms")
    op.create_index("failures_failed_at_idx", "failures", ["failed_at"], unique=False, schema="cmms")
    _create(
        "inspections",
        "inspection_key",
        "number at the source, else machine, type and day",
        "completed, but never announced",
        _text("inspection_number", 100),
        _text("inspection_type", 100),
        _required("status", 20),
        _at("due_at"),
        _at("completed_at"),
        _text("result", 20),
        sa.Column("findings", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        _text("inspector", 200),
        _at("next_due_at"),
        _text("priority", 20),
        _text("work_order_number", 100, "of the same system; the order may arrive later"),
        sa.CheckConstraint("status IN ('due', 'completed')", name=op.f("inspections_status_known_check")),
        sa.CheckConstraint(
            "(status = 'completed') = (completed_at IS NOT NULL)",
            name=op.f("inspections_completed_when_completed_at_check"),
        ),
    )
    op.create_index(
        "inspections_due_idx",
        "inspections",
        ["due_at"],
        unique=False,
        schema="cmms",
        postgresql_where=sa.text("status = 'due'"),
    )
    _create(
        "maintenance_schedule",
        "schedule_key",
        "item number at the source, else machine, plan and day",
        "completed or cancelled, never scheduled",
        _text("item_number", 100),
        _text("plan_number", 100),
        _text("task", 255),
        _required("status", 20),
        _at("scheduled_at"),
        _at("due_at"),
        _at("completed_at"),
        _at("cancelled_at"),
        _text("cancelled_because"),
        _text("priority", 20),
        _text("description"),
        _text("assignee", 200),
        _hours("estimated_hours"),
        sa.CheckConstraint(
            "status IN ('scheduled', 'completed', 'cancelled')", name=op.f("maintenance_schedule_status_known_check")
        ),
        sa.CheckConstraint("estimated_hours >= 0", name=op.f("maintenance_schedule_estimated_hours_not_negative_check")),
    )
    op.create_index(
        "maintenance_schedule_open_idx",
        "maintenance_schedule",
        ["scheduled_at"],
        unique=False,
        schema="cmms",
        postgresql_where=sa.text("status = 'scheduled'"),
    )


def downgrade() -> None:
    for table in ("maintenance_schedule", "inspections", "failures", "work_order_status_history"):
        op.drop_table(table, schema="cmms")

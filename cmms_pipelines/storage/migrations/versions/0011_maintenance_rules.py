"""Rules of maintenance: what is due after how many running hours or days, for a group or a machine.

Revision: 0011
Revises: 0010
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_HOURS = sa.Numeric(precision=14, scale=4)
_CHECKS = {
    "scheduling_known": "scheduling IN ('floating', 'fixed')",
    "name_trimmed": "name <> '' AND name = btrim(name)",
    "for_a_group_or_a_machine": "(equipment_group_id IS NULL) <> (equipment_id IS NULL)",
    "has_an_interval": "interval_hours IS NOT NULL OR interval_days IS NOT NULL",
    "interval_hours_positive": "interval_hours > 0",
    "interval_days_positive": "interval_days > 0",
    "tolerance_hours_fit": "tolerance_hours >= 0 AND tolerance_hours < COALESCE(interval_hours, 1)",
    "tolerance_days_fit": "tolerance_days >= 0 AND tolerance_days < COALESCE(interval_days, 1)",
    "baseline_hours_not_negative": "baseline_hours >= 0",
}


def _at(name: str) -> "sa.Column[object]":
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False)


def _optional(name: str, kind: "sa.types.TypeEngine[Any]", comment: str) -> "sa.Column[object]":
    return sa.Column(name, kind, nullable=True, comment=comment)


def upgrade() -> None:
    op.create_table(
        "maintenance_rules",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column(
            "name",
            sa.String(length=100),
            nullable=False,
            comment="a machine's rule takes the place of its group's of the same name",
        ),
        _optional("task", sa.String(length=255), "what is to be done"),
        sa.Column("equipment_group_id", sa.BigInteger(), nullable=True),
        sa.Column("equipment_id", sa.BigInteger(), nullable=True),
        _optional("interval_hours", _HOURS, "of running; null: hours do not matter"),
        _optional("interval_days", sa.Integer(), "of the calendar; null: days do not matter"),
        sa.Column(
            "tolerance_hours",
            _HOURS,
            server_default="0",
            nullable=False,
            comment="before and after the point where it is due",
        ),
        sa.Column("tolerance_days", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "scheduling",
            sa.String(length=20),
            server_default="floating",
            nullable=False,
            comment="floating: from the completion; fixed: on the grid from the first baseline",
        ),
        _optional("work_type", sa.String(length=50), "only work orders of this kind complete it; null: of any kind"),
        _optional(
            "title_contains", sa.String(length=255), "only work whose title or task has these words completes it; null: any"
        ),
        _optional("baseline_hours", _HOURS, "lifetime hours to count from while nothing was completed"),
        _optional("baseline_on", sa.Date(), "the day to count from while nothing was completed"),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        _at("created_at"),
        _at("updated_at"),
        *(sa.CheckConstraint(rule, name=op.f(f"maintenance_rules_{name}_check")) for name, rule in _CHECKS.items()),
        sa.ForeignKeyConstraint(
            ["equipment_group_id"], ["cmms.equipment_groups.id"], name=op.f("maintenance_rules_equipment_group_id_fkey")
        ),
        sa.ForeignKeyConstraint(["equipment_id"], ["cmms.equipment.id"], name=op.f("maintenance_rules_equipment_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("maintenance_rules_pkey")),
        sa.UniqueConstraint("equipment_group_id", "name", name=op.f("maintenance_rules_equipment_group_id_name_key")),
        sa.UniqueConstraint("equipment_id", "name", name=op.f("maintenance_rules_equipment_id_name_key")),
        schema="cmms",
    )
    op.create_index("maintenance_rules_equipment_id_idx", "maintenance_rules", ["equipment_id"], schema="cmms")


def downgrade() -> None:
    op.drop_table("maintenance_rules", schema="cmms")

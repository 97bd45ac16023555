"""Alerts with their causes, acknowledgements and the log of what was delivered.

Revision: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_SEVERITIES = "severity IN ('critical', 'high', 'medium', 'low', 'info')"


def _at(name: str, *, is_optional: bool = False) -> "sa.Column[object]":
    default = None if is_optional else sa.text("now()")
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), server_default=default, nullable=is_optional)


def _text(name: str, default: str, comment: str, kind: "sa.types.TypeEngine[str]") -> "sa.Column[str]":
    return sa.Column(name, kind, server_default=default, nullable=False, comment=comment)


def upgrade() -> None:
    for column in (
        _text("trigger", "", "what was looked for when it was found", sa.String(length=30)),
        _text("cause", "", "what it probably comes from, and what to do first", sa.Text()),
        sa.Column("figures", postgresql.JSONB(), server_default="{}", nullable=False, comment="how much, by name"),
        _text("notified_severity", "info", "the gravest that was told", sa.String(length=20)),
        _at("notified_at"),
        sa.Column("acknowledgement", sa.Text(), nullable=True, comment="what the one who took it said"),
    ):
        op.add_column("alerts", column, schema="cmms")
    op.create_table(
        "alert_deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=True),
        sa.Column("channel", sa.String(length=50), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("severity", sa.String(length=20), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        _at("next_attempt_at"),
        sa.Column("error", sa.Text(), nullable=True, comment="why the last attempt failed; never an address"),
        _at("created_at"),
        _at("delivered_at", is_optional=True),
        sa.CheckConstraint(
            "kind IN ('opened', 'raised', 'repeated', 'resolved', 'trial')", name=op.f("alert_deliveries_kind_known_check")
        ),
        sa.CheckConstraint(_SEVERITIES, name=op.f("alert_deliveries_severity_known_check")),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'superseded', 'given_up')", name=op.f("alert_deliveries_status_known_check")
        ),
        sa.CheckConstraint(
            "(status = 'delivered') = (delivered_at IS NOT NULL)", name=op.f("alert_deliveries_delivered_at_when_delivered_check")
        ),
        sa.CheckConstraint(
            "(alert_id IS NULL) = (kind = 'trial')", name=op.f("alert_deliveries_only_a_trial_has_no_alert_check")
        ),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["cmms.alerts.id"], name=op.f("alert_deliveries_alert_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("alert_deliveries_pkey")),
        schema="cmms",
    )
    op.create_index("alert_deliveries_alert_id_idx", "alert_deliveries", ["alert_id"], schema="cmms")
    op.create_index("alert_deliveries_created_at_idx", "alert_deliveries", ["created_at"], schema="cmms")
    op.create_index(
        "alert_deliveries_pending_idx",
        "alert_deliveries",
        ["next_attempt_at"],
        schema="cmms",
        postgresql_where=sa.text("status = 'pending'"),
    )


def downgrade() -> None:
    op.drop_table("alert_deliveries", schema="cmms")
    for name in ("acknowledgement", "notified_at", "notified_severity", "figures", "cause", "trigger"):
        op.drop_column("alerts", name, schema="cmms")

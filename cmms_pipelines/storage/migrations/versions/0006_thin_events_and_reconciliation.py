"""Thin events, scoped syncs by event and the reconciliation sweep.

Revision: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _at(name: str, *, is_optional: bool = False, comment: str | None = None) -> "sa.Column[object]":
    default = None if is_optional else sa.text("now()")
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), server_default=default, nullable=is_optional, comment=comment)


def _count(name: str, comment: str | None = None) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False, comment=comment)


def upgrade() -> None:
    for column in (
        sa.Column(
            "origin", sa.String(length=20), server_default="webhook", nullable=False, comment="sweep: no webhook has brought it"
        ),
        sa.Column(
            "fetched_payload",
            postgresql.JSONB(),
            nullable=True,
            comment="what the source's API said of the entity; goes over the event's payload",
        ),
        _at("fetched_at", is_optional=True),
    ):
        op.add_column("maintenance_event_hooks", column, schema="cmms")
    op.create_check_constraint(
        op.f("maintenance_event_hooks_origin_known_check"),
        "maintenance_event_hooks",
        "origin IN ('webhook', 'sweep')",
        schema="cmms",
    )
    op.create_index(
        "maintenance_event_hooks_found_by_sweep_idx",
        "maintenance_event_hooks",
        ["created_at"],
        schema="cmms",
        postgresql_where=sa.text("origin = 'sweep'"),
    )
    op.create_table(
        "source_api_tokens",
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False, comment="encrypted with CMMS_SECRET_KEY"),
        sa.Column("changed_by", sa.String(length=200), nullable=False),
        _at("changed_at"),
        sa.PrimaryKeyConstraint("cmms_system_id", name=op.f("source_api_tokens_pkey")),
        schema="cmms",
    )
    op.create_table(
        "sync_requests",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("hook_id", postgresql.UUID(), nullable=True, comment="the event that asked"),
        sa.Column("sync_type", sa.String(length=30), nullable=False),
        sa.Column("scope", postgresql.JSONB(), nullable=False),
        sa.Column("scope_key", sa.String(length=64), nullable=False, comment="requests with the same key become one run"),
        sa.Column("status", sa.String(length=20), server_default="waiting", nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=True, comment="the request whose run serves this one too"),
        sa.Column("dagster_run_id", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        _at("created_at"),
        _at("started_at", is_optional=True),
        _at("ended_at", is_optional=True),
        sa.CheckConstraint("sync_type IN ('equipment', 'running_times')", name=op.f("sync_requests_sync_type_known_check")),
        sa.CheckConstraint(
            "status IN ('waiting', 'requested', 'running', 'success', 'failed', 'cancelled')",
            name=op.f("sync_requests_status_known_check"),
        ),
        sa.ForeignKeyConstraint(
            ["hook_id"],
            ["cmms.maintenance_event_hooks.id"],
            name=op.f("sync_requests_hook_id_fkey"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sync_requests_pkey")),
        sa.UniqueConstraint("hook_id", "scope_key", name=op.f("sync_requests_hook_id_scope_key_key")),
        schema="cmms",
    )
    op.create_index(
        "sync_requests_open_idx",
        "sync_requests",
        ["id"],
        schema="cmms",
        postgresql_where=sa.text("status IN ('waiting', 'requested', 'running')"),
    )
    op.create_table(
        "reconciliation_sweeps",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="running", nullable=False),
        _at("changed_since", comment="of the source's clock: changes from here on were asked for"),
        _at("changed_until", comment="not included; what is newer may still be on its way"),
        _count("entities", "that the source named as changed"),
        _count("known", "that events had brought"),
        _count("waiting", "whose events are in the inbox, not applied yet"),
        _count("missed", "put into the inbox by this sweep"),
        _count("refused", "without a number, or that the inbox could not take"),
        sa.Column("examples", postgresql.JSONB(), server_default="[]", nullable=False, comment="of what was missed"),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("dagster_run_id", sa.String(length=64), nullable=True),
        _at("started_at"),
        _at("ended_at", is_optional=True),
        sa.CheckConstraint("status IN ('running', 'success', 'failed')", name=op.f("reconciliation_sweeps_status_known_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("reconciliation_sweeps_pkey")),
        schema="cmms",
    )
    op.create_index(
        "reconciliation_sweeps_cmms_system_id_started_at_idx",
        "reconciliation_sweeps",
        ["cmms_system_id", sa.text("started_at DESC")],
        schema="cmms",
    )


def downgrade() -> None:
    for table in ("reconciliation_sweeps", "sync_requests", "source_api_tokens"):
        op.drop_table(table, schema="cmms")
    op.drop_index("maintenance_event_hooks_found_by_sweep_idx", "maintenance_event_hooks", schema="cmms")
    op.drop_constraint(op.f("maintenance_event_hooks_origin_known_check"), "maintenance_event_hooks", schema="cmms")
    for name in ("fetched_at", "fetched_payload", "origin"):
        op.drop_column("maintenance_event_hooks", name, schema="cmms")

"""Tokens of the management API, deliveries counted by minute, and what operators put back.

Revision: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _at(name: str, *, is_optional: bool = False) -> "sa.Column[object]":
    default = None if is_optional else sa.text("now()")
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), server_default=default, nullable=is_optional)


def upgrade() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", postgresql.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False, comment="of 256 random bits: it needs no salt"),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        _at("created_at"),
        _at("expires_at", is_optional=True),
        _at("last_used_at", is_optional=True),
        _at("revoked_at", is_optional=True),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f("api_tokens_role_known_check")),
        sa.CheckConstraint("octet_length(token_sha256) = 32", name=op.f("api_tokens_token_sha256_length_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_tokens_pkey")),
        sa.UniqueConstraint("token_sha256", name=op.f("api_tokens_token_sha256_key")),
        schema="cmms",
    )
    op.create_index(
        "api_tokens_name_in_force_key",
        "api_tokens",
        ["name"],
        unique=True,
        schema="cmms",
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "delivery_counts",
        sa.Column("minute", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("cmms_system_id", sa.String(length=100), nullable=False),
        sa.Column("event_type", sa.String(length=50), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False, comment="what the sender was told"),
        sa.Column("deliveries", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('accepted', 'duplicate', 'quarantined')", name=op.f("delivery_counts_outcome_known_check")
        ),
        sa.CheckConstraint("deliveries > 0", name=op.f("delivery_counts_deliveries_positive_check")),
        sa.PrimaryKeyConstraint("minute", "cmms_system_id", "event_type", "outcome", name=op.f("delivery_counts_pkey")),
        schema="cmms",
    )
    for column in (
        sa.Column(
            "retries_total", sa.Integer(), server_default="0", nullable=False, comment="attempts that failed, over all replays"
        ),
        sa.Column("replays", sa.Integer(), server_default="0", nullable=False, comment="how often an operator put it back"),
        sa.Column(
            "replayed_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="when last; latency counts from here"
        ),
    ):
        op.add_column("maintenance_event_hooks", column, schema="cmms")
    op.execute("UPDATE cmms.maintenance_event_hooks SET retries_total = retry_count WHERE retry_count > 0")


def downgrade() -> None:
    for name in ("replayed_at", "replays", "retries_total"):
        op.drop_column("maintenance_event_hooks", name, schema="cmms")
    op.drop_table("delivery_counts", schema="cmms")
    op.drop_table("api_tokens", schema="cmms")

"""A refused record is one row, whatever number of rules it failed; it had one for each of them, with its payload in each.

Downwards the other rules get rows of their own again, so that nothing is lost either way.

Revision: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INDEX = "sync_rejections_open_key"
_FIRST = "the first that it failed, as the next four columns say of it"
_PRIMARY = "the first failure of a record; the others explain it further"
_OTHERS = "what else it failed: rule, severity, column_name, value, message of each; null: nothing"

# rows of one record that were closed at one moment were closed together
_FOLD = """
    WITH placed AS (
        SELECT *, first_value(id) OVER record AS kept_id, row_number() OVER record AS place FROM cmms.sync_rejections
        WINDOW record AS (PARTITION BY sync_type, record_key, status, resolved_at ORDER BY is_primary DESC, id)
    ), folded AS (
        SELECT kept_id, min(first_seen_at) AS first_seen_at, max(last_seen_at) AS last_seen_at, max(times_seen) AS times_seen,
               jsonb_agg(
                   jsonb_build_object('rule', rule, 'severity', severity, 'column_name', column_name, 'value', value,
                                      'message', message)
                   ORDER BY place
               ) FILTER (WHERE place > 1) AS others
        FROM placed GROUP BY kept_id HAVING count(*) > 1
    ), gone AS (
        DELETE FROM cmms.sync_rejections USING placed WHERE sync_rejections.id = placed.id AND placed.place > 1
    )
    UPDATE cmms.sync_rejections AS kept
    SET other_failures = folded.others, first_seen_at = folded.first_seen_at, last_seen_at = folded.last_seen_at,
        times_seen = folded.times_seen
    FROM folded WHERE kept.id = folded.kept_id
"""
_UNFOLD = """
    INSERT INTO cmms.sync_rejections
        (sync_type, record_key, rule, is_primary, severity, column_name, value, message, payload, plant_code, equipment_number,
         date, status, times_seen, first_seen_at, last_seen_at, sync_log_id, resolved_by, resolution_reason, resolved_at, dialect,
         has_decimal_comma)
    SELECT kept.sync_type, kept.record_key, other.rule, false, other.severity, other.column_name, other.value, other.message,
           kept.payload, kept.plant_code, kept.equipment_number, kept.date, kept.status, kept.times_seen, kept.first_seen_at,
           kept.last_seen_at, kept.sync_log_id, kept.resolved_by, kept.resolution_reason, kept.resolved_at, kept.dialect,
           kept.has_decimal_comma
    FROM cmms.sync_rejections AS kept
    CROSS JOIN LATERAL jsonb_to_recordset(kept.other_failures)
        AS other (rule text, severity text, column_name text, value text, message text)
    ORDER BY kept.id
"""


def upgrade() -> None:
    op.execute("DROP VIEW IF EXISTS analytics.stg_cmms__sync_rejections")  # the next build of the marts makes it anew
    op.add_column("sync_rejections", sa.Column("other_failures", pg.JSONB(none_as_null=True), comment=_OTHERS), schema="cmms")
    op.execute(_FOLD)
    _make_index("sync_type", "record_key")
    op.drop_column("sync_rejections", "is_primary", schema="cmms")
    op.alter_column("sync_rejections", "rule", comment=_FIRST, schema="cmms")


def downgrade() -> None:
    op.add_column(
        "sync_rejections",
        sa.Column("is_primary", sa.Boolean(), nullable=False, server_default=sa.true(), comment=_PRIMARY),
        schema="cmms",
    )
    op.alter_column("sync_rejections", "is_primary", server_default=None, schema="cmms")
    _make_index("sync_type", "record_key", "rule")
    op.execute(_UNFOLD)
    op.drop_column("sync_rejections", "other_failures", schema="cmms")
    op.alter_column("sync_rejections", "rule", comment=None, schema="cmms")


def _make_index(*columns: str) -> None:
    op.drop_index(_INDEX, "sync_rejections", schema="cmms")
    op.create_index(
        _INDEX, "sync_rejections", list(columns), unique=True, schema="cmms", postgresql_where=sa.text("status = 'open'")
    )

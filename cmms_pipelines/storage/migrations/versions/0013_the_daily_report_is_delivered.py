"""The log of deliveries takes the daily report, which belongs to no alert either.

Revision: 0013
Revises: 0012
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_KIND, _ALONE = "alert_deliveries_kind_known_check", "alert_deliveries_only_a_trial_has_no_alert_check"
_KINDS = "'opened', 'raised', 'repeated', 'resolved', 'trial'"


def upgrade() -> None:
    _replace(f"kind IN ({_KINDS}, 'report')", "(alert_id IS NULL) = (kind IN ('trial', 'report'))")


def downgrade() -> None:
    op.execute("DELETE FROM cmms.alert_deliveries WHERE kind = 'report'")
    _replace(f"kind IN ({_KINDS})", "(alert_id IS NULL) = (kind = 'trial')")


def _replace(kind: str, alone: str) -> None:
    for name, condition in ((_KIND, kind), (_ALONE, alone)):
        op.drop_constraint(op.f(name), "alert_deliveries", schema="cmms", type_="check")
        op.create_check_constraint(op.f(name), "alert_deliveries", condition, schema="cmms")

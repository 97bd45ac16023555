"""A day whose only reading waits for a person, because its counter fell: it has neither hours nor a counter that counts.

Revision: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NAME = "equipment_running_times_says_something_check"
_BEFORE = "running_hours IS NOT NULL OR cumulative_hours IS NOT NULL"
_WAITS = "(readings IS NOT NULL AND source <> 'external_api')"


def upgrade() -> None:
    _replace(f"CHECK ({_BEFORE} OR {_WAITS})")


def downgrade() -> None:
    _replace(f"CHECK ({_BEFORE}) NOT VALID")  # what waits stays: its events have been told, and nobody would tell them again


def _replace(check: str) -> None:
    op.execute(f"ALTER TABLE cmms.equipment_running_times DROP CONSTRAINT {_NAME}, ADD CONSTRAINT {_NAME} {check}")

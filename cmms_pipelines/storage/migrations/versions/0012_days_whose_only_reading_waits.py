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
_KEPT = "what each plant reported, by plant code, when more than one did or the row does not say it all"


def upgrade() -> None:
    _replace(f"CHECK ({_BEFORE} OR {_WAITS})")
    _comment(f"{_KEPT}; a reading of an event whose counter fell waits here, marked")


def downgrade() -> None:
    _replace(f"CHECK ({_BEFORE}) NOT VALID")  # what waits stays: its events have been told, and nobody would tell them again
    _comment(_KEPT)


def _replace(check: str) -> None:
    op.execute(f"ALTER TABLE cmms.equipment_running_times DROP CONSTRAINT {_NAME}, ADD CONSTRAINT {_NAME} {check}")


def _comment(text: str) -> None:
    op.alter_column("equipment_running_times", "readings", comment=text, schema="cmms")

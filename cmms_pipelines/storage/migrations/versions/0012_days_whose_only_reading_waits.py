"""A day whose only reading waits for a person, because its counter fell: it has neither hours nor a counter that counts.

The queue of conflicts says of its columns what they hold, for those who see it in the UI.

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

_OF_CONFLICTS = {
    "cmms_system_id": "the other side",
    "entity_type": "work_order, equipment or meter",
    "entity_key": "number of the order or machine",
    "field": "what both sides had changed",
    "base": "what both sides agreed on last",
    "ours": "the value here; it stands while the conflict is open",
    "theirs": "the value there",
    "rule": "the rule that decided or escalated it",
    "reason": "one sentence for whoever decides",
    "severity": "how grave",
    "status": "whether it waits, was resolved, ended by itself, or was undone",
    "resolution": "the value that counts since",
    "resolved_by": "who decided; the engine where a rule did",
    "hook_id": "the event that brought it; null where none did",
    "ours_by": "who edited it here",
    "occurrences": "how often the source stated something in conflict",
    "resolution_reason": "why it was decided so",
}


def upgrade() -> None:
    _replace(f"CHECK ({_BEFORE} OR {_WAITS})")
    _comment(f"{_KEPT}; a reading of an event whose counter fell waits here, marked")
    for column, comment in _OF_CONFLICTS.items():
        op.alter_column("sync_conflicts", column, comment=comment, schema="cmms")


def downgrade() -> None:
    _replace(f"CHECK ({_BEFORE}) NOT VALID")  # what waits stays: its events have been told, and nobody would tell them again
    _comment(_KEPT)
    for column in _OF_CONFLICTS:
        op.alter_column("sync_conflicts", column, comment=None, schema="cmms")


def _replace(check: str) -> None:
    op.execute(f"ALTER TABLE cmms.equipment_running_times DROP CONSTRAINT {_NAME}, ADD CONSTRAINT {_NAME} {check}")


def _comment(text: str) -> None:
    op.alter_column("equipment_running_times", "readings", comment=text, schema="cmms")

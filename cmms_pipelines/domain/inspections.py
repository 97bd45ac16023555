"""Inspections that are due or done: which one an event is about, and what follows from what was told of it.

What belongs here: key, fields and status of an inspection. What does not: how statements are compared (`domain.told`), reading
the payload (`domain.maintenance_payloads`), and the table (`storage.told_effects`).
"""

from cmms_pipelines.domain.maintenance_payloads import InspectionPayload
from cmms_pipelines.domain.told import Family, Statement, Told, Values, fields_of

DUE = "inspection_due"
COMPLETED = "inspection_completed"


def _key(statement: Statement) -> str:
    """An inspection that nobody announced, and that has no number, is known by the day on which it was done."""
    payload = statement.payload
    if not isinstance(payload, InspectionPayload):
        raise TypeError(f"{statement.event_type} is not about an inspection")
    if payload.inspection_number is not None:
        return payload.inspection_number
    moment = payload.due_at or payload.completed_at or statement.stated_at
    return f"{payload.equipment_number}|{payload.inspection_type or ''}|{moment.date().isoformat()}"


def _derived(told: Told) -> Values:
    """An inspection that was done does not become due again: the next one has a number or a day of its own."""
    values = told.registers.values
    is_completed = COMPLETED in told.first
    completed_at = values.get("completed_at") or (told.first[COMPLETED].isoformat() if is_completed else None)
    return {
        "status": "completed" if is_completed else "due",
        "completed_at": completed_at if is_completed else None,
        "findings": values.get("findings") or [],
        "is_partial": DUE not in told.first,
    }


INSPECTIONS = Family("inspection", _key, {DUE: "created", COMPLETED: "closed"}, fields_of, _derived)

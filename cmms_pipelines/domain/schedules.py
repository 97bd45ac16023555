"""Items of a maintenance plan: which one an event is about, and what follows from what was told of it.

What belongs here: key, fields and status of an item. What does not: maintenance of a work order (`domain.work_orders`), how
statements are compared (`domain.told`), reading the payload (`domain.maintenance_payloads`), and the table
(`storage.told_effects`).
"""

from cmms_pipelines.domain.hours import hours_of
from cmms_pipelines.domain.maintenance_payloads import SchedulePayload
from cmms_pipelines.domain.registers import to_json
from cmms_pipelines.domain.told import Family, Statement, Told, Values, fields_of

SCHEDULED = "maintenance_scheduled"
COMPLETED = "maintenance_completed"
CANCELLED = "maintenance_cancelled"
_STATUS = {SCHEDULED: "scheduled", COMPLETED: "completed", CANCELLED: "cancelled"}
_RANK = {event_type: rank for rank, event_type in enumerate(_STATUS)}


def _key(statement: Statement) -> str:
    payload = _payload(statement)
    if payload.item_number is not None:
        return payload.item_number
    day = payload.scheduled_at or payload.due_at or statement.stated_at
    return f"{payload.equipment_number}|{payload.plan_number or payload.task}|{day.date().isoformat()}"


def _stated(statement: Statement) -> Values:
    payload = _payload(statement)
    stated = fields_of(statement, "estimated_duration", "unit")
    if "estimated_duration" in payload.model_fields_set:
        duration = payload.estimated_duration
        stated["estimated_hours"] = None if duration is None else to_json(hours_of(duration, payload.unit))
    return stated


def _derived(told: Told) -> Values:
    """The newest of the three events says where an item stands, so that it can be scheduled again; at the same time the last."""
    values = told.registers.values
    newest = max(told.last, key=lambda event_type: (told.last[event_type], _RANK[event_type]))
    told_at = told.last[newest].isoformat()
    return {
        "status": _STATUS[newest],
        "completed_at": (values.get("completed_at") or told_at) if newest == COMPLETED else None,
        "cancelled_at": (values.get("cancelled_at") or told_at) if newest == CANCELLED else None,
        "is_partial": SCHEDULED not in told.last,
    }


def _payload(statement: Statement) -> SchedulePayload:
    if not isinstance(statement.payload, SchedulePayload):
        raise TypeError(f"{statement.event_type} is not about an item of a plan")
    return statement.payload


SCHEDULES = Family(
    "maintenance_schedule",
    _key,
    {SCHEDULED: "created", COMPLETED: "closed", CANCELLED: "closed"},
    _stated,
    _derived,
    never_undoes=SCHEDULED,
)

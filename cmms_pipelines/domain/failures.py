"""Failures of machines: which one an event is about, and what follows from what was told of it.

What belongs here: key, fields and status of a failure. What does not: how statements are compared (`domain.told`), reading the
payload (`domain.maintenance_payloads`), and the table (`storage.told_effects`).
"""

from cmms_pipelines.domain.hours import hours_of
from cmms_pipelines.domain.maintenance_payloads import FailurePayload
from cmms_pipelines.domain.registers import to_json, to_millisecond
from cmms_pipelines.domain.told import Family, Statement, Told, Values, fields_of

_EVENT = "equipment_failure"


def _key(statement: Statement) -> str:
    payload = _payload(statement)
    if payload.failure_number is not None:
        return payload.failure_number
    failed_at = payload.failed_at or to_millisecond(statement.stated_at)
    return f"{payload.equipment_number}@{failed_at.isoformat()}"


def _stated(statement: Statement) -> Values:
    payload = _payload(statement)
    stated = fields_of(statement, "downtime", "unit")
    if "downtime" in payload.model_fields_set:
        stated["downtime_hours"] = None if payload.downtime is None else to_json(hours_of(payload.downtime, payload.unit))
    return stated


def _derived(told: Told) -> Values:
    """A failure is open until it is repaired; it began when its source says so, else when it was first told of."""
    values = told.registers.values
    return {
        "status": "repaired" if values.get("repaired_at") else "open",
        "failed_at": values.get("failed_at") or told.first[_EVENT].isoformat(),
        "is_partial": values.get("equipment_number") is None,
    }


def _payload(statement: Statement) -> FailurePayload:
    if not isinstance(statement.payload, FailurePayload):
        raise TypeError(f"{statement.event_type} is not about a failure")
    return statement.payload


FAILURES = Family("failure", _key, {_EVENT: "updated"}, _stated, _derived)

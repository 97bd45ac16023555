"""ServiceChannel: `{"Object": {...}, "EventType": ..., "Action": ..., "Type": ...}`, work orders whole in `Object`.

Three attempts five minutes apart, then the event is gone. Status is a pair: `Primary` (OPEN, IN PROGRESS, COMPLETED, INVOICED)
and `Extended`, which alone tells a cancelled order. `Nte` (not to exceed) is a limit, not a cost.
"""

from collections.abc import Mapping
from typing import Any

from cmms_pipelines.domain.senders.reading import Delivery, Request, instant, iso, named, part, stated, text

EVENT_TYPES = {
    "WorkOrderCreated": "work_order_created",
    "WorkOrderStatusChanged": "work_order_updated",
    "WorkOrderUpdated": "work_order_updated",
    "WorkOrderNoteAdded": "work_order_updated",
    "WorkOrderPriorityChanged": "work_order_updated",
    "WorkOrderScheduledDateChanged": "work_order_updated",
    "WorkOrderReassigned": "work_order_updated",
    "WorkOrderCheckIn": "work_order_updated",
    "WorkOrderCheckOut": "work_order_updated",
}
_PRIMARY = {"INVOICED": "closed", "IN PROGRESS": "in_progress"}
_NOTES_KEPT = 200


def read(request: Request) -> Delivery:
    """Read a delivery of ServiceChannel."""
    body, order = request.body, part(request.body, "Object")
    changed_at = instant(order.get("UpdatedDate"), request.zone)
    return Delivery(text(body.get("EventType")) or "", _order(order, request), changed_at)


def _order(order: Mapping[str, Any], request: Request) -> dict[str, Any]:
    zone = request.zone
    return stated(
        work_order_number=text(order.get("Number")) or text(order.get("Id")),
        title=text(order.get("ProblemCode")),
        description=text(order.get("Description")),
        status=_status(order.get("Status")),
        priority=text(order.get("Priority")),
        work_type=text(order.get("Category")) or text(order.get("Trade")),
        scheduled_at=iso(order.get("ScheduledDate"), zone),
        completed_at=iso(order.get("CompletedDate"), zone),
        due_at=iso(order.get("ExpirationDate"), zone),
        updated_at=iso(order.get("UpdatedDate"), zone),
        notes=_notes(order.get("Notes")),
    )


def _status(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return named(value)
    primary, extended = text(value.get("Primary")), text(value.get("Extended"))
    if extended and "CANCEL" in extended.upper():
        return "cancelled"
    return _PRIMARY.get(primary.upper(), primary) if primary else None


def _notes(value: object) -> list[dict[str, str]] | None:
    if not isinstance(value, list):
        return None
    notes = [
        stated(text=text(note.get("NoteData")), at=iso(note.get("DateCreated")), by=text(note.get("CreatedBy")))
        for note in value[:_NOTES_KEPT]
        if isinstance(note, Mapping)
    ]
    return [note for note in notes if "text" in note] or None

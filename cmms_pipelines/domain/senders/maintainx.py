"""MaintainX: flat bodies without the name of the event, which their members tell.

`{newStatus, oldStatus, occurredAt, orgId, ...}` with a `workOrderId` is a status change; `newWorkOrder` holds a whole order,
beside `oldWorkOrder` when it was changed. A `requestId` alone is a work request, which is no work order and is held.
"""

from collections.abc import Mapping
from typing import Any

from cmms_pipelines.domain.senders.reading import Delivery, Request, instant, iso, named, part, person, stated, text

EVENT_TYPES = {
    "NEW_WORK_ORDER": "work_order_created",
    "WORK_ORDER_CHANGE": "work_order_updated",
    "WORK_ORDER_STATUS_CHANGE": "work_order_updated",
}


def read(request: Request) -> Delivery:
    """Read a delivery of MaintainX."""
    body = request.body
    order = part(body, "newWorkOrder", "workOrder")
    assignees = order.get("assignees")
    payload = stated(
        work_order_number=text(body.get("workOrderId")) or text(order.get("id")),
        status=text(body.get("newStatus")) or text(order.get("status")),
        title=text(order.get("title")),
        description=text(order.get("description")),
        priority=text(order.get("priority")),
        due_at=iso(order.get("dueDate")),
        scheduled_at=iso(order.get("startDate")),
        completed_at=iso(order.get("completedAt")),
        work_type=named(order.get("type")),
        assignee=person(assignees[0]) if isinstance(assignees, list) and assignees else None,
        updated_at=iso(order.get("updatedAt")),
    )
    return Delivery(_name(body), payload, instant(body.get("occurredAt"), request.zone))


def _name(body: Mapping[str, Any]) -> str:
    if "newWorkOrder" in body:
        return "WORK_ORDER_CHANGE" if body.get("oldWorkOrder") else "NEW_WORK_ORDER"
    if "newStatus" in body:
        return (
            "WORK_ORDER_STATUS_CHANGE"
            if "workOrderId" in body
            else "WORK_REQUEST_STATUS_CHANGE"
            if "requestId" in body
            else "STATUS_CHANGE"
        )
    return text(body.get("event")) or ""

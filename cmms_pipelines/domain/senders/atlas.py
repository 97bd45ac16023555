"""Atlas CMMS: 21 event names, the body flat with the changed entity inside.

The name comes in the header `X-Webhook-Event`, which the signature does not cover. What an event *does* is therefore read
from the body alone; the header only names an event that is held. One edit may send three events in any order; each states
the whole entity, and of statements the newest by `occurredAt` counts. Ids of Atlas are its own: which of its fields holds our
equipment number is for the source's `fields` to say.
"""

from collections.abc import Mapping
from typing import Any

from cmms_pipelines.domain.senders.reading import Delivery, Request, instant, iso, named, part, person, stated, text

EVENT_TYPES = {
    "NEW_WORK_ORDER": "work_order_created",
    "WORK_ORDER_CHANGE": "work_order_updated",
    "WORK_ORDER_STATUS_CHANGE": "work_order_updated",
    "NEW_CATEGORY_ON_WORK_ORDER": "work_order_updated",
    "WORK_ORDER_DELETE": "maintenance_cancelled",
    "NEW_ASSET": "asset_created",
    "ASSET_STATUS_CHANGE": "asset_updated",
}
_INACTIVE = {"DOWN", "INACTIVE", "EMERGENCY_SHUTDOWN"}
_IS_ORDER = ("newWorkOrder", "changedWorkOrder", "deleteWorkOrder")
_SHAPES = (
    ("meterTriggerId", "METER_TRIGGER_STATUS_CHANGE"),
    ("newWorkOrder", "NEW_WORK_ORDER"),
    ("deleteWorkOrder", "WORK_ORDER_DELETE"),
    ("newCategoryId", "NEW_CATEGORY_ON_WORK_ORDER"),
    ("newAsset", "NEW_ASSET"),
)


def read(request: Request) -> Delivery:
    """Read a delivery of Atlas."""
    body = request.body
    name = _name(body) or request.headers.get("x-webhook-event", "")
    payload = _asset(body) if "assetId" in body else _order(body)
    return Delivery(name, payload, instant(body.get("occurredAt"), request.zone))


def _name(body: Mapping[str, Any]) -> str:
    for key, name in _SHAPES:
        if key in body:
            return name
    if "requestId" in body or "partId" in body:
        return ""
    if "assetId" in body and "newStatus" in body:
        return "ASSET_STATUS_CHANGE"
    if "workOrderId" in body:
        return "WORK_ORDER_STATUS_CHANGE" if "newStatus" in body else "WORK_ORDER_CHANGE" if "changedWorkOrder" in body else ""
    return ""


def _order(body: Mapping[str, Any]) -> dict[str, Any]:
    order = part(body, *_IS_ORDER)
    is_deleted = "deleteWorkOrder" in body
    return stated(
        work_order_number=text(body.get("workOrderId")) or text(order.get("id")),
        status=None if is_deleted else text(body.get("newStatus")) or text(order.get("status")),
        title=text(order.get("title")) or text(body.get("workOrderTitle")),
        description=text(order.get("description")),
        priority=text(order.get("priority")),
        due_at=iso(order.get("dueDate")),
        work_type=named(order.get("category")) or text(body.get("newCategoryName")),
        assignee=person(order.get("primaryUser")),
        completed_at=iso(order.get("completedOn")),
    )


def _asset(body: Mapping[str, Any]) -> dict[str, Any]:
    asset = part(body, "newAsset", "changedAsset")
    status = text(body.get("newStatus")) or text(asset.get("status"))
    return stated(
        equipment_description=text(asset.get("name")) or text(body.get("assetName")),
        attributes={"atlas_status": status} if status else None,
        is_active=status.upper() not in _INACTIVE if status else None,
    )

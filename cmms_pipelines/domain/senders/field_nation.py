"""Field Nation: `{"event": {"name", "params"}, "timestamp", "workorder": {...}}`, 33 event names.

Any 4xx means that the event is never sent again, so what is not known here is held, never refused. The name of a status event
is the status; the ids that come with it are the sender's own.
"""

from collections.abc import Mapping
from typing import Any

from cmms_pipelines.domain.senders.reading import Delivery, Request, instant, iso, named, part, person, stated, text

_STATUSES = {
    "draft": "requested",
    "published": "open",
    "routed": "open",
    "assigned": "scheduled",
    "confirmed": "scheduled",
    "assigned_cancelled": "open",
    "on_my_way": "scheduled",
    "checked_in": "in_progress",
    "checked_out": "in_progress",
    "work_done": "completed",
    "approved": "completed",
    "paid": "closed",
    "postponed": "on_hold",
    "cancelled": "cancelled",
    "deleted": "cancelled",
}
_ACTIVITIES = (
    "routed", "requested", "declined", "undeclined", "task_completed", "task_incomplete", "message_posted", "provider_upload",
    "custom_field_value_updated", "schedule_updated", "tag_added", "tag_removed", "part_updated",
)  # fmt: skip
_STATUS = "workorder.status."
EVENT_TYPES = {
    **{f"{_STATUS}{status}": "work_order_updated" for status in _STATUSES},
    f"{_STATUS}at_risk": "work_order_updated",
    f"{_STATUS}delayed": "work_order_updated",
    **{f"workorder.{activity}": "work_order_updated" for activity in _ACTIVITIES},
    "workorder.created": "work_order_created",
    f"{_STATUS}cancelled": "maintenance_cancelled",
    f"{_STATUS}deleted": "maintenance_cancelled",
}


def read(request: Request) -> Delivery:
    """Read a delivery of Field Nation."""
    body = request.body
    event, order = part(body, "event"), part(body, "workorder")
    name = text(event.get("name")) or ""
    payload = stated(
        work_order_number=text(order.get("id")) or text(part(event, "params").get("work_order_id")),
        title=text(order.get("title")),
        description=_description(order),
        status=_STATUSES.get(name.removeprefix(_STATUS)) if name.startswith(_STATUS) else None,
        assignee=person(part(order, "assignee").get("user") or order.get("assignee")),
        work_type=named(order.get("type_of_work")),
        scheduled_at=iso(part(part(order, "schedule"), "service_window").get("start")),
    )
    return Delivery(name, payload, instant(body.get("timestamp"), request.zone))


def _description(order: Mapping[str, Any]) -> str | None:
    value = order.get("description")
    return text(value.get("markdown") or value.get("html")) if isinstance(value, Mapping) else text(value)

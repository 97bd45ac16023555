"""Frappe and ERPNext: the document itself, as its webhook was told to send it, told apart by `doctype`.

A webhook of Frappe belongs to one kind of document and one trigger (insert, update, submit, cancel, trash); the body names
neither the trigger nor an id of the event. A document's `docstatus` tells drafts, submitted and cancelled ones apart. Its
times have no offset: they are of the site's time zone, which the source's `time_zone` names; without it the order of arrival
counts.
"""

from collections.abc import Mapping
from typing import Any

from cmms_pipelines.domain.senders.reading import Delivery, Request, instant, iso, stated, text

EVENT_TYPES = {
    "Asset": "asset_updated",
    "Asset Repair": "work_order_updated",
    "Asset Maintenance Log": "work_order_updated",
    "Maintenance Visit": "work_order_updated",
    "Maintenance Schedule": "maintenance_scheduled",
}
_CANCELLED = 2
_STATUS_FIELDS = ("repair_status", "maintenance_status", "completion_status", "status")
_STATUSES = {
    "pending": "open",
    "overdue": "open",
    "partially completed": "in_progress",
    "fully completed": "completed",
    "submitted": "scheduled",
    "draft": "requested",
}


def read(request: Request) -> Delivery:
    """Read a delivery of Frappe."""
    body = request.body
    doctype = text(body.get("doctype")) or ""
    changed_at = instant(body.get("modified"), request.zone)
    payload = _asset(body) if doctype == "Asset" else _order(body, request)
    return Delivery(doctype, payload | stated(updated_at=changed_at.isoformat() if changed_at else None), changed_at)


def _order(body: Mapping[str, Any], request: Request) -> dict[str, Any]:
    zone = request.zone
    return stated(
        work_order_number=text(body.get("name")),
        equipment_number=text(body.get("asset")),
        title=text(body.get("task_name")) or text(body.get("asset_name")) or text(body.get("subject")),
        description=text(body.get("description")) or text(body.get("actions_performed")),
        status=_status(body),
        work_type=text(body.get("maintenance_type")) or text(body.get("doctype")),
        assignee=text(body.get("assign_to_name")) or text(body.get("assigned_to")),
        due_at=text(body.get("due_date")),
        started_at=iso(body.get("failure_date"), zone),
        completed_at=iso(body.get("completion_date"), zone),
        cost=body.get("total_repair_cost") or body.get("repair_cost"),
    )


def _asset(body: Mapping[str, Any]) -> dict[str, Any]:
    status = text(body.get("status"))
    return stated(
        equipment_number=text(body.get("name")),
        equipment_description=text(body.get("asset_name")),
        is_active=status.lower() not in {"scrapped", "sold", "cancelled"} if status else None,
    )


def _status(body: Mapping[str, Any]) -> str | None:
    if body.get("docstatus") == _CANCELLED:
        return "cancelled"
    found = next((value for name in _STATUS_FIELDS if (value := text(body.get(name)))), None)
    return _STATUSES.get(found.lower(), found) if found else None

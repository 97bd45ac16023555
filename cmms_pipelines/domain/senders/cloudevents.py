"""CloudEvents 1.0, structured (`application/cloudevents+json`) and binary (`ce-*` headers), and what SAP S/4HANA says with them.

SAP's business events carry only the key of what changed; the rest is for the processing to fetch. An event of another sender
whose type is one of ours (alone or after its last dot) has our payload as its data.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from cmms_pipelines.domain.events import EventType
from cmms_pipelines.domain.senders.reading import Delivery, Request, instant, part, stated, text

MEDIA_TYPE = "application/cloudevents+json"
BATCH_MEDIA_TYPE = "application/cloudevents-batch+json"
_SAP_TYPE = re.compile(r"sap\.s4\.beh\.[a-z]+\.v\d+\.([A-Za-z]+)\.([A-Za-z]+)\.v\d+", re.ASCII)
_SAP = {
    ("MaintenanceOrder", "Created"): "work_order_created",
    ("MaintenanceOrder", "Changed"): "work_order_updated",
    ("MaintenanceOrder", "Released"): "work_order_updated",
    ("MaintenanceOrder", "TechnicallyCompleted"): "maintenance_completed",
    ("MaintenanceOrder", "Closed"): "work_order_closed",
    ("Equipment", "Created"): "asset_created",
    ("Equipment", "Changed"): "asset_updated",
}
_ORDER_FIELDS = ("MaintenanceOrder", "MaintenanceOrderID")
_KNOWN = frozenset(event_type.value for event_type in EventType)


def read(request: Request) -> Delivery:
    """Read a CloudEvent of either mode; its source and id together tell it from every other."""
    binary = _header(request, "specversion") is not None
    attributes: Mapping[str, Any] = (
        {name: _header(request, name) for name in ("type", "source", "id", "time", "subject")} if binary else request.body
    )
    data = request.body if binary else part(request.body, "data")
    name = text(attributes.get("type")) or ""
    source, identifier = text(attributes.get("source")), text(attributes.get("id"))
    event_id = f"{source or ''} {identifier}" if identifier else None
    payload = _sap_payload(data) if _SAP_TYPE.fullmatch(name) else dict(data)
    return Delivery(name, payload, instant(attributes.get("time"), request.zone), event_id)


def event_type_of(name: str) -> str | None:
    """Return the canonical event type that a CloudEvents type stands for."""
    sap = _SAP_TYPE.fullmatch(name)
    if sap:
        return _SAP.get((sap[1], sap[2]))
    last = name.rpartition(".")[2]
    return last if last in _KNOWN else None


def _sap_payload(data: Mapping[str, Any]) -> dict[str, Any]:
    return stated(
        work_order_number=next((number for name in _ORDER_FIELDS if (number := text(data.get(name)))), None),
        equipment_number=text(data.get("Equipment")),
        plant_code=text(data.get("MaintenancePlanningPlant")) or text(data.get("MaintenancePlant")),
        title=text(data.get("MaintenanceOrderDesc")),
        work_type=text(data.get("MaintenanceOrderType")) or text(data.get("OrderType")),
        equipment_description=text(data.get("EquipmentName")),
    )


def _header(request: Request, name: str) -> str | None:
    value = request.headers.get(f"ce-{name}")
    return unquote(value) if value is not None else None

"""Kinds of senders: what a source of each kind is configured with unless it says otherwise.

What belongs here: one entry per kind, read by the configuration's defaults, the listings and the tools that send samples.
What does not: how a scheme signs (`domain.signatures`), how a body is read (`domain.event_formats`).

`is_retrying` says whether the sender sends again after a 429 or 503. Where it does not, or nobody promised it, a refusal
loses the event: nothing is shed and no rate is limited unless the source's configuration asks for it.
"""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cmms_pipelines.domain.event_formats import BodyFormat
from cmms_pipelines.domain.signatures import SchemeName


@dataclass(frozen=True)
class Preset:
    """A kind of sender; `note` is one sentence for whoever sets one up."""

    title: str
    scheme: SchemeName
    body_format: BodyFormat
    is_retrying: bool
    note: str


PRESETS: Mapping[str, Preset] = {
    "standard_webhooks": Preset(
        "Standard Webhooks, Svix",
        SchemeName.STANDARD_WEBHOOKS,
        BodyFormat.CANONICAL,
        is_retrying=True,
        note="The secret is the one shown as whsec_...; id and time are signed, and the id tells duplicates.",
    ),
    "maintainx": Preset(
        "MaintainX",
        SchemeName.MAINTAINX,
        BodyFormat.MAINTAINX,
        is_retrying=False,
        note="The time is signed. Bodies have no event name and no id: the body itself tells duplicates.",
    ),
    "atlas": Preset(
        "Atlas CMMS",
        SchemeName.ATLAS,
        BodyFormat.ATLAS,
        is_retrying=False,
        note="Never sends again. Name the field that holds our equipment number in `fields`.",
    ),
    "frappe": Preset(
        "Frappe, ERPNext",
        SchemeName.FRAPPE,
        BodyFormat.FRAPPE,
        is_retrying=False,
        note="Gives up after three tries within seconds. Set `time_zone` to the site's, whose times have no offset.",
    ),
    "servicechannel": Preset(
        "ServiceChannel",
        SchemeName.SERVICECHANNEL,
        BodyFormat.SERVICECHANNEL,
        is_retrying=False,
        note="Three tries five minutes apart, then the event is gone.",
    ),
    "field_nation": Preset(
        "Field Nation",
        SchemeName.FIELD_NATION,
        BodyFormat.FIELD_NATION,
        is_retrying=False,
        note="Any 4xx means never again.",
    ),
    "github": Preset(
        "GitHub style",
        SchemeName.GITHUB,
        BodyFormat.CANONICAL,
        is_retrying=False,
        note="For everything that signs as GitHub does. Bodies of your own shape: format `mapped`.",
    ),
    "hmac_hex": Preset(
        "Hex HMAC-SHA256 of the body",
        SchemeName.HMAC_HEX,
        BodyFormat.CANONICAL,
        is_retrying=False,
        note="Our own default, in X-HMAC-Signature, with or without sha256= before it.",
    ),
    "hmac_base64": Preset(
        "Base64 HMAC-SHA256 of the body",
        SchemeName.HMAC_BASE64,
        BodyFormat.CANONICAL,
        is_retrying=False,
        note="As hmac_hex, the digest in base64.",
    ),
    "cloudevents": Preset(
        "CloudEvents with a bearer token (SAP S/4HANA business events)",
        SchemeName.BEARER,
        BodyFormat.CLOUDEVENTS,
        is_retrying=True,
        note="Proves who sends, not what was sent: only over TLS. The token may come as `access_token` in the query.",
    ),
    "unsigned": Preset(
        "No signature (Odoo)",
        SchemeName.UNSIGNED,
        BodyFormat.CANONICAL,
        is_retrying=False,
        note="ANYBODY who reaches the address can send as this system. Needs allow_unsigned=true; limit the network.",
    ),
}
_BY_SCHEME = {preset.scheme: preset for preset in PRESETS.values()}
_ORDER = "WO-SAMPLE-1"


def preset_of(scheme: SchemeName) -> Preset:
    """Return the preset whose scheme this is; every scheme has one."""
    return _BY_SCHEME[scheme]


def sample_body(body_format: BodyFormat, now: dt.datetime, event_id: uuid.UUID) -> dict[str, Any]:
    """Return a body as a sender of this format would write it about a new work order, recognisable as a sample.

    A source of format `mapped` has a shape of its own: it gets the canonical body, which its mapping will hold.
    """
    at = now.isoformat()
    order = {"id": _ORDER, "title": "A sample work order", "status": "OPEN", "priority": "MEDIUM"}
    bodies: dict[BodyFormat, dict[str, Any]] = {
        BodyFormat.ATLAS: {"workOrderId": _ORDER, "newWorkOrder": order, "occurredAt": at, "companyId": 1},
        BodyFormat.MAINTAINX: {"workOrderId": _ORDER, "newWorkOrder": order, "occurredAt": at, "orgId": 1},
        BodyFormat.FRAPPE: {
            "doctype": "Asset Repair",
            "name": _ORDER,
            "description": "A sample work order",
            "repair_status": "Pending",
            "modified": at,
        },
        BodyFormat.SERVICECHANNEL: {
            "Object": {"Number": _ORDER, "Description": "A sample work order", "Status": {"Primary": "OPEN"}, "UpdatedDate": at},
            "Type": "WoEvent",
            "Action": "Create",
            "EventType": "WorkOrderCreated",
        },
        BodyFormat.FIELD_NATION: {
            "event": {"name": "workorder.created", "params": {"work_order_id": _ORDER}},
            "timestamp": at,
            "workorder": {"id": _ORDER, "title": "A sample work order"},
        },
        BodyFormat.CLOUDEVENTS: {
            "specversion": "1.0",
            "type": "work_order_created",
            "source": "/sample",
            "id": str(event_id),
            "time": at,
            "data": {"work_order_number": _ORDER, "title": "A sample work order", "status": "open"},
        },
    }
    canonical = {
        "event_id": str(event_id),
        "event_type": "work_order_created",
        "timestamp": at,
        "payload": {"work_order_number": _ORDER, "title": "A sample work order", "priority": "medium"},
    }
    return bodies.get(body_format, canonical)

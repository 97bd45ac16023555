"""What each sender writes becomes a canonical event; what is not understood is held whole, and nothing raises."""

import datetime as dt
import json
import uuid
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.event_formats import NO_MAPPING, BodyFormat, EventMapping, known_names, read_event
from cmms_pipelines.domain.event_payloads import PAYLOADS, Refusal, read_payload
from cmms_pipelines.domain.events import CanonicalEvent, EventType, HookStatus, entity_key
from cmms_pipelines.domain.presets import sample_body
from cmms_pipelines.domain.senders.reading import instant
from cmms_pipelines.domain.strict_json import BodyRefusal

AT = dt.datetime(2026, 3, 1, 8, 30, tzinfo=dt.UTC)
ORDER = {"id": 12345, "title": "HVAC check", "status": "IN_PROGRESS", "priority": "HIGH", "dueDate": "2026-04-15T17:00:00Z"}


def read(
    body_format: BodyFormat, body: object, headers: dict[str, str] | None = None, mapping: EventMapping = NO_MAPPING
) -> CanonicalEvent:
    event = read_event(body_format, json.dumps(body).encode(), headers or {}, mapping)
    assert isinstance(event, CanonicalEvent)
    return event


@pytest.mark.parametrize("body_format", BodyFormat)
def test_the_sample_of_each_format_is_applicable_and_about_the_sample_order(body_format: BodyFormat) -> None:
    fields = {"event_type": ("/event_type",), "timestamp": ("/timestamp",), "work_order_number": ("/payload/work_order_number",)}
    mapping = EventMapping(fields=fields) if body_format is BodyFormat.MAPPED else NO_MAPPING
    event = read(body_format, sample_body(body_format, AT, uuid.uuid4()), mapping=mapping)
    assert event.first_status is HookStatus.PENDING
    assert event.occurred_at == AT
    assert entity_key(event) == "work_order:WO-SAMPLE-1"
    assert not isinstance(read_payload(event.event_type, event.payload), Refusal)


def test_atlas_says_what_changed_by_its_members_and_not_by_a_header_that_nobody_signed() -> None:
    body = {"workOrderId": 12345, "previousStatus": "OPEN", "newStatus": "COMPLETE", "changedWorkOrder": ORDER}
    lied = {"x-webhook-event": "WORK_ORDER_DELETE"}
    event = read(BodyFormat.ATLAS, body | {"occurredAt": "2026-03-01T08:30:00Z"}, lied)
    assert (event.event_type, event.occurred_at) == ("work_order_updated", AT)
    assert event.payload == {
        "work_order_number": "12345",
        "status": "COMPLETE",
        "title": "HVAC check",
        "priority": "HIGH",
        "due_at": "2026-04-15T17:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"meterTriggerId": 4, "meterId": 3, "workOrderId": 1, "readingValue": 85}, "METER_TRIGGER_STATUS_CHANGE"),
        ({"requestId": 6, "newStatus": "APPROVED", "workOrderId": 1}, "WORK_REQUEST_STATUS_CHANGE"),
        ({"partId": 1, "newQuantity": 4.0, "workOrderId": 1}, "PART_QUANTITY_CHANGED"),
        ({"assetId": 222, "newStatus": "DOWN", "assetName": "Belt"}, "ASSET_STATUS_CHANGE"),
        ({"vendorId": 8}, "NEW_VENDOR"),
    ],
)
def test_what_atlas_says_about_other_things_is_held_whole_under_its_own_name(body: dict[str, Any], name: str) -> None:
    event = read(BodyFormat.ATLAS, body, {"x-webhook-event": name})
    assert (event.event_type, event.first_status, event.payload) == (name, HookStatus.HELD, body)


def test_a_source_can_say_which_field_holds_our_equipment_number() -> None:
    body = {"assetId": 222, "newStatus": "DOWN", "changedAsset": {"name": "Belt", "customId": "10020570"}}
    mapping = EventMapping(fields={"equipment_number": ("/newAsset/customId", "/changedAsset/customId")})
    event = read(BodyFormat.ATLAS, body, mapping=mapping)
    assert event.event_type == "asset_updated"
    assert event.payload["equipment_number"] == "10020570"
    assert event.payload["is_active"] is False


def test_a_source_can_say_what_an_event_of_its_own_means() -> None:
    body = {"meterTriggerId": 4, "workOrderId": 1, "triggeredWorkOrder": {"title": "Too hot"}}
    mapping = EventMapping({"METER_TRIGGER_STATUS_CHANGE": "work_order_created"}, {"title": ("/triggeredWorkOrder/title",)})
    event = read(BodyFormat.ATLAS, body, mapping=mapping)
    assert (event.event_type, event.payload["title"]) == ("work_order_created", "Too hot")


def test_maintainx_tells_its_events_by_their_members() -> None:
    common = {"occurredAt": "2026-03-01T08:30:00.000Z", "orgId": 1}
    changed = read(BodyFormat.MAINTAINX, common | {"workOrderId": 7, "newStatus": "DONE", "oldStatus": "OPEN"})
    assert (changed.event_type, changed.payload) == ("work_order_updated", {"work_order_number": "7", "status": "DONE"})
    created = read(BodyFormat.MAINTAINX, common | {"newWorkOrder": {"id": 7, "title": "Pump", "status": "OPEN"}})
    assert (created.event_type, created.payload["title"]) == ("work_order_created", "Pump")
    request = read(BodyFormat.MAINTAINX, common | {"requestId": 9, "newStatus": "APPROVED", "oldStatus": "PENDING"})
    assert (request.event_type, request.first_status) == ("WORK_REQUEST_STATUS_CHANGE", HookStatus.HELD)


def test_times_of_frappe_need_the_zone_of_its_site() -> None:
    body = {"doctype": "Asset Repair", "name": "ACC-1", "modified": "2026-03-01 09:30:00.123456", "repair_status": "Pending"}
    assert read(BodyFormat.FRAPPE, body).occurred_at is None
    zoned = read(BodyFormat.FRAPPE, body, mapping=EventMapping(zone=ZoneInfo("Europe/Berlin")))
    assert zoned.occurred_at == AT.replace(microsecond=123456)
    assert read(BodyFormat.FRAPPE, body | {"docstatus": 2}).payload["status"] == "cancelled"
    assert read(BodyFormat.FRAPPE, body | {"doctype": "Sales Invoice"}).event_type == "Sales_Invoice"


def test_servicechannel_cancels_by_the_second_half_of_a_status() -> None:
    body = {"EventType": "WorkOrderStatusChanged", "Object": {"Number": 5, "UpdatedDate": "2026-03-01T08:30:00.1234567+00:00"}}
    for status, expected in (
        ({"Primary": "COMPLETED", "Extended": "CANCELLED"}, "cancelled"),
        ({"Primary": "INVOICED", "Extended": ""}, "closed"),
        ({"Primary": "IN PROGRESS"}, "in_progress"),
    ):
        event = read(BodyFormat.SERVICECHANNEL, body | {"Object": body["Object"] | {"Status": status}})  # type: ignore[operator]
        assert (event.payload["work_order_number"], event.payload["status"]) == ("5", expected)
        assert event.occurred_at == AT.replace(microsecond=123456)


def test_the_name_of_a_field_nation_event_is_the_status() -> None:
    body = {"event": {"name": "workorder.status.work_done"}, "timestamp": "2026-03-01T02:30:00-06:00", "workorder": {"id": 1}}
    event = read(BodyFormat.FIELD_NATION, body)
    assert (event.event_type, event.payload["status"], event.occurred_at) == ("work_order_updated", "completed", AT)
    unknown = read(BodyFormat.FIELD_NATION, body | {"event": {"name": "workorder.status.teleported"}})
    assert (unknown.event_type, unknown.first_status) == ("workorder.status.teleported", HookStatus.HELD)


def test_cloudevents_of_both_modes_are_the_same_event() -> None:
    attributes = {"id": "A-1", "source": "/sap/pm", "time": "2026-03-01T08:30:00Z"}
    attributes["type"] = "sap.s4.beh.maintenanceorder.v1.MaintenanceOrder.Created.v1"
    data = {"MaintenanceOrder": "000004000123"}
    structured = read(BodyFormat.CLOUDEVENTS, attributes | {"specversion": "1.0", "data": data})
    binary = read(
        BodyFormat.CLOUDEVENTS, data, {f"ce-{name}": text for name, text in attributes.items()} | {"ce-specversion": "1.0"}
    )
    assert structured == binary
    assert (structured.event_type, structured.event_id) == ("work_order_created", "/sap/pm A-1")
    assert entity_key(structured) == "work_order:4000123"


def test_the_end_of_a_long_type_names_what_is_held() -> None:
    name = "sap.s4.beh.maintenancenotification.v1.MaintenanceNotification.Created.v1"
    event = read(BodyFormat.CLOUDEVENTS, {"specversion": "1.0", "type": name, "source": "/s", "id": "1", "data": {}})
    assert event.first_status is HookStatus.HELD
    assert name.endswith(event.event_type)


def test_a_shape_of_ones_own_is_mapped_by_pointers() -> None:
    fields = {"event_type": ("/kind",), "timestamp": ("/when",), "event_id": ("/no",), "work_order_number": ("/order/0/nr",)}
    body = {"kind": "done", "when": 1772353800, "no": 17, "order": [{"nr": "4711"}]}
    event = read(BodyFormat.MAPPED, body, mapping=EventMapping({"done": "maintenance_completed"}, fields))
    expected = CanonicalEvent("maintenance_completed", AT, {"work_order_number": "4711"}, event_id="17")
    assert event == expected
    held = read(BodyFormat.MAPPED, body, mapping=EventMapping({}, fields))
    assert (held.event_type, held.first_status, held.payload) == ("done", HookStatus.HELD, body)


def test_every_name_that_a_format_knows_leads_to_a_type_of_ours() -> None:
    for body_format in BodyFormat:
        assert set(known_names(body_format).values()) <= {event_type.value for event_type in EventType}
        assert all(event_type in PAYLOADS for event_type in known_names(body_format).values())


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_MEMBERS = (
    "workOrderId", "newWorkOrder", "changedWorkOrder", "assetId", "newAsset", "newStatus", "occurredAt", "requestId", "doctype",
    "name", "modified", "status", "Object", "EventType", "event", "workorder", "timestamp", "type", "source", "id", "time",
    "data", "docstatus",
)  # fmt: skip


@given(body_format=st.sampled_from(BodyFormat), body=st.dictionaries(st.sampled_from(_MEMBERS), _JSON, max_size=6))
def test_no_body_raises_and_none_is_lost(body_format: BodyFormat, body: dict[str, Any]) -> None:
    event = read_event(body_format, json.dumps(body).encode(), {"x-webhook-event": "X"}, NO_MAPPING)
    if body_format is not BodyFormat.CANONICAL and not isinstance(event, BodyRefusal):
        assert 0 < len(event.event_type) <= 50
        assert event.first_status is HookStatus.PENDING or event.payload == body
    if body_format is not BodyFormat.CANONICAL and isinstance(event, BodyRefusal):
        assert event.rule in {"lone_surrogate", "nul_character"}


@pytest.mark.parametrize(
    "value", ["", "yesterday", "2026-03-01", "2026-03-01T08:30:00", 10**30, -(10**30), True, None, [], "9" * 500]
)
def test_a_time_that_cannot_be_trusted_is_none(value: object) -> None:
    assert instant(value) is None

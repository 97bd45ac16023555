"""Work orders of the external API, mapped from each dialect to what an event would say."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cmms_pipelines.domain.dialects import dialect_of
from cmms_pipelines.domain.event_payloads import WorkOrderPayload, stated_fields
from cmms_pipelines.domain.judged_work_orders import judge, payloads
from cmms_pipelines.domain.work_order_records import read_system_status
from tests.domain.samples import ZONES, maintenance_order, order_record


def payload_of(dialect: str, record: dict[str, Any]) -> WorkOrderPayload:
    (payload,) = payloads(dialect_of(dialect).work_orders_frame([record], ZONES))
    return payload


def test_an_order_of_ims_says_what_an_event_about_it_would_say() -> None:
    payload = payload_of("ims", order_record())
    assert payload.updated_at == datetime(2013, 4, 23, 2, tzinfo=UTC)
    assert stated_fields(payload) == {
        "work_order_number": "4000123",
        "equipment_number": "N526JB",
        "plant_code": "B6LG",
        "status": "completed",
        "title": "250 H INSPECTION",
        "work_type": "PM01",
        "assignee": "MECH",
        "due_at": datetime(2013, 4, 25, 23, 59, 59, tzinfo=UTC),
        "completed_at": datetime(2013, 4, 23, tzinfo=UTC),
        "closed_at": None,
    }


@pytest.mark.parametrize("dialect", ["odata_v2", "odata_v4"])
def test_an_order_of_odata_tells_its_planned_start_and_priority_and_no_dates_of_completion(dialect: str) -> None:
    payload = payload_of(dialect, maintenance_order())
    stated = stated_fields(payload)
    assert (payload.work_order_number, payload.status, payload.priority) == ("4000123", "completed", "high")
    assert (payload.scheduled_at, payload.due_at) == (
        datetime(2013, 4, 22, tzinfo=UTC),
        datetime(2013, 4, 25, 23, 59, 59, tzinfo=UTC),
    )
    assert not {"completed_at", "closed_at"} & set(stated)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("CRTD", "requested"),
        ("REL  NMAT PRC", "open"),
        ("REL PCNF", "in_progress"),
        ("rel cnf", "in_progress"),
        ("TECO REL CNF", "completed"),
        ("CLSD TECO", "closed"),
        ("CRTD DLFL", "cancelled"),
        ("  ", None),
        (None, None),
    ],
)
def test_of_several_system_statuses_the_furthest_counts(text: str | None, status: str | None) -> None:
    assert read_system_status(text) == status


def test_of_several_records_of_one_order_the_newest_counts() -> None:
    older, newer = order_record(order_status="REL", updated_at="2013-04-22T02:00:00Z"), order_record()
    for records in ([older, newer], [newer, older]):
        judged = judge(dialect_of("ims").work_orders_frame(records, ZONES), {"B6LG": 1}, {"N526JB": 1})
        assert (judged.rows["status"].to_list(), judged.records_merged) == (["completed"], 1)

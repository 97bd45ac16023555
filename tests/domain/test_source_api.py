"""What a source's API may be configured as: addresses that cannot lead elsewhere, and what a reply says in our fields."""

import datetime as dt
from typing import Any

import pytest
from pydantic import ValidationError

from cmms_pipelines.domain.source_api import Changes, Entity, EntityKind, SourceApi, is_key_only, with_number
from cmms_pipelines.domain.webhook_source import WebhookSource

ENTITIES = {"work_order": {"path": "orders/{number}"}}


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://h/", "file:///etc/passwd", "https://", "https://user:secret@h/", "https://h/?x=1", "https://h/#x", "h/api",
        "http://169.254.169.254/latest", "http://[fe80::1]/", "http://h:99999/",
    ],
)  # fmt: skip
def test_an_address_that_is_no_plain_base_is_refused(base_url: str) -> None:
    with pytest.raises(ValidationError):
        SourceApi.model_validate({"base_url": base_url, "entities": ENTITIES})


@pytest.mark.parametrize(
    "path",
    [
        "orders", "http://evil/{number}", "//evil/{number}/..", "../{number}", "a/../{number}", "orders/{number}/{token}",
        "orders/{number}#x", "orders\\{number}", "orders/{number} x",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_or_names_no_number_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        Entity(path=path)


def test_an_address_quotes_its_number() -> None:
    entity = Entity(path="A_Order('{number}')")
    assert entity.address("4711") == "A_Order('4711')"
    assert entity.address("../x?y#z") == "A_Order('..%2Fx%3Fy%23z')"
    assert entity.address("..") is None


def test_changes_are_asked_for_in_utc() -> None:
    changes = Changes(path="orders?from={since}&to={until}", updated_at="/changed")
    at = dt.datetime(2026, 3, 2, 13, 0, 0, 5, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert changes.address(at, at) == "orders?from=2026-03-02T12:00:00Z&to=2026-03-02T12:00:00Z"
    assert changes.changed_at({"changed": "2026-03-02T13:00:00+01:00"}) == dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
    assert changes.changed_at({}) is None


@pytest.mark.parametrize(
    ("event_type", "payload", "thin", "kind"),
    [
        ("work_order_updated", {"work_order_number": "1"}, False, EntityKind.WORK_ORDER),
        ("work_order_updated", {"wo_number": 1, "plant_code": "A", "work_type": "PM01"}, False, EntityKind.WORK_ORDER),
        ("work_order_updated", {"work_order_number": "1", "title": "A"}, False, None),
        ("work_order_updated", {"work_order_number": "1", "title": "A"}, True, EntityKind.WORK_ORDER),
        ("work_order_updated", {"equipment_number": "1"}, True, None),
        ("asset_updated", {"equipment_number": "1"}, False, None),
        ("meter_reading_recorded", {"equipment_number": "1", "reading": 5}, True, None),
    ],
)
def test_an_event_is_fetched_where_it_is_thin_and_its_kind_can_be(
    event_type: str, payload: dict[str, Any], thin: bool, kind: EntityKind | None
) -> None:
    api = SourceApi.model_validate({"base_url": "https://h", "entities": ENTITIES, "thin": thin})
    assert api.fetched_kind(event_type, payload) is kind


def test_a_fetched_entity_keeps_the_events_own_key_and_must_not_name_another() -> None:
    assert is_key_only({"work_order_number": "1"})
    assert not is_key_only({"work_order_number": "1", "status": None})
    said = {"work_order_number": "0001", "title": "A", "equipment_number": "N1"}
    assert with_number(EntityKind.WORK_ORDER, said, "1") == {"title": "A", "equipment_number": "N1"}
    assert with_number(EntityKind.WORK_ORDER, said, "2") is None


def test_the_syncs_that_a_source_may_start_fit_their_events() -> None:
    WebhookSource.model_validate({"starts_syncs": {"sync_requested": "named_scope", "asset_created": "equipment_of_plant"}})
    for starts in ({"sync_requested": "equipment_of_plant"}, {"asset_created": "named_scope"}):
        with pytest.raises(ValidationError, match="starts_syncs"):
            WebhookSource.model_validate({"starts_syncs": starts})

"""What an applied event leaves behind, in the tables and in its own row; once, whatever edits and readings were there before."""

from datetime import timedelta

import pytest

from tests.conftest import Database
from tests.storage.inbox_world import NOON, add_machines, drain_now, inbox, order_row, query, send, work_order


def test_an_event_is_applied_marked_and_explained(database: Database) -> None:
    add_machines(database.url, "N526JB")
    work_order(database.url, type="created", equipment_number="N526JB", title="250 h inspection", priority=2, cost="1,250.5")
    report = drain_now(database.url)
    assert (report.claimed, report.applied, report.by_type) == (1, 1, {"work_order_created": 1})
    order = order_row(database.url)
    assert (order["status"], order["title"], order["priority"], order["cost"], order["is_partial"]) == (
        "open",
        "250 h inspection",
        "high",
        1250.5,
        False,
    )
    assert query(database.url, "SELECT equipment_number FROM cmms.work_orders JOIN cmms.equipment e ON e.id = equipment_id") == [
        ("N526JB",)
    ]
    hook = query(
        database.url,
        "SELECT processing_status, dagster_run_id, processed_at >= created_at, outcome FROM cmms.maintenance_event_hooks",
    )
    assert hook[0][:3] == ("processed", "a-run", True)
    assert hook[0][3]["changed"]["priority"] == {"before": None, "after": "high", "reason": "first statement of the source"}
    assert report.percentile_ms(1.0) is not None


def test_a_replay_changes_nothing(database: Database) -> None:
    work_order(database.url, type="created", title="A")
    work_order(database.url, status="in_progress", at=5)
    drain_now(database.url)
    before = order_row(database.url)
    query(database.url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'pending'")
    report = drain_now(database.url)
    assert (report.ignored, report.applied) == (2, 0)
    assert order_row(database.url) == before


def test_an_update_before_the_creation_makes_a_partial_order_that_the_creation_completes(database: Database) -> None:
    work_order(database.url, title="later title", at=5)
    drain_now(database.url)
    assert (order_row(database.url)["is_partial"], order_row(database.url)["status"]) == (True, "requested")
    work_order(database.url, type="created", title="first title", description="all of it", at=0)
    drain_now(database.url)
    order = order_row(database.url)
    assert (order["is_partial"], order["status"], order["title"], order["description"]) == (
        False,
        "open",
        "later title",
        "all of it",
    )


def test_an_edit_made_here_stays_when_an_event_says_nothing_new_about_that_field(database: Database) -> None:
    work_order(database.url, type="created", title="A", description="as created")
    drain_now(database.url)
    query(database.url, "UPDATE cmms.work_orders SET description = 'edited here'")
    work_order(database.url, title="B", description="as created", at=5)
    drain_now(database.url)
    order = order_row(database.url)
    assert (order["title"], order["description"], order["version"]) == ("B", "edited here", 2)


def test_asset_events_change_the_machine_and_keep_what_they_do_not_name(database: Database) -> None:
    add_machines(database.url, "N526JB")
    send(database.url, "asset_updated", {"asset_id": "N526JB", "name": "A320-232", "attributes": {"BAUJJ": "2005"}})
    send(database.url, "asset_deleted", {"asset_id": "N526JB"}, at=NOON + timedelta(minutes=1))
    send(database.url, "asset_updated", {"asset_id": "N526JB", "name": "older"}, at=NOON - timedelta(minutes=1))
    assert drain_now(database.url).counts()["ignored"] == 1
    assert query(database.url, "SELECT equipment_description, is_active, attributes, company_code FROM cmms.equipment") == [
        ("A320-232", False, {"HERST": "AIRBUS", "BAUJJ": "2005"}, "B6")
    ]


def test_meter_readings_become_hours_of_the_plants_local_day(database: Database) -> None:
    add_machines(database.url, "N526JB")
    for day, hours in ((1, 100), (2, 108.5), (4, 120), (5, 3)):
        at = NOON.replace(day=day + 1, hour=3)  # three in the morning UTC is the evening before in New York
        send(
            database.url, "meter_reading_recorded", {"equipment_number": "N526JB", "reading": hours, "reading_at": at.isoformat()}
        )
    assert drain_now(database.url).applied == 4
    rows = (
        "SELECT date::text, running_hours::float, days_covered, cumulative_hours::float"
        " FROM cmms.equipment_running_times ORDER BY date"
    )
    assert query(database.url, rows) == [
        ("2026-03-01", None, 1, 100.0),
        ("2026-03-02", 8.5, 1, 108.5),
        ("2026-03-04", 11.5, 2, 120.0),
        ("2026-03-05", None, 1, None),
    ]
    waiting = "SELECT entity_type, entity_key, rule, ours -> 0 ->> 'hours', theirs -> 0 ->> 'hours' FROM cmms.sync_conflicts"
    assert query(database.url, waiting) == [("meter", "N526JB", "9_counter_fell", "120.0", "3.0")]
    late = {"equipment_number": "N526JB", "reading": 6_600, "unit": "min", "reading_at": "2026-03-03T20:00:00Z"}
    send(database.url, "meter_reading_recorded", late)
    drain_now(database.url)
    assert query(database.url, rows)[2:4] == [("2026-03-03", 1.5, 1, 110.0), ("2026-03-04", 10.0, 1, 120.0)]


def test_a_day_that_the_external_api_has_reported_is_left_alone(database: Database) -> None:
    add_machines(database.url, "N526JB")
    send(database.url, "meter_reading_recorded", {"equipment_number": "N526JB", "reading": 100})
    drain_now(database.url)
    query(database.url, "UPDATE cmms.equipment_running_times SET source = 'external_api', running_hours = 7")
    send(database.url, "meter_reading_recorded", {"equipment_number": "N526JB", "reading": 101}, at=NOON + timedelta(hours=1))
    assert drain_now(database.url).ignored == 1
    assert query(database.url, "SELECT running_hours::float, cumulative_hours::float FROM cmms.equipment_running_times") == [
        (7.0, 100.0)
    ]
    reason = query(database.url, "SELECT outcome ->> 'reason' FROM cmms.maintenance_event_hooks ORDER BY sequence DESC LIMIT 1")
    assert reason == [("the external API has reported this day, and has authority",)]


@pytest.mark.parametrize(
    ("reading", "rule"),
    [
        ({"reading": 200}, "running_hours_exceed_day"),
        ({"reading": 1, "reading_at": "2126-01-01T00:00:00Z"}, "reading_date_implausible"),
    ],
)
def test_an_impossible_reading_is_refused(database: Database, reading: dict[str, object], rule: str) -> None:
    add_machines(database.url, "N526JB")
    send(database.url, "meter_reading_recorded", {"equipment_number": "N526JB", "reading": 100}, at=NOON - timedelta(days=1))
    send(database.url, "meter_reading_recorded", {"equipment_number": "N526JB", **reading})
    assert drain_now(database.url).dead == 1
    assert (inbox(database.url)[1][1] or "").startswith(f"{rule}: ")

"""Failures, inspections and items of a plan: one row each, in whatever order and however often their events arrive."""

import itertools
from datetime import timedelta
from typing import Any

from tests.conftest import Database
from tests.storage.inbox_world import NOON, add_machines, drain_now, inbox, query, send


def row(url: str, table: str) -> dict[str, Any]:
    """Return the only row of a table, without what differs from run to run."""
    statement = f"SELECT to_jsonb(found) - 'id' - 'version' - 'created_at' - 'updated_at' FROM cmms.{table} AS found"  # noqa: S608 - a name of our own
    rows = query(url, statement)
    assert len(rows) == 1
    found: dict[str, Any] = rows[0][0]
    return found


def forget(url: str) -> None:
    query(url, "TRUNCATE cmms.failures, cmms.inspections, cmms.maintenance_schedule, cmms.source_snapshots")
    query(url, "DELETE FROM cmms.maintenance_event_hooks")


SAFETY = {"equipment_number": "N1", "type": "safety", "due_date": "2026-03-02"}
EVENTS: dict[str, list[tuple[str, int, dict[str, Any]]]] = {
    "failures": [
        ("equipment_failure", 0, {"failure_number": "7", "equipment_number": "N1", "failed_at": "2026-03-02T11:40:00Z"}),
        (
            "equipment_failure",
            5,
            {"failure_number": "7", "severity": "major", "work_order_number": "4000123", "downtime": 30, "unit": "min"},
        ),
        ("equipment_failure", 9, {"failure_number": "7", "repaired_at": "2026-03-02T12:10:00Z", "cause": "wear", "severity": 1}),
    ],
    "inspections": [
        ("inspection_due", 0, SAFETY),
        ("inspection_due", 3, {**SAFETY, "priority": 1}),
        ("inspection_completed", 9, {**SAFETY, "result": "ok", "findings": "worn"}),
    ],
    "maintenance_schedule": [
        (
            "maintenance_scheduled",
            0,
            {"item_number": "3", "equipment_number": "N1", "task": "oil", "scheduled_date": "2026-03-09"},
        ),
        ("maintenance_cancelled", 5, {"item_number": "3", "reason": "no parts"}),
        ("maintenance_scheduled", 9, {"item_number": "3", "scheduled_date": "2026-03-16", "estimated_hours": 2}),
    ],
}


def test_every_order_of_arrival_and_every_repetition_leaves_the_same_single_row(database: Database) -> None:
    add_machines(database.url, "N1")
    for table, events in EVENTS.items():
        ends = []
        for order in itertools.permutations(events):
            for event_type, minutes, payload in (*order, order[0]):
                send(database.url, event_type, payload, at=NOON + timedelta(minutes=minutes))
            report = drain_now(database.url, batch_size=2)
            assert (report.dead, report.held, report.ignored) == (0, 0, 1)
            ends.append(row(database.url, table))
            forget(database.url)
        assert all(end == ends[0] for end in ends), table


def test_a_failure_is_stored_with_its_machine_in_our_units_and_linked_to_its_order(database: Database) -> None:
    add_machines(database.url, "N1")
    for event_type, minutes, payload in EVENTS["failures"]:
        send(database.url, event_type, payload, at=NOON + timedelta(minutes=minutes))
    drain_now(database.url)
    found = row(database.url, "failures")
    assert (found["status"], found["severity"], found["downtime_hours"]) == ("repaired", "critical", 0.5)
    assert (found["work_order_number"], found["cause"], found["is_partial"]) == ("4000123", "wear", False)
    joined = "FROM cmms.failures f JOIN cmms.equipment e ON e.id = f.equipment_id"
    assert query(database.url, f"SELECT equipment_number, f.plant_id = e.plant_id, f.version {joined}") == [("N1", True, 1)]


def test_events_on_an_unknown_machine_wait_and_are_applied_once_it_arrives(database: Database) -> None:
    for events in EVENTS.values():
        event_type, minutes, payload = events[0]
        send(database.url, event_type, payload, at=NOON + timedelta(minutes=minutes))
    report = drain_now(database.url)
    assert (report.held, report.applied) == (3, 0)
    assert {error for _, error in inbox(database.url)} == {"equipment_unknown: waits until equipment 'N1' exists"}
    add_machines(database.url, "N1")
    report = drain_now(database.url)
    assert (report.released, report.applied) == (3, 3)
    for table in EVENTS:
        assert row(database.url, table)["equipment_id"] is not None


def test_an_inspection_that_was_done_before_it_was_announced_is_partial_until_then(database: Database) -> None:
    add_machines(database.url, "N1")
    send(database.url, "inspection_completed", {"inspection_number": "9", "result": "failed"})
    drain_now(database.url)
    early = row(database.url, "inspections")
    assert (early["is_partial"], early["status"], early["equipment_id"]) == (True, "completed", None)
    outcome = query(database.url, "SELECT outcome FROM cmms.maintenance_event_hooks")[0][0]
    assert (outcome["entity"], outcome["is_partial"], outcome["changed"]["result"]["after"]) == ("inspection:9", True, "failed")
    send(database.url, "inspection_due", {"inspection_number": "9", "equipment_number": "N1", "due_date": "2026-03-01"})
    drain_now(database.url)
    whole = row(database.url, "inspections")
    assert (whole["is_partial"], whole["status"], whole["result"]) == (False, "completed", "failed")
    assert whole["equipment_id"] is not None


def test_what_was_edited_here_stays_where_the_source_did_not_change_it(database: Database) -> None:
    add_machines(database.url, "N1")
    send(database.url, "inspection_due", {"inspection_number": "9", "equipment_number": "N1", "inspector": "ann", "priority": 3})
    drain_now(database.url)
    query(database.url, "UPDATE cmms.inspections SET inspector = 'bob'")
    later = NOON + timedelta(minutes=5)
    send(database.url, "inspection_due", {"inspection_number": "9", "inspector": "ann", "priority": 1}, at=later)
    drain_now(database.url)
    found = row(database.url, "inspections")
    assert (found["inspector"], found["priority"]) == ("bob", "critical")


def test_two_systems_that_use_one_number_have_a_row_each(database: Database) -> None:
    add_machines(database.url, "N1")
    for system in ("atlas", "sap"):
        send(database.url, "equipment_failure", {"failure_number": "7", "equipment_number": "N1"}, system=system)
    drain_now(database.url)
    assert query(database.url, "SELECT cmms_system_id FROM cmms.failures ORDER BY 1") == [("atlas",), ("sap",)]

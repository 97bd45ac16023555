"""What is edited here stays, gives way or waits for somebody, and nothing of either side is lost without a trace."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cmms_pipelines.domain.errors import PermanentError, VersionConflictError
from cmms_pipelines.domain.local_edits import WorkOrderEdit
from cmms_pipelines.storage.configurations import write_configuration
from cmms_pipelines.storage.editing import edit_work_order
from tests.conftest import Database
from tests.storage.edits_world import (
    at,
    audit,
    conflicts,
    create_order,
    edit,
    edits,
    source_says,
)
from tests.storage.inbox_world import drain_now, order_row, query, work_order
from tests.storage.test_running_times import wait_until_somebody_waits

CLOSE = {"title": "ours", "at": 10}  # within the allowed skew of an edit at 12: nobody wrote last


def test_an_edit_is_in_force_versioned_and_audited_with_who_and_when(database: Database) -> None:
    order_id = create_order(database)
    row = edit(database, order_id, 5, version=1, title="ours", status="in_progress", notes=["looked at it"])
    assert (row["title"], row["status"], row["version"]) == ("ours", "in_progress", 2)
    assert row["started_at"].isoformat() == "2026-03-02T12:05:00+00:00"
    assert row["notes"] == [{"at": "2026-03-02T12:05:00+00:00", "by": "Ada", "text": "looked at it"}]
    assert [(one["field"], one["by"], one["base"]) for one in row["edits"] if one["field"] == "title"] == [("title", "Ada", "A")]
    [entry] = audit(database, "work_order.edited")
    assert (entry["actor"], entry["entity_key"], entry["before"]["title"], entry["after"]["title"]) == (
        "Ada", "atlas:4000123", "A", "ours",
    )  # fmt: skip
    step = "SELECT from_status, to_status, changed_by, source FROM cmms.work_order_status_history ORDER BY id DESC LIMIT 1"
    assert query(database.url, step) == [("open", "in_progress", "local_edit", "Ada")]
    with pytest.raises(VersionConflictError) as stale:
        edit(database, order_id, 6, version=1, title="later")
    assert stale.value.current_version == 2
    with pytest.raises(PermanentError, match="No machine"):
        edit(database, order_id, 6, equipment_number="N999ZZ")


def test_an_edit_stays_while_the_source_changes_other_fields_and_ends_when_it_says_the_same(database: Database) -> None:
    order_id = create_order(database)
    edit(database, order_id, 5, title="ours", tags=["a", "b"])
    source_says(database, 10, priority="high", tags=["a", "c"])
    order = order_row(database.url)
    assert (order["title"], order["priority"], sorted(order["tags"])) == ("ours", "high", ["a", "b", "c"])
    assert conflicts(database) == []
    source_says(database, 20, title="ours")
    assert "title" not in edits(database)
    source_says(database, 30, title="newer")
    assert order_row(database.url)["title"] == "newer"


def test_setting_a_field_back_to_what_the_source_says_ends_the_edit(database: Database) -> None:
    order_id = create_order(database)
    edit(database, order_id, 5, title="ours")
    edit(database, order_id, 6, title="A")
    assert edits(database) == {}


def test_a_rule_that_takes_the_sources_value_leaves_a_decision_with_both_values(database: Database) -> None:
    order_id = create_order(database, priority="low")
    edit(database, order_id, 5, priority="medium")
    source_says(database, 10, priority="high")
    assert (order_row(database.url)["priority"], edits(database)) == ("high", {})
    [decided] = conflicts(database, "resolved")
    assert (decided["is_automatic"], decided["decision"], decided["base"], decided["ours"], decided["theirs"]) == (
        True, "theirs", "low", "medium", "high",
    )  # fmt: skip
    assert (decided["ours_by"], decided["resolved_by"]) == ("Ada", "conflict engine")
    [entry] = audit(database, "conflict.decided")
    assert (entry["before"]["value"], entry["after"]["value"], entry["after"]["conflict_id"]) == ("medium", "high", decided["id"])


def test_a_policy_of_a_system_decides_otherwise_and_the_same_statement_is_decided_once(database: Database) -> None:
    with database.engine.begin() as connection:
        rules = {"rules": {"work_order": {"priority": {"strategy": "authority", "authority": "local"}}}}
        write_configuration(connection, "atlas", "conflicts", rules, actor="tests")
    order_id = create_order(database, priority="low")
    edit(database, order_id, 5, priority="medium")
    source_says(database, 10, priority="high")
    source_says(database, 20, assignee="hangar-2")
    assert (order_row(database.url)["priority"], edits(database)) == ("medium", {"priority": "medium"})
    assert [one["decision"] for one in conflicts(database, "resolved")] == ["ours"]
    source_says(database, 30, priority="critical")
    assert len(conflicts(database, "resolved")) == 2


def test_what_nobody_can_decide_waits_keeps_our_value_and_holds_up_nothing_else(database: Database) -> None:
    order_id = create_order(database)
    edit(database, order_id, 12, title="ours")
    source_says(database, 10, title="theirs", priority="high")
    order = order_row(database.url)
    assert (order["title"], order["priority"]) == ("ours", "high")
    [waiting] = conflicts(database)
    assert (waiting["field"], waiting["base"], waiting["ours"], waiting["theirs"]) == ("title", "A", "ours", "theirs")
    assert (waiting["ours_by"], waiting["occurrences"], waiting["hook_id"] is not None) == ("Ada", 1, True)
    told = "SELECT outcome -> 'waiting' FROM cmms.maintenance_event_hooks ORDER BY sequence DESC LIMIT 1"
    assert query(database.url, told) == [({"title": "9_undecided"},)]


def test_a_repeated_conflict_updates_its_row_and_it_ends_by_itself_when_both_sides_agree(database: Database) -> None:
    order_id = create_order(database)
    edit(database, order_id, 12, title="ours")
    source_says(database, 10, title="theirs")
    source_says(database, 11, title="theirs again")
    query(database.url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'pending'")
    drain_now(database.url)
    [waiting] = conflicts(database)
    assert (waiting["theirs"], waiting["occurrences"], waiting["version"]) == ("theirs again", 2, 2)
    source_says(database, 13, title="ours")
    assert conflicts(database) == []
    [ended] = conflicts(database, "converged")
    assert (ended["id"], ended["resolution"]) == (waiting["id"], "ours")
    assert edits(database) == {}
    assert len(audit(database, "conflict.converged")) == 1


def test_a_late_echo_of_an_earlier_edit_of_ours_is_dropped(database: Database) -> None:
    order_id = create_order(database)
    edit(database, order_id, 5, title="first")
    edit(database, order_id, 30, title="second")
    source_says(database, 28, title="first")
    assert (order_row(database.url)["title"], conflicts(database)) == ("second", [])


def test_a_statement_that_is_dated_after_its_arrival_is_never_the_last_writer(database: Database) -> None:
    order_id = create_order(database)
    edit(database, order_id, 5, title="ours")
    source_says(database, 60, title="theirs")
    edit(database, order_id, 70, title="ours again")
    source_says(database, 5_000_000, title="theirs again")
    assert [one["rule"] for one in conflicts(database, "resolved")] == ["8_last_writer", "6_authority"]


def test_two_drains_and_an_edit_of_one_order_at_once_end_in_one_conflict(database: Database) -> None:
    order_id = create_order(database)
    for minute in range(6, 12):
        work_order(database.url, at=minute, title=f"theirs {minute}", priority="high")
    threads = [
        threading.Thread(target=lambda: drain_now(database.url, is_beside=True, batch_size=2)),
        threading.Thread(target=lambda: drain_now(database.url, is_beside=True, batch_size=2)),
        threading.Thread(target=lambda: edit(database, order_id, 10, title="ours")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    query(database.url, "UPDATE cmms.maintenance_event_hooks SET next_attempt_at = now()")
    drain_now(database.url)
    assert order_row(database.url)["priority"] == "high"
    source_says(database, 12, title="last of theirs")
    [waiting] = conflicts(database)
    assert (order_row(database.url)["title"], waiting["ours"], waiting["theirs"]) == ("ours", "ours", "last of theirs")


def test_an_event_waits_for_an_edit_of_its_order_that_is_about_to_be_committed_and_is_judged_against_it(
    database: Database,
) -> None:
    order_id = create_order(database)
    work_order(database.url, at=10, title="theirs")
    with ThreadPoolExecutor(1) as pool:
        with database.engine.begin() as connection:
            wanted = WorkOrderEdit(title="ours")
            edit_work_order(connection, order_id, wanted, expected_version=1, actor="Ada", now=at(12))
            drained = pool.submit(drain_now, database.url)
            wait_until_somebody_waits(database.engine)
        assert drained.result(20).applied == 1
    [conflict] = conflicts(database)
    assert (conflict["base"], conflict["ours"], conflict["theirs"]) == ("A", "ours", "theirs")
    assert order_row(database.url)["title"] == "ours"

"""A machine of which several systems and people speak: the nightly sync, events and edits overwrite none of them unheard."""

from itertools import permutations
from typing import Any

import pytest

from cmms_pipelines.storage.conflict_queue import Choice
from tests.conftest import Database
from tests.storage.edits_world import (
    MACHINE,
    asset,
    audit,
    conflicts,
    edit_machine,
    edits,
    machine_row,
    nightly,
    resolve,
    undo,
)
from tests.storage.inbox_world import add_machines, drain_now, query


@pytest.fixture(autouse=True)
def _machine(database: Database) -> None:
    add_machines(database.url, MACHINE)


def test_an_edit_of_a_machine_is_versioned_and_audited(database: Database) -> None:
    row = edit_machine(database, equipment_description="ours", attributes={"HERST": None, "COLOUR": "red"})
    assert (row["equipment_description"], row["attributes"], row["version"]) == ("ours", {"COLOUR": "red"}, 2)
    assert set(edits(database)) == {"equipment_description", "attributes.COLOUR", "attributes.HERST"}
    [entry] = audit(database, "equipment.edited")
    assert entry["before"] == {"equipment_description": "AIRBUS A320", "attributes.COLOUR": None, "attributes.HERST": "AIRBUS"}


def test_a_nightly_sync_that_says_nothing_new_keeps_edits_and_what_events_said(database: Database) -> None:
    edit_machine(database, point="P-1", attributes={"COLOUR": "red"})
    asset(database, "atlas", 10, description="A320-232", attributes={"BAUJJ": "2005"})
    drain_now(database.url)
    before = machine_row(database)
    assert nightly(database) == (0, 1)
    assert nightly(database, company_code="B7") == (1, 0)
    assert machine_row(database) == {
        **before, "company_code": "B7", "version": before["version"] + 1, "updated_at": machine_row(database)["updated_at"],
    }  # fmt: skip
    assert (before["equipment_description"], before["point"]) == ("A320-232", "P-1")
    assert before["attributes"] == {"HERST": "AIRBUS", "COLOUR": "red", "BAUJJ": "2005"}
    assert conflicts(database) == []


def test_a_nightly_sync_against_an_edit_of_the_same_field_leaves_a_decision_or_a_question(database: Database) -> None:
    edit_machine(database, is_active=False, object_number="O-1")
    nightly(database, object_number="O-2")
    assert (machine_row(database)["object_number"], machine_row(database)["is_active"]) == ("O-2", False)
    [decided] = conflicts(database, "resolved")
    assert (decided["cmms_system_id"], decided["field"], decided["ours"], decided["theirs"]) == (
        "sap", "object_number", "O-1", "O-2",
    )  # fmt: skip
    edit_machine(database, 6, attributes={"COLOUR": "red"})
    nightly(database, object_number="O-2", attributes={"HERST": "AIRBUS", "COLOUR": "blue"})
    nightly(database, object_number="O-2", attributes={"HERST": "AIRBUS", "COLOUR": "blue"})
    [waiting] = conflicts(database)
    assert (waiting["field"], waiting["ours"], waiting["theirs"], waiting["base"]) == ("attributes.COLOUR", "red", "blue", None)
    assert machine_row(database)["attributes"]["COLOUR"] == "red"
    nightly(database, object_number="O-2", attributes={"HERST": "AIRBUS", "COLOUR": "red"})
    assert conflicts(database) == []
    assert "attributes.COLOUR" not in edits(database)


def test_a_decision_about_a_nightly_record_lasts_and_is_undone(database: Database) -> None:
    edit_machine(database, attributes={"COLOUR": "red"})
    blue = {"HERST": "AIRBUS", "COLOUR": "blue"}
    nightly(database, attributes=blue)
    [waiting] = conflicts(database)
    resolve(database, waiting["id"], Choice.OURS)
    nightly(database, attributes=blue)
    assert (conflicts(database), machine_row(database)["attributes"]["COLOUR"]) == ([], "red")
    opened = undo(database, waiting["id"])
    nightly(database, attributes=blue)
    assert [row["id"] for row in conflicts(database)] == [opened["id"]]
    resolve(database, opened["id"], Choice.THEIRS)
    nightly(database, attributes=blue)
    assert (machine_row(database)["attributes"]["COLOUR"], edits(database), conflicts(database)) == ("blue", {}, [])


def test_two_systems_that_claim_a_machine_wait_for_somebody_whatever_came_first(database: Database) -> None:
    said: list[tuple[str, float, dict[str, Any]]] = [
        ("atlas", 1, {"description": "by atlas"}),
        ("maximo", 2, {"description": "by maximo", "object_number": "O-9"}),
        ("atlas", 3, {"attributes": {"BAUJJ": "2005"}}),
    ]
    ends = set()
    for order in permutations(said):
        query(database.url, "TRUNCATE cmms.source_snapshots, cmms.sync_conflicts, cmms.maintenance_event_hooks CASCADE")
        query(database.url, "UPDATE cmms.equipment SET equipment_description = 'x', object_number = NULL, attributes = '{}'")
        for system, minutes, fields in order:
            asset(database, system, minutes, **fields)
            drain_now(database.url)
        row = machine_row(database)
        [waiting] = conflicts(database)
        ends.add((row["equipment_description"], row["object_number"], str(row["attributes"]), waiting["ours"], waiting["theirs"]))
    assert ends == {("by atlas", "O-9", "{'BAUJJ': '2005'}", "by atlas", "by maximo")}


@pytest.mark.parametrize(("choice", "value"), [(Choice.OURS, "by atlas"), (Choice.THEIRS, "by maximo"), (Choice.BY_HAND, "both")])
def test_what_somebody_decided_between_two_systems_holds_until_one_says_something_newer(
    database: Database, choice: Choice, value: str
) -> None:
    asset(database, "atlas", 1, description="by atlas")
    asset(database, "maximo", 2, description="by maximo")
    drain_now(database.url)
    [waiting] = conflicts(database)
    resolve(database, waiting["id"], choice, "both")
    asset(database, "atlas", 3, description="by atlas", object_number="O-1")
    asset(database, "maximo", 3, description="by maximo", attributes={"BAUJJ": "2005"})
    drain_now(database.url)
    nightly(database)
    assert (machine_row(database)["equipment_description"], conflicts(database)) == (value, [])
    assert (machine_row(database)["object_number"], machine_row(database)["attributes"]["BAUJJ"]) == ("O-1", "2005")


def test_a_deletion_of_a_machine_that_was_edited_here_waits(database: Database) -> None:
    edit_machine(database, point="P-1")
    asset(database, "atlas", 10, "deleted")
    drain_now(database.url)
    asset(database, "atlas", 11, object_number="O-1")
    drain_now(database.url)
    assert (machine_row(database)["is_active"], machine_row(database)["object_number"]) == (True, "O-1")
    [waiting] = conflicts(database)
    assert (waiting["field"], waiting["severity"]) == ("is_active", "error")
    resolve(database, waiting["id"], Choice.THEIRS)
    assert machine_row(database)["is_active"] is False


def test_an_api_and_events_of_one_system_are_one_source(database: Database) -> None:
    asset(database, "sap", 1, description="event")
    drain_now(database.url)
    nightly(database)
    assert machine_row(database)["equipment_description"] == "event"
    nightly(database, equipment_description="newer")
    assert (machine_row(database)["equipment_description"], conflicts(database)) == ("newer", [])

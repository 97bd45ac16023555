"""A work order that is made here: it has a history and an author, and a source that states it later overwrites nothing."""

from typing import Any

import pytest

from cmms_pipelines.domain.errors import PermanentError, VersionConflictError
from cmms_pipelines.domain.local_edits import NewWorkOrder
from cmms_pipelines.storage.conflict_queue import Choice
from cmms_pipelines.storage.creating import create_work_order
from cmms_pipelines.storage.work_order_history import read_history
from tests.conftest import Database
from tests.storage.edits_world import MACHINE, ORDER, at, audit, conflicts, edits, resolve, source_says
from tests.storage.edits_world import edit as edit_order
from tests.storage.inbox_world import SYSTEM, add_machines, drain_now, order_row, query, work_order


@pytest.fixture
def world(database: Database) -> Database:
    add_machines(database.url, MACHINE)
    return database


def create(database: Database, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of an order
    said = {
        "title": "Bearing runs hot",
        "equipment_number": MACHINE,
        "cmms_system_id": SYSTEM,
        "work_order_number": ORDER,
        **fields,
    }
    with database.engine.begin() as connection:
        return create_work_order(connection, NewWorkOrder.model_validate(said), actor="Ada", now=at(0), reason="on the round")


def test_an_order_that_is_made_here_has_its_machine_its_plant_its_author_and_a_history(world: Database) -> None:
    row = create(world, priority="high", notes=["smells burnt"], parts=["6204"])
    assert (row["plant_code"], row["equipment_number"], row["status"], row["parts"]) == ("B6JFK", MACHINE, "open", ["6204"])
    assert [(note["by"], note["text"]) for note in row["notes"]] == [("Ada", "smells burnt")]
    with world.engine.connect() as connection:
        [step] = read_history(connection, SYSTEM, ORDER)
    assert (step["from_status"], step["to_status"], step["changed_by"], step["source"]) == (None, "open", "local_edit", "Ada")
    [entry] = audit(world, "work_order.created")
    assert (entry["actor"], entry["entity_key"], entry["reason"]) == ("Ada", f"{SYSTEM}:{ORDER}", "on the round")


def test_orders_without_a_number_get_one_each(world: Database) -> None:
    made = [create(world, cmms_system_id="local", work_order_number=None)["work_order_number"] for _ in range(3)]
    assert len(set(made)) == 3


def test_what_the_source_says_of_it_later_is_merged_and_contradictions_wait(world: Database) -> None:
    create(world, assignee="Weber", parts=["6204"])
    work_order(
        world.url, type="created", at=10, title="Bearing runs hot", assigned_to="Ortiz", parts=["oil"], description="from SAP"
    )
    drain_now(world.url)
    row = order_row(world.url)
    assert (row["assignee"], row["description"], sorted(row["parts"])) == ("Ortiz", "from SAP", ["6204", "oil"])
    edit_order(world, row["id"], 11, status="completed")
    source_says(world, 12, status="cancelled")
    [waiting] = conflicts(world)
    assert (waiting["field"], waiting["ours"], waiting["theirs"]) == ("status", "completed", "cancelled")
    resolve(world, waiting["id"], Choice.THEIRS)
    assert (order_row(world.url)["status"], "status" in edits(world)) == ("cancelled", False)


def test_an_order_of_a_known_number_or_an_unknown_machine_is_refused_and_changes_nothing(world: Database) -> None:
    create(world)
    before = order_row(world.url)
    with pytest.raises(VersionConflictError, match="already"):
        create(world, title="other")
    with pytest.raises(PermanentError, match="No machine has the number 'N0'"):
        create(world, work_order_number="2", equipment_number="N0")
    assert order_row(world.url) == before
    assert query(world.url, "SELECT count(*) FROM cmms.work_orders") == [(1,)]

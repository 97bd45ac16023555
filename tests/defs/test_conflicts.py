"""The queue of conflicts in the UI: what its page shows, the check on its age, and the jobs that decide and edit."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from cmms_pipelines.defs.maintenance.conflicts import NO_OLD_CONFLICTS, OBSERVE_CONFLICTS, SYNC_CONFLICTS
from cmms_pipelines.domain.local_edits import EquipmentEdit
from cmms_pipelines.storage.editing import edit_equipment
from tests.conftest import Database
from tests.defs.conftest import run as run_job
from tests.defs.test_inbox import execute, observed
from tests.storage.edits_world import conflicts, create_order, edit, source_says
from tests.storage.inbox_world import add_machines, order_row, query
from tests.sync.flown import Flown


@pytest.fixture
def order_id(database: Database) -> int:
    """An order with a conflict on its title."""
    found = create_order(database)
    edit(database, found, 12, title="ours")
    source_says(database, 10, title="theirs")
    return found


def run(database: Database, job: str, op: str, **config: Any) -> dg.ExecuteInProcessResult:  # noqa: ANN401 - any configuration
    return execute(database, job, {"ops": {op: {"config": config}}})


@pytest.mark.parametrize(("opened_h", "passes"), [(23, True), (25, False)])
def test_the_page_shows_what_waits_and_the_check_warns_when_it_waits_too_long(
    database: Database, order_id: int, opened_h: int, passes: bool
) -> None:
    query(database.url, "UPDATE cmms.sync_conflicts SET created_at = now() - make_interval(hours => %s)", opened_h)
    result = execute(database, OBSERVE_CONFLICTS, {})
    assert result.success
    shown = observed(result)[SYNC_CONFLICTS]
    assert (shown["conflicts_open"], int(shown["oldest_open_h"]), shown["open_by_rule"]) == (1, opened_h, {"9_undecided": 1})
    [row] = [record.data for record in shown["oldest_open_conflicts"].records]
    assert (row["field"], row["base"], row["ours"], row["theirs"]) == ("title", '"A"', '"ours"', '"theirs"')
    [check] = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == (NO_OLD_CONFLICTS, passes, dg.AssetCheckSeverity.WARN)


def test_the_job_says_first_what_it_would_decide_and_decides_when_told(database: Database, order_id: int) -> None:
    config = {"choice": "theirs", "fields": ["title"], "reason": "they called", "by": "Ada"}
    assert run(database, "resolve_conflicts", "decide_conflicts", **config).success
    assert len(conflicts(database)) == 1
    done = run(database, "resolve_conflicts", "decide_conflicts", **config, dry_run=False)
    assert (done.success, conflicts(database), order_row(database.url)["title"]) == (True, [], "theirs")
    audited = query(database.url, "SELECT actor, dagster_run_id FROM cmms.audit_log WHERE action = 'conflict.resolved'")
    assert audited == [("Ada", done.run_id)]


def test_a_job_takes_a_decision_back_once_told_to(database: Database, order_id: int) -> None:
    config = {"choice": "theirs", "fields": ["title"], "reason": "they called", "dry_run": False}
    [decided] = run(database, "resolve_conflicts", "decide_conflicts", **config).output_for_node("decide_conflicts")
    asked = {"id": decided, "reason": "they meant another order", "by": "Ada"}
    assert run(database, "undo_decision", "take_back", **asked).success
    assert (conflicts(database), order_row(database.url)["title"]) == ([], "theirs")
    done = run(database, "undo_decision", "take_back", **asked, dry_run=False)
    assert (done.success, len(conflicts(database)), order_row(database.url)["title"]) == (True, 1, "ours")
    audited = query(database.url, "SELECT actor, dagster_run_id FROM cmms.audit_log WHERE action = 'conflict.undone'")
    assert audited == [("Ada", done.run_id)]


@pytest.mark.parametrize(
    ("job", "config", "says"),
    [
        ("resolve_conflicts", {}, "choice is ours, theirs or by_hand, and not ''"),
        ("resolve_conflicts", {"choice": "ours", "fields": ["title"]}, "Say why"),
        ("resolve_conflicts", {"choice": "ours", "reason": "x"}, "Say which conflicts"),
        ("undo_decision", {"id": 1}, "Say why"),
        ("undo_decision", {"reason": "x"}, "There is no conflict 0"),
        ("edit_record", {}, "Name a work_order by its id"),
        ("create_work_order", {}, "title: String should have at least 1 character"),
    ],
)
def test_a_job_as_the_launchpad_fills_it_in_says_what_is_missing(
    database: Database, order_id: int, job: str, config: dict[str, Any], says: str
) -> None:
    ops = {"resolve_conflicts": "decide_conflicts", "undo_decision": "take_back", "edit_record": "change_record"}
    op = ops.get(job, "make_work_order")
    [failure] = [event.step_failure_data for event in run(database, job, op, **config).all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert says in (failure.user_failure_data.description or "")


def test_a_record_is_edited_by_a_job_with_who_and_why(database: Database, order_id: int) -> None:
    done = run(
        database, "edit_record", "change_record", entity_type="work_order", key=str(order_id), by="Ada",
        changes={"priority": "high", "tags": ["x"]},
    )  # fmt: skip
    assert done.success
    assert (order_row(database.url)["priority"], order_row(database.url)["tags"]) == ("high", ["x"])
    audited = query(database.url, "SELECT actor FROM cmms.audit_log WHERE dagster_run_id = %s", done.run_id)
    assert audited == [("Ada",)]
    failed = run(
        database, "edit_record", "change_record", entity_type="work_order", key=str(order_id), changes={"status": "exploded"}
    )
    [failure] = [event.step_failure_data for event in failed.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert "status" in (failure.user_failure_data.description or "")


def test_the_nightly_equipment_run_overwrites_no_edit_unheard(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, flown: Flown
) -> None:
    """A source that says the same leaves the edit; one that has changed is a decision, or waits where nobody may decide."""
    assert run_job(defs, instance, "sync_plants").success
    assert run_job(defs, instance, "sync_equipment", partition_key="B6JF").success
    number, said, attributes = query(
        database.url, "SELECT equipment_number, equipment_description, attributes FROM cmms.equipment ORDER BY 1 LIMIT 1"
    )[0]

    def stored() -> tuple[Any, ...]:
        found = "SELECT equipment_description, point, attributes -> 'HERST' FROM cmms.equipment WHERE equipment_number = %s"
        return tuple(query(database.url, found, number)[0])

    def edit_here(**fields: Any) -> None:  # noqa: ANN401 - any field
        with database.engine.begin() as connection:
            wanted = EquipmentEdit.model_validate(fields)
            edit_equipment(connection, number, wanted, expected_version=None, actor="Ada", now=datetime.now(UTC))

    edit_here(point="P-1")
    assert run_job(defs, instance, "sync_equipment", partition_key="B6JF").success
    assert (stored(), conflicts(database)) == ((said, "P-1", attributes["HERST"]), [])

    # as if the source had said something else till now
    query(
        database.url,
        "UPDATE cmms.source_snapshots SET snapshot = jsonb_set(jsonb_set(snapshot, '{fields,equipment_description}', %s),"
        " '{fields,attributes.HERST}', %s) WHERE entity_key = %s",
        '"OLD WORD"', '"OLD MAKER"', number,
    )  # fmt: skip
    query(
        database.url,
        "UPDATE cmms.equipment SET equipment_description = %s, attributes = attributes || %s, record_digest = NULL"
        " WHERE equipment_number = %s",
        "OLD WORD", '{"HERST": "OLD MAKER"}', number,
    )  # fmt: skip
    edit_here(equipment_description="ours", attributes={"HERST": "OUR MAKER"})
    assert run_job(defs, instance, "sync_equipment", partition_key="B6JF").success
    assert stored() == (said, "P-1", "OUR MAKER")
    [waiting] = conflicts(database)
    assert [waiting[name] for name in ("field", "base", "ours", "theirs", "ours_by")] == [
        "attributes.HERST", "OLD MAKER", "OUR MAKER", attributes["HERST"], "Ada",
    ]  # fmt: skip
    [decided] = conflicts(database, "resolved")
    assert [decided[name] for name in ("field", "base", "ours", "theirs", "is_automatic")] == [
        "equipment_description", "OLD WORD", "ours", said, True,
    ]  # fmt: skip


def test_an_order_is_made_by_a_job_for_a_machine(database: Database) -> None:
    add_machines(database.url, "N526JB")
    made = run(
        database, "create_work_order", "make_work_order", equipment_number="N526JB", title="Bearing runs hot", by="Ada",
        fields={"priority": "high"}, source="atlas", work_order_number="77",
    )  # fmt: skip
    assert made.success
    row = order_row(database.url, "77")
    assert (row["title"], row["priority"], row["status"], row["cmms_system_id"]) == ("Bearing runs hot", "high", "open", "atlas")
    audited = query(database.url, "SELECT actor, action FROM cmms.audit_log WHERE dagster_run_id = %s", made.run_id)
    assert audited == [("Ada", "work_order.created")]
    again = run(
        database,
        "create_work_order",
        "make_work_order",
        equipment_number="N526JB",
        title="x",
        source="atlas",
        work_order_number="77",
    )
    [failure] = [event.step_failure_data for event in again.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert "has an order '77' already" in (failure.user_failure_data.description or "")

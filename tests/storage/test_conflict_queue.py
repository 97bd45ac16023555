"""People decide what no rule could: once, for good, with a reason, and with a way back."""

import pytest

from cmms_pipelines.domain.errors import PermanentError, VersionConflictError
from cmms_pipelines.storage import conflict_queue
from cmms_pipelines.storage.conflict_queue import Choice, Resolution
from cmms_pipelines.storage.conflict_search import ConflictFilter, find_conflicts, queue_status, show_conflict
from tests.conftest import Database
from tests.storage.edits_world import (
    at,
    audit,
    conflicts,
    create_order,
    edit,
    edits,
    resolve,
    source_says,
    undo,
)
from tests.storage.inbox_world import drain_now, order_row, query, work_order


@pytest.fixture
def waiting(database: Database) -> int:
    """A conflict on the title of an order: A became ours here and theirs there."""
    order_id = create_order(database)
    edit(database, order_id, 12, title="ours")
    source_says(database, 10, title="theirs")
    [conflict] = conflicts(database)
    return int(conflict["id"])


def test_theirs_is_taken_over_and_ends_the_edit(database: Database, waiting: int) -> None:
    row = resolve(database, waiting, Choice.THEIRS)
    assert (row["status"], row["decision"], row["resolution"], row["resolved_by"]) == ("resolved", "theirs", "theirs", "Grace")
    assert (order_row(database.url)["title"], edits(database)) == ("theirs", {})
    [entry] = audit(database, "conflict.resolved")
    assert (entry["actor"], entry["reason"], entry["before"]["value"], entry["after"]["value"]) == (
        "Grace", "they called", "ours", "theirs",
    )  # fmt: skip


def test_ours_stays_until_the_source_says_something_newer(database: Database, waiting: int) -> None:
    resolve(database, waiting, Choice.OURS)
    source_says(database, 11, title="theirs", priority="high")
    assert (order_row(database.url)["title"], conflicts(database)) == ("ours", [])
    source_says(database, 13, title="newer")
    [again] = conflicts(database)
    assert (again["base"], again["ours"], again["theirs"]) == ("theirs", "ours", "newer")


def test_a_value_by_hand_must_fit_the_field_and_becomes_our_edit(database: Database, waiting: int) -> None:
    with pytest.raises(PermanentError, match="does not fit title"):
        resolve(database, waiting, Choice.BY_HAND, ["no", "title"])
    resolve(database, waiting, Choice.BY_HAND, "both")
    assert (order_row(database.url)["title"], edits(database), conflicts(database)) == ("both", {"title": "both"}, [])


def test_deciding_twice_changes_nothing_and_otherwise_or_blindly_is_refused(database: Database, waiting: int) -> None:
    with pytest.raises(VersionConflictError):
        resolve(database, waiting, Choice.THEIRS, expected_version=7)
    first = resolve(database, waiting, Choice.THEIRS, expected_version=1)
    assert resolve(database, waiting, Choice.THEIRS, expected_version=1) == first
    with pytest.raises(VersionConflictError, match="resolved already"):
        resolve(database, waiting, Choice.OURS)
    assert len(audit(database, "conflict.resolved")) == 1


@pytest.mark.parametrize("choice", Choice)
def test_undo_restores_value_edit_and_question_after_any_decision(database: Database, waiting: int, choice: Choice) -> None:
    before = order_row(database.url)
    kept = query(database.url, "SELECT field, value, base, edited_by, edited_at FROM cmms.local_edits")
    resolve(database, waiting, choice, "both")
    opened = undo(database, waiting)
    assert opened["id"] != waiting
    [again] = conflicts(database)
    assert (again["id"], again["base"], again["ours"], again["theirs"]) == (opened["id"], "A", "ours", "theirs")
    after = order_row(database.url)
    assert {**after, "version": 0, "updated_at": 0} == {**before, "version": 0, "updated_at": 0}
    assert query(database.url, "SELECT field, value, base, edited_by, edited_at FROM cmms.local_edits") == kept
    assert [row["id"] for row in conflicts(database, "undone")] == [waiting]
    source_says(database, 11, priority="high")
    assert [row["id"] for row in conflicts(database)] == [opened["id"]]


def test_a_decision_of_a_rule_is_undone_and_no_rule_decides_the_same_statement_again(database: Database) -> None:
    order_id = create_order(database, priority="low")
    edit(database, order_id, 5, priority="medium")
    source_says(database, 10, priority="high")
    [decided] = conflicts(database, "resolved")
    undo(database, decided["id"])
    source_says(database, 11, assignee="hangar-2")
    assert order_row(database.url)["priority"] == "medium"
    assert [row["field"] for row in conflicts(database)] == ["priority"]
    source_says(database, 12, priority="critical")
    assert (order_row(database.url)["priority"], conflicts(database)) == ("critical", [])


def test_what_has_changed_since_is_not_undone(database: Database, waiting: int) -> None:
    resolve(database, waiting, Choice.THEIRS)
    source_says(database, 13, title="newer")
    with pytest.raises(VersionConflictError, match="has changed since"):
        undo(database, waiting)
    with pytest.raises(PermanentError, match="Say why"), database.engine.begin() as connection:
        conflict_queue.undo(connection, waiting, actor="Grace", reason=" ", now=at(60))


def test_many_are_found_and_decided_by_filter_and_the_rest_stays(database: Database) -> None:
    for number in range(5):
        work_order(database.url, str(number), type="created", title="A", description="A")
    drain_now(database.url)
    for (identifier,) in query(database.url, "SELECT id FROM cmms.work_orders ORDER BY work_order_number"):
        edit(database, identifier, 12, title="ours", description="ours")
    for number in range(5):
        work_order(database.url, str(number), at=10, title="theirs", description="theirs")
    drain_now(database.url)
    by = Resolution(Choice.THEIRS, "Grace", "their texts count")
    with database.engine.begin() as connection:
        assert queue_status(connection)["open"] == 10
        page = find_conflicts(connection, ConflictFilter(fields=["title"]), limit=3)
        assert [row["field"] for row in page] == ["title"] * 3
        rest = find_conflicts(connection, ConflictFilter(fields=["title"]), before=page[-1]["id"])
        assert len(rest) == 2
        with pytest.raises(PermanentError, match="Say which"):
            conflict_queue.resolve_all(connection, ConflictFilter(), by, now=at(60))
        wanted = ConflictFilter(fields=["title"], entity_keys=["1", "2", "3"], older_than_s=0)
        assert len(conflict_queue.resolve_all(connection, wanted, by, now=at(60))) == 3
        assert conflict_queue.resolve_all(connection, wanted, by, now=at(60)) == []
        shown = show_conflict(connection, page[0]["id"])
        assert (shown["event"]["event_type"], shown["history"]) == ("work_order_updated", [])
    assert len(conflicts(database)) == 7
    assert [order_row(database.url, str(number))["title"] for number in range(5)] == ["ours", *["theirs"] * 3, "ours"]

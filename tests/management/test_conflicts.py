"""Editing records and working the queue of conflicts over HTTP: versions, roles' actors, cursors, problems."""

from typing import Any

import pytest

from cmms_pipelines.domain.roles import Role
from tests.management.conftest import Api, problem
from tests.storage.inbox_world import add_machines, drain_now, order_row, query, work_order


def order_id(api: Api, number: str) -> int:
    work_order(api.database.url, number, type="created", title="A")
    drain_now(api.database.url)
    [found] = api.read("/work-orders", number=number)["work_orders"]
    return int(found["id"])


def edited(api: Api, path: str, version: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    answer = api.ask("PATCH", path, Role.OPERATOR, json={"version": version, "changes": changes, "reason": "seen"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def conflict_of(api: Api, number: str) -> dict[str, Any]:
    """A conflict on the title of an order."""
    edited(api, f"/work-orders/{order_id(api, number)}", 1, title="ours")
    query(api.database.url, "UPDATE cmms.local_edits SET edited_at = '2026-03-02T12:11:00Z' WHERE entity_key = %s", number)
    work_order(api.database.url, number, at=10, title="theirs")
    drain_now(api.database.url)
    [found] = api.read("/conflicts", entity=number)["conflicts"]
    return dict(found)


def test_a_work_order_is_edited_by_who_has_seen_its_version(shared_api: Api) -> None:
    path = f"/work-orders/{order_id(shared_api, '10')}"
    row = edited(shared_api, path, 1, title="ours", cost="12.5", due_at="2026-04-01")
    assert (row["title"], row["cost"], row["due_at"], row["version"]) == ("ours", "12.50", "2026-04-01T23:59:59Z", 2)
    assert {one["field"]: one["by"] for one in row["edits"]} == dict.fromkeys(("title", "cost", "due_at"), "token a operator")
    assert shared_api.read(path) == row
    stale = shared_api.ask("PATCH", path, Role.OPERATOR, json={"version": 1, "changes": {"title": "again"}})
    assert problem(stale, 409)["current_version"] == 2
    [entry] = [one for one in shared_api.audit("work_order.edited") if one["entity_key"] == "atlas:10"]
    assert (entry["actor"], entry["reason"], entry["before"]["title"], entry["after"]["title"]) == (
        "token a operator", "seen", "A", "ours",
    )  # fmt: skip
    problem(shared_api.ask("GET", "/work-orders/999999", Role.VIEWER), 404)


@pytest.mark.parametrize("changes", [{}, {"status": None}, {"status": "exploded"}, {"cost": "a lot"}, {"colour": "red"}])
def test_what_does_not_fit_is_a_problem_that_names_the_field(shared_api: Api, changes: dict[str, Any]) -> None:
    answer = shared_api.ask("PATCH", "/work-orders/1", Role.OPERATOR, json={"version": 1, "changes": changes})
    assert problem(answer, 422)["errors"][0]["where"].startswith("body.changes")


def test_a_machine_is_found_read_and_edited(shared_api: Api) -> None:
    add_machines(shared_api.database.url, "N526JB")
    [found] = shared_api.read("/equipment", number="N526JB", is_active=True)["equipment"]
    row = edited(shared_api, "/equipment/N526JB", found["version"], point="P-1", attributes={"COLOUR": "red"})
    assert (row["point"], row["attributes"], row["open_conflicts"]) == ("P-1", {"HERST": "AIRBUS", "COLOUR": "red"}, [])
    stale = shared_api.ask("PATCH", "/equipment/N526JB", Role.OPERATOR, json={"version": 1, "changes": {"point": None}})
    assert problem(stale, 409)["current_version"] == 2
    problem(shared_api.ask("GET", "/equipment/N999ZZ", Role.VIEWER), 404)


def test_a_conflict_is_read_decided_once_and_taken_back(shared_api: Api) -> None:
    conflict = conflict_of(shared_api, "20")
    path = f"/conflicts/{conflict['id']}"
    shown = shared_api.read(path)
    assert (shown["base"], shown["ours"], shown["theirs"], shown["ours_by"]) == ("A", "ours", "theirs", "token a operator")
    assert (shown["event"]["event_type"], shown["history"], shown["status"]) == ("work_order_updated", [], "open")
    wanted = {"choice": "theirs", "reason": "they called"}
    stale = shared_api.ask("POST", f"{path}/resolve", Role.OPERATOR, json=wanted | {"version": 9})
    assert problem(stale, 409)["current_version"] == 1
    problem(shared_api.ask("POST", f"{path}/resolve", Role.OPERATOR, json=wanted | {"reason": " "}), 422)
    problem(shared_api.ask("POST", f"{path}/resolve", Role.OPERATOR, json=wanted | {"value": "x"}), 422)
    for _ in range(2):
        decided = shared_api.ask("POST", f"{path}/resolve", Role.OPERATOR, json=wanted).json()
        assert (decided["status"], decided["resolution"], decided["resolved_by"]) == ("resolved", "theirs", "token a operator")
    problem(shared_api.ask("POST", f"{path}/resolve", Role.OPERATOR, json=wanted | {"choice": "ours"}), 409)
    opened = shared_api.ask("POST", f"{path}/undo", Role.OPERATOR, json={"reason": "wrong call"}).json()
    assert (opened["status"], opened["is_reopened"]) == ("open", True)
    assert order_row(shared_api.database.url, "20")["title"] == "ours"
    steps = [(step["action"], step["actor"]) for step in shared_api.read(path)["history"]]
    assert steps == [("conflict.resolved", "token a operator"), ("conflict.undone", "token a operator")]
    problem(shared_api.ask("POST", "/conflicts/999999/undo", Role.OPERATOR, json={"reason": "x"}), 404)


def test_many_conflicts_are_paged_tried_and_decided_by_filter(shared_api: Api) -> None:
    numbers = ["30", "31", "32"]
    for number in numbers:
        conflict_of(shared_api, number)
    first = shared_api.read("/conflicts", entity=numbers, limit=2)
    rest = shared_api.read("/conflicts", entity=numbers, limit=2, cursor=first["next_cursor"])
    assert [one["entity_key"] for page in (first, rest) for one in page["conflicts"]] == ["32", "31", "30"]
    assert rest["next_cursor"] is None
    assert shared_api.read("/conflicts/status")["open"] >= 3
    wanted = {"choice": "ours", "reason": "checked", "entity_keys": numbers[:2]}
    tried = shared_api.ask("POST", "/conflicts/resolve", Role.OPERATOR, json=wanted | {"dry_run": True}).json()
    assert (tried["is_dry_run"], len(tried["conflicts"])) == (True, 2)
    assert len(shared_api.read("/conflicts", entity=numbers)["conflicts"]) == 3
    done = shared_api.ask("POST", "/conflicts/resolve", Role.OPERATOR, json=wanted).json()
    assert [one["resolution"] for one in done["conflicts"]] == ["ours", "ours"]
    assert [one["entity_key"] for one in shared_api.read("/conflicts", entity=numbers)["conflicts"]] == ["32"]
    everything = shared_api.ask("POST", "/conflicts/resolve", Role.OPERATOR, json={"choice": "ours", "reason": "all"})
    for age in ("1.3e308", "inf", "1e11"):
        assert shared_api.read("/conflicts", older_than_s=age)["conflicts"] == []
    assert "Say which conflicts" in problem(everything, 422)["detail"]


def test_a_policy_is_versioned_checked_and_rolled_back(shared_api: Api) -> None:
    path = "/conflicts/policies/maximo"
    assert shared_api.read(path)["version"] == 0
    local = {"rules": {"work_order": {"priority": {"strategy": "authority", "authority": "local"}}}}
    put = shared_api.ask("PUT", path, json=local, headers={"If-Match": '"0"'})
    assert (put.status_code, put.headers["etag"]) == (200, '"1"')
    assert problem(shared_api.ask("PUT", path, json={}, headers={"If-Match": '"0"'}), 412)["current_version"] == 1
    problem(shared_api.ask("PUT", path, json={}), 428)
    broken = {"rules": {"work_order": {"colour": {"strategy": "escalate"}}}}
    assert "colour" in str(problem(shared_api.ask("PUT", path, json=broken, headers={"If-Match": '"1"'}), 422)["errors"])
    back = shared_api.ask("POST", f"{path}/rollback", json={"to_version": 0}, headers={"If-Match": '"1"'})
    assert (back.json()["version"], back.json()["policy"]["rules"]) == (2, {})
    versions = shared_api.read(f"{path}/history")["versions"]
    assert [(one["version"], one["changed_by"]) for one in versions] == [(2, "token a admin"), (1, "token a admin")]
    assert [one["cmms_system_id"] for one in shared_api.read("/conflicts/policies")["policies"]] == ["maximo"]


def test_an_order_is_made_here_once_and_by_whoever_may(shared_api: Api) -> None:
    add_machines(shared_api.database.url, "N777")
    wanted = {
        "order": {"equipment_number": "N777", "title": "Oil under the pump", "priority": "high"},
        "reason": "seen on round",
    }
    problem(shared_api.ask("POST", "/work-orders", Role.VIEWER, json=wanted), 403)
    answer = shared_api.ask("POST", "/work-orders", Role.OPERATOR, json=wanted)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["cmms_system_id"], made["status"], made["plant_code"], made["title"]) == (
        "local",
        "open",
        "B6JFK",
        "Oil under the pump",
    )
    assert {edit["field"] for edit in made["edits"]} == {"equipment_number", "priority", "status", "title"}
    assert shared_api.read(f"/work-orders/{made['id']}") == made
    number = {"cmms_system_id": "local", "work_order_number": made["work_order_number"]}
    known = shared_api.ask("POST", "/work-orders", Role.OPERATOR, json={"order": {**wanted["order"], **number}})  # type: ignore[dict-item]
    assert problem(known, 409)["current_version"] == made["version"]
    unknown = shared_api.ask("POST", "/work-orders", Role.OPERATOR, json={"order": {"equipment_number": "N0", "title": "x"}})
    assert "No machine has the number 'N0'" in problem(unknown, 422)["detail"]
    [entry] = [one for one in shared_api.audit("work_order.created") if one["entity_key"] == f"local:{made['work_order_number']}"]
    assert (entry["actor"], entry["reason"], entry["after"]["priority"]) == ("token a operator", "seen on round", "high")

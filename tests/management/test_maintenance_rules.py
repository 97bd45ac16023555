"""Rules of maintenance over HTTP: who may, versions, and the audit with before and after."""

from typing import Any

import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.roles import Role
from tests.management.conftest import Api, problem

PATH = "/maintenance-rules"
WORLD = (
    "INSERT INTO cmms.plants (id, plant_code, name) OVERRIDING SYSTEM VALUE VALUES (1, 'UTC', 'U') ON CONFLICT DO NOTHING",
    "INSERT INTO cmms.equipment_groups (name) VALUES ('pumps') ON CONFLICT DO NOTHING",
    "INSERT INTO cmms.equipment (equipment_number, plant_id) VALUES ('4711', 1) ON CONFLICT DO NOTHING",
)


@pytest.fixture
def world(shared_api: Api) -> Api:
    with shared_api.database.engine.begin() as connection:
        for statement in WORLD:
            connection.execute(sa.text(statement))
    return shared_api


def test_a_rule_is_created_read_replaced_and_removed_by_those_who_saw_its_version(world: Api) -> None:
    wanted = {"name": "oil", "equipment_group": "pumps", "interval_hours": 250, "tolerance_hours": 10}
    problem(world.ask("POST", PATH, Role.VIEWER, json=wanted), 403)
    made = world.ask("POST", PATH, Role.OPERATOR, json=wanted)
    path = f"{PATH}/{made.json()['id']}"
    assert (made.status_code, made.headers["etag"], made.headers["location"]) == (201, '"1"', f"/api/v1/cmms{path}")
    assert problem(world.ask("POST", PATH, Role.OPERATOR, json=wanted), 409)["current_version"] == 1
    assert world.read(PATH, equipment_group="pumps")["rules"] == [world.read(path)]
    assert world.read(PATH, equipment_group="fans")["rules"] == []
    changed = {**wanted, "interval_days": 90}
    problem(world.ask("PUT", path, Role.OPERATOR, json=changed), 428)
    problem(world.ask("PUT", path, Role.VIEWER, json=changed, headers={"If-Match": '"1"'}), 403)
    put = world.ask("PUT", path, Role.OPERATOR, json=changed, headers={"If-Match": '"1"'})
    assert (put.status_code, put.json()["version"], put.json()["rule"]["interval_days"]) == (200, 2, 90)
    assert world.ask("PUT", path, Role.OPERATOR, json=changed, headers={"If-Match": '"2"'}).json()["version"] == 2
    assert problem(world.ask("PUT", path, Role.OPERATOR, json=wanted, headers={"If-Match": '"1"'}), 412)["current_version"] == 2
    problem(world.ask("DELETE", path, Role.OPERATOR, headers={"If-Match": '"1"'}), 412)
    assert world.ask("DELETE", path, Role.OPERATOR, headers={"If-Match": '"2"'}).status_code == 204
    problem(world.ask("GET", path, Role.VIEWER), 404)
    problem(world.ask("DELETE", path, Role.OPERATOR, headers={"If-Match": '"2"'}), 404)
    [created], [replaced], [removed] = (world.audit(f"maintenance_rule.{what}") for what in ("created", "changed", "removed"))
    assert (created["before"], created["after"]["interval_days"], created["actor"]) == (None, None, replaced["actor"])
    assert (replaced["before"]["interval_days"], replaced["after"]["interval_days"]) == (None, 90)
    assert (removed["before"]["version"], removed["after"]) == (2, None)


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "x", "equipment_group": "nobody", "interval_hours": 1},
        {"name": "x", "equipment_number": "0815", "interval_hours": 1},
        {"name": "x", "equipment_group": "pumps"},
        {"name": "x", "equipment_group": "pumps", "equipment_number": "4711", "interval_hours": 1},
        {"name": "x", "equipment_group": "pumps", "interval_hours": 10, "tolerance_hours": 10},
    ],
)
def test_a_rule_that_does_not_fit_is_refused_and_nothing_is_stored(world: Api, wanted: dict[str, Any]) -> None:
    problem(world.ask("POST", PATH, Role.OPERATOR, json=wanted), 422)
    assert [one for one in world.read(PATH)["rules"] if one["rule"]["name"] == "x"] == []


def test_a_machine_is_found_under_its_number_with_or_without_leading_zeros(world: Api) -> None:
    wanted = {"name": "belt", "equipment_number": "0000004711", "interval_days": 30}
    made = world.ask("POST", PATH, Role.OPERATOR, json=wanted)
    assert (made.status_code, made.json()["rule"]["equipment_number"]) == (201, "4711")
    assert len(world.read(PATH, equipment_number="004711")["rules"]) == 1

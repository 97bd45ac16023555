"""Every operation that changes something leaves who did it and what was before and after in the audit log."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cmms_pipelines.domain.roles import Role
from tests.management.conftest import API, Api
from tests.management.test_alerts import open_alert
from tests.management.test_conflicts import conflict_of, order_id
from tests.storage.inbox_world import add_machines, drain_now, query, work_order

JUDGES_ONLY = {("POST", "/configurations/{cmms_system_id}/verify"), ("POST", "/configuration-centre/{kind}/validate")}
"""Store nothing: questions that are too long for a query."""
NOTHING_BEFORE, NOTHING_AFTER, BOTH = "before", "after", ""


@dataclass(frozen=True)
class Step:
    """One call of an operation, the action that it must leave, and which side of the entry is empty by its nature."""

    verb: str
    operation: str
    action: str
    empty: str = BOTH
    path: dict[str, object] = field(default_factory=lambda: {"cmms_system_id": "audited"})
    body: object = None
    version: int | None = None


def retried(api: Api) -> str:
    work_order(api.database.url, "70", title="A")
    drain_now(api.database.url)
    return str(query(api.database.url, "SELECT id FROM cmms.maintenance_event_hooks ORDER BY sequence DESC LIMIT 1")[0][0])


def rule_of(api: Api, name: str) -> int:
    return int(query(api.database.url, "SELECT id FROM cmms.maintenance_rules WHERE name = %s", name)[0][0])


def secret_of(api: Api) -> str:
    return str(api.ask("GET", "/configurations/audited/secrets").json()["secrets"][0]["id"])


def steps(api: Api) -> Iterator[Step]:
    """Each step is made when the one before has been taken: later ones need what earlier ones made."""
    one, secrets = "/configurations/{cmms_system_id}", "/configurations/{cmms_system_id}/secrets"
    yield Step("POST", "/configurations", "configuration.created", NOTHING_BEFORE, {}, {"cmms_system_id": "audited"})
    yield Step("PUT", one, "configuration.changed", body={"configuration": {"tolerance_s": 61}}, version=1)
    yield Step("POST", f"{one}/rollback", "configuration.changed", body={"to_version": 1}, version=2)
    yield Step("POST", secrets, "secret.added", NOTHING_BEFORE, body={})
    yield Step("POST", f"{one}/test", "configuration.tested", NOTHING_BEFORE, body={"wait_s": 0})
    yield Step(
        "DELETE", f"{secrets}/{{secret_id}}", "secret.revoked", path={"cmms_system_id": "audited", "secret_id": secret_of(api)}
    )
    yield Step("PUT", f"{one}/api-token", "api_token.set", NOTHING_BEFORE, body={"token": "a-token-of-the-source"})
    yield Step("DELETE", f"{one}/api-token", "api_token.removed", NOTHING_AFTER)
    yield Step("DELETE", one, "configuration.deleted", NOTHING_AFTER, version=3)
    yield Step("POST", "/events/{event_id}/retry", "event.replayed", path={"event_id": retried(api)}, body={"reason": "seen"})
    drain_now(api.database.url)
    yield Step("POST", "/events/replay", "event.replayed", path={}, body={"statuses": ["processed", "ignored"]})
    order = order_id(api, "71")
    yield Step("PATCH", "/work-orders/{work_order_id}", "work_order.edited", path={"work_order_id": order},
               body={"version": 1, "changes": {"title": "ours"}})  # fmt: skip
    add_machines(api.database.url, "N71")
    new_order = {"order": {"title": "made here", "equipment_number": "N71"}}
    yield Step("POST", "/work-orders", "work_order.created", NOTHING_BEFORE, {}, new_order)
    rule, wanted = "/maintenance-rules/{rule_id}", {"name": "audited", "equipment_number": "N71", "interval_hours": 100}
    yield Step("POST", "/maintenance-rules", "maintenance_rule.created", NOTHING_BEFORE, {}, wanted)
    of_rule = {"rule_id": rule_of(api, "audited")}
    yield Step("PUT", rule, "maintenance_rule.changed", path=of_rule, body={**wanted, "interval_hours": 200}, version=1)
    yield Step("DELETE", rule, "maintenance_rule.removed", NOTHING_AFTER, of_rule, version=2)
    yield Step("PATCH", "/equipment/{equipment_number}", "equipment.edited", path={"equipment_number": "N71"},
               body={"version": 1, "changes": {"point": "P-1"}})  # fmt: skip
    at = {"conflict_id": conflict_of(api, "72")["id"]}
    yield Step("POST", "/conflicts/{conflict_id}/resolve", "conflict.resolved", path=at, body={"choice": "theirs", "reason": "x"})
    yield Step("POST", "/conflicts/{conflict_id}/undo", "conflict.undone", path=at, body={"reason": "x"})
    yield Step("POST", "/conflicts/resolve", "conflict.resolved", path={},
               body={"choice": "ours", "reason": "x", "entity_keys": ["72"]})  # fmt: skip
    policy = "/conflicts/policies/{cmms_system_id}"
    yield Step("PUT", policy, "configuration.created", NOTHING_BEFORE, body={}, version=0)
    yield Step("PUT", policy, "configuration.changed", version=1,
               body={"rules": {"work_order": {"title": {"strategy": "escalate"}}}})  # fmt: skip
    yield Step("POST", f"{policy}/rollback", "configuration.changed", body={"to_version": 1}, version=2)
    centre, place = "/configuration-centre/{kind}/{cmms_system_id}", {"kind": "thresholds", "cmms_system_id": "cmms"}
    kept = {"configuration": {"keep_logs_days": 30}}
    yield Step("PUT", centre, "configuration.created", NOTHING_BEFORE, place, kept, version=0)
    yield Step("PUT", centre, "configuration.changed", BOTH, place, {"configuration": {}}, version=1)
    yield Step("POST", f"{centre}/rollback", "configuration.changed", BOTH, place, {"to_version": 1}, version=2)
    alert = {"alert_id": open_alert(api, "audited")}
    yield Step("POST", "/alerts/{alert_id}/acknowledge", "alert.acknowledged", path=alert, body={"note": "known"})


def changing_operations(api: Api) -> dict[tuple[str, str], Role]:
    """Every operation of the description that does not only read, with the role that it needs."""
    paths = api.client.get(f"{api.sidecar.url}/openapi.json").json()["paths"]
    return {
        (verb.upper(), path.removeprefix(API)): Role(operation["x-required-role"])
        for path, verbs in paths.items()
        if path.startswith(API)
        for verb, operation in verbs.items()
        if verb in {"post", "put", "patch", "delete"}
    }


def taken(api: Api, step: Step, role: Role) -> list[dict[str, Any]]:
    """Take a step with the lowest role that may; return the entries that it left."""
    newest = query(api.database.url, "SELECT coalesce(max(id), 0) FROM cmms.audit_log")[0][0]
    headers = {"If-Match": f'"{step.version}"'} if step.version is not None else {}
    answer = api.ask(step.verb, step.operation.format(**step.path), role, json=step.body, headers=headers)
    assert answer.is_success, (step, answer.text)
    return [
        row[0] for row in query(api.database.url, "SELECT to_jsonb(a) FROM cmms.audit_log a WHERE id > %s ORDER BY id", newest)
    ]


def test_every_operation_that_changes_something_is_audited_with_its_actor_and_both_sides(api: Api) -> None:
    wanted = changing_operations(api)
    walked = set()
    for step in steps(api):
        role = wanted[step.verb, step.operation]
        entries = [entry for entry in taken(api, step, role) if entry["action"] == step.action]
        assert entries, step
        for entry in entries:
            assert entry["actor"] == f"token a {role}", (step, entry)
            assert entry["entity_key"], (step, entry)
            for side in {"before", "after"} - {step.empty}:
                assert entry[side] is not None, (step, entry)
        walked.add((step.verb, step.operation))
    assert walked == wanted.keys() - JUDGES_ONLY, "an operation has no step here"


@pytest.mark.parametrize("ask", [
    lambda api: api.ask("POST", "/configurations/unheard-of/verify", json={"body": "{}"}),
    lambda api: api.ask("PUT", "/configurations/unheard-of", json={"configuration": {}}, headers={"If-Match": '"1"'}),
    lambda api: api.ask("POST", "/events/replay", json={"statuses": ["dead_letter"], "dry_run": True}),
])  # fmt: skip
def test_what_changes_nothing_leaves_no_entry_of_a_change(shared_api: Api, ask: Callable[[Api], object]) -> None:
    before = query(shared_api.database.url, "SELECT count(*) FROM cmms.audit_log")
    ask(shared_api)
    assert query(shared_api.database.url, "SELECT count(*) FROM cmms.audit_log") == before

"""Who may ask what: tokens, roles, and refusals that say nothing about what exists."""

import datetime as dt
import time
import uuid
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage.tokens import create_token, list_tokens, revoke_token
from cmms_webhook.management.access import Gate, guarded_route
from tests.management.conftest import API, Api, problem
from tests.storage.inbox_world import query

VERBS = {"get", "post", "put", "delete", "patch"}


def operations(api: Api) -> list[tuple[str, str, dict[str, Any]]]:
    """Every operation of the management API as its own description lists it."""
    paths = api.client.get(api.sidecar.url + "/openapi.json").json()["paths"]
    found = [
        (verb.upper(), path.removeprefix(API), operation)
        for path, verbs in paths.items()
        if path.startswith(API)
        for verb, operation in verbs.items()
        if verb in VERBS
    ]
    assert len(found) > 15
    return found


def filled(path: str) -> str:
    for name in ("event_id", "secret_id"):
        path = path.replace(f"{{{name}}}", str(uuid.uuid4()))
    return path.replace("{cmms_system_id}", "nobody")


def test_every_endpoint_says_which_role_it_needs_and_that_it_wants_a_token(shared_api: Api) -> None:
    for verb, path, operation in operations(shared_api):
        role = operation["x-required-role"]
        assert role in set(Role), (verb, path)
        assert f"role `{role}`" in operation["description"]
        assert operation["security"] == [{"HTTPBearer": []}]
        assert {"401", "403"} <= operation["responses"].keys()


def test_whoever_reads_needs_a_viewer_whoever_changes_sources_an_admin(shared_api: Api) -> None:
    needed = {(verb, path): operation["x-required-role"] for verb, path, operation in operations(shared_api)}
    assert needed["GET", "/events/{event_id}"] == needed["GET", "/sync/status"] == needed["GET", "/analytics"] == "viewer"
    assert needed["POST", "/events/replay"] == needed["POST", "/configurations/{cmms_system_id}/test"] == "operator"
    assert {needed["PATCH", path] for path in ("/work-orders/{work_order_id}", "/equipment/{equipment_number}")} == {"operator"}
    deciding = ("/conflicts/resolve", "/conflicts/{conflict_id}/resolve", "/conflicts/{conflict_id}/undo")
    assert {needed["POST", path] for path in deciding} == {"operator"}
    assert needed["GET", "/conflicts"] == needed["GET", "/work-orders"] == "viewer"
    changes = {key: role for key, role in needed.items() if key[0] in {"PUT", "DELETE"} or key == ("POST", "/configurations")}
    rules = {key for key in changes if key[1].startswith("/maintenance-rules")}
    assert {changes.pop(key) for key in rules} == {needed["POST", "/maintenance-rules"]} == {"operator"}
    assert len(changes) == 8
    assert set(changes.values()) == {needed["POST", "/configuration-centre/{kind}/{cmms_system_id}/rollback"]} == {"admin"}


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer cmms_" + "x" * 43, "Bearer " + "y" * 5000, "é"],
)
def test_nobody_passes_without_a_token_in_force_and_all_refusals_are_alike(shared_api: Api, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    bodies = set()
    for verb, path, _ in operations(shared_api):
        answer = shared_api.client.request(verb, shared_api.url + filled(path), headers=headers, content=b"{broken")
        problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        bodies.add(answer.text)
    assert len(bodies) == 1


def test_a_role_that_is_not_enough_is_refused_before_anything_is_read_or_looked_up(shared_api: Api) -> None:
    shared_api.sidecar.register("known")
    for verb, path, operation in operations(shared_api):
        needed = Role(operation["x-required-role"])
        for role in Role:
            if not role.may(needed):
                for name in ("known", "nobody"):
                    target = path.replace("{cmms_system_id}", name)
                    answer = shared_api.ask(verb, filled(target), role, content=b"{broken")
                    assert problem(answer, 403)["detail"] == f"This needs a token of role {needed}."


def test_what_does_not_exist_is_told_only_to_who_may_know(shared_api: Api) -> None:
    path = f"/events/{uuid.uuid4()}"
    assert problem(shared_api.ask("GET", path, None), 401)["type"].endswith("unauthenticated")
    assert problem(shared_api.ask("GET", path, Role.VIEWER), 404)["type"].endswith("not-found")
    problem(shared_api.ask("GET", "/events/no-uuid", None), 401)
    assert problem(shared_api.ask("GET", "/events/no-uuid", Role.VIEWER), 422)["errors"][0]["where"] == "path.event_id"


def test_two_authorization_headers_are_none(shared_api: Api) -> None:
    value = f"Bearer {shared_api.tokens[Role.ADMIN]}"
    headers = [("Authorization", value), ("Authorization", value)]
    problem(shared_api.client.get(shared_api.url + "/sync/status", headers=headers), 401)


def test_a_revoked_token_and_an_expired_one_are_refused_a_second_later(shared_api: Api) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    with shared_api.database.engine.begin() as connection:
        _, revoked = create_token(connection, "leaves", Role.VIEWER, actor="tests")
        _, expiring = create_token(connection, "ends", Role.VIEWER, actor="tests", expires_at=soon)
    time.sleep(1.1)
    tokens = [secret.get_secret_value() for secret in (revoked, expiring)]
    url = shared_api.url + "/sync/status"
    assert [shared_api.client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code for token in tokens] == [
        200,
        200,
    ]
    with shared_api.database.engine.begin() as connection:
        assert revoke_token(connection, "leaves", actor="tests") is not None
        assert revoke_token(connection, "leaves", actor="tests") is None
    time.sleep(1.2)
    assert [shared_api.client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code for token in tokens] == [
        401,
        401,
    ]


def test_a_token_is_nowhere_in_the_database_and_its_making_and_end_are_audited(api: Api) -> None:
    for role, token in api.tokens.items():
        dumped = query(api.database.url, "SELECT string_agg(t::text, '') FROM cmms.api_tokens t")[0][0]
        audited = query(api.database.url, "SELECT string_agg(a::text, '') FROM cmms.audit_log a")[0][0]
        assert token not in dumped + audited
        assert f"a {role}" in audited
    [entry] = [entry for entry in api.audit("token.created") if entry["after"]["role"] == "admin"]
    assert (entry["actor"], entry["after"]["name"]) == ("tests", "a admin")


def test_when_a_token_was_last_used_is_known(api: Api) -> None:
    before = dt.datetime.now(dt.UTC)
    api.read("/sync/status")
    time.sleep(1.1)
    api.read("/sync/status")
    with api.database.engine.connect() as connection:
        used = {token.role: token.last_used_at for token in list_tokens(connection)}
    assert used[Role.ADMIN] is None
    assert used[Role.VIEWER] is not None
    assert used[Role.VIEWER] >= before


def test_an_endpoint_without_a_role_cannot_be_made(shared_api: Api) -> None:
    route_class = guarded_route(Gate(shared_api.database.engine, lambda: dt.datetime.now(dt.UTC)))
    with pytest.raises(KeyError):
        route_class("/open", lambda: None)


def test_a_body_that_is_too_large_or_no_json_is_refused_with_a_problem(shared_api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    problem(shared_api.ask("POST", "/events/replay", content=b"[" * 600_000, headers=headers), 413)
    refused = problem(shared_api.ask("POST", "/events/replay", content=b"{broken", headers=headers), 422)
    assert refused["errors"]
    unknown = problem(shared_api.ask("POST", "/events/replay", json={"types": ["a"], "nonsense": "canary-51"}), 422)
    assert "canary-51" not in str(unknown)


def test_a_database_that_is_away_is_answered_with_503_and_strangers_still_with_401(api: Api, server_url: str) -> None:
    api.read("/sync/status")
    name = make_url(api.database.url).database
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        away = api.ask("GET", "/sync/status", Role.VIEWER)
        stranger = api.ask("GET", "/sync/status", None)
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
    assert problem(away, 503)["type"].endswith("unavailable")
    assert away.headers["retry-after"]
    problem(stranger, 401)
    assert api.read("/sync/status")["inbox"]["counts"]["pending"] == 0


def test_a_value_that_no_table_can_hold_is_the_askers_mistake_and_no_failure_of_the_server(shared_api: Api) -> None:
    told = problem(shared_api.ask("GET", "/events/history", params={"entity": "work_order:\x00"}), 422)
    assert told["type"] == "urn:cmms:problem:unusable-request"

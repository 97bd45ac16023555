"""Sources as configuration: versions, conflicts, history, secrets, trials; and who did what."""

import datetime as dt
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cmms_pipelines.domain.presets import PRESETS
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.domain.signatures import SchemeName, key_of, sign
from cmms_pipelines.domain.webhook_source import WebhookSource
from tests.management.conftest import Api, problem
from tests.storage.inbox_world import drain_now, query
from tests.webhook.conftest import event_body, wait_until

CANARY = "canary-secret-8d13-of-a-sender"


def created(api: Api, name: str, /, **configuration: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of a source
    answer = api.ask("POST", "/configurations", json={"cmms_system_id": name, "configuration": configuration})
    assert answer.status_code == 201, answer.text
    assert answer.headers["etag"] == '"1"'
    body: dict[str, Any] = answer.json()
    return body


def if_match(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}


def test_a_source_is_created_read_changed_and_deleted_and_each_step_is_audited(api: Api) -> None:
    assert created(api, "one", tolerance_s=60)["configuration"]["tolerance_s"] == 60
    read = api.ask("GET", "/configurations/one", Role.VIEWER)
    assert (read.headers["etag"], read.json()["version"]) == ('"1"', 1)
    wanted = {"configuration": {"tolerance_s": 90}, "is_active": False}
    changed = api.ask("PUT", "/configurations/one", json=wanted, headers=if_match(1))
    assert (changed.json()["version"], changed.json()["is_active"]) == (2, False)
    assert [row["cmms_system_id"] for row in api.read("/configurations")["configurations"]] == ["one"]
    assert api.ask("DELETE", "/configurations/one", headers=if_match(2)).status_code == 204
    problem(api.ask("GET", "/configurations/one", Role.VIEWER), 404)
    entries = [api.audit(f"configuration.{step}")[0] for step in ("created", "changed", "deleted")]
    assert {entry["actor"] for entry in entries} == {"token a admin"}
    before_and_after = [
        (entry[side] or {}).get("configuration", {}).get("tolerance_s") for entry in entries for side in ("before", "after")
    ]
    assert before_and_after == [None, 60, 60, 90, 90, None]


def test_whoever_has_not_seen_the_present_version_changes_nothing_and_is_told_it(shared_api: Api) -> None:
    created(shared_api, "two")
    wanted = {"configuration": {"tolerance_s": 61}}
    assert shared_api.ask("PUT", "/configurations/two", json=wanted, headers=if_match(1)).status_code == 200
    for verb, path, body in (("PUT", "", wanted), ("DELETE", "", None), ("POST", "/rollback", {"to_version": 1})):
        stale = shared_api.ask(verb, f"/configurations/two{path}", json=body, headers=if_match(1))
        assert problem(stale, 412)["current_version"] == 2
        assert stale.headers["etag"] == '"2"'
        problem(shared_api.ask(verb, f"/configurations/two{path}", json=body), 428)
    again = shared_api.ask("POST", "/configurations", json={"cmms_system_id": "two"})
    assert problem(again, 409)["current_version"] == 2
    assert shared_api.read("/configurations/two")["version"] == 2


def test_of_many_who_change_the_same_version_at_once_one_succeeds(shared_api: Api) -> None:
    created(shared_api, "busy")

    def change(tolerance_s: int) -> int:
        wanted = {"configuration": {"tolerance_s": tolerance_s}}
        return shared_api.ask("PUT", "/configurations/busy", json=wanted, headers=if_match(1)).status_code

    with ThreadPoolExecutor(12) as everybody:
        statuses = sorted(everybody.map(change, range(10, 22)))
    assert statuses == [200] + [412] * 11
    assert [one["version"] for one in shared_api.read("/configurations/busy/history")["versions"]] == [2, 1]


def test_an_identical_change_adds_no_version(shared_api: Api) -> None:
    first = created(shared_api, "same", tolerance_s=33)
    wanted = {"configuration": first["configuration"]}
    assert shared_api.ask("PUT", "/configurations/same", json=wanted, headers=if_match(1)).json()["version"] == 1


def test_history_shows_all_versions_and_a_rollback_makes_a_new_one_of_an_old(shared_api: Api) -> None:
    created(shared_api, "three", tolerance_s=1)
    for version in (1, 2):
        wanted = {"configuration": {"tolerance_s": version + 1}}
        shared_api.ask("PUT", "/configurations/three", json=wanted, headers=if_match(version))
    back = shared_api.ask("POST", "/configurations/three/rollback", json={"to_version": 1}, headers=if_match(3)).json()
    assert (back["version"], back["configuration"]["tolerance_s"]) == (4, 1)
    versions = shared_api.read("/configurations/three/history")["versions"]
    assert [(one["version"], one["configuration"]["tolerance_s"]) for one in versions] == [(4, 1), (3, 3), (2, 2), (1, 1)]
    assert {one["changed_by"] for one in versions} == {"token a admin"}
    problem(shared_api.ask("POST", "/configurations/three/rollback", json={"to_version": 9}, headers=if_match(4)), 404)


@pytest.mark.parametrize(
    "wanted",
    [
        {"cmms_system_id": "bad name"},
        {"cmms_system_id": "x", "configuration": {"scheme": "none"}},
        {"cmms_system_id": "x", "configuration": {"scheme": "unsigned"}},
        {"cmms_system_id": "x", "configuration": {"nonsense": 1}},
        {"cmms_system_id": "x", "secret": CANARY},
        {},
    ],
)
def test_what_does_not_fit_is_refused_by_field_and_not_repeated(shared_api: Api, wanted: dict[str, Any]) -> None:
    refused = problem(shared_api.ask("POST", "/configurations", json=wanted), 422)
    assert refused["errors"]
    assert CANARY not in str(refused)


def test_a_source_that_signs_nothing_is_marked_in_every_listing(shared_api: Api) -> None:
    created(shared_api, "open", scheme="unsigned", allow_unsigned=True)
    [listed] = [row for row in shared_api.read("/configurations")["configurations"] if row["cmms_system_id"] == "open"]
    assert "anybody" in listed["warnings"][0]
    problem(shared_api.ask("POST", "/configurations/open/secrets", json={}), 422)


def test_a_secret_is_shown_once_rotates_without_a_gap_and_is_nowhere_else(api: Api) -> None:
    created(api, "four")
    path = "/configurations/four/secrets"
    given = api.ask("POST", path, json={"secret": CANARY})
    assert (given.status_code, given.json()["secret"], given.headers["cache-control"]) == (201, None, "no-store")
    fresh = api.ask("POST", path, json={"others_expire_in_s": 600}).json()
    now = dt.datetime.now(dt.UTC)
    for secret in (CANARY, fresh["secret"]):
        body = event_body()
        headers = sign(SchemeName.HMAC_HEX, key_of(SchemeName.HMAC_HEX, secret), body, now) | {"x-cmms-system": "four"}
        time.sleep(1.1)
        assert api.sidecar.post(body, headers | {"content-type": "application/json"}).status_code == 202
    listed = {row["id"]: row for row in api.ask("GET", path).json()["secrets"]}
    expiring = dt.datetime.fromisoformat(listed[given.json()["id"]]["expires_at"])
    assert dt.timedelta(seconds=590) < expiring - now < dt.timedelta(seconds=610)
    assert listed[fresh["id"]]["expires_at"] is None
    wait_until(lambda: all(row["last_used_at"] for row in api.ask("GET", path).json()["secrets"]))
    stored = str(query(api.database.url, "SELECT string_agg(a::text, '') FROM cmms.audit_log a"))
    everything = stored + str(listed) + api.client.get(api.sidecar.url + "/openapi.json").text
    assert CANARY not in everything
    assert fresh["secret"] not in everything
    assert api.audit("secret.expiry_set")[0]["actor"] == "token a admin"


def test_a_revoked_secret_opens_nothing_and_a_deleted_source_takes_its_secrets_along(api: Api) -> None:
    created(api, "five")
    made = api.ask("POST", "/configurations/five/secrets", json={}).json()
    body = event_body()
    headers = sign(SchemeName.HMAC_HEX, made["secret"].encode(), body, dt.datetime.now(dt.UTC))
    headers |= {"x-cmms-system": "five", "content-type": "application/json"}
    time.sleep(1.1)
    assert api.sidecar.post(body, headers).status_code == 202
    assert api.ask("DELETE", f"/configurations/five/secrets/{made['id']}").status_code == 204
    problem(api.ask("DELETE", f"/configurations/five/secrets/{made['id']}"), 404)
    problem(api.ask("DELETE", f"/configurations/five/secrets/{uuid.uuid4()}"), 404)
    time.sleep(1.1)
    assert api.sidecar.post(body, headers).status_code == 401
    again = api.ask("POST", "/configurations/five/secrets", json={}).json()
    api.ask("DELETE", "/configurations/five", headers=if_match(1))
    assert query(api.database.url, "SELECT revoked_at IS NOT NULL FROM cmms.webhook_secrets WHERE id = %s", again["id"]) == [
        (True,)
    ]
    created(api, "five")
    assert not any(row["is_in_force"] for row in api.ask("GET", "/configurations/five/secrets").json()["secrets"])


def test_a_sample_delivery_is_judged_as_the_receiver_would_and_not_stored(shared_api: Api) -> None:
    created(shared_api, "six")
    shared_api.ask("POST", "/configurations/six/secrets", json={"secret": CANARY})
    body = event_body(cmms_system_id="six")
    headers = sign(SchemeName.HMAC_HEX, CANARY.encode(), body, dt.datetime.now(dt.UTC))
    path = "/configurations/six/verify"

    def judged(text: bytes, **changes: str) -> dict[str, Any]:
        sample = {"headers": headers | changes, "body": text.decode()}
        found: dict[str, Any] = shared_api.ask("POST", path, Role.OPERATOR, json=sample).json()
        return found

    good = judged(body)
    assert (good["is_accepted"], good["entity_key"], good["first_status"]) == (True, "work_order:4711", "pending")
    assert good["is_known_already"] is False
    assert judged(body + b" ")["reason"] == "wrong_signature"
    assert judged(body, **{"x-hmac-signature": "no digest"})["reason"] == "malformed_signature"
    other = event_body(cmms_system_id="seven")
    resigned = sign(SchemeName.HMAC_HEX, CANARY.encode(), other, dt.datetime.now(dt.UTC))
    assert judged(other, **resigned)["reason"] == "another_system"
    assert query(shared_api.database.url, "SELECT count(*) FROM cmms.maintenance_event_hooks WHERE cmms_system_id = 'six'") == [
        (0,)
    ]


def test_a_signed_sample_of_every_preset_goes_through_the_receiver_until_it_is_applied(shared_api: Api) -> None:
    for preset in PRESETS:
        changes = {"allow_unsigned": True} if preset == "unsigned" else {}
        created(shared_api, f"preset-{preset}", **WebhookSource.of_preset(preset, **changes).model_dump(mode="json"))
        if preset != "unsigned":
            assert shared_api.ask("POST", f"/configurations/preset-{preset}/secrets", json={}).status_code == 201
    for preset in PRESETS:
        sent = shared_api.ask("POST", f"/configurations/preset-{preset}/test", Role.OPERATOR, json={"wait_s": 0}).json()
        assert (sent["is_accepted"], sent["http_status"]) == (True, 202), sent
        drain_now(shared_api.database.url)
        event = shared_api.read(f"/events/{sent['event_id']}")
        assert (event["cmms_system_id"], event["processing_status"]) == (f"preset-{preset}", "processed"), event
        assert event["latency_ms"] > 0


def test_a_test_follows_its_event_until_it_is_applied_and_says_what_it_did(api: Api) -> None:
    created(api, "eight")
    api.ask("POST", "/configurations/eight/secrets", json={})
    drain = threading.Timer(2.0, drain_now, (api.database.url,))
    drain.start()
    report = api.ask("POST", "/configurations/eight/test", json={}).json()
    drain.join()
    assert (report["status"], report["is_accepted"]) == ("processed", True)
    assert report["applied_after_ms"] > 0
    assert report["outcome"]["changed"]["title"]["after"] == "A sample work order"
    assert api.audit("configuration.tested")[0]["entity_key"] == "eight"


def test_a_source_without_a_secret_or_that_is_not_active_is_not_tested(shared_api: Api) -> None:
    created(shared_api, "nine")
    assert "secret" in problem(shared_api.ask("POST", "/configurations/nine/test", json={}), 422)["detail"]
    wanted = {"configuration": {}, "is_active": False}
    shared_api.ask("PUT", "/configurations/nine", json=wanted, headers=if_match(1))
    assert "not active" in problem(shared_api.ask("POST", "/configurations/nine/test", json={}), 422)["detail"]

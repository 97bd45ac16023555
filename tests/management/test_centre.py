"""The configuration centre over HTTP: the same mechanism for every kind, by role and by version."""

from typing import Any

import pytest

from cmms_pipelines.domain.roles import Role
from tests.management.conftest import Api, problem

CANARY = "canary-b7720c-secret"


def put(api: Api, place: str, document: dict[str, Any], version: int | None, **more: Any) -> Any:  # noqa: ANN401 - an answer
    headers = {} if version is None else {"If-Match": f'"{version}"'}
    return api.ask("PUT", f"/configuration-centre/{place}", json={"configuration": document, **more}, headers=headers)


def test_a_configuration_is_changed_compared_and_taken_back_by_whoever_has_seen_its_version(shared_api: Api) -> None:
    place = "thresholds/cmms"
    assert shared_api.read(f"/configuration-centre/{place}")["version"] == 0
    assert put(shared_api, place, {"keep_logs_days": 30}, 0).json()["values"]["keep_logs_days"]["source"] == "stored version 1"
    changed = put(shared_api, place, {"keep_logs_days": 60}, 1)
    assert (changed.headers["etag"], changed.json()["version"]) == ('"2"', 2)
    problem(put(shared_api, place, {}, None), 428)
    assert problem(put(shared_api, place, {}, 1), 412)["current_version"] == 2
    found = shared_api.read(f"/configuration-centre/{place}/diff", **{"from": 1, "to": 2})["differences"]
    assert found == [{"key": "keep_logs_days", "before": 30, "after": 60}]
    back = shared_api.ask("POST", f"/configuration-centre/{place}/rollback", json={"to_version": 1}, headers={"If-Match": '"2"'})
    assert back.json()["values"]["keep_logs_days"] == {"value": 30, "source": "stored version 3"}
    versions = shared_api.read(f"/configuration-centre/{place}/history")["versions"]
    assert [(one["version"], one["changed_by"]) for one in versions] == [(number, "token a admin") for number in (3, 2, 1)]
    entry = shared_api.audit("configuration.changed")[-1]
    assert (entry["before"]["configuration"], entry["after"]["configuration"]) == ({"keep_logs_days": 60}, {"keep_logs_days": 30})
    problem(shared_api.ask("GET", "/configuration-centre/schedules/cmms/history", Role.VIEWER), 404)
    off = put(shared_api, place, {"keep_logs_days": 30}, 3, is_active=False).json()
    assert (off["version_in_force"], off["values"]["keep_logs_days"]["source"]) == (0, "default")


@pytest.mark.parametrize(
    ("kind", "document", "where", "message"),
    [
        ("api", {"timout_s": 5}, "timout_s", "did you mean timeout_s?"),
        ("api", {"token": CANARY}, "token", "secrets are never part"),
        (
            "schedules",
            {"schedules": {"sync_plants_nightly": {"cron": "x"}}},
            "schedules.sync_plants_nightly.cron",
            "has 1 fields",
        ),
        ("webhook", {"scheme": "none"}, "scheme", "Input should be"),
    ],
)
def test_a_document_that_does_not_fit_is_refused_by_field_and_so_it_is_told_before(
    shared_api: Api, kind: str, document: dict[str, Any], where: str, message: str
) -> None:
    refused = put(shared_api, f"{kind}/{'unfit' if kind == 'webhook' else 'cmms'}", document, 0)
    (error,) = problem(refused, 422)["errors"]
    assert error["where"] == f"body.configuration.{where}"
    assert message in error["message"]
    judged = shared_api.ask("POST", f"/configuration-centre/{kind}/validate", Role.VIEWER, json={"configuration": document})
    assert not judged.json()["is_usable"]
    assert message in judged.json()["problems"][0]
    assert CANARY not in refused.text + judged.text


def test_kinds_are_listed_and_only_an_admin_changes_them(shared_api: Api) -> None:
    put(shared_api, "conflicts/atlas", {"allowed_skew_s": 9}, 0)
    kinds = {one["kind"]: one for one in shared_api.read("/configuration-centre")["kinds"]}
    assert set(kinds) == {"api", "schedules", "mapping", "thresholds", "alerts", "webhook", "conflicts"}
    assert kinds["conflicts"]["systems"] == ["atlas"]
    assert shared_api.read("/conflicts/policies/atlas")["policy"]["allowed_skew_s"] == 9
    body = {"configuration": {}}
    headers = {"If-Match": '"0"'}
    problem(shared_api.ask("PUT", "/configuration-centre/api/cmms", Role.OPERATOR, json=body, headers=headers), 403)
    problem(shared_api.ask("GET", "/configuration-centre/api/cmms", None), 401)
    problem(shared_api.ask("GET", "/configuration-centre/nothing/cmms", Role.VIEWER), 422)
    assert "stands once" in problem(put(shared_api, "api/sap", {}, 0), 422)["detail"]


def test_addresses_of_channels_are_sealed_and_never_answered(shared_api: Api) -> None:
    document = {"channels": {"chat": {"url": f"json://host/{CANARY}"}}, "routes": {"high": ["chat"]}}
    answers = [
        shared_api.ask("POST", "/configuration-centre/alerts/validate", Role.VIEWER, json={"configuration": document}),
        put(shared_api, "alerts/cmms", document, 0),
        shared_api.ask("GET", "/configuration-centre/alerts/cmms/history", Role.VIEWER),
    ]
    assert answers[0].json()["is_usable"]
    assert answers[1].json()["values"]["channels"]["value"] == {"chat": {"url": "sealed"}}
    for answer in answers:
        assert answer.status_code == 200
        assert CANARY not in answer.text
        assert "gAAAA" not in answer.text

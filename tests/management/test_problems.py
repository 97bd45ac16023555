"""Whatever says no, the frameworks below included, says it as problem details, and nothing about what exists."""

from typing import Any

import pytest

from cmms_webhook.app import EVENTS
from tests.management.conftest import API, Api, problem
from tests.webhook.conftest import SECRET, event_body, signed

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", f"{API}/nothing", 404),
        ("GET", f"{API}/events/history/deeper", 404),
        ("GET", f"{EVENTS}/one/two", 404),
        ("PUT", EVENTS, 405),
        ("DELETE", "/health/live", 405),
        ("PATCH", f"{API}/sync/status", 405),
        ("TRACE", f"{API}/configurations", 405),
    ],
)
def test_what_is_not_there_is_a_problem_with_and_without_a_token(shared_api: Api, verb: str, path: str, status: int) -> None:
    token = {"Authorization": f"Bearer {next(iter(shared_api.tokens.values()))}"}
    answers = [shared_api.client.request(verb, shared_api.sidecar.url + path, headers=headers) for headers in ({}, token)]
    bodies = [problem(answer, status) for answer in answers]
    assert bodies[0] == bodies[1]
    assert path not in str(bodies)
    assert status != 405 or all(answer.headers["allow"] for answer in answers)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        ({"content": b"{broken", "headers": JSON}, {422}),
        ({"content": b"\xff\xfe", "headers": JSON}, {400, 422}),
        ({"content": b"[" * 100_000, "headers": JSON}, {400, 422}),
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, {415, 422}),
        ({"content": b" " * 600_000, "headers": JSON}, {413}),
        ({"json": {"statuses": ["lost"]}}, {422}),
    ],
)
def test_a_body_that_does_not_fit_is_a_problem(shared_api: Api, sent: dict[str, Any], statuses: set[int]) -> None:
    answer = shared_api.ask("POST", "/events/replay", **sent)
    assert answer.status_code in statuses
    problem(answer, answer.status_code)


def test_every_refusal_of_the_receiver_is_a_problem_and_tells_when_to_come_back(api: Api) -> None:
    api.sidecar.register("plant-cmms", SECRET)
    api.sidecar.register("limited", SECRET, rate_limit={"per_s": 0.01, "burst": 1})
    body = event_body()
    answers = {
        401: api.sidecar.post(body, signed(body, "wrong")),
        413: api.sidecar.post(b" " * 200_000, signed(b"")),
        415: api.sidecar.post(body, signed(body) | {"content-type": "text/plain"}),
        422: api.sidecar.post(b"{}", signed(b"{}")),
        429: [api.sidecar.post(sent, signed(sent) | {"x-cmms-system": "limited"}) for sent in (event_body(), event_body())][1],
    }
    for status, answer in answers.items():
        assert "plant-cmms" not in str(problem(answer, status))
    assert int(answers[429].headers["retry-after"]) > 0

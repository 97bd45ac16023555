"""Requests made from our own OpenAPI description: no answer is a 5xx, every answer is described, nothing works without a token.

The cases are Schemathesis': it knows the description only, and neither the code nor the other tests.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from requests.auth import AuthBase
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cmms_pipelines.domain.roles import Role
from cmms_pipelines.domain.signatures import SchemeName, key_of, sign
from cmms_webhook.app import EVENTS
from tests.management.conftest import Api, shared_api
from tests.webhook.conftest import SECRET

__all__ = ["shared_api"]

CONFORMITY = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS = "/api/v1/cmms/events/stream"
BOTH = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


class Signed(AuthBase):
    """Signs what is sent, byte for byte, as `plant-cmms` does."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        assert isinstance(raw, bytes)
        request.headers.update(sign(SchemeName.HMAC_HEX, key_of(SchemeName.HMAC_HEX, SECRET), raw, dt.datetime.now(dt.UTC)))
        return request


@pytest.fixture(scope="module")
def described(shared_api: Api) -> Any:  # noqa: ANN401 - Schemathesis' own type has no stable name
    """The description, as a running sidecar gives it, with one source that sends."""
    shared_api.sidecar.register("plant-cmms", rate_limit=None, address_rate_limit=None)
    return schemathesis.openapi.from_url(f"{shared_api.sidecar.url}/openapi.json", timeout=60)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as result:
        result.trust_env = False
        yield result


def operations(described: Any, *, of_events: bool) -> Iterator[Any]:  # noqa: ANN401 - see above
    for result in described.get_all_operations():
        operation = result.ok()
        if operation.path != ENDLESS and operation.path.startswith(EVENTS) == of_events:
            yield operation


def ask(operation: Any, mode: GenerationMode, cases: int, check: Callable[[Any], None], **fixed: object) -> None:  # noqa: ANN401
    """Make cases of an operation and check the answer to each; where a description allows no such case there is none."""
    if mode is GenerationMode.NEGATIVE and not _can_be_wrong(operation):
        return
    asking = given(case=operation.as_strategy(generation_mode=mode, **fixed))(check)
    hypothesis_settings(
        max_examples=cases,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(asking)()


def _can_be_wrong(operation: Any) -> bool:  # noqa: ANN401
    return bool(operation.body) or any(container for container in (operation.query, operation.path_parameters, operation.headers))


def check_management(api: Api, described: Any, session: requests.Session, cases: int) -> None:  # noqa: ANN401
    headers = {"Authorization": f"Bearer {api.tokens[Role.ADMIN]}"}
    for operation in operations(described, of_events=False):

        def check(case: Any) -> None:  # noqa: ANN401
            if case.path.endswith("/test") and isinstance(case.body, dict) and isinstance(case.body.get("wait_s"), float | int):
                case.body["wait_s"] = min(case.body["wait_s"], 0.1)  # else it follows its event for up to half a minute
            answer = case.call(session=session, headers=headers, timeout=20)
            case.validate_response(answer, checks=[*CONFORMITY, ignored_auth], headers=headers)

        for mode in BOTH:
            ask(operation, mode, cases, check)


def check_events(described: Any, session: requests.Session, cases: int) -> None:  # noqa: ANN401
    for operation in operations(described, of_events=True):
        fixed: dict[str, object] = (
            {"path_parameters": {"cmms_system_id": "plant-cmms"}}
            if "{" in operation.path
            else {"headers": {"X-CMMS-System": "plant-cmms"}}
        )

        def check_signed(case: Any) -> None:  # noqa: ANN401
            case.validate_response(case.call(session=session, auth=Signed(), timeout=20), checks=CONFORMITY)

        def check_unsigned(case: Any) -> None:  # noqa: ANN401
            answer = case.call(session=session, timeout=20)
            case.validate_response(answer, checks=CONFORMITY)
            assert answer.status_code != 202, "an event that nobody signed was taken"

        for mode in BOTH:
            ask(operation, mode, cases, check_signed, **fixed)
            ask(operation, mode, cases, check_unsigned)


def test_the_management_api_is_as_it_is_described(shared_api: Api, described: Any, session: requests.Session) -> None:  # noqa: ANN401
    check_management(shared_api, described, session, cases=2)


def test_the_events_endpoints_are_as_they_are_described(described: Any, session: requests.Session) -> None:  # noqa: ANN401
    check_events(described, session, cases=8)


@pytest.mark.soak
def test_the_whole_api_is_as_it_is_described_in_thousands_of_cases(
    shared_api: Api,
    described: Any,  # noqa: ANN401
    session: requests.Session,
) -> None:
    check_management(shared_api, described, session, cases=4)
    check_events(described, session, cases=30)

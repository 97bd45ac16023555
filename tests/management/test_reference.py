"""The API's description and the page made from it."""

from pathlib import Path
from typing import Any

import pytest

from cmms_webhook.management.reference import description, updated
from tests.management.conftest import API

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return description()


def test_the_page_is_up_to_date(described: dict[str, Any]) -> None:
    page = PAGE.read_text("utf-8")
    assert page == updated(page, described), "run: .venv/bin/python -m cmms_webhook.management.reference docs/api.md"


def test_every_endpoint_is_on_the_page(described: dict[str, Any]) -> None:
    page = PAGE.read_text("utf-8")
    for path, verbs in described["paths"].items():
        for verb in verbs:
            assert f"#### `{verb.upper()} {path}`\n" in page


def test_every_refusal_of_the_management_api_is_described_as_a_problem(described: dict[str, Any]) -> None:
    for path, verbs in described["paths"].items():
        for operation in verbs.values() if path.startswith(API) else ():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_no_model_of_an_answer_has_a_place_for_a_stored_secret(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    with_secret = {name for name, model in schemas.items() if "secret" in model.get("properties", {})}
    assert with_secret == {"NewSecret", "Rotation"}
    assert schemas["Rotation"]["properties"]["secret"]["anyOf"][0]["writeOnly"] is True

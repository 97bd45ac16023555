"""A running sidecar with its management API, and clients of each role."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from cmms_pipelines.domain.roles import Role
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.tokens import create_token
from tests.conftest import TEMPLATE, Database, new_database
from tests.storage.inbox_world import query
from tests.webhook.conftest import LIMITS, Sidecar, running

API = "/api/v1/cmms"


@dataclass(frozen=True)
class Api:
    """The management API of a running sidecar, asked with a token of each role."""

    sidecar: Sidecar
    tokens: dict[Role, str]
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20))

    @property
    def url(self) -> str:
        return self.sidecar.url + API

    @property
    def database(self) -> Database:
        return self.sidecar.database

    def ask(self, method: str, path: str, role: Role | None = Role.ADMIN, **options: Any) -> httpx.Response:  # noqa: ANN401
        headers = dict(options.pop("headers", {}))
        if role is not None:
            headers["Authorization"] = f"Bearer {self.tokens[role]}"
        return self.client.request(method, self.url + path, headers=headers, **options)

    def read(self, path: str, **parameters: Any) -> Any:  # noqa: ANN401 - whatever the endpoint answers
        answer = self.ask("GET", path, Role.VIEWER, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def audit(self, action: str) -> list[dict[str, Any]]:
        rows = query(self.database.url, "SELECT to_jsonb(a) FROM cmms.audit_log a WHERE action = %s ORDER BY id", action)
        return [row[0] for row in rows]


def make_api(sidecar: Sidecar) -> Api:
    with sidecar.database.engine.begin() as connection:
        tokens = {role: create_token(connection, f"a {role}", role, actor="tests")[1].get_secret_value() for role in Role}
    return Api(sidecar, tokens)


@pytest.fixture(scope="module")
def shared_api(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One sidecar for all tests of a module, each with sources and entities of its own."""
    for url in new_database(server_url, template=TEMPLATE):
        database = Database(url, make_engine(url))
        with running(database, Settings(home=tmp_path_factory.mktemp("home")), LIMITS) as sidecar:
            api = make_api(sidecar)
            yield api
            api.client.close()
        database.engine.dispose()


@pytest.fixture
def api(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A sidecar of the test's own."""
    with running(database, Settings(home=tmp_path_factory.mktemp("home")), LIMITS) as sidecar:
        found = make_api(sidecar)
        yield found
        found.client.close()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The body of a refusal, which is a problem and says its status twice."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.text)
    assert body["status"] == status
    assert {"type", "title", "status", "detail"} <= body.keys()
    return body


@pytest.fixture
def settings_of(tmp_path: Path) -> Settings:
    """Settings with a home of the test's own, for its key of secrets."""
    return Settings(home=tmp_path / "home")

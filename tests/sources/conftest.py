"""A source of events with an API of its own, and a database that knows it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import WEBHOOK, write_configuration
from cmms_pipelines.storage.drain import DrainReport
from cmms_pipelines.storage.secrets import secret_box
from cmms_pipelines.storage.source_tokens import set_api_token
from cmms_pipelines.sync.thin_events import ThinEventFetcher
from tests.conftest import Database
from tests.sources.source_server import TOKEN, SourceServer, source_server
from tests.storage.inbox_world import SYSTEM, drain_now

QUICK_RETRIES = {"max_retries": 2, "first_wait_s": 0.01, "longest_wait_s": 0.02}
ENTITIES: dict[str, Any] = {
    "work_order": {"path": "orders/{number}", "fields": {"title": "/data/name", "status": "/data/state"}},
    "equipment": {"path": "machines/{number}"},
}


@dataclass
class World:
    """A database, a source's API, and how the two are configured."""

    database: Database
    server: SourceServer
    settings: Settings

    @property
    def url(self) -> str:
        return self.database.url

    def configure(self, *, system: str = SYSTEM, api: dict[str, Any] | None = None, **fields: Any) -> WebhookSource:  # noqa: ANN401
        """Make `system` a source whose API is the server; `api` and `fields` change what is not said."""
        told = {"base_url": self.server.url, "entities": ENTITIES, "requests_per_s": 1000.0, "attempts": 1, **(api or {})}
        source = WebhookSource.model_validate({"retries": QUICK_RETRIES, "api": told, **fields})
        with self.database.engine.begin() as connection:
            write_configuration(connection, system, WEBHOOK, source.model_dump(mode="json"), actor="tests")
        return source

    def drain(self, **options: Any) -> DrainReport:  # noqa: ANN401 - any option of drain()
        """Drain what is due, fetching what is thin, and end when nothing has come for a moment."""
        make = lambda: ThinEventFetcher(self.database.engine, self.settings, "a-run")  # noqa: E731
        return drain_now(self.url, **{"idle_s": 0.15, "make_fetcher": make, **options})


@pytest.fixture
def world(database: Database, tmp_path: Path) -> Iterator[World]:
    settings = Settings(home=tmp_path)
    with database.engine.begin() as connection:
        set_api_token(connection, secret_box(settings), SYSTEM, SecretStr(TOKEN), actor="tests")
    with source_server() as server:
        yield World(database, server, settings)

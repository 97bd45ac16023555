"""A running sidecar: the real application under the real server on a free port, in front of a fresh database."""

import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from pydantic import SecretStr

from cmms_pipelines.domain.signatures import SchemeName, key_of, sign
from cmms_pipelines.domain.webhook_source import RateLimit, WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.secrets import secret_box
from cmms_pipelines.storage.tables import audit_log
from cmms_pipelines.storage.tables import maintenance_event_hooks as hooks_table
from cmms_webhook.app import EVENTS, create_app
from cmms_webhook.receive import Limits
from cmms_webhook.server import HEAD_TIMEOUT_S, listen, server_config
from tests.conftest import TEMPLATE, Database, new_database

SECRET = "plant-cmms-secret"
LIMITS = Limits(max_body_bytes=65_536, body_timeout_s=1.5, refusals=RateLimit(per_s=1_000, burst=100_000))


def event_body(**changes: object) -> bytes:
    event = {
        "event_type": "work_order_updated",
        "event_id": uuid.uuid4().hex,
        "timestamp": "2026-03-01T08:30:00Z",
        "payload": {"work_order_number": "4711", "status": "in_progress"},
    }
    return json.dumps(event | changes).encode()


def signed(body: bytes, secret: str = SECRET, scheme: SchemeName = SchemeName.HMAC_HEX) -> dict[str, str]:
    """The headers of a delivery of `plant-cmms`, signed now."""
    now = dt.datetime.now(dt.UTC)
    signature = sign(scheme, key_of(scheme, secret), body, now, uuid.uuid4().hex)
    return {"content-type": "application/json", "x-cmms-system": "plant-cmms"} | signature


@dataclass(frozen=True)
class Sidecar:
    """A sidecar's address, and what it left in its database."""

    url: str
    database: Database
    settings: Settings
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20))

    @property
    def events_url(self) -> str:
        return self.url + EVENTS

    def post(self, body: bytes, headers: Mapping[str, str] | None = None, path: str = "") -> httpx.Response:
        return self.client.post(self.events_url + path, content=body, headers=signed(body) if headers is None else headers)

    def register(self, name: str, secret: str | None = SECRET, **configuration: object) -> None:
        source = WebhookSource.model_validate(configuration)
        value = SecretStr(secret) if secret else None
        register_source(self.database.engine, self.settings, name, source, secret=value, actor="tests")

    def rows(self) -> list[sa.RowMapping]:
        with self.database.engine.connect() as connection:
            return list(connection.execute(sa.select(hooks_table).order_by(hooks_table.c.sequence)).mappings())

    def refusals(self) -> dict[tuple[str, str | None], int]:
        """Refusals of the audit log by reason and source, once the ledger has written them."""
        time.sleep(0.8)
        with self.database.engine.connect() as connection:
            rows = connection.execute(sa.select(audit_log).where(audit_log.c.action == "hook.refused")).mappings().all()
        result: dict[tuple[str, str | None], int] = {}
        for row in rows:
            key = (row["reason"], row["entity_key"])
            result[key] = result.get(key, 0) + row["after"]["count"]
        return result


@contextlib.contextmanager
def running(
    database: Database,
    settings: Settings,
    limits: Limits | None = None,
    *,
    trusted_proxies: str | None = None,
    head_timeout_s: float = HEAD_TIMEOUT_S,
) -> Iterator[Sidecar]:
    """A sidecar in a thread of this process."""
    engine = make_engine(database.url, hide_parameters=True)
    app = create_app(engine, secret_box(settings), limits=limits)
    server = uvicorn.Server(server_config(app, trusted_proxies, head_timeout_s=head_timeout_s))
    listener = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    sidecar = Sidecar(f"http://127.0.0.1:{listener.getsockname()[1]}", database, settings)
    try:
        wait_until(lambda: server.started)
        yield sidecar
    finally:
        sidecar.client.close()
        server.should_exit = True
        thread.join(30)
        engine.dispose()
        listener.close()


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=SecretStr(database.url), dagster_database_url=SecretStr(database.url))


@pytest.fixture(scope="module")
def shared_sidecar(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One sidecar for all tests of a module that leave nothing behind which another one could notice."""
    for url in new_database(server_url, template=TEMPLATE):
        database = Database(url, make_engine(url))
        with running(database, Settings(home=tmp_path_factory.mktemp("home")), LIMITS) as result:
            result.register("plant-cmms")
            yield result
        database.engine.dispose()


@pytest.fixture
def sidecar(database: Database, settings: Settings) -> Iterator[Sidecar]:
    """A sidecar that knows the source `plant-cmms`."""
    register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr(SECRET), actor="tests")
    with running(database, settings, LIMITS) as result:
        yield result


@dataclass
class SidecarProcess:
    """`python -m cmms_webhook` as a process of its own."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path


@pytest.fixture
def start_process(settings: Settings, database: Database, tmp_path: Path) -> Iterator[Callable[[], SidecarProcess]]:
    """Starts sidecar processes that know the source `plant-cmms`; none outlives the test."""
    register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr(SECRET), actor="tests")
    started: list[subprocess.Popen[bytes]] = []

    def start() -> SidecarProcess:
        log = tmp_path / f"sidecar-{len(started)}.log"
        environment = os.environ | {
            "CMMS_HOME": str(settings.home),
            "CMMS_DATABASE_URL": database.url,
            "DAGSTER_DATABASE_URL": database.url,
            "CMMS_WEBHOOK_PORT": "0",
        }
        with log.open("wb") as output:
            command = [sys.executable, "-m", "cmms_webhook"]
            started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT))
        wait_until(lambda: b"webhook_receiver_listening" in log.read_bytes(), seconds=60)
        (line,) = [line for line in log.read_text().splitlines() if "webhook_receiver_listening" in line]
        return SidecarProcess(started[-1], json.loads(line)["address"], log)

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_until(is_true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)

"""Between sender, receiver and database lies a network: with latency and jitter on both ways every event is stored once."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from pydantic import SecretStr
from sqlalchemy.engine import make_url

from bench.receiving.network import Delay, slow_network
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.engine import make_engine
from cmms_webhook.app import EVENTS
from tests.conftest import Database
from tests.webhook.conftest import SECRET, event_body, running, signed

FAR = Delay(ms=15, jitter_ms=15)


def test_events_from_far_away_to_a_database_far_away_are_stored_once(database: Database, settings: Settings) -> None:
    url = make_url(database.url)
    with slow_network(url.host or "", url.port or 5432, FAR) as database_port:
        engine = make_engine(url.set(host="127.0.0.1", port=database_port).render_as_string(hide_password=False))
        far = Database(engine.url.set(drivername="postgresql").render_as_string(hide_password=False), engine)
        register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr(SECRET), actor="tests")
        with running(far, settings) as sidecar, slow_network("127.0.0.1", make_url(sidecar.url).port or 0, FAR) as port:
            address = f"http://127.0.0.1:{port}{EVENTS}"
            bodies = [event_body() for _ in range(20)]

            def post(body: bytes) -> tuple[int, str, float]:
                started = time.monotonic()
                answer = sidecar.client.post(address, content=body, headers=signed(body))
                return answer.status_code, answer.json()["status"], time.monotonic() - started

            with ThreadPoolExecutor(5) as pool:
                first, again = list(pool.map(post, bodies)), list(pool.map(post, bodies))
        engine.dispose()
    assert {answer[:2] for answer in first} == {(202, "accepted")}
    assert {answer[:2] for answer in again} == {(202, "duplicate")}
    assert statistics.median(answer[2] for answer in first) > 4 * FAR.ms / 1000, "the network was not slow"
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM cmms.maintenance_event_hooks").scalar() == len(bodies)

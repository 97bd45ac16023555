"""Start, health, outages and ends: what was answered with 202 is in the table, whatever happens to the process."""

import json
import signal
import threading
import time
from collections.abc import Callable

import httpx
import psycopg
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import migrate
from cmms_pipelines.storage.configurations import WEBHOOK, register_source, write_configuration
from cmms_pipelines.storage.engine import make_engine
from cmms_webhook.app import EVENTS
from cmms_webhook.sources import READ_AGAIN_AFTER_S
from tests.conftest import Database
from tests.webhook.conftest import Sidecar, SidecarProcess, event_body, running, signed, wait_until

CANARIES = {"secret": "canary-secret-51c2", "payload": "canary-payload-8e07", "signature": "ca" * 32}


def fire(url: str, answers: list[tuple[int, str]], until: Callable[[], bool]) -> None:
    """Send new events, one after the other, and note status and id of each answer."""
    with httpx.Client(timeout=20) as client:
        while not until():
            body = event_body()
            try:
                answer = client.post(url + EVENTS, content=body, headers=signed(body))
            except httpx.TransportError:
                return
            answers.append((answer.status_code, answer.json().get("id", "")))


def stop_under_load(process: SidecarProcess) -> list[tuple[int, str]]:
    """Tell the process to stop while eight clients send; return all answers that they got."""
    answers: list[tuple[int, str]] = []
    is_over = threading.Event()
    clients = [threading.Thread(target=fire, args=(process.url, answers, is_over.is_set)) for _ in range(8)]
    for client in clients:
        client.start()
    wait_until(lambda: len(answers) > 100, seconds=20)
    process.process.send_signal(signal.SIGTERM)
    process.process.wait(30)
    is_over.set()
    for client in clients:
        client.join()
    return answers


def stored_ids(database: Database) -> set[str]:
    with psycopg.connect(database.url) as connection:
        return {str(row[0]) for row in connection.execute("SELECT id FROM cmms.maintenance_event_hooks")}


def test_a_stop_finishes_what_was_taken_and_ends_normally(
    database: Database, start_process: Callable[[], SidecarProcess]
) -> None:
    process = start_process()
    answers = stop_under_load(process)
    assert process.process.returncode == 0
    assert {status for status, _ in answers} == {202}
    assert {identifier for _, identifier in answers} == stored_ids(database)
    assert "webhook_receiver_stopped" in process.log.read_text().splitlines()[-1]


def test_nothing_that_was_sent_or_kept_secret_is_in_logs_answers_or_audit(
    database: Database, settings: Settings, start_process: Callable[[], SidecarProcess]
) -> None:
    process = start_process()
    source = WebhookSource()
    register_source(database.engine, settings, "canary", source, secret=SecretStr(CANARIES["secret"]), actor="tests")
    time.sleep(1.1)
    body = event_body(payload={"note": CANARIES["payload"]})
    broken = body.replace(b'"payload"', b'"payload": {}, "payload"')
    named = {"x-cmms-system": "canary"}
    deliveries = [
        (body, signed(body, CANARIES["secret"]) | named),
        (body, signed(body, "wrong") | named | {"x-hmac-signature": CANARIES["signature"]}),
        (body, signed(body) | named | {"x-hmac-signature": CANARIES["secret"]}),
        (broken, signed(broken, CANARIES["secret"]) | named),
        (body, signed(body, CANARIES["secret"]) | {"x-cmms-system": CANARIES["payload"]}),
    ]
    with httpx.Client() as client:
        answers = [client.post(process.url + EVENTS, content=sent, headers=headers) for sent, headers in deliveries]
    assert [answer.status_code for answer in answers] == [202, 401, 401, 422, 401]
    with psycopg.connect(database.url) as connection:
        connection.execute("ALTER TABLE cmms.maintenance_event_hooks RENAME TO gone")
        connection.commit()
        other = event_body(payload={"note": CANARIES["payload"]})
        answers.append(httpx.post(process.url + EVENTS, content=other, headers=signed(other, CANARIES["secret"]) | named))
        assert answers[-1].status_code == 503
        process.process.terminate()
        process.process.wait(20)
        audit = str(connection.execute("SELECT a::text FROM cmms.audit_log a").fetchall())
    log = process.log.read_text()
    assert "hook_refused" in log
    assert "hook.refused" in audit
    for canary in CANARIES.values():
        assert canary not in log
        assert canary not in audit
        assert all(canary not in answer.text for answer in answers)
    assert all(json.loads(line)["event"] for line in log.splitlines())


def test_a_fresh_sidecar_is_alive_and_ready(sidecar: Sidecar) -> None:
    assert sidecar.client.get(f"{sidecar.url}/health/live").json() == {"status": "alive"}
    answer = sidecar.client.get(f"{sidecar.url}/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "reason": None})


def test_a_database_without_our_tables_is_said_and_nothing_is_accepted(empty_database: str, settings: Settings) -> None:
    engine = make_engine(empty_database)
    with running(Database(empty_database, engine), settings) as sidecar:
        answer = sidecar.client.get(f"{sidecar.url}/health/ready")
        assert (answer.status_code, answer.json()["reason"]) == (503, "database_not_migrated")
        refused = sidecar.post(event_body())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        migrate.upgrade(engine)
        sidecar.register("plant-cmms")
        wait_until(lambda: sidecar.post(event_body()).status_code == 202)
        assert sidecar.client.get(f"{sidecar.url}/health/ready").status_code == 200
    engine.dispose()


def test_a_database_that_goes_away_is_503_and_events_are_taken_again_when_it_is_back(sidecar: Sidecar, server_url: str) -> None:
    assert sidecar.post(event_body()).status_code == 202
    name = make_url(sidecar.database.url).database
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        refused = sidecar.post(event_body())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["type"] == "urn:cmms:problem:unavailable"
        forged = event_body()
        assert sidecar.post(forged, signed(forged, "wrong")).status_code == 401
        answer = sidecar.client.get(f"{sidecar.url}/health/ready")
        assert (answer.status_code, answer.json()["reason"]) == (503, "database_unreachable")
        assert sidecar.client.get(f"{sidecar.url}/health/live").status_code == 200
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert sidecar.post(event_body()).status_code == 202
    assert len(sidecar.rows()) == 2
    assert sidecar.refusals()["database_unavailable", "plant-cmms"] == 1


def test_secrets_under_another_key_make_the_sidecar_not_ready(database: Database, settings: Settings) -> None:
    register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr("x"), actor="tests")
    with running(database, Settings(home=settings.home / "other")) as sidecar:
        answer = sidecar.client.get(f"{sidecar.url}/health/ready")
        assert (answer.status_code, answer.json()["reason"]) == (503, "secrets_unreadable")
        assert sidecar.post(event_body()).status_code == 503


def test_a_source_that_is_switched_off_is_unknown_within_a_second(sidecar: Sidecar, database: Database) -> None:
    assert sidecar.post(event_body()).status_code == 202
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE cmms.sync_configurations SET is_active = false")
    time.sleep(1.1)
    assert sidecar.post(event_body()).status_code == 401


def test_changes_of_a_source_count_as_soon_as_they_are_committed(sidecar: Sidecar, database: Database) -> None:
    """Four changes take less time than one that is only found by looking once in a while would."""
    started = time.monotonic()
    for is_active in (False, True) * 2:
        with database.engine.begin() as connection:
            configuration = WebhookSource().model_dump(mode="json")
            write_configuration(connection, "plant-cmms", WEBHOOK, configuration, actor="tests", is_active=is_active)
        expected = 202 if is_active else 401
        wait_until(lambda: sidecar.post(event_body()).status_code == expected)  # noqa: B023 - called within the round
    assert time.monotonic() - started < 2 * READ_AGAIN_AFTER_S

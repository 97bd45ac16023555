"""Limits: rates with Retry-After, who is never limited, and what happens under more load than there is room for."""

import asyncio
import socket
import time
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from pydantic import SecretStr

from cmms_pipelines.domain.signatures import SchemeName
from cmms_pipelines.domain.webhook_source import RateLimit, WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import register_source
from cmms_webhook.app import EVENTS
from cmms_webhook.rates import MAX_KEYS, Buckets
from cmms_webhook.receive import Limits
from tests.conftest import Database
from tests.webhook.conftest import SECRET, Sidecar, event_body, running, signed


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    now = [100.0]
    buckets = Buckets(lambda: now[0])
    limit = RateLimit(per_s=2, burst=3)
    assert [buckets.take("a", limit) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", limit) == 0
    now[0] += 0.5
    assert [buckets.take("a", limit) for _ in range(2)] == [0, 0.5]
    now[0] += 3600
    assert [buckets.take("a", limit) for _ in range(4)] == [0, 0, 0, 0.5]


def test_buckets_stay_few_however_many_addresses_come() -> None:
    buckets = Buckets(lambda: 0.0)
    limit = RateLimit(per_s=1, burst=1)
    for number in range(MAX_KEYS + 100):
        buckets.take(number, limit)
    assert buckets.take(MAX_KEYS + 99, limit) > 0
    assert buckets.take(0, limit) == 0


@pytest.mark.parametrize("limit", ["rate_limit", "address_rate_limit"])
def test_a_limited_source_is_told_when_to_come_back_and_others_are_not_limited(
    database: Database, settings: Settings, limit: str
) -> None:
    source = WebhookSource.model_validate({limit: {"per_s": 0.5, "burst": 2}})
    register_source(database.engine, settings, "limited", source, secret=SecretStr(SECRET), actor="tests")
    register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr(SECRET), actor="tests")
    with running(database, settings) as sidecar:

        def post(name: str, secret: str = SECRET) -> httpx.Response:
            body = event_body()
            return sidecar.post(body, signed(body, secret) | {"x-cmms-system": name})

        for _ in range(5):
            assert post("limited", "a stranger uses nothing up").status_code == 401
        answers = [post("limited") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert answers[-1].headers["retry-after"] == "2"
        assert answers[-1].json()["type"] == "urn:cmms:problem:too-many-events"
        assert [post("plant-cmms").status_code for _ in range(5)] == [202] * 5
        assert len(sidecar.rows()) == 7
        assert sidecar.refusals()["rate_limited", "limited"] == 1


def test_an_address_that_keeps_failing_is_told_to_wait_and_its_signed_events_still_arrive(
    database: Database, settings: Settings
) -> None:
    register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr(SECRET), actor="tests")
    with running(database, settings, Limits(refusals=RateLimit(per_s=0.1, burst=3))) as sidecar:
        body = event_body()
        forged = [sidecar.post(body, signed(body, "wrong")) for _ in range(4)]
        unknown = sidecar.post(body, signed(body) | {"x-cmms-system": "unknown"})
        assert [answer.status_code for answer in forged] == [401, 401, 401, 429]
        assert (unknown.status_code, unknown.content) == (429, forged[-1].content)
        assert int(unknown.headers["retry-after"]) <= 10
        assert sidecar.post(body).status_code == 202


@pytest.mark.parametrize(("connections", "times"), [(20, 10), pytest.param(100, 50, marks=pytest.mark.soak)])
def test_however_many_deliveries_of_one_event_come_at_once_they_are_one_row(
    sidecar: Sidecar, connections: int, times: int
) -> None:
    body = event_body()
    head = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    request = f"POST {EVENTS} HTTP/1.1\r\nhost: a\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body
    address = urlsplit(sidecar.url)

    async def deliver() -> list[bytes]:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        answers = []
        for _ in range(times):
            writer.write(request)
            answers.append(await reader.readuntil(b"}"))
        writer.close()
        return answers

    async def deliver_all() -> list[list[bytes]]:
        return await asyncio.gather(*(deliver() for _ in range(connections)))

    answers = [answer for some in asyncio.run(deliver_all()) for answer in some]
    assert {answer[9:12] for answer in answers} == {b"202"}
    statuses = [answer.rpartition(b'"status":"')[2].rstrip(b'"}').decode() for answer in answers]
    assert (statuses.count("accepted"), statuses.count("duplicate")) == (1, connections * times - 1)
    assert len({answer.rpartition(b"\r\n\r\n")[2][:44] for answer in answers}) == len(sidecar.rows()) == 1


def test_a_thousand_connections_that_say_little_do_not_hold_up_the_others(sidecar: Sidecar) -> None:
    address = urlsplit(sidecar.url)
    idle = [socket.create_connection((address.hostname or "", address.port or 0)) for _ in range(1_000)]
    try:
        for number, connection in enumerate(idle):
            if number % 2:
                connection.sendall(f"POST {EVENTS} HTTP/1.1\r\nhost: a\r\nx-slow: ".encode())
        took = []
        for _ in range(50):
            body = event_body()
            started = time.perf_counter()
            assert sidecar.post(body).status_code == 202
            took.append(time.perf_counter() - started)
        assert sorted(took)[45] < 0.2
    finally:
        for connection in idle:
            connection.close()


def test_a_head_that_does_not_come_to_an_end_is_cut_off_also_on_a_connection_that_was_used_before(
    database: Database, settings: Settings
) -> None:
    with running(database, settings, head_timeout_s=0.5) as sidecar:
        address = urlsplit(sidecar.url)
        complete = b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n"
        for before in (b"", complete):
            with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
                connection.sendall(before)
                if before:
                    assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
                connection.sendall(b"POST / HTTP/1.1\r\nx-slow: ")
                started = time.monotonic()
                assert connection.recv(65_536) == b""
                assert 0.3 < time.monotonic() - started < 4
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
            connection.sendall(complete)
            assert connection.recv(65_536)
            time.sleep(1)
            connection.sendall(complete)  # idle between requests is another matter
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_bodies_that_never_end_do_not_pile_up_in_memory(database: Database, settings: Settings) -> None:
    register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr(SECRET), actor="tests")
    limits = Limits(max_buffered_bytes=4 * 1_048_576, body_timeout_s=1)
    with running(database, settings, limits) as sidecar:
        sidecar.post(event_body())
        address = urlsplit(sidecar.url)
        before = psutil.Process().memory_info().rss
        head = f"POST {EVENTS} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n".encode()
        senders = []
        for _ in range(100):
            senders.append(socket.create_connection((address.hostname or "", address.port or 0), timeout=10))
            senders[-1].sendall(head + b" " * 400_000)
        answers = []
        for sender in senders:
            answers.append(sender.recv(65_536)[9:12])
            sender.close()
        assert set(answers) == {b"503", b"408"}
        assert psutil.Process().memory_info().rss - before < 60 * 1_048_576
        assert sidecar.post(event_body()).status_code == 202


def test_what_happens_is_counted_for_prometheus_by_source_and_never_by_names_that_strangers_choose(sidecar: Sidecar) -> None:
    body = event_body()
    for headers in (signed(body), signed(body), signed(body, "wrong"), signed(body) | {"x-cmms-system": "made-up"}):
        sidecar.post(body, headers)
    held = event_body(event_type="SOMETHING_ELSE")
    sidecar.post(held)
    page = sidecar.client.get(f"{sidecar.url}/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.rsplit(" ", 1) for line in page.text.splitlines() if not line.startswith("#"))
    requests = 'cmms_webhook_requests_total{outcome="%s",source="%s"}'
    assert float(lines[requests % ("accepted", "plant-cmms")]) == 2
    assert float(lines[requests % ("duplicate", "plant-cmms")]) == 1
    assert float(lines[requests % ("wrong_signature", "plant-cmms")]) == 1
    assert float(lines[requests % ("unknown_source", "")]) == 1
    assert float(lines['cmms_webhook_request_duration_seconds_count{status="202"}']) == 3
    assert float(lines['cmms_inbox_events{source="plant-cmms",status="pending"}']) == 1
    assert float(lines['cmms_inbox_events{source="plant-cmms",status="held"}']) == 1
    assert 0 < float(lines["cmms_inbox_oldest_pending_seconds"]) < 60
    assert float(lines["cmms_database_up"]) == 1
    assert "made-up" not in page.text
    assert SECRET not in page.text


def test_deliveries_are_counted_by_minute_source_type_and_outcome(sidecar: Sidecar) -> None:
    bodies = [event_body() for _ in range(3)]
    for body in [*bodies, bodies[0]]:
        sidecar.post(body)
    time.sleep(0.8)
    with sidecar.database.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT cmms_system_id, event_type, outcome, sum(deliveries) FROM cmms.delivery_counts GROUP BY 1, 2, 3 ORDER BY 3"
        ).all()
    assert [tuple(row) for row in rows] == [
        ("plant-cmms", "work_order_updated", "accepted", 3),
        ("plant-cmms", "work_order_updated", "duplicate", 1),
    ]


def test_a_sender_of_another_format_is_stored_with_its_original_bytes(database: Database, settings: Settings) -> None:
    with running(database, settings) as sidecar:
        sidecar.register("atlas", SECRET, scheme=SchemeName.ATLAS)
        bodies = [
            b'{"workOrderId": 7, "newStatus":"COMPLETE", "changedWorkOrder": {"id": 7}, "occurredAt": "2026-03-01T08:30:00Z"}',
            b'{"vendorId": 8, "newVendor": {"rate": 1.50}}',
        ]
        for body in bodies:
            headers = signed(body, SECRET, SchemeName.ATLAS) | {"x-cmms-system": "atlas", "x-webhook-event": "NEW_VENDOR"}
            assert sidecar.post(body, headers).json()["status"] == "accepted"
        rows = sidecar.rows()
        assert [bytes(row["raw_body"]) for row in rows] == bodies
        assert [(row["event_type"], row["processing_status"], row["entity_key"]) for row in rows] == [
            ("work_order_updated", "pending", "work_order:7"),
            ("NEW_VENDOR", "held", rows[1]["entity_key"]),
        ]
        assert rows[1]["occurred_at"] is None

"""What a sender is answered, what is stored, and what is written down about refusals."""

import base64
import gzip
import hashlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from cmms_pipelines.domain.signatures import SchemeName
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.tables import webhook_secrets
from cmms_webhook.app import EVENTS
from tests.conftest import Database
from tests.webhook.conftest import SECRET, Sidecar, event_body, running, signed

DEEP = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
ENVELOPE = b'{"event_type":"work_order_updated","timestamp":"2026-03-01T08:30:00Z","payload":{"a":%s}}'
HOSTILE = [
    b"",
    b"\x00" * 100,
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"null",
    b"[" * 60_000,
    DEEP,
    ENVELOPE % b"NaN",
    ENVELOPE % b"1e400",
    ENVELOPE % (b"9" * 10_000),
    ENVELOPE % b'"\\u0000"',
    ENVELOPE % b'"\\ud800"',
    ENVELOPE % b'{"b":1,"b":2}',
    ENVELOPE % b'"\xc3\x28"',
    gzip.compress(b"0" * 20_000_000, 9),  # a bomb that nobody said was compressed: it is never unpacked
    b'{"event_type":"x","timestamp":"2026-03-01T08:30:00","payload":{}}',
    b'{"event_type":"x","timestamp":"99999-03-01T08:30:00Z","payload":{}}',
]


def raw_exchange(sidecar: Sidecar, request: bytes, *, wait_s: float = 5) -> bytes:
    """Send bytes as they are and return what comes back until the server closes or goes quiet."""
    address = urlsplit(sidecar.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=wait_s) as connection:
        connection.sendall(request)
        received = b""
        try:
            while chunk := connection.recv(65_536):
                received += chunk
                if b"\r\n\r\n" in received and received.endswith(b"}"):
                    break
        except (TimeoutError, ConnectionResetError):
            return received
    return received


def test_a_signed_event_is_stored_before_it_is_answered(sidecar: Sidecar) -> None:
    body = event_body(payload={"work_order_number": "000004711", "title": "MÆRSK"})
    answer = sidecar.post(body, signed(body) | {"user-agent": "cmms/1.0", "authorization": "Bearer x", "x-request-id": "r1"})
    (row,) = sidecar.rows()
    assert (answer.status_code, answer.json()) == (202, {"id": str(row["id"]), "status": "accepted"})
    assert bytes(row["raw_body"]) == body
    assert bytes(row["body_sha256"]) == hashlib.sha256(body).digest()
    assert row["entity_key"] == "work_order:4711"
    assert row["event_payload"] == {"work_order_number": "000004711", "title": "MÆRSK"}
    assert row["occurred_at"].isoformat() == "2026-03-01T08:30:00+00:00"
    assert row["headers"] == {"content-type": "application/json", "user-agent": "cmms/1.0", "x-request-id": "r1"}
    assert row["processing_status"] == "pending"


def test_the_system_is_named_by_the_path_or_the_header_and_both_must_agree(shared_sidecar: Sidecar) -> None:
    body = event_body()
    unnamed = {name: value for name, value in signed(body).items() if name != "x-cmms-system"}
    assert shared_sidecar.post(body, unnamed, "/plant-cmms").status_code == 202
    assert shared_sidecar.post(body, signed(body), "/plant-cmms").json()["status"] == "duplicate"
    assert shared_sidecar.post(body, unnamed).status_code == 401
    assert shared_sidecar.post(body, signed(body), "/other").status_code == 401


def test_a_body_that_names_another_system_is_refused(sidecar: Sidecar) -> None:
    answer = sidecar.post(event_body(cmms_system_id="other"))
    assert (answer.status_code, answer.json()["rule"], answer.json()["where"]) == (422, "another_system", "/cmms_system_id")
    assert sidecar.post(event_body(cmms_system_id="plant-cmms")).status_code == 202
    assert len(sidecar.rows()) == 1


def test_event_types_that_nobody_knows_are_held(sidecar: Sidecar) -> None:
    assert sidecar.post(event_body(event_type="METER_TRIGGER_STATUS_CHANGE")).status_code == 202
    assert [row["processing_status"] for row in sidecar.rows()] == ["held"]


def test_a_known_id_with_another_body_is_kept_aside(sidecar: Sidecar) -> None:
    bodies = [event_body(event_id="e1", payload={"n": number}) for number in (1, 2)]
    assert [sidecar.post(body).json()["status"] for body in bodies] == ["accepted", "quarantined"]
    assert [(bytes(row["raw_body"]), row["processing_status"]) for row in sidecar.rows()] == [
        (bodies[0], "pending"),
        (bodies[1], "quarantined"),
    ]


def forged(body: bytes) -> Iterator[tuple[str, dict[str, str]]]:
    good = signed(body)
    digest = good["x-hmac-signature"]
    yield "missing", {name: value for name, value in good.items() if name != "x-hmac-signature"}
    yield "empty", good | {"x-hmac-signature": ""}
    yield "too short", good | {"x-hmac-signature": digest[:-1]}
    yield "too long", good | {"x-hmac-signature": digest + "0"}
    yield "flipped", good | {"x-hmac-signature": digest[:-1] + ("0" if digest[-1] != "0" else "1")}
    yield "the secret itself", good | {"x-hmac-signature": SECRET}
    yield "base64", good | {"x-hmac-signature": base64.b64encode(bytes.fromhex(digest.removeprefix("sha256="))).decode()}
    yield "of another body", signed(body + b" ")
    yield "with another source's secret", signed(body, "other-secret")
    yield "for another source", good | {"x-cmms-system": "other"}
    yield "for an unknown source", good | {"x-cmms-system": "unknown"}
    yield "without a name", {name: value for name, value in good.items() if name != "x-cmms-system"}


def test_a_forged_event_gets_the_same_answer_byte_for_byte_whatever_is_wrong_with_it(sidecar: Sidecar) -> None:
    sidecar.register("other", "other-secret")
    time.sleep(1.1)
    body = event_body()
    answers = {name: sidecar.post(body, headers) for name, headers in forged(body)}
    distinct = {
        (answer.status_code, answer.content, tuple(item for item in answer.headers.items() if item[0] != "date"))
        for answer in answers.values()
    }
    assert len(distinct) == 1
    assert {answer.status_code for answer in answers.values()} == {401}
    assert sidecar.rows() == []
    refusals = sidecar.refusals()
    assert sum(refusals.values()) == len(answers)
    assert refusals["unknown_source", None] == 2
    assert {source for _, source in refusals} == {None, "plant-cmms", "other"}


def test_a_signature_header_sent_twice_is_refused(shared_sidecar: Sidecar) -> None:
    body = event_body()
    twice = [*signed(body).items(), ("X-HMAC-Signature", signed(body)["x-hmac-signature"])]
    assert shared_sidecar.client.post(shared_sidecar.events_url, content=body, headers=twice).status_code == 401


@pytest.mark.parametrize("scheme", [SchemeName.STANDARD_WEBHOOKS, SchemeName.MAINTAINX, SchemeName.FRAPPE, SchemeName.GITHUB])
def test_a_source_signs_as_it_is_configured_and_in_no_other_way(
    database: Database, settings: Settings, scheme: SchemeName
) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    with running(database, settings) as sidecar:
        sidecar.register("plant-cmms", secret, scheme=scheme)
        body = event_body()
        assert sidecar.post(body, signed(body, secret)).status_code == 401
        assert sidecar.post(body, signed(body, secret, scheme)).json()["status"] == "accepted"


def test_the_signed_message_id_is_the_dedup_key(database: Database, settings: Settings) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    with running(database, settings) as sidecar:
        sidecar.register("plant-cmms", secret, scheme=SchemeName.STANDARD_WEBHOOKS)
        body = event_body()
        headers = signed(body, secret, SchemeName.STANDARD_WEBHOOKS)
        assert [sidecar.post(body, headers).json()["status"] for _ in range(2)] == ["accepted", "duplicate"]
        assert sidecar.rows()[0]["dedup_key"] == f"id:{headers['webhook-id']}"
        assert sidecar.refusals() == {}
        with database.engine.connect() as connection:
            assert connection.execute(webhook_secrets.select()).mappings().one()["last_used_at"] is not None


def test_an_unsigned_source_is_taken_only_by_its_explicit_consent(sidecar: Sidecar) -> None:
    body = event_body()
    headers = {"content-type": "application/json", "x-cmms-system": "odoo"}
    assert sidecar.post(body, headers).status_code == 401
    sidecar.register("odoo", None, scheme=SchemeName.UNSIGNED, allow_unsigned=True)
    time.sleep(1.1)
    assert sidecar.post(body, headers).status_code == 202


@pytest.mark.parametrize("index", range(len(HOSTILE)))
def test_a_hostile_body_is_refused_with_its_rule_and_the_next_event_is_taken(shared_sidecar: Sidecar, index: int) -> None:
    answer = shared_sidecar.post(HOSTILE[index])
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) - {"where"} == {"type", "title", "status", "detail", "rule"}
    assert shared_sidecar.post(HOSTILE[index], signed(HOSTILE[index], "wrong")).status_code == 401
    assert shared_sidecar.post(event_body()).status_code == 202


def test_other_content_types_and_compressed_bodies_are_415(shared_sidecar: Sidecar) -> None:
    body = event_body()
    for content_type in ("text/plain", "", "application/x-www-form-urlencoded", "application/json; charset=latin-1"):
        assert shared_sidecar.post(body, signed(body) | {"content-type": content_type}).status_code == 415
    packed = gzip.compress(body)
    assert shared_sidecar.post(packed, signed(packed) | {"content-encoding": "gzip"}).status_code == 415
    for content_type in ("application/json; charset=UTF-8", "application/cloudevents+json"):
        assert shared_sidecar.post(body, signed(body) | {"content-type": content_type}).status_code == 202


@pytest.mark.parametrize("pieces", [1, 2, 70])
def test_a_body_over_the_limit_is_413_however_its_length_is_told(shared_sidecar: Sidecar, pieces: int) -> None:
    body = b" " * 70_000
    told = shared_sidecar.post(body, signed(body))
    chunks = (body[start : start + len(body) // pieces] for start in range(0, len(body), len(body) // pieces))
    untold = shared_sidecar.client.post(shared_sidecar.events_url, content=chunks, headers=signed(body))
    for answer in (told, untold):
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert answer.headers["content-type"] == "application/problem+json"
    assert shared_sidecar.post(event_body(payload={"text": "x" * 65_000})).status_code == 202


def test_a_body_without_end_is_cut_off_after_a_bounded_time(shared_sidecar: Sidecar) -> None:
    address = urlsplit(shared_sidecar.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    connection.putrequest("POST", EVENTS)
    for name, value in {**signed(b""), "transfer-encoding": "chunked"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    started = time.monotonic()
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    try:
        while time.monotonic() - started < 10:
            connection.send(chunk)
    except OSError:
        is_cut_off = True  # a broken pipe or a reset, as the network likes
    else:
        is_cut_off = False
    assert is_cut_off
    assert time.monotonic() - started < 8
    connection.close()


def test_lying_lengths_and_slow_bodies_are_answered_and_stored_nowhere(sidecar: Sidecar) -> None:
    body = event_body()
    head = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    request = f"POST {EVENTS} HTTP/1.1\r\nhost: a\r\n{head}content-length: %d\r\n\r\n"
    too_slow = raw_exchange(sidecar, (request % (len(body) + 10)).encode() + body)
    assert too_slow.startswith(b"HTTP/1.1 408 ")
    cut = raw_exchange(sidecar, (request % (len(body) - 10)).encode() + body)
    assert cut.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 400 "))
    absurd = raw_exchange(sidecar, (request.replace("%d", "9" * 30)).encode() + body)
    assert absurd.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
    negative = raw_exchange(sidecar, (request.replace("%d", "-5")).encode() + body)
    assert negative.startswith(b"HTTP/1.1 400 ")
    assert sidecar.rows() == []
    assert sidecar.post(body).status_code == 202


def framed_wrongly(body: bytes) -> Iterator[bytes]:
    """Requests whose frame is not what it says, or says two things."""
    head = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    start = f"POST {EVENTS} HTTP/1.1\r\nhost: a\r\n{head}"
    chunked = f"{start}transfer-encoding: chunked\r\n".encode()
    yield chunked + b"\r\nzz\r\n" + body + b"\r\n0\r\n\r\n"
    yield chunked + b"\r\n-5\r\n" + body + b"\r\n0\r\n\r\n"
    yield chunked + b"\r\nfffffffffffffffff\r\n" + body
    yield chunked + f"content-length: {len(body)}\r\n\r\n".encode() + b"1\r\na\r\n0\r\n\r\n"
    yield f"{start}content-length: {len(body)}\r\ncontent-length: 3\r\n\r\n".encode() + body
    yield f"{start}transfer-encoding: gzip\r\n\r\n".encode() + body
    yield b"POST " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300  # somebody speaks TLS


def test_a_wrong_frame_is_refused_or_cut_off_and_never_a_server_error(shared_sidecar: Sidecar) -> None:
    body = event_body()
    for request in framed_wrongly(body):
        answer = raw_exchange(shared_sidecar, request, wait_s=2)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), (request[:80], answer)
        assert answer == b"" or b"content-type: application/problem+json" in answer.lower(), (request[:80], answer)
    assert shared_sidecar.post(body).json()["status"] == "accepted"
    page = shared_sidecar.client.get(f"{shared_sidecar.url}/metrics").text
    assert 'duration_seconds_count{status="5' not in page


def test_what_is_no_request_is_answered_as_everything_else(shared_sidecar: Sidecar) -> None:
    answer = raw_exchange(shared_sidecar, b"GIVE ME\r\n\r\n", wait_s=2)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["type"] == "urn:cmms:problem:unreadable-request"


def test_headers_are_bounded(shared_sidecar: Sidecar) -> None:
    many = "".join(f"x-{number}: y\r\n" for number in range(1000))
    body = event_body()
    head = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    request = f"POST {EVENTS} HTTP/1.1\r\nhost: a\r\n{head}{many}content-length: {len(body)}\r\n\r\n".encode() + body
    assert raw_exchange(shared_sidecar, request).startswith(b"HTTP/1.1 202 ")
    endless = f"POST {EVENTS} HTTP/1.1\r\nhost: a\r\nx-long: ".encode() + b"a" * 300_000
    answer = raw_exchange(shared_sidecar, endless)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")  # a reset may overtake the answer
    assert shared_sidecar.post(event_body()).status_code == 202


def test_what_is_not_there_is_a_problem_too(shared_sidecar: Sidecar) -> None:
    for answer in (
        shared_sidecar.client.get(shared_sidecar.events_url),
        shared_sidecar.client.get(f"{shared_sidecar.url}/nothing"),
    ):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.status_code == answer.json()["status"]


def test_the_description_names_every_answer_and_no_secret(shared_sidecar: Sidecar) -> None:
    answer = shared_sidecar.client.get(f"{shared_sidecar.url}/openapi.json")
    paths = answer.json()["paths"]
    for path in (EVENTS, EVENTS + "/{cmms_system_id}"):
        operation = paths[path]["post"]
        assert set(operation["responses"]) == {"202", "400", "401", "408", "413", "415", "422", "429", "503"}
        assert all(response["description"] for response in operation["responses"].values())
        assert operation["requestBody"]["content"]["application/json"]["examples"]
    assert {path for path in paths if not path.startswith("/api/v1/cmms/")} == {
        EVENTS,
        EVENTS + "/{cmms_system_id}",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    assert SECRET not in answer.text
    for example in paths[EVENTS]["post"]["requestBody"]["content"]["application/json"]["examples"].values():
        assert shared_sidecar.post(json.dumps(example["value"]).encode()).status_code == 202

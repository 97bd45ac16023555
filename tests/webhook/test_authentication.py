"""Who may send: every scheme against every way to get it wrong, over HTTP, and independent senders' own libraries."""

import base64
import datetime as dt
import itertools
import json
import statistics
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import SecretStr
from standardwebhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from cmms_pipelines.domain.signatures import SCHEMES, SchemeName, key_of, sign
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.secrets import active_secrets, add_secret, revoke, secret_box
from cmms_webhook.sources import Key, Source
from tests.conftest import Database
from tests.webhook.conftest import Sidecar, event_body, running

SIGNING = sorted(SCHEMES)
TIMED = {SchemeName.STANDARD_WEBHOOKS, SchemeName.MAINTAINX}
MINE, THEIRS, EXPIRED, REVOKED = ("mine", "theirs", "expired", "revoked")


def secret(scheme: SchemeName, whose: str) -> str:
    text = f"the-secret-called-{whose}-of-{scheme}"
    return f"whsec_{base64.b64encode(text.encode()).decode()}" if SCHEMES[scheme].has_encoded_secret else text


def name_of(scheme: SchemeName, whose: str) -> str:
    return f"{scheme}-{whose}"


@pytest.fixture(scope="module")
def matrix(shared_sidecar: Sidecar) -> Sidecar:
    """Two tenants of each scheme; the first one also has a secret that has expired and one that is revoked."""
    box = secret_box(shared_sidecar.settings)
    now = dt.datetime.now(dt.UTC)
    for scheme, whose in itertools.product(SIGNING, (MINE, THEIRS)):
        shared_sidecar.register(name_of(scheme, whose), secret(scheme, whose), scheme=scheme, format="canonical", rate_limit=None)
    with shared_sidecar.database.engine.begin() as connection:
        for scheme in SIGNING:
            name = name_of(scheme, MINE)
            old = SecretStr(secret(scheme, EXPIRED))
            add_secret(connection, box, name, old, actor="tests", expires_at=now - dt.timedelta(seconds=1))
            gone = add_secret(connection, box, name, SecretStr(secret(scheme, REVOKED)), actor="tests")
            revoke(connection, gone, "tests", now)
    time.sleep(1.1)
    return shared_sidecar


def headers_of(scheme: SchemeName, whose: str, body: bytes, shift_s: int = 0) -> dict[str, str]:
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=shift_s)
    signed = sign(scheme, key_of(scheme, secret(scheme, whose)), body, at, f"msg_{time.time_ns()}")
    return {"content-type": "application/json"} | signed


def wrong(scheme: SchemeName, body: bytes) -> Iterator[tuple[str, dict[str, str], bytes]]:
    good = headers_of(scheme, MINE, body)
    for name in sign(scheme, b"key-of-enough-characters", body, dt.datetime.now(dt.UTC), "m"):
        rest = {other: value for other, value in good.items() if other != name}
        yield f"without {name}", rest, body
        yield f"with an empty {name}", rest | {name: ""}, body
        yield f"with a short {name}", rest | {name: good[name][:-1]}, body
        yield f"with a long {name}", rest | {name: good[name] + "0"}, body
    yield "signed with another tenant's secret", headers_of(scheme, THEIRS, body), body
    yield "signed with an expired secret", headers_of(scheme, EXPIRED, body), body
    yield "signed with a revoked secret", headers_of(scheme, REVOKED, body), body
    if scheme is not SchemeName.BEARER:
        yield "with one bit of the body flipped", good, body[:-2] + bytes([body[-2] ^ 1]) + body[-1:]
        yield "with the secret itself", good | dict.fromkeys(sign(scheme, b"k", body, dt.datetime.now(dt.UTC)), MINE), body
    if scheme in TIMED:
        yield "signed ten minutes ago", headers_of(scheme, MINE, body, -600), body
        yield "signed ten minutes ahead", headers_of(scheme, MINE, body, 600), body
    for other in SIGNING:
        if SCHEMES[other].headers != SCHEMES[scheme].headers and other is not SchemeName.BEARER:
            key = key_of(scheme, secret(scheme, MINE))
            yield (
                f"downgraded to {other}",
                {"content-type": "application/json"} | sign(other, key, body, dt.datetime.now(dt.UTC), "m"),
                body,
            )
    yield "not signed at all", {"content-type": "application/json"}, body


@pytest.mark.parametrize("scheme", SIGNING)
def test_a_scheme_takes_what_its_tenant_signed_and_nothing_else(matrix: Sidecar, scheme: SchemeName) -> None:
    body = event_body()
    path = f"/{name_of(scheme, MINE)}"
    before = len(matrix.rows())
    answers = {what: matrix.post(sent, headers, path).status_code for what, headers, sent in wrong(scheme, body)}
    assert set(answers.values()) == {401}, {what: status for what, status in answers.items() if status != 401}
    assert len(matrix.rows()) == before
    assert matrix.post(body, headers_of(scheme, MINE, body), path).json()["status"] == "accepted"


@pytest.mark.parametrize("scheme", sorted(TIMED))
@pytest.mark.parametrize("shift_s", [-290, 290])
def test_a_clock_that_is_off_by_less_than_the_tolerance_costs_no_event(matrix: Sidecar, scheme: SchemeName, shift_s: int) -> None:
    body = event_body()
    answer = matrix.post(body, headers_of(scheme, MINE, body, shift_s), f"/{name_of(scheme, MINE)}")
    assert answer.json()["status"] == "accepted"


def test_a_rotation_loses_nothing_and_ends_when_the_old_secret_is_revoked(database: Database, settings: Settings) -> None:
    with running(database, settings) as sidecar:
        sidecar.register("plant-cmms", "the-old-secret")
        sidecar.register("plant-cmms", "the-new-secret")
        bodies = [event_body() for _ in range(20)]
        key = {name: key_of(SchemeName.HMAC_HEX, f"the-{name}-secret") for name in ("old", "new")}
        for number, body in enumerate(bodies):
            headers = sign(SchemeName.HMAC_HEX, key["new" if number >= 10 else "old"], body, dt.datetime.now(dt.UTC))
            answer = sidecar.post(body, {"content-type": "application/json"} | headers, "/plant-cmms")
            assert answer.json()["status"] == "accepted"
        now = dt.datetime.now(dt.UTC)
        with database.engine.begin() as connection:
            known = active_secrets(connection, secret_box(settings), now, "plant-cmms")
            old = next(one for one in known if one.value is not None and one.value.get_secret_value() == "the-old-secret")
            revoke(connection, old.id, "tests", now)
        time.sleep(1.2)
        late = event_body()
        headers = {"content-type": "application/json"} | sign(SchemeName.HMAC_HEX, key["old"], late, now)
        assert sidecar.post(late, headers, "/plant-cmms").status_code == 401
        assert len(sidecar.rows()) == len(bodies)


def test_a_secret_ends_on_time_even_while_nobody_can_look_into_the_database() -> None:
    now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    lasting, ending = Key(b"a", uuid.uuid4()), Key(b"b", uuid.uuid4(), now)
    source = Source("plant-cmms", WebhookSource(), (lasting, ending))
    assert source.keys_at(now - dt.timedelta(seconds=1)) == (lasting, ending)
    assert source.keys_at(now) == (lasting,)


@pytest.mark.parametrize("sender", [Webhook, SvixWebhook])
def test_the_libraries_of_standard_webhooks_and_svix_are_understood(matrix: Sidecar, sender: type[Webhook]) -> None:
    body = event_body()
    at = dt.datetime.now(dt.UTC)
    signature = sender(secret(SchemeName.STANDARD_WEBHOOKS, MINE)).sign("msg_lib", at, body.decode())
    for prefix in ("webhook", "svix"):
        headers = {f"{prefix}-id": "msg_lib", f"{prefix}-timestamp": str(int(at.timestamp())), f"{prefix}-signature": signature}
        answer = matrix.post(
            body, headers | {"content-type": "application/json"}, f"/{name_of(SchemeName.STANDARD_WEBHOOKS, MINE)}"
        )
        assert answer.status_code == 202
    body = event_body()
    broken = headers | {"svix-signature": signature, "content-type": "application/json"}
    assert matrix.post(body, broken, f"/{name_of(SchemeName.STANDARD_WEBHOOKS, MINE)}").status_code == 401


def test_the_library_of_cloudevents_is_understood_in_both_modes_with_the_token_in_header_or_query(
    database: Database, settings: Settings
) -> None:
    token = "a-token-of-sixteen-or-more"
    with running(database, settings) as sidecar:
        sidecar.register("sap", token, scheme=SchemeName.BEARER)
        for number, to_message in enumerate((to_binary, to_structured)):
            order = {"MaintenanceOrder": f"400012{number}"}
            event = CloudEvent(
                {
                    "type": "sap.s4.beh.maintenanceorder.v1.MaintenanceOrder.Created.v1",
                    "source": "/default/sap.s4.beh/pm",
                    "id": f"event-{number}",
                    "specversion": "1.0",
                    "time": dt.datetime(2026, 3, 1, 8, 30, tzinfo=dt.UTC),
                    "datacontenttype": "application/json",
                },
                order,
            )
            message = to_message(event, JSONFormat())
            headers = dict(message.headers)
            in_query = sidecar.post(message.body, headers, f"/sap?access_token={token}")
            in_header = sidecar.post(message.body, headers | {"authorization": f"Bearer {token}"}, "/sap")
            assert (in_query.json()["status"], in_header.json()["status"]) == ("accepted", "duplicate")
            assert sidecar.post(message.body, headers, "/sap?access_token=another-token-than-that").status_code == 401
        rows = sidecar.rows()
        assert [(row["event_type"], row["entity_key"], row["hmac_signature"]) for row in rows] == [
            ("work_order_created", "work_order:4000120", ""),
            ("work_order_created", "work_order:4000121", ""),
        ]
        assert token not in json.dumps([row["headers"] for row in rows])
        batch = {"content-type": "application/cloudevents-batch+json", "authorization": f"Bearer {token}"}
        assert sidecar.post(b"[]", batch, "/sap").status_code == 415


def test_the_handshake_of_cloudevents_is_granted_alike_for_names_that_exist_and_that_do_not(shared_sidecar: Sidecar) -> None:
    asked = {"WebHook-Request-Origin": "eventing.example.com", "WebHook-Request-Rate": "120"}
    answers = [
        shared_sidecar.client.options(f"{shared_sidecar.events_url}/{name}", headers=asked) for name in ("plant-cmms", "no")
    ]
    for answer in answers:
        assert answer.status_code == 204
        assert answer.headers["webhook-allowed-origin"] == "eventing.example.com"
        assert answer.headers["webhook-allowed-rate"] == "*"
    assert "webhook-allowed-origin" not in shared_sidecar.client.options(shared_sidecar.events_url).headers
    refused = shared_sidecar.client.put(shared_sidecar.events_url)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST, OPTIONS")


def test_an_unknown_source_takes_as_long_as_a_wrong_signature(matrix: Sidecar) -> None:
    body = event_body(payload={"text": "x" * 30_000})
    good = headers_of(SchemeName.HMAC_HEX, MINE, body)
    forged = good | {"x-hmac-signature": "0" * 64}
    paths = {"wrong signature": f"/{name_of(SchemeName.HMAC_HEX, MINE)}", "unknown source": "/nobody"}
    times: dict[str, list[float]] = {what: [] for what in paths}
    with httpx.Client() as client:
        for number, (what, path) in itertools.product(range(150), paths.items()):
            started = time.perf_counter()
            answer = client.post(matrix.events_url + path, content=body, headers=forged)
            if number >= 10:
                times[what].append(time.perf_counter() - started)
            assert answer.status_code in {401, 429}
    unknown, known = (statistics.median(times[what]) for what in ("unknown source", "wrong signature"))
    assert abs(unknown - known) < 0.25 * known

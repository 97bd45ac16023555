"""Trying a source out: would this delivery be accepted, and does a sample event arrive.

What belongs here: judging a given sample as the receiver would, and sending one through the receiver itself. What does not:
receiving (`cmms_webhook.receive`).
"""

import asyncio
import datetime as dt
import hashlib
import uuid
from typing import Any

import orjson
import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.event_formats import read_event
from cmms_pipelines.domain.events import entity_key
from cmms_pipelines.domain.presets import sample_body
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.domain.signatures import Refused, SchemeName, Verified, key_of, sign, verify
from cmms_pipelines.domain.strict_json import BodyRefusal
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.configuration_changes import find_source
from cmms_pipelines.storage.configurations import read_source
from cmms_pipelines.storage.inbox_search import find_event
from cmms_pipelines.storage.secrets import StoredSecret, active_secrets
from cmms_pipelines.storage.tables import audit_log, maintenance_event_hooks
from cmms_webhook.management import problems, schemas
from cmms_webhook.management.access import needs
from cmms_webhook.management.configurations import Caller, System
from cmms_webhook.management.state import ManagementState

LOOK_EVERY_S = 0.1


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes that try a source out."""
    router = APIRouter(prefix="/configurations", tags=["configurations"], route_class=route_class)

    @router.post(
        "/{cmms_system_id}/verify",
        summary="Judge a sample delivery",
        **needs(Role.OPERATOR, s404="There is no such source.", s422="The stored configuration is not usable."),
    )
    def judge(cmms_system_id: System, sample: schemas.Sample) -> schemas.Verification:
        """Says what the receiver would do with it, and why. Nothing is stored."""
        now = sample.at or state.clock()
        with state.reading() as connection:
            stored = find_source(connection, cmms_system_id)
            source = sample.configuration or read_source(stored.configuration)
            secrets = [one for one in active_secrets(connection, state.box, now, cmms_system_id) if one.value is not None]
            return _judged(connection, cmms_system_id, source, secrets, sample, now=now)

    @router.post(
        "/{cmms_system_id}/test",
        summary="Send a sample event through the receiver",
        **needs(Role.OPERATOR, s404="There is no such source.", s422="The source cannot sign: no secret, or not active."),
    )
    async def test(cmms_system_id: System, wanted: schemas.TestEvent, who: Caller) -> schemas.TestReport:
        """Signs an event as the source would, with its newest secret, and follows it until it is applied.

        It is about the work order `WO-SAMPLE-1` of this source, in the words of its kind of sender.
        """
        await state.settle()
        body, headers = await asyncio.to_thread(_signed_sample, state, cmms_system_id, who.actor)
        path = f"{state.events_path}/{cmms_system_id}"
        status, answer = await deliver(state.receiver, path, headers, body)
        told = orjson.loads(answer) if answer else {}
        if status != 202:
            return schemas.TestReport(is_accepted=False, http_status=status, answer=told)
        event = await _followed(state, uuid.UUID(told["id"]), wanted.wait_s)
        return schemas.TestReport(is_accepted=True, http_status=status, answer=told, **event)

    return router


async def deliver(receiver: ASGIApp, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """Post to an application in this process, the whole way of a request but for the socket; return status and body."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    sent = iter([{"type": "http.request", "body": body, "more_body": False}])
    status, answer = 500, bytearray()

    async def receive() -> Message:
        return next(sent, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            answer.extend(message.get("body", b""))

    await receiver(scope, receive, send)
    return status, bytes(answer)


def _signed_sample(state: ManagementState, system: str, actor: str) -> tuple[bytes, dict[str, str]]:
    now, event_id = state.clock(), uuid.uuid4()
    with state.engine.begin() as connection:  # no change that the receiver would have to follow
        stored = find_source(connection, system)
        if not stored.is_active:
            raise problems.unusable("The source is not active.")
        source = read_source(stored.configuration)
        secrets = [one for one in active_secrets(connection, state.box, now, system) if one.value is not None]
        sent = {"event_id": str(event_id), "scheme": source.scheme.value, "secret_id": str(secrets[0].id) if secrets else None}
        entry = {"actor": actor, "action": "configuration.tested", "entity_type": "webhook_source", "entity_key": system}
        connection.execute(sa.insert(audit_log).values(**entry, after=sent))
    body = orjson.dumps(sample_body(source.format, now, event_id))
    headers = {"content-type": "application/json"}
    if source.scheme is SchemeName.UNSIGNED:
        return body, headers
    if not secrets or secrets[0].value is None:
        raise problems.unusable("The source has no secret in force: rotate it first.")
    key = key_of(source.scheme, secrets[0].value.get_secret_value())
    return body, headers | sign(source.scheme, key, body, now, f"test-{event_id}")


async def _followed(state: ManagementState, identifier: uuid.UUID, wait_s: float) -> dict[str, Any]:
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        event = await asyncio.to_thread(_read, state, identifier)
        is_over = event is None or event["processing_status"] != "pending"
        if is_over or asyncio.get_running_loop().time() >= deadline:
            break
        await asyncio.sleep(LOOK_EVERY_S)
    if event is None:
        return {"event_id": identifier}
    return {
        "event_id": identifier,
        "status": event["processing_status"],
        "applied_after_ms": event["latency_ms"],
        "outcome": event["outcome"],
        "error_message": event["error_message"],
    }


def _read(state: ManagementState, identifier: uuid.UUID) -> dict[str, Any] | None:
    with state.reading() as connection:
        return find_event(connection, identifier)


def _judged(
    connection: sa.Connection,
    system: str,
    source: WebhookSource,
    secrets: list[StoredSecret],
    sample: schemas.Sample,
    *,
    now: dt.datetime,
) -> schemas.Verification:
    raw = sample.body.encode("utf-8", "surrogatepass")
    headers = {name.lower(): value for name, value in sample.headers.items()}
    verified = _verified(source, secrets, headers, raw, now)
    if isinstance(verified, Refused):
        return _no(verified.reason.value, None)
    if isinstance(verified, PermanentError):
        return _no("secret_unusable", str(verified))
    secret_id = secrets[verified.secret_index].id if verified.secret_index >= 0 else None
    event = read_event(source.format, raw, headers, source.mapping())
    if isinstance(event, BodyRefusal):
        return _no(event.rule, f"{event.detail} ({event.where})" if event.where else event.detail, secret_id)
    if event.cmms_system_id is not None and event.cmms_system_id != system:
        return _no("another_system", "The body names another system.", secret_id)
    key = source.dedup_key_of(event, raw, hashlib.sha256(raw).digest(), headers, verified.message_id)
    hooks = maintenance_event_hooks.c
    known = connection.scalar(sa.select(hooks.id).where(hooks.cmms_system_id == system, hooks.dedup_key == key))
    return schemas.Verification(
        is_accepted=True,
        secret_id=secret_id,
        event_type=event.event_type,
        entity_key=entity_key(event),
        dedup_key=key,
        occurred_at=event.occurred_at,
        first_status=event.first_status,
        is_known_already=known is not None,
    )


def _verified(
    source: WebhookSource, secrets: list[StoredSecret], headers: dict[str, str], raw: bytes, now: dt.datetime
) -> Verified | Refused | PermanentError:
    if source.scheme is SchemeName.UNSIGNED:
        return Verified(-1, "")
    try:
        keys = [key_of(source.scheme, one.value.get_secret_value()) for one in secrets if one.value is not None]
    except PermanentError as error:
        return error
    return verify(source.scheme, headers, raw, keys, now=now, tolerance=dt.timedelta(seconds=source.tolerance_s))


def _no(reason: str, detail: str | None, secret_id: uuid.UUID | None = None) -> schemas.Verification:
    return schemas.Verification(is_accepted=False, reason=reason, detail=detail, secret_id=secret_id)

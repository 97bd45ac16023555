"""From a request to a stored event, in this order: size, encoding, source, signature, rate limit, body, storage, answer.

What belongs here: the order and its refusals. What does not: each step itself (`domain.signatures`, `domain.event_formats`,
`sources`, `rates`, `writer`), bytes of HTTP (`requests`), routing (`app`). Nothing that a stranger sends costs a query of its
own, or memory beyond limits, and whatever is wrong with it gets the same answer.
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.domain.event_formats import read_event
from cmms_pipelines.domain.events import CanonicalEvent, entity_key
from cmms_pipelines.domain.signatures import SchemeName, Verified, verify
from cmms_pipelines.domain.strict_json import BodyRefusal
from cmms_pipelines.domain.webhook_source import RateLimit
from cmms_pipelines.storage.inbox import ReceivedHook
from cmms_webhook import problems
from cmms_webhook.ledger import Ledger
from cmms_webhook.metrics import Metrics
from cmms_webhook.problems import Kind, RefusedRequestError
from cmms_webhook.rates import Buckets
from cmms_webhook.requests import ClientGoneError, Request, answer_json, is_json, read_head
from cmms_webhook.sources import Source, Sources
from cmms_webhook.store import Unstorable
from cmms_webhook.writer import InboxWriter, OverloadedError

KEPT_HEADERS = (
    "content-type", "user-agent", "x-request-id", "webhook-id", "webhook-timestamp", "svix-id", "svix-timestamp",
    "x-webhook-id", "x-webhook-timestamp", "x-webhook-event", "x-github-delivery", "x-github-event",
    "x-fn-delivery-id", "x-fn-event-trace-id", "ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-subject",
)  # fmt: skip
_KEPT_CHARACTERS = 300
_DISCARD_S = 2.0
_ORIGIN = re.compile(r"[A-Za-z0-9.:*-]{1,253}")
_ALLOWED = "POST, OPTIONS"
_STRANGER_TOLERANCE = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Limits:
    """What a request may cost."""

    max_body_bytes: int = 1_048_576
    max_buffered_bytes: int = 256 * 1_048_576
    """Of all requests together; beyond it new ones are told to come back."""
    body_timeout_s: float = 15.0
    discard_bytes: int = 16 * 1_048_576
    """Of a body that is too large: read and thrown away, so that the sender gets to read its answer."""
    refusals: RateLimit = field(default_factory=lambda: RateLimit(per_s=20, burst=400))
    """Of one address that does not authenticate: beyond it the answer is 429, which only changes what was a refusal anyway."""


@dataclass(slots=True)
class _Outcome:
    """What a request came to, for the metrics."""

    source: str | None = None
    name: str = "aborted"
    status: int = 0


class Receiver:
    """Takes requests for the events endpoint."""

    def __init__(
        self,
        sources: Sources,
        writer: InboxWriter,
        ledger: Ledger,
        metrics: Metrics,
        *,
        limits: Limits,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._sources, self._writer, self._ledger, self._metrics = sources, writer, ledger, metrics
        self._limits, self._clock = limits, clock
        self._rates = Buckets(time.monotonic)
        self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send, named_in_path: str | None) -> None:
        """Store the event and answer 202 after the commit, or say why not; nothing of a refused request is accepted."""
        started = time.perf_counter()
        outcome = _Outcome()
        try:
            await self._take(read_head(scope, receive, named_in_path), send, outcome)
        except RefusedRequestError as refused:
            self._ledger.refused(refused.reason, refused.source)
            outcome.source, outcome.name, outcome.status = refused.source, refused.reason, problems.status_of(refused.kind)
            await problems.answer_to(refused)(scope, receive, send)
        except Exception:  # a defect, whatever it is: the sender gets a problem without details, the log gets all of it
            outcome.name, outcome.status = "internal_error", 500
            await problems.answer(Kind.INTERNAL)(scope, receive, send)
            raise
        finally:
            self._metrics.answered(outcome.source, outcome.name, outcome.status, time.perf_counter() - started)

    async def _take(self, request: Request, send: Send, outcome: _Outcome) -> None:
        if request.method != "POST":
            return await self._answer_other(request, send, outcome)
        await self._check_head(request)
        source = await self._find(request.claimed_name)
        body = bytearray()
        try:
            await self._read_into(body, request, source)
            await self._accept(bytes(body), request, source, send, outcome)
        finally:
            self._buffered -= len(body)
            self._metrics.buffered.set(self._buffered)

    async def _accept(self, body: bytes, request: Request, source: Source | None, send: Send, outcome: _Outcome) -> None:
        source, verified = self._authenticate(source, request, body)
        self._check_rates(source, request)
        event = _parse(body, request, source)
        hook = _hook(event, body, request.headers, source, verified)
        try:
            stored = await self._writer.store(hook, may_shed=source.configuration.may_shed)
        except OverloadedError as error:
            raise RefusedRequestError(Kind.OVERLOADED, "overloaded", source=source.name) from error
        except TransientError as error:
            raise RefusedRequestError(Kind.UNAVAILABLE, "database_unavailable", source=source.name) from error
        if isinstance(stored, Unstorable):
            detail = "The database refuses what the body holds."
            raise RefusedRequestError(Kind.UNUSABLE_BODY, "unstorable", source=source.name, detail=detail)
        outcome.source, outcome.name, outcome.status = source.name, stored.outcome.value, 202
        self._ledger.delivered(source.name, hook.event_type, stored.outcome)
        await answer_json(send, 202, b'{"id":"%s","status":"%s"}' % (str(stored.id).encode(), stored.outcome.encode()))

    async def _answer_other(self, request: Request, send: Send, outcome: _Outcome) -> None:
        """Answer the handshake of CloudEvents, the same for every name: consent to be sent to says nothing about who may."""
        origin = request.headers.get("webhook-request-origin")
        if request.method != "OPTIONS":
            raise RefusedRequestError(Kind.METHOD_NOT_ALLOWED, "method_not_allowed", headers={"Allow": _ALLOWED})
        headers = [(b"allow", _ALLOWED.encode())]
        if origin is not None and _ORIGIN.fullmatch(origin):
            headers += [(b"webhook-allowed-origin", origin.encode()), (b"webhook-allowed-rate", b"*")]
        outcome.name, outcome.status = "handshake", 204
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _check_head(self, request: Request) -> None:
        headers = request.headers
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > self._limits.max_body_bytes):
            if "expect" not in headers:  # who asks first has not sent it yet
                await self._discard(request)
            raise RefusedRequestError(Kind.BODY_TOO_LARGE, "body_too_large")
        if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            raise RefusedRequestError(Kind.UNSUPPORTED_ENCODING, "compressed_body")
        if not is_json(headers.get("content-type", "")):
            raise RefusedRequestError(Kind.UNSUPPORTED_MEDIA_TYPE, "not_json")

    async def _find(self, name: str) -> Source | None:
        try:
            source = await self._sources.find(name)
        except TransientError as error:
            raise RefusedRequestError(Kind.UNAVAILABLE, "sources_unavailable") from error
        if source is not None and source.fault:
            raise RefusedRequestError(Kind.UNAVAILABLE, source.fault, source=source.name)
        return source

    async def _read_into(self, body: bytearray, request: Request, source: Source | None) -> None:
        name, has_more = source.name if source else None, True
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                while has_more and len(body) <= self._limits.max_body_bytes:
                    chunk, has_more = await request.next_chunk()
                    if self._buffered + len(chunk) > self._limits.max_buffered_bytes:
                        raise RefusedRequestError(Kind.OVERLOADED, "too_much_buffered", source=name)
                    body += chunk
                    self._buffered += len(chunk)
        except TimeoutError as error:
            raise RefusedRequestError(Kind.BODY_TOO_SLOW, "body_too_slow", source=name) from error
        except ClientGoneError as error:
            raise RefusedRequestError(Kind.BODY_INCOMPLETE, "body_incomplete", source=name) from error
        if len(body) > self._limits.max_body_bytes:
            if has_more:
                await self._discard(request)
            raise RefusedRequestError(Kind.BODY_TOO_LARGE, "body_too_large", source=name)

    async def _discard(self, request: Request) -> None:
        """Read on for a moment: a connection closed on a sender that is still writing loses the answer."""
        discarded, has_more = 0, True
        with contextlib.suppress(TimeoutError, ClientGoneError):
            async with asyncio.timeout(_DISCARD_S):
                while has_more and discarded <= self._limits.discard_bytes:
                    chunk, has_more = await request.next_chunk()
                    discarded += len(chunk)

    def _authenticate(self, source: Source | None, request: Request, body: bytes) -> tuple[Source, Verified]:
        scheme = source.configuration.scheme if source else SchemeName.HMAC_HEX
        if source is not None and scheme is SchemeName.UNSIGNED:
            return source, Verified(-1, "")
        now = self._clock()
        keys = source.keys_at(now) if source else ()
        tolerance = source.tolerance if source else _STRANGER_TOLERANCE
        verified = verify(scheme, request.headers, body, [key.value for key in keys], now=now, tolerance=tolerance)
        if source is None or not isinstance(verified, Verified):
            reason = "unknown_source" if source is None or isinstance(verified, Verified) else verified.reason.value
            wait_s = self._rates.take(request.address, self._limits.refusals)
            kind = Kind.TOO_MANY_REFUSALS if wait_s else Kind.UNAUTHENTICATED
            raise RefusedRequestError(kind, reason, source=source.name if source else None, headers=_retry_after(wait_s))
        self._ledger.used(keys[verified.secret_index].secret_id, now)
        return source, verified

    def _check_rates(self, source: Source, request: Request) -> None:
        """Refuse what is beyond the source's limits: after the signature, so that no stranger can use them up for it."""
        limit, address_limit = source.configuration.rate_limit, source.configuration.address_rate_limit
        wait_s = self._rates.take((source.name, request.address), address_limit) if address_limit else 0.0
        if not wait_s and limit:
            wait_s = self._rates.take((source.name,), limit)
        if wait_s:
            raise RefusedRequestError(Kind.TOO_MANY_EVENTS, "rate_limited", source=source.name, headers=_retry_after(wait_s))


def _retry_after(wait_s: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(wait_s)))} if wait_s else {}


def _parse(body: bytes, request: Request, source: Source) -> CanonicalEvent:
    event = read_event(source.configuration.format, body, request.headers, source.mapping)
    if isinstance(event, BodyRefusal):
        raise RefusedRequestError(Kind.UNUSABLE_BODY, event.rule, source=source.name, detail=event.detail, where=event.where)
    if event.cmms_system_id is not None and event.cmms_system_id != source.name:
        detail = "The body names another system than the request was authenticated for."
        raise RefusedRequestError(
            Kind.UNUSABLE_BODY, "another_system", source=source.name, detail=detail, where="/cmms_system_id"
        )
    return event


def _hook(event: CanonicalEvent, body: bytes, headers: Mapping[str, str], source: Source, verified: Verified) -> ReceivedHook:
    body_sha256 = hashlib.sha256(body).digest()
    return ReceivedHook(
        cmms_system_id=source.name,
        event_type=event.event_type,
        payload=event.payload,
        occurred_at=event.occurred_at,
        entity_key=entity_key(event, body_sha256),
        dedup_key=source.configuration.dedup_key_of(event, body, body_sha256, headers, verified.message_id),
        raw_body=body,
        body_sha256=body_sha256,
        signature=verified.signature,
        headers={name: headers[name][:_KEPT_CHARACTERS] for name in KEPT_HEADERS if name in headers},
        first_status=event.first_status,
    )

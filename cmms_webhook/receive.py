"""From a request to a stored event, in this order: size, encoding, source, signature, body, storage, answer.

What belongs here: the order and its refusals. What does not: each step itself (`domain.signatures`, `domain.events`,
`sources`, `writer`), and HTTP routing (`app`). Nothing that a stranger sends costs a query of its own, or memory beyond limits.
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.domain.events import CanonicalEvent, dedup_key, entity_key, parse_event
from cmms_pipelines.domain.signatures import SchemeName, Verified, verify
from cmms_pipelines.domain.strict_json import BodyRefusal
from cmms_pipelines.storage.inbox import ReceivedHook
from cmms_webhook.ledger import Ledger
from cmms_webhook.problems import Kind, RefusedRequestError
from cmms_webhook.sources import Source, Sources
from cmms_webhook.writer import InboxWriter, OverloadedError, Unstorable

SYSTEM_HEADER = "x-cmms-system"
KEPT_HEADERS = (
    "content-type",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "svix-id",
    "svix-timestamp",
    "x-webhook-id",
    "x-webhook-timestamp",
    "x-github-delivery",
    "x-github-event",
    "x-request-id",
)
_KEPT_CHARACTERS = 300
_DISCARD_S = 2.0


@dataclass(frozen=True)
class Limits:
    """What a request may cost."""

    max_body_bytes: int = 1_048_576
    max_buffered_bytes: int = 256 * 1_048_576
    """Of all requests together; beyond it new ones are told to come back."""
    body_timeout_s: float = 15.0
    discard_bytes: int = 16 * 1_048_576
    """Of a body that is too large: read and thrown away, so that the sender gets to read its answer."""


class Receiver:
    """Takes requests for the events endpoint."""

    def __init__(
        self, sources: Sources, writer: InboxWriter, ledger: Ledger, *, limits: Limits, clock: Callable[[], dt.datetime]
    ) -> None:
        self._sources, self._writer, self._ledger = sources, writer, ledger
        self._limits, self._clock = limits, clock
        self._buffered = 0

    async def receive(self, request: Request, named_in_path: str | None) -> Response:
        """Store the event and answer 202 after the commit.

        Raises:
            RefusedRequestError: anything else; nothing was accepted.
        """
        headers = _joined(request)
        await self._check_head(request, headers)
        name = _name(headers, named_in_path)
        source = await self._find(name)
        body = bytearray()
        try:
            await self._read_into(body, request, source)
            return await self._accept(bytes(body), headers, source)
        finally:
            self._buffered -= len(body)

    async def _accept(self, body: bytes, headers: Mapping[str, str], source: Source | None) -> Response:
        source, verified = self._authenticate(source, headers, body)
        event = _parse(body, source)
        hook = _hook(event, body, headers, source, verified)
        try:
            stored = await self._writer.store(hook, may_shed=source.configuration.may_shed)
        except OverloadedError as error:
            raise RefusedRequestError(Kind.OVERLOADED, "overloaded", source=source.name) from error
        except TransientError as error:
            raise RefusedRequestError(Kind.UNAVAILABLE, "database_unavailable", source=source.name) from error
        if isinstance(stored, Unstorable):
            detail = "The database refuses what the body holds."
            raise RefusedRequestError(Kind.UNUSABLE_BODY, "unstorable", source=source.name, detail=detail)
        receipt = orjson.dumps({"id": str(stored.id), "status": stored.outcome.value})
        return Response(receipt, 202, media_type="application/json")

    async def _check_head(self, request: Request, headers: Mapping[str, str]) -> None:
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > self._limits.max_body_bytes):
            if "expect" not in headers:  # who asks first has not sent it yet
                await self._discard(request)
            raise RefusedRequestError(Kind.BODY_TOO_LARGE, "body_too_large")
        if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            raise RefusedRequestError(Kind.UNSUPPORTED_ENCODING, "compressed_body")
        if not _is_json(headers.get("content-type", "")):
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
                    chunk, has_more = await _next_chunk(request)
                    if self._buffered + len(chunk) > self._limits.max_buffered_bytes:
                        raise RefusedRequestError(Kind.OVERLOADED, "too_much_buffered", source=name)
                    body += chunk
                    self._buffered += len(chunk)
        except TimeoutError as error:
            raise RefusedRequestError(Kind.BODY_TOO_SLOW, "body_too_slow", source=name) from error
        except ClientDisconnect as error:
            raise RefusedRequestError(Kind.BODY_INCOMPLETE, "body_incomplete", source=name) from error
        if len(body) > self._limits.max_body_bytes:
            if has_more:
                await self._discard(request)
            raise RefusedRequestError(Kind.BODY_TOO_LARGE, "body_too_large", source=name)

    async def _discard(self, request: Request) -> None:
        """Read on for a moment: a connection closed on a sender that is still writing loses the answer."""
        discarded, has_more = 0, True
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(_DISCARD_S):
                while has_more and discarded <= self._limits.discard_bytes:
                    chunk, has_more = await _next_chunk(request)
                    discarded += len(chunk)

    def _authenticate(self, source: Source | None, headers: Mapping[str, str], body: bytes) -> tuple[Source, Verified]:
        if source is not None and source.configuration.scheme is SchemeName.UNSIGNED:
            return source, Verified(-1, "")
        now = self._clock()
        scheme = source.configuration.scheme if source else SchemeName.HMAC_HEX
        tolerance = dt.timedelta(seconds=source.configuration.tolerance_s if source else 300)
        verified = verify(scheme, headers, body, source.keys if source else (), now=now, tolerance=tolerance)
        if source is None:
            raise RefusedRequestError(Kind.UNAUTHENTICATED, "unknown_source")
        if not isinstance(verified, Verified):
            raise RefusedRequestError(Kind.UNAUTHENTICATED, verified.reason.value, source=source.name)
        self._ledger.used(source.secret_ids[verified.secret_index], now)
        return source, verified


async def _next_chunk(request: Request) -> tuple[bytes, bool]:
    """Return the next piece of the body and whether there is more (`Request.stream` does not tell that)."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def _parse(body: bytes, source: Source) -> CanonicalEvent:
    event = parse_event(body)
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
        entity_key=entity_key(event),
        dedup_key=dedup_key(event, body_sha256, verified.message_id),
        raw_body=body,
        body_sha256=body_sha256,
        signature=verified.signature,
        headers={name: headers[name][:_KEPT_CHARACTERS] for name in KEPT_HEADERS if name in headers},
        first_status=event.first_status,
    )


def _joined(request: Request) -> dict[str, str]:
    """Return the headers by lower-case name; one that comes twice is joined, which no signature survives."""
    result: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        result[name] = f"{result[name]}, {value}" if name in result else value
    return result


def _name(headers: Mapping[str, str], named_in_path: str | None) -> str:
    """Return the system that the request claims to come from; two different claims are none."""
    named_in_header = headers.get(SYSTEM_HEADER)
    if named_in_path is None or named_in_header is None:
        return named_in_path or named_in_header or ""
    return named_in_path if named_in_path == named_in_header else ""


def _is_json(content_type: str) -> bool:
    media_type, _, parameters = content_type.lower().partition(";")
    media_type = media_type.strip()
    is_json = media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
    charsets = [
        value.strip(' "') for key, _, value in (p.partition("=") for p in parameters.split(";")) if key.strip() == "charset"
    ]
    return is_json and all(charset in {"utf-8", "utf8"} for charset in charsets)

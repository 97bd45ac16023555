"""Answers that say no: RFC 9457 problem details, written so that they help a sender and tell a stranger nothing.

What belongs here: the shape and the list of refusals. What does not: deciding on one (`receive`), counting it (`ledger`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson
from pydantic import BaseModel, Field
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(description="what went wrong, as an id that stays the same", examples=["urn:cmms:problem:unauthenticated"])
    title: str = Field(description="the same for people")
    status: int = Field(description="the HTTP status again")
    detail: str = Field(description="what to do about it")
    rule: str | None = Field(default=None, description="422 only: the rule that the body breaks")
    where: str | None = Field(default=None, description="422 only: where in the body")


class Kind(StrEnum):
    """What goes wrong, from the sender's point of view."""

    UNAUTHENTICATED = "unauthenticated"
    BODY_TOO_LARGE = "body-too-large"
    UNSUPPORTED_ENCODING = "unsupported-encoding"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    BODY_TOO_SLOW = "body-too-slow"
    BODY_INCOMPLETE = "body-incomplete"
    UNREADABLE_REQUEST = "unreadable-request"
    HEADERS_TOO_LARGE = "headers-too-large"
    UNUSABLE_BODY = "unusable-body"
    TOO_MANY_EVENTS = "too-many-events"
    TOO_MANY_REFUSALS = "too-many-refusals"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    INTERNAL = "internal"


@dataclass(frozen=True)
class _Text:
    status: int
    title: str
    detail: str


_TEXTS = {
    Kind.UNAUTHENTICATED: _Text(
        401,
        "Not authenticated",
        "This is not signed by a source known here. Check the system's name (X-CMMS-System or the path), the signature "
        "header, the secret, the clock, and that the signed bytes are the bytes sent.",
    ),
    Kind.BODY_TOO_LARGE: _Text(
        413, "Body too large", "The body is larger than this receiver accepts. Send fewer data per event."
    ),
    Kind.UNSUPPORTED_ENCODING: _Text(415, "Compressed body", "Send the body without Content-Encoding."),
    Kind.UNSUPPORTED_MEDIA_TYPE: _Text(415, "Not JSON", "Send JSON in UTF-8 with Content-Type: application/json."),
    Kind.BODY_TOO_SLOW: _Text(408, "Body too slow", "The body did not arrive in time. Send it again."),
    Kind.BODY_INCOMPLETE: _Text(400, "Body incomplete", "The connection ended before the body did. Send it again."),
    Kind.UNREADABLE_REQUEST: _Text(400, "Not HTTP", "This is not a request in HTTP/1.1, or its frame contradicts itself."),
    Kind.HEADERS_TOO_LARGE: _Text(431, "Headers too large", "Address and headers are larger than this receiver reads: 64 KiB."),
    Kind.UNUSABLE_BODY: _Text(422, "Body not usable", "The body breaks a rule of the event format."),
    Kind.TOO_MANY_EVENTS: _Text(
        429, "Too many events", "More events than agreed for this system. The event is not accepted. Send it again later."
    ),
    Kind.TOO_MANY_REFUSALS: _Text(
        429, "Too many refused requests", "Too many requests from this address were not authenticated. Try again later."
    ),
    Kind.UNAVAILABLE: _Text(503, "Not available", "The event could not be stored and is not accepted. Send it again later."),
    Kind.OVERLOADED: _Text(503, "Overloaded", "Too much is waiting here; the event is not accepted. Send it again later."),
    Kind.NOT_FOUND: _Text(404, "Not found", "There is nothing at this address."),
    Kind.METHOD_NOT_ALLOWED: _Text(405, "Method not allowed", "This address does not take this method."),
    Kind.INTERNAL: _Text(500, "Internal error", "Something is wrong here; the event is not accepted. Send it again later."),
}
_HEADERS = {
    Kind.UNAUTHENTICATED: {"WWW-Authenticate": 'Signature realm="maintenance events"'},
    Kind.BODY_TOO_LARGE: {"Connection": "close"},
    Kind.BODY_TOO_SLOW: {"Connection": "close"},
    Kind.UNREADABLE_REQUEST: {"Connection": "close"},
    Kind.HEADERS_TOO_LARGE: {"Connection": "close"},
    Kind.UNAVAILABLE: {"Retry-After": "5"},
    Kind.OVERLOADED: {"Retry-After": "2"},
}


class RefusedRequestError(Exception):
    """A request that is answered with a problem; `reason` is for the audit, `source` a name that exists, or None."""

    def __init__(
        self,
        kind: Kind,
        reason: str,
        *,
        source: str | None = None,
        detail: str = "",
        where: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.source, self.detail, self.where = kind, reason, source, detail, where
        self.headers = headers or {}


def answer(kind: Kind, *, rule: str = "", detail: str = "", where: str = "") -> Response:
    """Return the response for a problem; `rule` and `where` only for what an authenticated sender may know."""
    text = _TEXTS[kind]
    body = {
        "type": f"urn:cmms:problem:{kind}",
        "title": text.title,
        "status": text.status,
        "detail": detail or text.detail,
        **({"rule": rule} if rule else {}),
        **({"where": where} if where else {}),
    }
    return Response(orjson.dumps(body), text.status, headers=_HEADERS.get(kind), media_type=MEDIA_TYPE)


def answer_to(refused: RefusedRequestError) -> Response:
    """Return the response for a refused request; only an unusable body, which is authenticated, says which rule it breaks."""
    rule = refused.reason if refused.kind is Kind.UNUSABLE_BODY else ""
    response = answer(refused.kind, rule=rule, detail=refused.detail, where=refused.where)
    response.headers.update(refused.headers)
    return response


def example(kind: Kind) -> dict[str, object]:
    """Return the answer's body as the API's description shows it."""
    found: dict[str, object] = orjson.loads(bytes(answer(kind).body))
    return found


def status_of(kind: Kind) -> int:
    return _TEXTS[kind].status


def kind_of(status: int) -> Kind:
    """Return the problem for a status that the framework chose."""
    return {404: Kind.NOT_FOUND, 405: Kind.METHOD_NOT_ALLOWED}.get(status, Kind.INTERNAL)

"""A request as the receiver sees it: plain ASGI, without a framework's cost, read with limits.

What belongs here: headers, the claimed names, the body in pieces, the answer's bytes. What does not: deciding (`receive`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from cmms_pipelines.domain.senders.cloudevents import BATCH_MEDIA_TYPE

SYSTEM_HEADER = "x-cmms-system"
_LONGEST_TOKEN = 5000


class ClientGoneError(Exception):
    """The connection ended before the body did."""


@dataclass(frozen=True, slots=True)
class Request:
    """Head and body of one request; `headers` by lower-case name, one that came twice joined, which no signature survives."""

    method: str
    headers: Mapping[str, str]
    named_in_path: str | None
    address: str
    _receive: Receive

    async def next_chunk(self) -> tuple[bytes, bool]:
        """Return the next piece of the body, and whether there is more.

        Raises:
            ClientGoneError: there will be none.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        return message.get("body", b""), message.get("more_body", False)

    @property
    def claimed_name(self) -> str:
        """The system that the request claims to come from; two different claims are none."""
        in_header = self.headers.get(SYSTEM_HEADER)
        if self.named_in_path is None or in_header is None:
            return self.named_in_path or in_header or ""
        return in_header if in_header == self.named_in_path else ""


def read_head(scope: Scope, receive: Receive, named_in_path: str | None) -> Request:
    """Read the head; a token in the query (`access_token`, RFC 6750) takes the place of a missing `Authorization`."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    query = scope["query_string"]
    if query and len(query) <= _LONGEST_TOKEN and "authorization" not in headers:
        tokens = parse_qs(query.decode("latin-1"), max_num_fields=20).get("access_token", []) if b"access_token" in query else []
        if len(tokens) == 1:
            headers["authorization"] = f"Bearer {tokens[0]}"
    client = scope.get("client")
    return Request(scope["method"], headers, named_in_path, client[0] if client else "", receive)


async def answer_json(send: Send, status: int, body: bytes) -> None:
    """Send a JSON answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def is_json(content_type: str) -> bool:
    """Tell JSON in UTF-8 by its content type; a batch of events is not one event."""
    if content_type == "application/json":
        return True
    media_type, _, parameters = content_type.lower().partition(";")
    media_type = media_type.strip()
    is_known = media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
    charsets = [
        value.strip(' "') for key, _, value in (part.partition("=") for part in parameters.split(";")) if key.strip() == "charset"
    ]
    return is_known and media_type != BATCH_MEDIA_TYPE and all(charset in {"utf-8", "utf8"} for charset in charsets)

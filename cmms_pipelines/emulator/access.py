"""Who is let in, and what an answer other than 200 is, whatever the dialect."""

import base64
import hmac
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.responses import Response

Fields = dict[str, Any]


class Refusal(Exception):  # noqa: N818  (an answer of the API, not a fault of ours)
    """An answer other than 200, with the body that this API sends for it: JSON, or an HTML page."""

    def __init__(self, status: int, body: Fields | str) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body

    def response(self) -> Response:
        if isinstance(self.body, str):
            return HTMLResponse(self.body, self.status)
        return JSONResponse(self.body, self.status)


def refused_unless(accepted: set[str], body: Fields | str) -> Callable[[Request], None]:
    """A dependency that refuses with 401 and `body` every request but those whose `Authorization` is one of `accepted`."""
    expected = [value.encode() for value in accepted]

    def check(request: Request) -> None:
        sent = request.headers.get("authorization", "").encode("latin-1")
        if not any(hmac.compare_digest(sent, value) for value in expected):
            raise Refusal(401, body)

    return check


def every_form_of(token: str) -> set[str]:
    """The `Authorization` headers of a source that takes the token raw, as bearer and as basic credentials."""
    return {token, f"Bearer {token}", f"Basic {base64.b64encode(token.encode()).decode()}"}

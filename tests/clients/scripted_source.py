"""A real HTTP server that answers just as a test says, for replies that no emulator of a healthy API gives."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

from cmms_pipelines.emulator.server import listen
from tests.emulator_server import running


@dataclass
class Seen:
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    client_port: int
    at_s: float


@dataclass
class ScriptedSource:
    """Gives `replies` in turn, the last one for ever."""

    url: str
    replies: list[Response] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)


_scripts: list[ScriptedSource] = []  # of the one server that all tests share: to stop one takes a fifth of a second


def reply(
    content: str | bytes = b'{"data":[]}', status: int = 200, content_type: str = "application/json", **headers: str
) -> Response:
    """A reply; `Retry_After="1"` becomes the header `Retry-After`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type:
        named["content-type"] = content_type
    return Response(content, status, named)


class _CutResponse(Response):
    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # Returning without the rest makes the server close the connection.
        await send({"type": "http.response.body", "body": self.body, "more_body": True})


def cut_reply(content: str | bytes, *, is_chunked: bool = False, **headers: str) -> Response:
    """A reply whose connection ends behind `content`, although its length or its last chunk promises more."""
    whole = reply(content, **headers)
    response = _CutResponse(whole.body, headers=dict(whole.headers) | {"content-length": str(len(whole.body) + 1000)})
    if is_chunked:
        del response.headers["content-length"]
    return response


@contextmanager
def scripted_server() -> Iterator[None]:
    """The server behind `scripted_source`, for the time of the test session; the one that is there already, if there is one."""
    if _scripts:
        yield
        return
    app = FastAPI(openapi_url=None)

    @app.get("/{path:path}")
    async def answer(request: Request, path: str) -> Response:
        script = _scripts[-1]
        port = request.client.port if request.client else 0
        body, at_s = await request.body(), time.monotonic()
        script.seen.append(Seen(path, request.url.query, dict(request.headers), body, port, at_s))
        return script.replies[min(len(script.seen), len(script.replies)) - 1]

    with listen("127.0.0.1", 0) as server_socket, running(app, server_socket) as url:
        _scripts.append(ScriptedSource(url))
        yield
    _scripts.clear()


@contextmanager
def scripted_source(*replies: Response) -> Iterator[ScriptedSource]:
    script = ScriptedSource(_scripts[0].url, list(replies))
    _scripts.append(script)
    yield script
    _scripts.remove(script)

"""Faults on demand, in the shapes that real sources show: throttling, error pages, hanging, cut replies, login pages.

Which request meets which fault depends on the seed and the request's number alone, so that a run can be repeated.
"""

import asyncio
import math
import random
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Self

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.emulator.traffic import Traffic, is_observed

KINDS = ("429", "500", "502", "timeout", "truncate", "login")
SETTINGS = ("seed", "retry_after_s", "retry_after_date", "hang_s")

_PAGES = {
    "500": (500, "<!doctype html><title>Server Error</title>"),
    "502": (502, "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"),
    "login": (200, '<!doctype html><title>Sign in</title><form action="/login"><input name="user"></form>'),
}


@dataclass(frozen=True)
class Faults:
    """What share of the requests meets which fault."""

    shares: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    retry_after_s: int = 1
    """What a 429 asks the client to wait."""
    says_date: bool = False
    """Whether it says so as an HTTP date (`retry_after_date=1`) and not in seconds."""
    hang_s: float = 30.0
    """How long a time-out hangs before the gateway's 504."""

    @classmethod
    def parse(cls, spec: str) -> Self:
        """Read `429=0.05,timeout=0.01,seed=7`; raises `PermanentError` that says what is wrong with it."""
        values: dict[str, float] = {}
        for entry in filter(None, (part.strip() for part in spec.split(","))):
            name, _, text = entry.partition("=")
            if name not in (*KINDS, *SETTINGS):
                raise PermanentError(f"--faults: {name!r} is none of {', '.join((*KINDS, *SETTINGS))}")
            if name in values:
                raise PermanentError(f"--faults: {name!r} is given twice")
            values[name] = _number(name, text)
        shares = {kind: values[kind] for kind in KINDS if kind in values}
        if sum(shares.values()) > 1 + 1e-9:
            raise PermanentError(f"--faults: the shares add up to {sum(shares.values()):g}, more than 1")
        return cls(
            shares=shares,
            seed=int(values.get("seed", cls.seed)),
            retry_after_s=int(values.get("retry_after_s", cls.retry_after_s)),
            says_date=bool(values.get("retry_after_date", 0)),
            hang_s=values.get("hang_s", cls.hang_s),
        )

    def pick(self, number: int) -> str | None:
        """The fault that request `number` meets, if any."""
        drawn = random.Random(f"{self.seed}:{number}").random()  # noqa: S311  (repeatable, not secret)
        for kind, share in self.shares.items():
            if drawn < share:
                return kind
            drawn -= share
        return None


def _number(name: str, text: str) -> float:
    try:
        value = int(text) if name in ("seed", "retry_after_s", "retry_after_date") else float(text)
    except ValueError:
        raise PermanentError(f"--faults: {name}={text!r} is not a number") from None
    if name in KINDS and not 0 <= value <= 1:
        raise PermanentError(f"--faults: {name}={text} is not a share between 0 and 1")
    if name != "seed" and not 0 <= value < 1e6:
        raise PermanentError(f"--faults: {name}={text} is not a sensible number of seconds")
    return value


class FaultInjection:
    """ASGI middleware, outside of compression, so that a cut reply is cut as it would be on the wire."""

    def __init__(self, app: ASGIApp, faults: Faults, latency_ms: float, traffic: Traffic) -> None:
        self._app = app
        self._faults = faults
        self._latency_s = latency_ms / 1000
        self._traffic = traffic
        self._number = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_observed(scope):
            await self._app(scope, receive, send)
            return
        self._number += 1
        kind = self._faults.pick(self._number)
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        if kind is None:
            await self._app(scope, receive, send)
            return
        self._traffic.faults[kind] += 1
        if kind == "truncate":
            await self._cut_short(scope, receive, send)
        elif kind != "timeout" or await _is_still_connected(receive, self._faults.hang_s):
            await self._page(kind)(scope, receive, send)

    def _page(self, kind: str) -> Response:
        if kind == "429":
            wait_s = self._faults.retry_after_s
            self._traffic.ask_to_wait(wait_s, time.monotonic())
            until = formatdate(math.ceil(time.time()) + wait_s, usegmt=True)
            said = until if self._faults.says_date else str(wait_s)
            return JSONResponse({"message": "Too Many Attempts."}, 429, {"Retry-After": said})
        status, html = _PAGES.get(kind, (504, "<html><head><title>504 Gateway Time-out</title></head></html>"))
        return HTMLResponse(html, status)

    async def _cut_short(self, scope: Scope, receive: Receive, send: Send) -> None:
        started: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app(scope, receive, collect)
        headers = [(name, value) for name, value in started["headers"] if name != b"content-length"]
        started["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
        await send(started)
        # Returning without the rest makes the server close the connection.
        await send({"type": "http.response.body", "body": bytes(body[: len(body) // 2]), "more_body": True})


async def _is_still_connected(receive: Receive, hang_s: float) -> bool:
    """Hang, but not for a client who has gone away."""
    try:
        async with asyncio.timeout(hang_s):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return True
    return False

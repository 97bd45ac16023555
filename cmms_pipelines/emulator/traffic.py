"""What the server saw: the measure for a client's retries, concurrency and rate limits."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATS_PATH = "/_emulator/stats"
UNOBSERVED_PATHS = ("/health", STATS_PATH)


def is_observed(scope: Scope) -> bool:
    """True for the API's own requests; health checks and statistics are neither counted nor disturbed."""
    return scope["type"] == "http" and scope["path"] not in UNOBSERVED_PATHS


@dataclass
class Traffic:
    """Counts since the start, of all requests but health checks and statistics."""

    requests: int = 0
    endpoints: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    gzipped: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    peak_per_s: int = 0
    """The most requests that arrived within any one second."""
    too_early: int = 0
    """Requests that arrived although a 429 had asked for a pause that was not over."""
    _pause_ends_at: float = 0.0
    _last_second: deque[float] = field(default_factory=deque)

    def arrive(self, path: str, now_s: float) -> None:
        self.requests += 1
        self.endpoints[path] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.too_early += now_s < self._pause_ends_at
        self._last_second.append(now_s)
        while self._last_second[0] <= now_s - 1:
            self._last_second.popleft()
        self.peak_per_s = max(self.peak_per_s, len(self._last_second))

    def ask_to_wait(self, seconds: float, now_s: float) -> None:
        """Note that a client was told to send nothing for so long."""
        self._pause_ends_at = max(self._pause_ends_at, now_s + seconds)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "endpoints": dict(self.endpoints),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "faults": dict(self.faults),
            "gzipped": self.gzipped,
            "max_in_flight": self.max_in_flight,
            "peak_per_s": self.peak_per_s,
            "too_early": self.too_early,
        }


class TrafficCount:
    """ASGI middleware, the outermost one: it also sees what the faults do."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_observed(scope):
            await self._app(scope, receive, send)
            return

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._traffic.statuses[message["status"]] += 1
                self._traffic.gzipped += (b"content-encoding", b"gzip") in message["headers"]
            await send(message)

        self._traffic.arrive(scope["path"], time.monotonic())
        try:
            await self._app(scope, receive, watch)
        finally:
            self._traffic.in_flight -= 1

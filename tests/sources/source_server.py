"""The own API of a source of events, over real HTTP: entities by path, lists of what changed, and faults where it is told so."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "canary-token-of-the-source"


@dataclass
class SourceServer:
    """What it answers by path, and what it was asked. A `wait_s` slows it, `failing` answers 503 so many times first."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    failing: dict[str, int] = field(default_factory=dict)
    wait_s: float = 0.0
    asked: list[str] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def source_server() -> Iterator[SourceServer]:
    """Serve on a free port until the block ends."""
    state = SourceServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with state.lock:
                state.asked.append(self.path)
                state.asked_at.append(time.monotonic())
                state.tokens.add(self.headers.get("Authorization"))
                state.in_flight += 1
                state.most_in_flight = max(state.most_in_flight, state.in_flight)
                left = state.failing.get(self.path, 0)
                state.failing[self.path] = max(0, left - 1)
            time.sleep(state.wait_s)
            path = self.path.partition("?")[0]
            known = self.path if self.path in state.answers else path
            status = 503 if left else state.statuses.get(known, 200 if known in state.answers else 404)
            body = json.dumps(state.answers.get(known, {"error": "not found"})).encode()
            with state.lock:
                state.in_flight -= 1
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in state.headers.get(known, {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/api"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

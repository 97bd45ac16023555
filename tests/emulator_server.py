"""A real emulator on a free port, for any test that needs the external API."""

import datetime as dt
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from cmms_pipelines.emulator.faults import Faults
from cmms_pipelines.emulator.odata import PAGE_SIZE, Traps
from cmms_pipelines.emulator.server import base_url, create_app, create_server, listen

TOKEN = "emulator-test-token"
TODAY = dt.datetime(2026, 3, 15, 12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Emulator:
    url: str
    token: str

    def http(self, timeout: float = 10) -> httpx.Client:
        """A bare client with the token: no retries, no judgement."""
        headers = {"Authorization": self.token}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False)

    def stats(self) -> dict[str, Any]:
        with self.http() as http:
            stats: dict[str, Any] = http.get("/_emulator/stats").raise_for_status().json()
        return stats


@contextmanager
def running_emulator(
    *,
    token: str = TOKEN,
    faults: str = "",
    latency_ms: float = 0,
    clock: Callable[[], dt.datetime] = lambda: TODAY,
    dialect: str = "ims",
    page_size: int = PAGE_SIZE,
    traps: str = "",
    has_counters: bool = False,
    is_standard: bool = False,
) -> Iterator[Emulator]:
    """The emulator in a thread of this process; its "today" is `TODAY` unless a `clock` says otherwise."""
    app = create_app(
        token,
        Faults.parse(faults),
        latency_ms,
        clock,
        dialect,
        page_size=page_size,
        traps=Traps.parse(traps),
        has_counters=has_counters,
        is_standard=is_standard,
    )
    with listen("127.0.0.1", 0) as server_socket, running(app, server_socket) as url:
        yield Emulator(url, token)


@contextmanager
def running(app: FastAPI, server_socket: socket.socket) -> Iterator[str]:
    """Any application on a listening socket; stopped, with its thread, at the end."""
    server: uvicorn.Server = create_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [server_socket]}, name="emulator")
    url = base_url(server_socket)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive(), "the emulator did not start"
            assert time.monotonic() < deadline, "the emulator did not start in time"
            time.sleep(0.005)
        yield url
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "the emulator did not stop"

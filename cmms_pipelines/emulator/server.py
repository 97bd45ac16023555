"""The emulator as an application and as a server: the external API over real flights, for demos, tests and benchmarks."""

import contextlib
import datetime as dt
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.emulator import ims, odata
from cmms_pipelines.emulator.access import Refusal, refused_unless
from cmms_pipelines.emulator.faults import FaultInjection, Faults
from cmms_pipelines.emulator.flights import flight_hours
from cmms_pipelines.emulator.odata_entities import entity_sets
from cmms_pipelines.emulator.traffic import STATS_PATH, Traffic, TrafficCount

ODATA_VERSIONS = {"odata_v2": 2, "odata_v4": 4}
DIALECTS = ("ims", *ODATA_VERSIONS)


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def create_app(
    token: str,
    faults: Faults | None = None,
    latency_ms: float = 0,
    clock: Callable[[], dt.datetime] = utc_now,
    dialect: str = "ims",
    *,
    page_size: int = odata.PAGE_SIZE,
    traps: odata.Traps | None = None,
    has_counters: bool = False,
    is_standard: bool = False,
) -> FastAPI:
    """The application; loads the flight data (about a second, once in a process).

    `clock` says which day is the last one with readings (its date in UTC). `page_size` and `traps` are of the OData
    dialects, `ims` has no pages; `is_standard` leaves out what extends SAP's documents there. `has_counters` brings counters
    that overflow, go back and so on (see `counters`).
    Raises `PermanentError` for an empty token or another dialect.
    """
    if dialect not in DIALECTS:
        raise PermanentError(f"the emulator does not speak dialect {dialect}: it speaks {', '.join(DIALECTS)}")
    if not token:
        raise PermanentError("the emulator needs a token that its clients must send")
    hours = flight_hours()
    traffic = Traffic()
    app = FastAPI(title="External API emulator", version="1", docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(Refusal)
    async def refuse(_request: Request, refusal: Refusal) -> Response:
        return refusal.response()

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "dialect": dialect, "machines": len(hours.machines), "plants": len(hours.plants)}

    @app.get(STATS_PATH, dependencies=[Depends(refused_unless({token}, ims.UNAUTHENTICATED))])
    async def stats() -> dict[str, Any]:
        return traffic.as_json()

    def today() -> dt.date:
        return clock().astimezone(dt.UTC).date()

    if dialect in ODATA_VERSIONS:
        settings = odata.Settings(ODATA_VERSIONS[dialect], page_size, traps or odata.Traps())
        sets = entity_sets(hours, today, has_counters=has_counters, is_standard=is_standard)
        app.include_router(odata.create_router(sets, token, settings))
    else:
        app.include_router(ims.create_router(hours, token, today, has_counters=has_counters))
    # The last one added is the outermost.
    app.add_middleware(GZipMiddleware, compresslevel=1)
    app.add_middleware(FaultInjection, faults=faults or Faults(), latency_ms=latency_ms, traffic=traffic)
    app.add_middleware(TrafficCount, traffic=traffic)
    return app


def create_server(app: FastAPI) -> uvicorn.Server:
    """A server for a socket of `listen`; it stops within two seconds even while clients hang on."""
    logging.getLogger("uvicorn.error").addFilter(_is_unexpected)
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, lifespan="off"))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, port 0 for any free one. Raises `PermanentError` where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server_socket = socket.socket(family, socket.SOCK_STREAM)
    try:
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server_socket.bind((host, port))
        server_socket.listen(128)
    except OSError as error:
        server_socket.close()
        raise PermanentError(
            f"the emulator cannot listen on {host}:{port} ({error.strerror}): stop what uses it or choose another --port"
        ) from error
    return server_socket


def serve(
    host: str,
    port: int,
    app: FastAPI,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serve until interrupted; `on_listening` gets the base URL once it answers."""
    with listen(host, port) as server_socket:
        if on_listening:
            on_listening(base_url(server_socket))
        with contextlib.suppress(KeyboardInterrupt):
            create_server(app).run(sockets=[server_socket])


def base_url(server_socket: socket.socket) -> str:
    host, port = server_socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_unexpected(record: logging.LogRecord) -> bool:
    """False for what uvicorn says about a reply that was cut on purpose."""
    return "without completing response" not in record.getMessage()

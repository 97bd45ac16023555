"""The sidecar as a process: its socket, its limits on headers, and its end.

What belongs here: uvicorn and signals. What does not: HTTP routes (`app`), migrations (whoever starts the services runs them).
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from http import HTTPStatus

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.logs import configure_logging
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.engine import cmms_address, make_engine
from cmms_pipelines.storage.secrets import secret_box
from cmms_webhook.app import create_app
from cmms_webhook.management.status import ENDING
from cmms_webhook.problems import Kind, answer
from cmms_webhook.receive import Limits

MAX_HEAD_BYTES = 65_536
HEAD_TIMEOUT_S = 20.0
SHUTDOWN_S = 30
BACKLOG = 2048

_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn's server, which ends normally after a signal: a stop that was asked for is no failure."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class BoundedHeadProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on what may come before the body: its own keeps headers, and waits for them, without end.

    What is no request is refused as everything else is. It also tells streams, which would keep the server from stopping, when
    that begins.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    _head_bytes = 0
    _is_in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._ending = asyncio.Event()
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ENDING: self._ending}  # type: ignore[dict-item]

    def shutdown(self) -> None:
        self._ending.set()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(Kind.HEADERS_TOO_LARGE)
        elif self._is_in_head and self._head_bytes and self._head_timer is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, which are for its developers
        self._refuse(Kind.UNREADABLE_REQUEST)

    def _refuse(self, kind: Kind) -> None:
        refusal = answer(kind)
        status = HTTPStatus(refusal.status_code)
        head = b"".join(b"%s: %s\r\n" % header for header in refusal.raw_headers)
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, status.phrase.encode(), head, refusal.body))
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, port 0 for any free one.

    Raises:
        PermanentError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PermanentError(
            f"The webhook receiver cannot listen on {host}:{port} ({error.strerror}): stop what uses it or set CMMS_WEBHOOK_PORT."
        ) from error
    return listener


def server_config(app: FastAPI, trusted_proxies: str | None = None, *, head_timeout_s: float = HEAD_TIMEOUT_S) -> uvicorn.Config:
    """Return how uvicorn runs the application; a sender's address is taken from proxies only where they are trusted."""
    return uvicorn.Config(
        app,
        http=type("Protocol", (BoundedHeadProtocol,), {"head_timeout_s": head_timeout_s}),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=trusted_proxies is not None,
        forwarded_allow_ips=trusted_proxies,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def serve(settings: Settings, on_listening: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was taken; `on_listening` gets the base URL.

    The database may be away or not migrated yet: `/health/ready` says so, and events are answered with 503.

    Raises:
        PermanentError: the address is taken, or the environment is not usable.
    """
    configure_logging(settings.home, "webhook")
    engine = make_engine(cmms_address(settings), pool_size=4, max_overflow=2, hide_parameters=True)
    app = create_app(engine, secret_box(settings), limits=Limits(max_body_bytes=settings.webhook_max_body_bytes))
    with listen(settings.webhook_host, settings.webhook_port) as listener:
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        _log.info("webhook_receiver_listening", address=address)
        if on_listening:
            on_listening(address)
        gc.collect()
        gc.freeze()  # what was imported stays: looking through it again and again takes up to 100 ms each time
        _Server(server_config(app, settings.webhook_trusted_proxies)).run(sockets=[listener])
    engine.dispose()
    _log.info("webhook_receiver_stopped")

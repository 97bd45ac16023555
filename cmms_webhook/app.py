"""The application: routes, what they are wired to, and its life from start to the last answer.

What belongs here: HTTP. What does not: the receiving itself (`receive`), running a server (`server`), managing what is received
(`management`).
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

import sqlalchemy as sa
from cryptography.fernet import MultiFernet
from fastapi import FastAPI, Path, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from cmms_webhook import description, metrics, problems
from cmms_webhook.health import Health, Live, Ready
from cmms_webhook.ledger import Ledger
from cmms_webhook.management.router import create_router, describe_problems
from cmms_webhook.management.state import ManagementState
from cmms_webhook.metrics import Metrics
from cmms_webhook.receive import Limits, Receiver
from cmms_webhook.sources import Sources
from cmms_webhook.writer import InboxWriter

EVENTS = "/api/v1/hooks/maintenance/events"
_UNDER_EVENTS = EVENTS + "/"


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Application(FastAPI):
    """FastAPI for everything but the events: those go to the receiver before any of its cost (which was half of a delivery's)."""

    receiver: Receiver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take what is under the events' path here, everything else as FastAPI does."""
        if scope["type"] == "http":
            path = scope["path"]
            if path == EVENTS:
                await self.receiver(scope, receive, send, None)
                return
            name = path[len(_UNDER_EVENTS) :]
            if path.startswith(_UNDER_EVENTS) and "/" not in name:
                await self.receiver(scope, receive, send, name)
                return
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the description, made once."""
        is_new = self.openapi_schema is None
        described = super().openapi()
        if is_new:
            describe_problems(described)
            description.describe_payloads(described)
        return described


def create_app(
    engine: sa.Engine, box: MultiFernet, *, limits: Limits | None = None, clock: Callable[[], dt.datetime] = utc_now
) -> Application:
    """Return an application on a database; it holds no state outside itself.

    `engine` belongs to the caller and should hide parameters (`hide_parameters=True`), so that no error quotes an event;
    `box` decrypts the sources' secrets (`storage.secrets.secret_box`). Its lifespan must run: it writes what was taken.
    """
    counted = Metrics(engine, clock)
    sources, ledger = Sources(engine, box, clock), Ledger(engine, clock)
    writer = InboxWriter(engine, on_waiting=counted.waiting.set)
    health = Health(engine, sources, writer)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        sources.start()
        writer.start()
        ledger.start()
        yield
        await writer.stop()
        await ledger.stop()
        await sources.stop()

    app = Application(
        title=description.TITLE, description=description.OVERVIEW, version=version("cmms-pipelines"), lifespan=lifespan
    )
    app.receiver = Receiver(sources, writer, ledger, counted, limits=limits or Limits(), clock=clock)
    app.exception_handler(HTTPException)(_framework_refusal)
    app.exception_handler(Exception)(_internal_error)
    _describe_events(app)

    @app.get("/health/live", summary="The process answers", tags=["health"])
    async def live() -> Live:
        return Live()

    @app.get(
        "/health/ready",
        summary="Events are taken now",
        description="The database answers and is migrated, and the secrets of the sources can be read.",
        responses={503: {"model": Ready, "description": "Events are not taken now; `reason` says why."}},
        tags=["health"],
    )
    async def ready(response: Response) -> Ready:
        answer = await health.ready()
        response.status_code = 200 if answer.status == "ready" else 503
        return answer

    @app.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Metrics in the text format 0.0.4."}},
        tags=["health"],
    )
    async def read_metrics() -> Response:
        return Response(await counted.page(), media_type=metrics.MEDIA_TYPE)

    app.include_router(create_router(ManagementState(engine, box, clock=clock, receiver=app, events_path=EVENTS)))
    return app


def _describe_events(app: FastAPI) -> None:
    """Put the events endpoint into the description; requests for it never get here."""

    @app.post(
        EVENTS,
        status_code=202,
        summary="Send a maintenance event",
        description=description.RECEIVE,
        response_model=description.Receipt,
        responses=description.responses(),
        openapi_extra=description.request(has_system_header=True),
        tags=["events"],
    )
    async def receive(_request: Request) -> Response:
        return problems.answer(problems.Kind.INTERNAL)

    @app.post(
        EVENTS + "/{cmms_system_id}",
        status_code=202,
        summary="Send a maintenance event, the system named in the path",
        description=description.RECEIVE,
        response_model=description.Receipt,
        responses=description.responses(),
        openapi_extra=description.request(has_system_header=False),
        tags=["events"],
    )
    async def receive_from(
        _request: Request, _named: Annotated[str, Path(alias="cmms_system_id", description="the sender", examples=["plant-cmms"])]
    ) -> Response:
        return problems.answer(problems.Kind.INTERNAL)


async def _framework_refusal(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    answer = problems.answer(problems.kind_of(status))
    if isinstance(error, HTTPException) and error.headers:
        answer.headers.update(error.headers)
    return answer


async def _internal_error(_request: Request, _error: Exception) -> Response:
    return problems.answer(problems.Kind.INTERNAL)

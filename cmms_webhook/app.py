"""The application: routes, what they are wired to, and its life from start to the last answer.

What belongs here: HTTP. What does not: the receiving itself (`receive`), running a server (`server`).
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated

import sqlalchemy as sa
from cryptography.fernet import MultiFernet
from fastapi import FastAPI, Path, Request, Response
from starlette.exceptions import HTTPException

from cmms_webhook import description, problems
from cmms_webhook.health import Health, Live, Ready
from cmms_webhook.ledger import Ledger
from cmms_webhook.receive import Limits, Receiver
from cmms_webhook.sources import Sources
from cmms_webhook.writer import InboxWriter

EVENTS = "/api/v1/hooks/maintenance/events"


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def create_app(
    engine: sa.Engine, box: MultiFernet, *, limits: Limits | None = None, clock: Callable[[], dt.datetime] = utc_now
) -> FastAPI:
    """Return an application on a database; it holds no state outside itself.

    `engine` belongs to the caller and should hide parameters (`hide_parameters=True`), so that no error quotes an event;
    `box` decrypts the sources' secrets (`storage.secrets.secret_box`). Its lifespan must run: it writes what was taken.
    """
    sources, writer, ledger = Sources(engine, box, clock), InboxWriter(engine), Ledger(engine)
    receiver = Receiver(sources, writer, ledger, limits=limits or Limits(), clock=clock)
    health = Health(engine, sources, writer)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        writer.start()
        ledger.start()
        yield
        await writer.stop()
        await ledger.stop()

    app = FastAPI(title=description.TITLE, description=description.OVERVIEW, version=version("cmms-pipelines"), lifespan=lifespan)
    app.exception_handler(HTTPException)(_framework_refusal)
    app.exception_handler(Exception)(_internal_error)

    async def take(request: Request, named_in_path: str | None) -> Response:
        try:
            return await receiver.receive(request, named_in_path)
        except problems.RefusedRequestError as refused:
            ledger.refused(refused.reason, refused.source)
            rule = refused.reason if refused.kind is problems.Kind.UNUSABLE_BODY else ""
            return problems.answer(refused.kind, rule=rule, detail=refused.detail, where=refused.where)

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
    async def receive(request: Request) -> Response:
        return await take(request, None)

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
        request: Request, cmms_system_id: Annotated[str, Path(description="the system that sends", examples=["plant-cmms"])]
    ) -> Response:
        return await take(request, cmms_system_id)

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

    return app


async def _framework_refusal(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    answer = problems.answer(problems.kind_of(status))
    if isinstance(error, HTTPException) and error.headers:
        answer.headers.update(error.headers)
    return answer


async def _internal_error(_request: Request, _error: Exception) -> Response:
    return problems.answer(problems.Kind.INTERNAL)

"""Who asks, and whether they may: bearer tokens, checked before anything of a request is read or looked up.

What belongs here: reading the header, the tokens in force (a second old at most), the role that each route needs.
What does not: making tokens (`storage.tokens`). A stranger's request costs no query of its own.
"""

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from cmms_pipelines.domain.configuration_documents import UnusableDocumentError
from cmms_pipelines.domain.errors import CmmsError, NotFoundError, TransientError, VersionConflictError
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage.tokens import TokenInForce, mark_tokens_used, matching_token, tokens_in_force
from cmms_webhook.management import problems

TIME_TO_LIVE_S = 1.0
USE_WRITTEN_EVERY = dt.timedelta(minutes=1)
_LONGEST_TOKEN = 200
MAX_BODY_BYTES = 512 * 1024
_ROLE = "x-required-role"
_BROKEN = "The body does not arrive whole."
_TOO_LARGE = "The body is larger than 512 KiB."

_log = structlog.get_logger(__name__)


def needs(role: Role, **refusals: str) -> dict[str, Any]:
    """Return what a route of the management API declares: the role that it needs, and its refusals (`s404="..."`)."""
    return {"openapi_extra": {_ROLE: role.value}, "responses": problems.responses(**refusals)}


class Gate:
    """Knows the tokens in force, and notes when each was last used."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], dt.datetime]) -> None:
        self._engine, self._clock = engine, clock
        self._known: Sequence[TokenInForce] | None = None
        self._fresh_until = 0.0
        self._reloading = asyncio.Lock()
        self._used: dict[uuid.UUID, dt.datetime] = {}
        self._written: dict[uuid.UUID, dt.datetime] = {}

    async def admit(self, request: Request, needed: Role) -> TokenInForce:
        """Return who asks.

        Raises:
            RefusedError: 401 without a token in force, 403 where its role is not enough, 503 while no token was ever read.
        """
        token = await self.identify(bearer_of(request))
        if token is None:
            raise problems.unauthenticated()
        if not token.role.may(needed):
            raise problems.forbidden(needed)
        return token

    async def identify(self, token: str) -> TokenInForce | None:
        """Return whose token it is, None where it is nobody's or no longer in force."""
        known = await self._in_force()
        now = self._clock()
        found = matching_token(token, known, now)
        if found is not None:
            self._used[found.id] = now
        return found

    async def flush(self) -> None:
        """Write the last uses that have not been written yet."""
        await asyncio.to_thread(self._write_uses, self._used)

    async def _in_force(self) -> Sequence[TokenInForce]:
        loop = asyncio.get_running_loop()
        if self._known is None or loop.time() >= self._fresh_until:
            async with self._reloading:
                if self._known is None or loop.time() >= self._fresh_until:
                    try:
                        self._known = await asyncio.to_thread(self._reload)
                    except sa.exc.SQLAlchemyError as error:
                        _log.error("tokens_not_read", error=type(error).__name__)
                    self._fresh_until = loop.time() + TIME_TO_LIVE_S
        if self._known is None:
            raise problems.unavailable()
        return self._known

    def _reload(self) -> Sequence[TokenInForce]:
        now = self._clock()
        never = dt.datetime.min.replace(tzinfo=dt.UTC)
        due = {key: at for key, at in self._used.items() if at - self._written.get(key, never) >= USE_WRITTEN_EVERY}
        if due:
            self._write_uses(due)
        with self._engine.connect() as connection:
            return tokens_in_force(connection, now)

    def _write_uses(self, used: dict[uuid.UUID, dt.datetime]) -> None:
        with self._engine.begin() as connection:
            mark_tokens_used(connection, used)
        self._written |= used


def guarded_route(gate: Gate) -> type[APIRoute]:
    """Return the class of routes that let nobody pass without the role they declare (`needs`), and answer with problems."""

    class GuardedRoute(APIRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 - FastAPI's own
            self.needed = Role((options.get("openapi_extra") or {})[_ROLE])
            if {"POST", "PUT", "PATCH"} & set(options.get("methods") or ()):
                options["responses"] = {**problems.responses(s400=_BROKEN, s413=_TOO_LARGE), **options["responses"]}
            told = options.get("description") or (endpoint.__doc__ or "").strip()
            options["description"] = f"{told}\n\nNeeds a token of role `{self.needed}`."
            super().__init__(path, endpoint, **options)

        def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    request.state.caller = await gate.admit(request, self.needed)
                    return await handle(Request(request.scope, _bounded(request)))
                except problems.RefusedError as refused:
                    return refused.response()
                except (RequestValidationError, HTTPException, sa.exc.SQLAlchemyError, CmmsError) as error:
                    return _refusal(error, self.path, names_version="if-match" in request.headers).response()

            return guarded

    return GuardedRoute


def caller(request: Request) -> TokenInForce:
    """Return who asks, for endpoints of guarded routes."""
    found: TokenInForce = request.state.caller
    return found


def bearer_of(request: Request) -> str:
    """Return the token that a request carries, empty where it carries none or several."""
    given = request.headers.getlist("authorization")
    kind, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    token = token.strip(" ")
    return token if kind.lower() == "bearer" and len(token) <= _LONGEST_TOKEN else ""


def _refusal(error: Exception, path: str, *, names_version: bool) -> problems.RefusedError:
    """Return the answer for what an endpoint could not do; anything else is a defect, and a 500."""
    if isinstance(error, RequestValidationError):
        return _unusable(error)
    if isinstance(error, HTTPException):  # FastAPI's word for whatever goes wrong while it reads the body
        return error.__cause__ if isinstance(error.__cause__, problems.RefusedError) else problems.unreadable_body()
    if isinstance(error, TransientError):
        return problems.unavailable(str(error))
    if isinstance(error, CmmsError):
        return _refusal_of_storage(error, names_version=names_version)
    if isinstance(error, sa.exc.DataError):  # NUL in a text, a number beyond its type: what no table can hold
        _log.warning("management_request_unstorable", path=path, error=type(error.orig).__name__)
        return problems.unusable("The request holds a value that the database cannot hold, such as a NUL character.")
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError):
        _log.error("management_database_failed", path=path, error=type(error).__name__)
        return problems.unavailable()
    raise error


def _refusal_of_storage(error: CmmsError, *, names_version: bool) -> problems.RefusedError:
    """Return the answer for what storage refuses; a version that If-Match named wrongly is a failed precondition (RFC 9110)."""
    if isinstance(error, NotFoundError):
        return problems.not_found(str(error))
    if isinstance(error, VersionConflictError):
        changed = problems.version_has_changed(error.current_version)
        return changed if names_version else problems.conflict(str(error), error.current_version)
    errors = [_located(one) for one in error.problems] if isinstance(error, UnusableDocumentError) else None
    return problems.unusable(str(error), errors)


def _located(problem: str) -> dict[str, str]:
    where, _, message = problem.partition(": ")
    return {"where": f"body.configuration.{where}", "message": message}


def _bounded(request: Request) -> Receive:
    """Return the way to the request's body that ends where it gets too large, whatever its length claims to be."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise problems.body_too_large()
        return message

    return receive


def _unusable(error: RequestValidationError) -> problems.RefusedError:
    errors = [
        {"where": ".".join(str(step) for step in problem["loc"]), "message": str(problem["msg"])} for problem in error.errors()
    ]
    return problems.unusable("Something in the request does not fit; `errors` names it.", errors)

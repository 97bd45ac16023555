"""How events and syncs stand and stood: status, analytics, and the live stream.

What belongs here: requests to storage, and the stream's protocol. What does not: watching the database (`hub`).
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import AwareDatetime
from starlette.responses import StreamingResponse

from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage.event_analytics import AnalyticsFilter, Bucket, analyse_events, analyse_refusals
from cmms_pipelines.storage.inbox_status import inbox_status, sync_status
from cmms_pipelines.storage.sweeps import find_sweeps
from cmms_pipelines.storage.sync_requests import list_requests
from cmms_webhook.management import problems, schemas
from cmms_webhook.management.access import bearer_of, needs
from cmms_webhook.management.hub import Subscription, as_message
from cmms_webhook.management.state import ManagementState

ENDING = "cmms.ending"
"""The extension of a request's scope whose event is set when the server begins to stop."""
MAX_BUCKETS = 1_500
_WIDTHS = {Bucket.MINUTE: 60.0, Bucket.HOUR: 3600.0, Bucket.DAY: 86400.0}
_STREAM = """
A stream of server-sent events that stays open.

- `counts`: how many events stand in which state, whenever that changes.
- `events`: events that came or changed, as they stand now; of more than 200 at once the newest, and `more` counts the others.
- `end`: why the stream ends (`shutdown`, `too_slow`, `token_no_longer_in_force`); connect again then.

Changes come within two seconds. A comment every 15 seconds keeps the connection alive.
"""


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes of status, stream and analytics."""
    router = APIRouter(tags=["status"], route_class=route_class)

    @router.get("/sync/status", summary="How events and syncs stand", **needs(Role.VIEWER))
    def status() -> schemas.Status:
        """Inbox counts and ages, what the drains do, running syncs and the last one of each type."""
        with state.reading() as connection:
            found = {"inbox": inbox_status(connection), "syncs": sync_status(connection)}
        return schemas.Status.model_validate({"at": state.clock(), **found})

    @router.get(
        "/sync/requests", summary="Syncs that events have asked for", **needs(Role.VIEWER, s422="The filter does not fit.")
    )
    def requests(
        status: Annotated[list[schemas.SyncRequestStatus], Query(description="in these states")] = [],  # noqa: B006 - FastAPI copies it
        before: Annotated[int | None, Query(ge=1, le=2**62, description="`next_before` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> schemas.SyncRequests:
        """The newest first, each with the run that serves it and how that stands; requests of one scope share a run."""
        with state.reading() as connection:
            found = list_requests(connection, statuses=status, before=before, limit=limit + 1)
        more = found[limit - 1]["id"] if len(found) > limit else None
        return schemas.SyncRequests.model_validate({"requests": found[:limit], "next_before": more})

    @router.get("/sync/sweeps", summary="Sweeps for missed events", **needs(Role.VIEWER, s422="The page does not fit."))
    def sweeps(
        before: Annotated[int | None, Query(ge=1, le=2**62, description="`next_before` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> schemas.Sweeps:
        """The newest first: what a source's API named as changed, what events had brought of it, and what they had missed."""
        with state.reading() as connection:
            found = find_sweeps(connection, before=before, limit=limit + 1)
        more = found[limit - 1]["id"] if len(found) > limit else None
        return schemas.Sweeps.model_validate({"sweeps": found[:limit], "next_before": more})

    @router.get("/analytics", summary="Figures over time", **needs(Role.VIEWER, s422="The stretch of time does not fit."))
    def analytics(wanted: Annotated[AnalyticsFilter, Depends(_analytics_filter(state))]) -> schemas.Analytics:
        """Per source and type: received, duplicates, states, retries, latency percentiles; and refusals by reason."""
        with state.reading() as connection:
            events, refusals = analyse_events(connection, wanted), analyse_refusals(connection, wanted)
        return schemas.Analytics.model_validate(
            {"since": wanted.since, "until": wanted.until, "bucket": wanted.bucket, "events": events, "refusals": refusals}
        )

    @router.get(
        "/events/stream",
        summary="Watch events live",
        description=_STREAM,
        response_class=StreamingResponse,
        **_streaming(needs(Role.VIEWER, s503="All places at the stream are taken; `/sync/status` says the same.")),
    )
    async def stream(request: Request) -> StreamingResponse:
        client = state.hub.join()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_told(state, client, request), media_type="text/event-stream", headers=headers)

    return router


def _streaming(declared: dict[str, Any]) -> dict[str, Any]:
    answer = {200: {"description": "Server-sent events, until somebody ends them.", "content": {"text/event-stream": {}}}}
    return {**declared, "responses": {**declared["responses"], **answer}}


async def _told(state: ManagementState, client: Subscription, request: Request) -> AsyncIterator[bytes]:
    ending: asyncio.Event | None = request.scope.get("extensions", {}).get(ENDING)
    watcher = asyncio.ensure_future(ending.wait()) if ending is not None else None
    if watcher is not None:
        watcher.add_done_callback(lambda done: None if done.cancelled() else client.end("shutdown"))
    token, loop = bearer_of(request), asyncio.get_running_loop()
    next_beat = loop.time() + state.hub.heartbeat_s
    try:
        yield b"retry: 3000\n\n"
        while client.ended_because is None:
            message = await client.next(max(0.0, next_beat - loop.time()))
            if message is not None:
                yield message
            if loop.time() >= next_beat:
                next_beat = loop.time() + state.hub.heartbeat_s
                if await state.gate.identify(token) is None:
                    client.end("token_no_longer_in_force")
                yield b": still here\n\n"
        yield as_message("end", {"reason": client.ended_because})
    finally:
        state.hub.leave(client)
        if watcher is not None:
            watcher.cancel()


class _analytics_filter:  # noqa: N801 - a dependency, used like a function
    """Reads the query string of analytics, with the state's clock for what is left out."""

    def __init__(self, state: ManagementState) -> None:
        self._state = state

    def __call__(
        self,
        since: Annotated[AwareDatetime | None, Query(description="by default a day before `until`")] = None,
        until: Annotated[AwareDatetime | None, Query(description="not included; by default now")] = None,
        bucket: Annotated[Bucket, Query(description="what is counted together; days are those of UTC")] = Bucket.HOUR,
        source: Annotated[str | None, Query(description="of this source")] = None,
        type: Annotated[str | None, Query(description="of this type")] = None,  # noqa: A002 - the parameter's public name
    ) -> AnalyticsFilter:
        last = until if until is not None else self._state.clock()
        first = since if since is not None else last - dt.timedelta(days=1)
        if first >= last:
            raise problems.unusable("since must be before until.")
        if bucket in _WIDTHS and (last - first).total_seconds() / _WIDTHS[bucket] > MAX_BUCKETS:
            raise problems.unusable(f"That is more than {MAX_BUCKETS} buckets: take wider ones or less time.")
        return AnalyticsFilter(first, last, bucket, source, type)

"""Events of the inbox over HTTP: one, pages of them, dead letters by cause, and putting them back.

What belongs here: filters, cursors and requests to storage. What does not: applying events, which runs of Dagster do.
"""

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.routing import APIRoute
from pydantic import AwareDatetime

from cmms_pipelines.domain.events import HookStatus
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage import inbox_replay, inbox_search
from cmms_pipelines.storage.inbox_search import EventFilter
from cmms_webhook.management import problems, schemas
from cmms_webhook.management.access import needs
from cmms_webhook.management.configurations import Caller
from cmms_webhook.management.cursors import cursor_of, position_of
from cmms_webhook.management.state import ManagementState

SHOWN_IDS = 1_000

_Several = Annotated[list[str], Query(max_length=50)]
_Time = Annotated[AwareDatetime | None, Query(description="time of arrival, with an offset", examples=["2026-03-01T08:00:00Z"])]
_UNKNOWN = "There is no such event."


def wanted_events(
    source: Annotated[_Several, Query(description="of these sources")] = [],  # noqa: B006 - FastAPI copies it
    type: Annotated[_Several, Query(description="of these types")] = [],  # noqa: A002, B006 - the parameter's public name
    entity: Annotated[str | None, Query(description="of this entity", examples=["work_order:4711"])] = None,
    since: _Time = None,
    until: _Time = None,
) -> EventFilter:
    """Return the filter that a query string names."""
    return EventFilter(systems=source, types=type, entity_key=entity, received_since=since, received_until=until)


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes of events."""
    router = APIRouter(prefix="/events", tags=["events"], route_class=route_class)

    @router.get("/history", summary="Find events", **needs(Role.VIEWER, s422="A filter or the cursor does not fit."))
    def history(
        wanted: Annotated[EventFilter, Depends(wanted_events)],
        status: Annotated[list[HookStatus], Query(description="in these states")] = [],  # noqa: B006 - FastAPI copies it
        cursor: Annotated[str | None, Query(max_length=60, description="`next_cursor` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = inbox_search.PAGE,
    ) -> schemas.EventPage:
        """The newest first. Events that come while you page are not mixed in: a page begins where the one before ended."""
        chosen = EventFilter(**{**asdict(wanted), "statuses": [one.value for one in status]})
        before = position_of(cursor)
        with state.reading() as connection:
            found = inbox_search.find_events(connection, chosen, before=before, limit=limit + 1)
        page = found[:limit]
        more = cursor_of(page[-1]["sequence"]) if len(found) > limit else None
        return schemas.EventPage(events=[schemas.EventSummary(**row) for row in page], next_cursor=more)

    @router.get("/dead-letters", summary="Dead letters by cause", **needs(Role.VIEWER))
    def dead_letters(wanted: Annotated[EventFilter, Depends(wanted_events)]) -> schemas.DeadLetters:
        """Events that nobody could apply: how many for which rule, source and type, with an example of each."""
        with state.reading() as connection:
            found = inbox_search.dead_letter_causes(connection, wanted)
        causes = [schemas.DeadLetterGroup(**row) for row in found]
        return schemas.DeadLetters(events=sum(cause.events for cause in causes), causes=causes)

    @router.post(
        "/replay",
        summary="Put events back",
        **needs(Role.OPERATOR, s422="Nothing says which events, or it does not fit."),
    )
    def replay(wanted: schemas.ReplayRequest, who: Caller) -> schemas.ReplayReport:
        """They are applied once more by the next run, in order per entity; what they say already changes nothing.

        With `dry_run` nothing changes: the first 100 are applied on trial and taken back, and the answer says what they would do.
        With `reread` their original bytes are read first, with their source's mapping as it is now: that is how held events are
        applied once a mapping or a handler for them exists. What is still not understood stays held.
        """
        chosen = EventFilter(
            ids=wanted.ids,
            statuses=[one.value for one in wanted.statuses],
            systems=wanted.systems,
            types=wanted.types,
            entity_key=wanted.entity_key,
            received_since=wanted.received_since,
            received_until=wanted.received_until,
        )
        return _replayed(state, chosen, who.actor, wanted.limit, wanted.reason, is_dry=wanted.dry_run, reread=wanted.reread)

    @router.get("/{event_id}", summary="Read an event", **needs(Role.VIEWER, s404=_UNKNOWN))
    def read(event_id: UUID) -> schemas.Event:
        """Its payload, where it stands, and what it changed, field by field."""
        with state.reading() as connection:
            found = inbox_search.find_event(connection, event_id)
        if found is None:
            raise problems.not_found("There is no such event.")
        return schemas.Event(**found)

    @router.post(
        "/{event_id}/retry",
        summary="Put one event back",
        **needs(Role.OPERATOR, s404=_UNKNOWN, s409="It is due already, or being applied at this moment."),
    )
    def retry(event_id: UUID, who: Caller, wanted: schemas.Retry | None = None) -> schemas.ReplayReport:
        """Whatever state it is in; one that waits for its next attempt is due at once."""
        with state.reading() as connection:
            if inbox_search.find_event(connection, event_id) is None:
                raise problems.not_found("There is no such event.")
        reason = wanted.reason if wanted else None
        report = _replayed(state, EventFilter(ids=[event_id]), who.actor, 1, reason, is_dry=False)
        if report.events == 0:
            raise problems.conflict("The event is due already, or being applied at this moment.")
        return report

    return router


def _replayed(
    state: ManagementState, chosen: EventFilter, actor: str, limit: int, reason: str | None, *, is_dry: bool, reread: bool = False
) -> schemas.ReplayReport:
    if not is_dry:
        with state.writing() as connection:
            ids = inbox_replay.put_back(connection, chosen, actor=actor, reason=reason, limit=limit, reread=reread)
        return schemas.ReplayReport(is_dry_run=False, events=len(ids), ids=ids[:SHOWN_IDS])
    with state.reading() as connection:
        found = inbox_replay.dry_run(connection, chosen, limit=limit, reread=reread)
        connection.rollback()
    return schemas.ReplayReport(
        is_dry_run=True,
        events=found.events,
        ids=[],
        by_status=dict(found.by_status),
        by_type=dict(found.by_type),
        trials=[schemas.ReplayTrial.model_validate(asdict(trial)) for trial in found.trials],
    )

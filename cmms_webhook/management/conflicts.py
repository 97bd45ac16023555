"""The queue of conflicts over HTTP, and the policies that decide what gets into it.

What belongs here: requests to functions of `storage.conflict_queue`, `storage.conflict_search` and `storage.conflict_policies`.
What does not: deciding.
"""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.routing import APIRoute

from cmms_pipelines.domain.conflict_policy import ConflictPolicy
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage import conflict_policies, conflict_queue, conflict_search
from cmms_pipelines.storage.conflict_queue import Choice, Resolution
from cmms_pipelines.storage.conflict_search import ConflictFilter
from cmms_webhook.management import problems
from cmms_webhook.management import record_schemas as schemas
from cmms_webhook.management.access import needs
from cmms_webhook.management.configurations import Caller, IfMatch, System, version_of
from cmms_webhook.management.cursors import cursor_of, position_of
from cmms_webhook.management.records import Cursor, Limit
from cmms_webhook.management.schemas import ConfigurationVersion, History
from cmms_webhook.management.state import ManagementState

_Id = Annotated[int, Path(ge=1, le=9_223_372_036_854_775_807, description="the conflict")]
_Several = Annotated[list[str], Query(max_length=50)]
_UNKNOWN = "There is no such conflict."
_CHANGED = "It, its field or what the source says has changed since; `current_version` says its version."
_STALE = "The policy is at another version; `current_version` says which."
_BLIND = "If-Match is missing."


def wanted_conflicts(
    *,
    source: Annotated[_Several, Query(description="with these systems")] = [],  # noqa: B006 - FastAPI copies it
    entity_type: Annotated[_Several, Query(description="`work_order`, `equipment`, `meter`")] = [],  # noqa: B006
    entity: Annotated[_Several, Query(description="about orders or machines with these numbers")] = [],  # noqa: B006
    field: Annotated[_Several, Query(description="about these fields")] = [],  # noqa: B006
    rule: Annotated[_Several, Query(description="that met these rules")] = [],  # noqa: B006
    severity: Annotated[_Several, Query(description="of these severities")] = [],  # noqa: B006
    older_than_s: Annotated[float | None, Query(ge=0, description="opened at least so many seconds ago")] = None,
    is_automatic: Annotated[bool | None, Query(description="decided by a rule, or not")] = None,
) -> ConflictFilter:
    """Return the filter that a query string names."""
    return ConflictFilter(
        systems=source,
        entity_types=entity_type,
        entity_keys=entity,
        fields=field,
        rules=rule,
        severities=severity,
        older_than_s=older_than_s,
        is_automatic=is_automatic,
    )


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes of conflicts and policies."""
    router = APIRouter(prefix="/conflicts", tags=["conflicts"], route_class=route_class)
    _add_policies(router, state)

    @router.get("", summary="Find conflicts", **needs(Role.VIEWER))
    def find(
        wanted: Annotated[ConflictFilter, Depends(wanted_conflicts)],
        status: Annotated[_Several, Query(description="open, resolved, converged, undone")] = ["open"],  # noqa: B006
        cursor: Cursor = None,
        limit: Limit = conflict_search.PAGE,
    ) -> schemas.ConflictPage:
        """Open ones, the newest first, unless `status` says otherwise."""
        before = position_of(cursor)
        with state.reading() as connection:
            chosen = ConflictFilter(**{**asdict(wanted), "statuses": status})
            found = conflict_search.find_conflicts(connection, chosen, before=before, limit=limit + 1)
        more = cursor_of(found[limit - 1]["id"]) if len(found) > limit else None
        return schemas.ConflictPage(conflicts=[schemas.Conflict(**row) for row in found[:limit]], next_cursor=more)

    @router.get("/status", summary="How the queue stands", **needs(Role.VIEWER))
    def status() -> schemas.QueueStatus:
        """Open conflicts with the age of the oldest, and how many were decided by rules and by people."""
        with state.reading() as connection:
            return schemas.QueueStatus(**conflict_search.queue_status(connection))

    @router.post("/resolve", summary="Decide many conflicts", **needs(Role.OPERATOR))
    def resolve_many(wanted: schemas.DecideMany, who: Caller) -> schemas.DecidedMany:
        """All open ones that the filter finds, the oldest first. With `dry_run` nothing changes."""
        names = ("ids", "systems", "entity_types", "entity_keys", "fields", "rules", "severities", "older_than_s")
        chosen = ConflictFilter(statuses=["open"], **{name: getattr(wanted, name) for name in names})
        by = Resolution(Choice(wanted.choice), who.actor, wanted.reason)
        with state.writing() as connection:
            rows = conflict_queue.resolve_all(connection, chosen, by, now=state.clock(), limit=wanted.limit)
            shown = (
                conflict_search.find_conflicts(connection, ConflictFilter(ids=[row["id"] for row in rows]), limit=len(rows))
                if rows
                else []
            )
            if wanted.dry_run:
                connection.rollback()
        return schemas.DecidedMany(is_dry_run=wanted.dry_run, conflicts=[schemas.Conflict(**row) for row in shown])

    @router.get("/{conflict_id}", summary="Read a conflict", **needs(Role.VIEWER, s404=_UNKNOWN))
    def read(conflict_id: _Id) -> schemas.ConflictWithHistory:
        """Base, ours and theirs, with who and when, the event that brought it, and what was done about it."""
        with state.reading() as connection:
            if not conflict_search.find_conflicts(connection, ConflictFilter(ids=[conflict_id])):
                raise problems.not_found("There is no such conflict.")
            return schemas.ConflictWithHistory(**conflict_search.show_conflict(connection, conflict_id))

    @router.post("/{conflict_id}/resolve", summary="Decide a conflict", **needs(Role.OPERATOR, s404=_UNKNOWN, s409=_CHANGED))
    def resolve(conflict_id: _Id, wanted: schemas.Decide, who: Caller) -> schemas.Conflict:
        """Ours, theirs, or a value by hand. Deciding it again in the same way changes nothing."""
        by = Resolution(wanted.choice, who.actor, wanted.reason, wanted.value)
        with state.writing() as connection:
            conflict_queue.resolve(connection, conflict_id, by, now=state.clock(), expected_version=wanted.version)
            return schemas.Conflict(**conflict_search.show_conflict(connection, conflict_id))

    @router.post("/{conflict_id}/undo", summary="Take a decision back", **needs(Role.OPERATOR, s404=_UNKNOWN, s409=_CHANGED))
    def undo(conflict_id: _Id, wanted: schemas.Undo, who: Caller) -> schemas.Conflict:
        """A person's or a rule's. Value and edit are as they were; the answer is the conflict that is open instead."""
        with state.writing() as connection:
            opened = conflict_queue.undo(
                connection,
                conflict_id,
                actor=who.actor,
                reason=wanted.reason,
                now=state.clock(),
                expected_version=wanted.version,
            )
            return schemas.Conflict(**conflict_search.show_conflict(connection, opened["id"]))

    return router


def _add_policies(router: APIRouter, state: ManagementState) -> None:
    @router.get("/policies", summary="List policies", **needs(Role.VIEWER))
    def list_policies() -> schemas.Policies:
        """Those that are configured; every other system has the default one."""
        with state.reading() as connection:
            found = conflict_policies.list_policies(connection)
        return schemas.Policies(policies=[schemas.Policy(**vars(one)) for one in found])

    @router.get("/policies/{cmms_system_id}", summary="Read a policy", **needs(Role.VIEWER))
    def read_policy(cmms_system_id: System, response: Response) -> schemas.Policy:
        """What decides conflicts with the system; ETag is the version, for If-Match of a change."""
        with state.reading() as connection:
            return _tagged(conflict_policies.find_policy(connection, cmms_system_id), response)

    @router.put("/policies/{cmms_system_id}", summary="Change a policy", **needs(Role.ADMIN, s412=_STALE, s428=_BLIND))
    def change_policy(
        cmms_system_id: System, wanted: ConflictPolicy, response: Response, who: Caller, if_match: IfMatch = None
    ) -> schemas.Policy:
        """The whole policy is replaced; what it leaves out is as by default. `If-Match: "0"` makes the first one."""
        expected = version_of(if_match)
        with state.writing() as connection:
            changed = conflict_policies.change_policy(
                connection, cmms_system_id, wanted, expected_version=expected, actor=who.actor
            )
        return _tagged(changed, response)

    @router.get("/policies/{cmms_system_id}/history", summary="All versions of a policy", **needs(Role.VIEWER))
    def policy_history(cmms_system_id: System) -> History:
        """The newest first, with who changed it and when."""
        with state.reading() as connection:
            found = conflict_policies.policy_history(connection, cmms_system_id)
        return History(versions=[ConfigurationVersion(**asdict(one)) for one in found])

    @router.post(
        "/policies/{cmms_system_id}/rollback",
        summary="Go back to an earlier policy",
        **needs(Role.ADMIN, s404="There is no such version.", s412=_STALE, s428=_BLIND),
    )
    def rollback_policy(
        cmms_system_id: System, wanted: schemas.PolicyRollback, response: Response, who: Caller, if_match: IfMatch = None
    ) -> schemas.Policy:
        """Its content becomes a new version."""
        expected = version_of(if_match)
        with state.writing() as connection:
            changed = conflict_policies.rollback_policy(
                connection, cmms_system_id, wanted.to_version, expected_version=expected, actor=who.actor
            )
        return _tagged(changed, response)


def _tagged(found: conflict_policies.SystemPolicy, response: Response) -> schemas.Policy:
    response.headers["ETag"] = f'"{found.version}"'
    return schemas.Policy(**vars(found))

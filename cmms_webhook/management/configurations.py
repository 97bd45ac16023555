"""Sources of events over HTTP: their configurations and versions.

What belongs here: requests to functions of `storage.configuration_changes`, and versions as ETags. What does not: secrets
(`source_secrets`), trying a source out (`trials`).
"""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Response
from fastapi.routing import APIRoute

from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage import configuration_changes as changes
from cmms_pipelines.storage.configurations import StoredConfiguration, warnings_of
from cmms_pipelines.storage.tokens import TokenInForce
from cmms_webhook.management import problems, schemas
from cmms_webhook.management.access import caller, needs
from cmms_webhook.management.state import ManagementState

System = Annotated[str, Path(description="the source", max_length=100, examples=["plant-cmms"])]
Caller = Annotated[TokenInForce, Depends(caller)]
IfMatch = Annotated[
    str | None, Header(description="the version that you have seen, as reading gave it in ETag", examples=['"3"'])
]

_UNKNOWN = "There is no such source or version."
_STALE = "The configuration is at another version; `current_version` says which."
_UNUSABLE = "The configuration does not fit; `errors` or `detail` names what."
_BLIND = "If-Match is missing."


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes of configurations."""
    router = APIRouter(prefix="/configurations", tags=["configurations"], route_class=route_class)

    @router.get("", summary="List all sources", **needs(Role.VIEWER))
    def list_configurations() -> schemas.Configurations:
        """Inactive ones too; sources that sign nothing are marked."""
        with state.reading() as connection:
            return schemas.Configurations(configurations=[_shown(stored) for stored in changes.list_sources(connection)])

    @router.post("", status_code=201, summary="Create a source", **needs(Role.ADMIN, s409="It exists already.", s422=_UNUSABLE))
    def create(wanted: schemas.NewConfiguration, response: Response, who: Caller) -> schemas.Configuration:
        """A source whose scheme signs receives from when it has a secret: add one next."""
        with state.writing() as connection:
            stored = changes.create_source(
                connection, wanted.cmms_system_id, wanted.configuration, actor=who.actor, is_active=wanted.is_active
            )
        response.headers["Location"] = f"/api/v1/cmms/configurations/{stored.cmms_system_id}"
        return _tagged(stored, response)

    @router.get("/{cmms_system_id}", summary="Read a source", **needs(Role.VIEWER, s404=_UNKNOWN))
    def read(cmms_system_id: System, response: Response) -> schemas.Configuration:
        """ETag is the version, for If-Match of a change."""
        with state.reading() as connection:
            return _tagged(changes.find_source(connection, cmms_system_id), response)

    @router.put(
        "/{cmms_system_id}",
        summary="Change a source",
        **needs(Role.ADMIN, s404=_UNKNOWN, s412=_STALE, s422=_UNUSABLE, s428=_BLIND),
    )
    def update(
        cmms_system_id: System,
        wanted: schemas.ChangedConfiguration,
        response: Response,
        who: Caller,
        if_match: IfMatch = None,
    ) -> schemas.Configuration:
        """The whole configuration is replaced. The receiver follows a second later."""
        expected = version_of(if_match)
        with state.writing() as connection:
            stored = changes.update_source(
                connection,
                cmms_system_id,
                wanted.configuration,
                is_active=wanted.is_active,
                expected_version=expected,
                actor=who.actor,
            )
        return _tagged(stored, response)

    @router.delete(
        "/{cmms_system_id}",
        status_code=204,
        summary="Delete a source",
        **needs(Role.ADMIN, s404=_UNKNOWN, s412=_STALE, s428=_BLIND),
    )
    def delete(cmms_system_id: System, who: Caller, if_match: IfMatch = None) -> None:
        """Its secrets are revoked and its history goes; its events stay, and the audit log keeps its last version."""
        expected = version_of(if_match)
        with state.writing() as connection:
            changes.delete_source(connection, cmms_system_id, expected_version=expected, actor=who.actor)

    @router.get("/{cmms_system_id}/history", summary="All versions of a source", **needs(Role.VIEWER, s404=_UNKNOWN))
    def history(cmms_system_id: System) -> schemas.History:
        """The newest first, with who changed it and when."""
        with state.reading() as connection:
            versions = [schemas.ConfigurationVersion(**asdict(one)) for one in changes.history(connection, cmms_system_id)]
        return schemas.History(versions=versions)

    @router.post(
        "/{cmms_system_id}/rollback",
        summary="Go back to an earlier version",
        **needs(Role.ADMIN, s404=_UNKNOWN, s412=_STALE, s422="The earlier version is not valid any more.", s428=_BLIND),
    )
    def rollback(
        cmms_system_id: System, wanted: schemas.Rollback, response: Response, who: Caller, if_match: IfMatch = None
    ) -> schemas.Configuration:
        """Its content becomes a new version; secrets are not part of it."""
        expected = version_of(if_match)
        with state.writing() as connection:
            stored = changes.rollback(connection, cmms_system_id, wanted.to_version, expected_version=expected, actor=who.actor)
        return _tagged(stored, response)

    return router


def _tagged(stored: StoredConfiguration, response: Response) -> schemas.Configuration:
    response.headers["ETag"] = f'"{stored.version}"'
    return _shown(stored)


def _shown(stored: StoredConfiguration) -> schemas.Configuration:
    return schemas.Configuration(
        cmms_system_id=stored.cmms_system_id,
        configuration=dict(stored.configuration),
        is_active=stored.is_active,
        warnings=warnings_of(stored.configuration),
        version=stored.version,
    )


def version_of(if_match: str | None) -> int:
    """Return the version that If-Match names, or answer that it has to."""
    if if_match is None:
        raise problems.version_required()
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise problems.unusable('If-Match must be a version, such as "3".')
    return int(text)

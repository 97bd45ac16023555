"""The configuration centre over HTTP: every kind of configuration, read, checked, changed, compared and taken back.

What belongs here: requests to `storage.configuration_centre`, and versions as ETags. What does not: sources of events with their
secrets (`configurations`, `source_secrets`), which are one of the kinds.
"""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.routing import APIRoute

from cmms_pipelines.domain.configuration_documents import UnusableDocumentError
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.settings import read_settings
from cmms_pipelines.storage import configuration_centre as centre
from cmms_pipelines.storage.alert_configuration import ALERTS
from cmms_webhook.management import centre_schemas as schemas
from cmms_webhook.management.access import needs
from cmms_webhook.management.configurations import Caller, IfMatch, version_of
from cmms_webhook.management.state import ManagementState


class KindName(StrEnum):
    """The kinds of configuration, as they stand in a path."""

    API = "api"
    SCHEDULES = "schedules"
    MAPPING = "mapping"
    THRESHOLDS = "thresholds"
    ALERTS = "alerts"
    WEBHOOK = "webhook"
    CONFLICTS = "conflicts"


Kind = Annotated[KindName, Path(description="the kind")]
System = Annotated[str, Path(description="the system; `cmms` for a kind that stands once", max_length=100, examples=["cmms"])]

_UNKNOWN = "Nothing is stored, or there is no such version."
_STALE = "It is at another version; `current_version` says which."
_UNUSABLE = "The document does not fit; `errors` says where and why. Nothing is changed."
_BLIND = "If-Match is missing."


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes of the configuration centre."""
    router = APIRouter(prefix="/configuration-centre", tags=["configuration centre"], route_class=route_class)

    @router.get("", summary="List the kinds", **needs(Role.VIEWER))
    def list_kinds() -> schemas.CentreKinds:
        """What can be configured, and for which systems something is stored."""
        with state.reading() as connection:
            kinds = [
                schemas.CentreKind(
                    kind=kind.name,
                    about=kind.about,
                    is_per_system=kind.is_per_system,
                    systems=[stored.cmms_system_id for stored in centre.stored_in(connection, kind)],
                )
                for kind in centre.KINDS.values()
            ]
        return schemas.CentreKinds(kinds=kinds)

    @router.get("/{kind}/{cmms_system_id}", summary="Read a configuration", **needs(Role.VIEWER))
    def read(kind: Kind, cmms_system_id: System, response: Response) -> schemas.CentreConfiguration:
        """Each value in force with where it comes from; the environment is the receiver's. ETag is the version, for If-Match."""
        return _read(kind, cmms_system_id, response)

    @router.post("/{kind}/validate", summary="Check a document", **needs(Role.VIEWER))
    def validate(kind: Kind, wanted: schemas.CentreDocument) -> schemas.CentreJudgement:
        """Nothing is stored; the problems name the fields."""
        with state.reading() as connection:
            stored = centre.stored_in(connection, centre.KINDS[kind]) if kind == ALERTS else []
        before = stored[0].configuration if stored else {}
        try:
            centre.judge(centre.KINDS[kind], wanted.configuration, before)
        except UnusableDocumentError as error:
            return schemas.CentreJudgement(is_usable=False, problems=list(error.problems))
        return schemas.CentreJudgement(is_usable=True, problems=[])

    @router.put(
        "/{kind}/{cmms_system_id}",
        summary="Change a configuration",
        **needs(Role.ADMIN, s412=_STALE, s422=_UNUSABLE, s428=_BLIND),
    )
    def change(
        kind: Kind,
        cmms_system_id: System,
        *,
        wanted: schemas.CentreDocument,
        response: Response,
        who: Caller,
        if_match: IfMatch = None,
    ) -> schemas.CentreConfiguration:
        """The whole document is replaced. `If-Match: "0"` makes the first version."""
        expected = version_of(if_match)
        with state.writing() as connection:
            centre.change(
                connection,
                lambda: state.box,
                centre.KINDS[kind],
                cmms_system_id,
                wanted.configuration,
                expected_version=expected,
                actor=who.actor,
                is_active=wanted.is_active,
            )
        return _read(kind, cmms_system_id, response)

    @router.get("/{kind}/{cmms_system_id}/history", summary="All versions", **needs(Role.VIEWER, s404=_UNKNOWN))
    def history(kind: Kind, cmms_system_id: System) -> schemas.CentreHistory:
        """The newest first, with who changed it and when."""
        with state.reading() as connection:
            versions = centre.history(connection, centre.KINDS[kind], cmms_system_id)
        return schemas.CentreHistory(versions=[schemas.CentreVersion(**asdict(one)) for one in versions])

    @router.get("/{kind}/{cmms_system_id}/diff", summary="Compare two versions", **needs(Role.VIEWER, s404=_UNKNOWN))
    def diff(
        kind: Kind,
        cmms_system_id: System,
        first: Annotated[int, Query(alias="from", ge=0, description="a version; 0: the defaults")],
        to: Annotated[int, Query(ge=0, description="another version")],
    ) -> schemas.CentreDifferences:
        """By the dotted name of each key."""
        found = centre.KINDS[kind]
        with state.reading() as connection:
            before, after = (centre.version_of(connection, found, cmms_system_id, version) for version in (first, to))
            rows = centre.compare(found, before, after)
        return schemas.CentreDifferences(differences=[schemas.CentreDifference(**asdict(one)) for one in rows])

    @router.post(
        "/{kind}/{cmms_system_id}/rollback",
        summary="Go back to an earlier version",
        **needs(Role.ADMIN, s404=_UNKNOWN, s412=_STALE, s422="The earlier version is not valid any more.", s428=_BLIND),
    )
    def rollback(
        kind: Kind,
        cmms_system_id: System,
        *,
        wanted: schemas.CentreRollback,
        response: Response,
        who: Caller,
        if_match: IfMatch = None,
    ) -> schemas.CentreConfiguration:
        """Its content becomes a new version."""
        expected = version_of(if_match)
        with state.writing() as connection:
            centre.rollback(
                connection,
                centre.KINDS[kind],
                cmms_system_id,
                wanted.to_version,
                expected_version=expected,
                actor=who.actor,
            )
        return _read(kind, cmms_system_id, response)

    def _read(kind: KindName, system: str, response: Response) -> schemas.CentreConfiguration:
        found = centre.KINDS[kind]
        with state.reading() as connection:
            centre.check_system(found, system)
            shown = centre.show(connection, read_settings(), found, system)
        response.headers["ETag"] = f'"{shown.version}"'
        return schemas.CentreConfiguration(**asdict(shown))

    return router

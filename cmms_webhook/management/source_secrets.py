"""The secrets of sources over HTTP: listed without their values, rotated, revoked.

What belongs here: requests to functions of `storage.configuration_changes`. What does not: encryption (`storage.secrets`). A
value leaves this API once, in the answer that generated it.
"""

from dataclasses import asdict
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute

from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage import configuration_changes as changes
from cmms_pipelines.storage import source_tokens
from cmms_webhook.management import problems, schemas
from cmms_webhook.management.access import needs
from cmms_webhook.management.configurations import Caller, System
from cmms_webhook.management.state import ManagementState

_UNKNOWN = "There is no such source or secret."


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes of secrets."""
    router = APIRouter(prefix="/configurations", tags=["secrets"], route_class=route_class)

    @router.get("/{cmms_system_id}/secrets", summary="List the secrets of a source", **needs(Role.OPERATOR, s404=_UNKNOWN))
    def list_secrets(cmms_system_id: System) -> schemas.Secrets:
        """When each came, ends, and was last used; never its value."""
        with state.reading() as connection:
            changes.find_source(connection, cmms_system_id)
            found = [schemas.Secret(**asdict(one)) for one in changes.list_secrets(connection, cmms_system_id)]
        return schemas.Secrets(secrets=found)

    @router.post(
        "/{cmms_system_id}/secrets",
        status_code=201,
        summary="Rotate the secret of a source",
        **needs(Role.ADMIN, s404=_UNKNOWN, s422="The secret does not fit the scheme."),
    )
    def rotate(cmms_system_id: System, wanted: schemas.Rotation, response: Response, who: Caller) -> schemas.NewSecret:
        """Adds a secret, and lets the ones in force end after a while, so that no delivery is lost between.

        A generated secret is shown in this answer and never again.
        """
        with state.writing() as connection:
            identifier, secret = changes.rotate_secret(
                connection,
                state.box,
                cmms_system_id,
                actor=who.actor,
                now=state.clock(),
                given=wanted.secret,
                expires_at=wanted.expires_at,
                others_expire_in=wanted.others_expire_in(),
            )
        response.headers["Cache-Control"] = "no-store"
        return schemas.NewSecret(id=identifier, secret=None if wanted.secret else secret.get_secret_value())

    @router.delete(
        "/{cmms_system_id}/secrets/{secret_id}",
        status_code=204,
        summary="Revoke a secret",
        **needs(Role.ADMIN, s404=_UNKNOWN),
    )
    def revoke(cmms_system_id: System, secret_id: UUID, who: Caller) -> None:
        """At once, but for the second that the receiver keeps what it has read."""
        with state.writing() as connection:
            is_revoked = changes.revoke_secret(connection, cmms_system_id, secret_id, actor=who.actor, now=state.clock())
        if not is_revoked:
            raise problems.not_found("There is no such secret in force.")

    @router.get(
        "/{cmms_system_id}/api-token",
        summary="Whether the token for a source's API is set",
        **needs(Role.OPERATOR, s404=_UNKNOWN),
    )
    def read_api_token(cmms_system_id: System) -> schemas.ApiToken:
        """Who set it and when; never the token."""
        with state.reading() as connection:
            changes.find_source(connection, cmms_system_id)
            found = source_tokens.api_token_info(connection, cmms_system_id)
        return schemas.ApiToken(is_set=True, **asdict(found)) if found else schemas.ApiToken(is_set=False)

    @router.put(
        "/{cmms_system_id}/api-token",
        status_code=204,
        summary="Set the token for a source's API",
        **needs(Role.ADMIN, s404=_UNKNOWN, s422="The token does not fit."),
    )
    def set_api_token(cmms_system_id: System, wanted: schemas.NewApiToken, who: Caller) -> None:
        """In the place of the one before. It is encrypted at rest, and never shown again."""
        with state.writing() as connection:
            changes.find_source(connection, cmms_system_id)
            source_tokens.set_api_token(connection, state.box, cmms_system_id, wanted.token, actor=who.actor)

    @router.delete(
        "/{cmms_system_id}/api-token",
        status_code=204,
        summary="Remove the token for a source's API",
        **needs(Role.ADMIN, s404=_UNKNOWN),
    )
    def remove_api_token(cmms_system_id: System, who: Caller) -> None:
        """Events that need the API are dead letters from then on."""
        with state.writing() as connection:
            is_removed = source_tokens.remove_api_token(connection, cmms_system_id, actor=who.actor)
        if not is_removed:
            raise problems.not_found("There is no such API token.")

    return router

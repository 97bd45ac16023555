"""Rules of maintenance over HTTP: list, read, create, replace and remove.

What belongs here: requests to functions of `storage.maintenance_rules`, versions as ETags. What does not: what is due by them
(the mart `maintenance_due`).
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from cmms_pipelines.domain.maintenance_rules import MaintenanceRule
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage import maintenance_rules as stored_rules
from cmms_pipelines.storage.maintenance_rules import StoredRule
from cmms_webhook.management.access import needs
from cmms_webhook.management.configurations import Caller, IfMatch, version_of
from cmms_webhook.management.state import ManagementState

_Id = Annotated[int, Path(ge=1, le=9_223_372_036_854_775_807, description="the rule")]
_UNKNOWN = "There is no such rule."
_EXISTS = "There is a rule of this name for the same group or machine; `current_version` says its version."
_STALE = "The rule is at another version; `current_version` says which."
_UNUSABLE = "The rule does not fit, or its group or machine is not known; `errors` or `detail` names what."
_BLIND = "If-Match is missing."


class StoredMaintenanceRule(BaseModel):
    """A rule with its number here."""

    id: int
    version: int = Field(description="for If-Match of the next change")
    rule: MaintenanceRule


class MaintenanceRules(BaseModel):
    """Rules, by name and whom they are for."""

    rules: list[StoredMaintenanceRule]


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes of maintenance rules."""
    router = APIRouter(prefix="/maintenance-rules", tags=["maintenance"], route_class=route_class)

    @router.get("", summary="List maintenance rules", **needs(Role.VIEWER))
    def find(
        equipment_group: Annotated[str | None, Query(max_length=100, description="set for this group")] = None,
        equipment_number: Annotated[str | None, Query(max_length=50, description="set for this machine alone")] = None,
        is_active: Annotated[bool | None, Query(description="that count, or that do not")] = None,
    ) -> MaintenanceRules:
        """By name and whom they are for."""
        with state.reading() as connection:
            found = stored_rules.find_rules(connection, group=equipment_group, number=equipment_number, is_active=is_active)
        return MaintenanceRules(rules=[_shown(one) for one in found])

    @router.post("", status_code=201, summary="Create a rule", **needs(Role.OPERATOR, s409=_EXISTS, s422=_UNUSABLE))
    def create(wanted: MaintenanceRule, response: Response, who: Caller) -> StoredMaintenanceRule:
        """It counts from the next build of the marts on."""
        with state.writing() as connection:
            stored = stored_rules.create_rule(connection, wanted, actor=who.actor)
        response.headers["Location"] = f"/api/v1/cmms/maintenance-rules/{stored.id}"
        return _tagged(stored, response)

    @router.get("/{rule_id}", summary="Read a rule", **needs(Role.VIEWER, s404=_UNKNOWN))
    def read(rule_id: _Id, response: Response) -> StoredMaintenanceRule:
        """ETag is the version, for If-Match of a change."""
        with state.reading() as connection:
            return _tagged(stored_rules.find_rule(connection, rule_id), response)

    @router.put(
        "/{rule_id}",
        summary="Replace a rule",
        **needs(Role.OPERATOR, s404=_UNKNOWN, s412=_STALE, s422=_UNUSABLE, s428=_BLIND),
    )
    def replace(
        rule_id: _Id, wanted: MaintenanceRule, response: Response, who: Caller, if_match: IfMatch = None
    ) -> StoredMaintenanceRule:
        """The whole rule; what it leaves out is as by default. An identical one adds no version."""
        expected = version_of(if_match)
        with state.writing() as connection:
            stored = stored_rules.change_rule(connection, rule_id, wanted, expected_version=expected, actor=who.actor)
        return _tagged(stored, response)

    @router.delete(
        "/{rule_id}", status_code=204, summary="Remove a rule", **needs(Role.OPERATOR, s404=_UNKNOWN, s412=_STALE, s428=_BLIND)
    )
    def remove(rule_id: _Id, who: Caller, if_match: IfMatch = None) -> None:
        """The audit log keeps it as it was."""
        expected = version_of(if_match)
        with state.writing() as connection:
            stored_rules.remove_rule(connection, rule_id, expected_version=expected, actor=who.actor)

    return router


def _tagged(stored: StoredRule, response: Response) -> StoredMaintenanceRule:
    response.headers["ETag"] = f'"{stored.version}"'
    return _shown(stored)


def _shown(stored: StoredRule) -> StoredMaintenanceRule:
    return StoredMaintenanceRule(id=stored.id, version=stored.version, rule=stored.rule)

"""Alerts over HTTP: those that stand, one with what was sent about it, and taking one.

What belongs here: filters, pages and requests to storage. What does not: raising and sending alerts, which the watcher does.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute

from cmms_pipelines.domain.alerts import AlertStatus, Severity
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage import alerts
from cmms_webhook.management import alert_schemas as schemas
from cmms_webhook.management import problems
from cmms_webhook.management.access import needs
from cmms_webhook.management.configurations import Caller
from cmms_webhook.management.state import ManagementState

_UNKNOWN = "There is no such alert."


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes of alerts."""
    router = APIRouter(prefix="/alerts", tags=["alerts"], route_class=route_class)

    @router.get("", summary="List alerts", **needs(Role.VIEWER))
    def find(
        status: Annotated[list[AlertStatus], Query(description="by default those that are not resolved")] = [],  # noqa: B006 - FastAPI copies it
        severity: Annotated[list[Severity], Query(description="of these severities")] = [],  # noqa: B006 - FastAPI copies it
        before: Annotated[int | None, Query(ge=1, description="`next_before` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> schemas.AlertPage:
        """The newest first, and how many of each severity stand."""
        with state.reading() as connection:
            rows = alerts.find_many(connection, statuses=status, severities=severity, before=before, limit=limit + 1)
            counts = alerts.count_by_severity(connection)
        page = rows[:limit]
        more = page[-1]["id"] if len(rows) > limit else None
        return schemas.AlertPage(standing=counts, alerts=[_alert(row) for row in page], next_before=more)

    @router.get("/{alert_id}", summary="Read an alert", **needs(Role.VIEWER, s404=_UNKNOWN))
    def read(alert_id: int) -> schemas.AlertWithDeliveries:
        """With what was sent about it, to which channel, and how that went; never an address."""
        with state.reading() as connection:
            row = alerts.find(connection, alert_id)
            deliveries = alerts.deliveries_of(connection, alert_id)
        return schemas.AlertWithDeliveries.model_validate({**row, "deliveries": deliveries})

    @router.post(
        "/{alert_id}/acknowledge",
        summary="Take an alert",
        **needs(Role.OPERATOR, s404=_UNKNOWN, s409="It is resolved."),
    )
    def acknowledge(alert_id: int, who: Caller, wanted: schemas.Acknowledgement | None = None) -> schemas.Alert:
        """It is not told again, unless it gets graver; its end is told. Taking it again changes who has it."""
        with state.writing() as connection:
            try:
                row = alerts.acknowledge(connection, alert_id, actor=who.actor, note=wanted.note if wanted else None)
            except alerts.ResolvedAlertError as error:
                raise problems.conflict(str(error)) from error
        return _alert(row)

    return router


def _alert(row: dict[str, Any]) -> schemas.Alert:
    return schemas.Alert.model_validate(row)

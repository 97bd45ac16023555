"""The management API `/api/v1/cmms`, put together.

What belongs here: which routers there are, and their life. What does not: any endpoint of its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Security
from fastapi.security import HTTPBearer

from cmms_webhook.management import (
    alerts,
    centre,
    configurations,
    conflicts,
    events,
    maintenance_rules,
    problems,
    records,
    source_secrets,
    status,
    trials,
)
from cmms_webhook.management.access import guarded_route
from cmms_webhook.management.state import ManagementState

PREFIX = "/api/v1/cmms"

_bearer = HTTPBearer(auto_error=False, description="A token that `cmms tokens create` has made.")


def create_router(state: ManagementState) -> APIRouter:
    """Return all routes of the management API; the state ends with the application that includes them."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await state.stop()

    route_class = guarded_route(state.gate)
    # the gate admits; this tells the description so
    router = APIRouter(prefix=PREFIX, lifespan=lifespan, dependencies=[Security(_bearer)], route_class=route_class)
    # /events/stream comes before /events/{event_id}
    for part in (status, events, configurations, source_secrets, trials, centre, alerts, records, conflicts, maintenance_rules):
        router.include_router(part.create_router(state, route_class))
    return router


def describe_problems(description: dict[str, Any]) -> None:
    """Add the model of the API's problems to an OpenAPI description, which refers to it."""
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    schemas["ManagementProblem"] = problems.ManagementProblem.model_json_schema()

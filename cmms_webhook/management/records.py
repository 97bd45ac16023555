"""Work orders and machines over HTTP: read, found, and edited here.

What belongs here: requests to functions of `storage.editing`. What does not: conflicts that edits lead to (`conflicts`).
"""

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query
from fastapi.routing import APIRoute

from cmms_pipelines.domain.payload_types import WorkOrderStatus
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage import creating, editing
from cmms_pipelines.storage.tables import equipment, plants, work_orders
from cmms_webhook.management import record_schemas as schemas
from cmms_webhook.management.access import needs
from cmms_webhook.management.configurations import Caller
from cmms_webhook.management.cursors import cursor_of, position_of
from cmms_webhook.management.state import ManagementState

PAGE = 50
Cursor = Annotated[str | None, Query(max_length=60, description="`next_cursor` of the page before")]
Limit = Annotated[int, Query(ge=1, le=500)]
_Several = Annotated[list[str], Query(max_length=50)]
_OrderId = Annotated[int, Path(ge=1, le=9_223_372_036_854_775_807, description="`id` of the work order here")]
_Number = Annotated[str, Path(max_length=50, description="the machine's number", examples=["N526JB"])]
_STALE = "It is at another version; `current_version` says which."


def create_router(state: ManagementState, route_class: type[APIRoute]) -> APIRouter:
    """Return the routes of work orders and machines."""
    router = APIRouter(tags=["records"], route_class=route_class)

    @router.get("/work-orders", summary="Find work orders", **needs(Role.VIEWER))
    def find_work_orders(
        *,
        source: Annotated[_Several, Query(description="of these systems")] = [],  # noqa: B006 - FastAPI copies it
        number: Annotated[_Several, Query(description="with these numbers")] = [],  # noqa: B006
        status: Annotated[list[WorkOrderStatus], Query(description="in these states")] = [],  # noqa: B006
        equipment_number: Annotated[_Several, Query(description="of these machines")] = [],  # noqa: B006
        plant: Annotated[_Several, Query(description="of these plants")] = [],  # noqa: B006
        cursor: Cursor = None,
        limit: Limit = PAGE,
    ) -> schemas.WorkOrderPage:
        """The newest first."""
        several = (
            (work_orders.c.cmms_system_id, source),
            (work_orders.c.work_order_number, number),
            (work_orders.c.status, [one.value for one in status]),
            (equipment.c.equipment_number, equipment_number),
            (plants.c.plant_code, plant),
        )
        rows, more = _page(state, editing.orders_query(), work_orders.c.id, several, cursor=cursor, limit=limit)
        return schemas.WorkOrderPage(work_orders=[schemas.WorkOrderSummary(**row) for row in rows], next_cursor=more)

    @router.post(
        "/work-orders",
        status_code=201,
        summary="Make a work order for a machine",
        **needs(Role.OPERATOR, s409="The system has an order of this number; `current_version` says its version."),
    )
    def create_work_order(wanted: schemas.WorkOrderWanted, who: Caller) -> schemas.WorkOrderRecord:
        """What a source states of the same order later is merged with what was entered here, and overwrites nothing."""
        with state.writing() as connection:
            made = creating.create_work_order(connection, wanted.order, actor=who.actor, now=state.clock(), reason=wanted.reason)
            return _order(made)

    @router.get("/work-orders/{work_order_id}", summary="Read a work order", **needs(Role.VIEWER, s404="There is no such order."))
    def read_work_order(work_order_id: _OrderId) -> schemas.WorkOrderRecord:
        """With the edits in force and its open conflicts."""
        with state.reading() as connection:
            return _order(editing.read_work_order(connection, work_order_id))

    @router.patch(
        "/work-orders/{work_order_id}",
        summary="Edit a work order here",
        **needs(Role.OPERATOR, s404="There is no such order.", s409=_STALE),
    )
    def edit_work_order(work_order_id: _OrderId, wanted: schemas.WorkOrderChange, who: Caller) -> schemas.WorkOrderRecord:
        """Fields left out stay, null clears one. The edit is in force until the order's source says the same or overrules it."""
        with state.writing() as connection:
            edited = editing.edit_work_order(
                connection,
                work_order_id,
                wanted.changes,
                expected_version=wanted.version,
                actor=who.actor,
                now=state.clock(),
                reason=wanted.reason,
            )
            return _order(edited)

    @router.get("/equipment", summary="Find machines", **needs(Role.VIEWER))
    def find_equipment(
        number: Annotated[_Several, Query(description="with these numbers")] = [],  # noqa: B006
        plant: Annotated[_Several, Query(description="of these plants")] = [],  # noqa: B006
        is_active: Annotated[bool | None, Query(description="in use, or not")] = None,
        cursor: Cursor = None,
        limit: Limit = PAGE,
    ) -> schemas.EquipmentPage:
        """The newest first."""
        several = (
            (equipment.c.equipment_number, number),
            (plants.c.plant_code, plant),
            (equipment.c.is_active, [] if is_active is None else [is_active]),
        )
        rows, more = _page(state, editing.machines_query(), equipment.c.id, several, cursor=cursor, limit=limit)
        return schemas.EquipmentPage(equipment=[schemas.EquipmentSummary(**row) for row in rows], next_cursor=more)

    @router.get("/equipment/{equipment_number}", summary="Read a machine", **needs(Role.VIEWER, s404="There is no such machine."))
    def read_equipment(equipment_number: _Number) -> schemas.EquipmentRecord:
        """With the edits in force and its open conflicts."""
        with state.reading() as connection:
            return schemas.EquipmentRecord(**editing.read_equipment(connection, equipment_number))

    @router.patch(
        "/equipment/{equipment_number}",
        summary="Edit a machine here",
        **needs(Role.OPERATOR, s404="There is no such machine.", s409=_STALE),
    )
    def edit_equipment(equipment_number: _Number, wanted: schemas.EquipmentChange, who: Caller) -> schemas.EquipmentRecord:
        """Fields left out stay, null clears one. No nightly sync overwrites the edit unheard."""
        with state.writing() as connection:
            edited = editing.edit_equipment(
                connection,
                equipment_number,
                wanted.changes,
                expected_version=wanted.version,
                actor=who.actor,
                now=state.clock(),
                reason=wanted.reason,
            )
            return schemas.EquipmentRecord(**edited)

    return router


def _order(row: dict[str, Any]) -> schemas.WorkOrderRecord:
    return schemas.WorkOrderRecord(**{**row, "cost": None if row["cost"] is None else str(row["cost"])})


def _page(
    state: ManagementState,
    query: sa.Select[Any],
    identifier: "sa.Column[int]",
    several: Any,  # noqa: ANN401 - pairs of a column and the values that it may have
    *,
    cursor: str | None,
    limit: int,
) -> tuple[list[dict[str, Any]], str | None]:
    before = position_of(cursor)
    conditions = [column.in_(wanted) for column, wanted in several if wanted]
    conditions += [identifier < before] if before is not None else []
    with state.reading() as connection:
        found = connection.execute(query.where(*conditions).order_by(identifier.desc()).limit(limit + 1)).mappings().all()
    page = [dict(row) for row in found[:limit]]
    return page, cursor_of(page[-1]["id"]) if len(found) > limit else None

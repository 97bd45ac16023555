"""A small world for tests of local edits and conflicts: orders and machines that both sides change."""

from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from cmms_pipelines.domain.local_edits import EquipmentEdit, WorkOrderEdit
from cmms_pipelines.storage import conflict_queue, editing
from cmms_pipelines.storage import equipment as equipment_storage
from cmms_pipelines.storage.conflict_queue import Choice, Resolution
from tests.conftest import Database
from tests.storage.inbox_world import NOON, drain_now, query, send, work_order

ORDER = "4000123"
MACHINE = "N526JB"


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def create_order(database: Database, **fields: Any) -> int:  # noqa: ANN401 - any field of a payload
    """Have the source create an order at noon; return its id."""
    work_order(database.url, type="created", **{"title": "A", "tags": ["a"], **fields})
    drain_now(database.url)
    [(identifier,)] = query(database.url, "SELECT id FROM cmms.work_orders WHERE work_order_number = %s", ORDER)
    return int(identifier)


def source_says(database: Database, minutes: float, **fields: Any) -> None:  # noqa: ANN401 - any field of a payload
    """Have the source update the order so many minutes after noon, and apply it."""
    work_order(database.url, at=minutes, **fields)
    drain_now(database.url)


def edit(database: Database, order_id: int, minutes: float, version: int | None = None, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """Edit the order here so many minutes after noon."""
    with database.engine.begin() as connection:
        return editing.edit_work_order(
            connection, order_id, WorkOrderEdit(**fields), expected_version=version, actor="Ada", now=at(minutes)
        )


def edit_machine(database: Database, minutes: float = 5, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """Edit the machine here."""
    with database.engine.begin() as connection:
        return editing.edit_equipment(
            connection, MACHINE, EquipmentEdit(**fields), expected_version=None, actor="Ada", now=at(minutes)
        )


def asset(database: Database, system: str, minutes: float, kind: str = "updated", **fields: Any) -> None:  # noqa: ANN401
    """Have a system state something of the machine, without applying it."""
    send(database.url, f"asset_{kind}", {"equipment_number": MACHINE, **fields}, at=at(minutes), system=system)


def nightly(database: Database, system: str = "sap", **fields: Any) -> tuple[int, int]:  # noqa: ANN401
    """Write the machine's master record as a sync does; return how many were updated and how many unchanged."""
    [(plant_id,)] = query(database.url, "SELECT id FROM cmms.plants")
    record = {
        "equipment_number": MACHINE, "plant_id": plant_id, "equipment_group_id": None, "company_code": "B6",
        "equipment_description": "AIRBUS A320", "object_number": None, "point": None, "attributes": {"HERST": "AIRBUS"},
        "api_created_at": None, "is_active": True, "record_digest": None, **fields,
    }  # fmt: skip
    rows = pd.DataFrame([record]).astype(
        {"equipment_group_id": "Int64", "record_digest": "Int64", "api_created_at": "datetime64[us, UTC]", "object_number": "str",
         "point": "str"}
    )  # fmt: skip
    with database.engine.begin() as connection:
        counts = equipment_storage.write(connection, rows, system)
    return counts.updated, counts.unchanged


def machine_row(database: Database) -> dict[str, Any]:
    found: dict[str, Any] = query(database.url, "SELECT to_jsonb(e) FROM cmms.equipment e WHERE equipment_number = %s", MACHINE)[
        0
    ][0]
    return found


def conflicts(database: Database, status: str = "open") -> list[dict[str, Any]]:
    """Return the conflicts in a status, the oldest first."""
    rows = query(database.url, "SELECT to_jsonb(c) FROM cmms.sync_conflicts c WHERE status = %s ORDER BY id", status)
    return [row[0] for row in rows]


def edits(database: Database) -> dict[str, Any]:
    """Return the values of all edits in force by field."""
    return dict(query(database.url, "SELECT field, value FROM cmms.local_edits ORDER BY field"))


def resolve(database: Database, conflict_id: int, choice: Choice, value: Any = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    with database.engine.begin() as connection:
        by = Resolution(choice, "Grace", "they called", value)
        return conflict_queue.resolve(connection, conflict_id, by, now=at(60), **options)


def undo(database: Database, conflict_id: int) -> dict[str, Any]:
    with database.engine.begin() as connection:
        return conflict_queue.undo(connection, conflict_id, actor="Grace", reason="wrong call", now=at(61))


def audit(database: Database, action: str) -> list[dict[str, Any]]:
    rows = query(database.url, "SELECT to_jsonb(a) FROM cmms.audit_log a WHERE action = %s ORDER BY id", action)
    return [row[0] for row in rows]

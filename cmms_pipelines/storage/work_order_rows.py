"""The rows of `cmms.work_orders`: loading and writing a batch of them, each in one statement.

What belongs here: columns, and how a row reads as fields of an order. What does not: what a row shall say
(`storage.work_order_effects`).
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import JsonValue

from cmms_pipelines.storage.snapshots import Key
from cmms_pipelines.storage.tables import equipment, plants, work_orders

PLAIN = (
    "status", "priority", "title", "description", "work_type", "assignee", "due_at", "scheduled_at", "started_at", "completed_at",
    "closed_at", "cost", "currency",
)  # fmt: skip
COLLECTIONS = ("parts", "tags", "notes")
REFERENCES = ("equipment_number", "plant_code")
_ORDERS = work_orders.fullname
_COLUMNS = (*PLAIN, *COLLECTIONS, "equipment_id", "plant_id", "is_partial", "source_updated_at")

_LOAD = sa.text(f"""
    SELECT cmms_system_id, work_order_number, to_jsonb(orders) AS stored, machine.equipment_number, plant.plant_code
    FROM {_ORDERS} AS orders
    JOIN unnest(CAST(:systems AS text[]), CAST(:numbers AS text[])) AS wanted (cmms_system_id, work_order_number)
    USING (cmms_system_id, work_order_number)
    LEFT JOIN {equipment.fullname} AS machine ON machine.id = orders.equipment_id
    LEFT JOIN {plants.fullname} AS plant ON plant.id = orders.plant_id
    ORDER BY cmms_system_id, work_order_number
    FOR UPDATE OF orders
""")

_WRITE = sa.text(f"""
    INSERT INTO {_ORDERS} AS stored (cmms_system_id, work_order_number, {", ".join(_COLUMNS)})
    SELECT cmms_system_id, work_order_number, {", ".join(_COLUMNS)}
    FROM jsonb_populate_recordset(CAST(NULL AS {_ORDERS}), CAST(:rows AS jsonb))
    ORDER BY cmms_system_id, work_order_number
    ON CONFLICT (cmms_system_id, work_order_number) DO UPDATE
    SET {", ".join(f"{column} = excluded.{column}" for column in _COLUMNS)}, version = stored.version + 1, updated_at = now()
    WHERE ({", ".join(f"stored.{column}" for column in _COLUMNS)})
          IS DISTINCT FROM ({", ".join(f"excluded.{column}" for column in _COLUMNS)})
""")


def load_orders(connection: sa.Connection, keys: Iterable[Key]) -> dict[Key, dict[str, Any]]:
    """Return the rows that exist, locked until the transaction ends; with `equipment_number` and `plant_code` beside the ids."""
    wanted = sorted(set(keys))
    rows = connection.execute(_LOAD, {"systems": [key[0] for key in wanted], "numbers": [key[1] for key in wanted]})
    return {
        (row.cmms_system_id, row.work_order_number): {
            **row.stored,
            "equipment_number": row.equipment_number,
            "plant_code": row.plant_code,
        }
        for row in rows
    }


def write_orders(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows by system and number; one that would not change is not written."""
    connection.execute(_WRITE, {"rows": orjson.dumps(rows).decode()})


def fields_of(row: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return what a loaded row says as fields of an order, in the form in which the source's statements are kept."""
    fields: dict[str, JsonValue] = {name: row[name] for name in (*PLAIN, *COLLECTIONS, *REFERENCES)}
    if row["cost"] is not None:
        fields["cost"] = str(Decimal(str(row["cost"])).quantize(Decimal("0.01")))
    return fields


def plant_ids(connection: sa.Connection, codes: Iterable[str]) -> Mapping[str, int]:
    """Return the ids of plants that are known, by code."""
    wanted = sorted(set(codes))
    if not wanted:
        return {}
    query = sa.select(plants.c.plant_code, plants.c.id).where(plants.c.plant_code.in_(wanted))
    return {row.plant_code: row.id for row in connection.execute(query)}

"""A small world for tests of the inbox: a plant, machines, and events put into the inbox as the receiver does."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psycopg

from cmms_pipelines.domain.events import CanonicalEvent, entity_key
from cmms_pipelines.storage.drain import DrainReport, drain

SYSTEM = "atlas"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
_numbers = count(1)


def add_machines(url: str, *numbers: str, time_zone: str = "America/New_York") -> None:
    """Put machines into plant B6JFK."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO cmms.plants (plant_code, name, time_zone) VALUES ('B6JFK', 'JetBlue at JFK', %s) ON CONFLICT DO NOTHING",
            (time_zone,),
        )
        for number in numbers:
            connection.execute(
                "INSERT INTO cmms.equipment (equipment_number, plant_id, equipment_description, company_code, attributes)"
                " SELECT %s, id, 'AIRBUS A320', 'B6', '{\"HERST\": \"AIRBUS\"}' FROM cmms.plants",
                (number,),
            )


def send(
    url: str,
    event_type: str,
    payload: Mapping[str, Any],
    *,
    at: datetime | None = NOON,
    system: str = SYSTEM,
    connection: psycopg.Connection | None = None,
) -> None:
    """Store one event and tell the inbox's listeners at the commit."""
    if connection is None:
        with psycopg.connect(url) as own:
            send(url, event_type, payload, at=at, system=system, connection=own)
        return
    number = next(_numbers)
    body = {
        "event_type": event_type,
        "cmms_system_id": system,
        "timestamp": at.isoformat() if at else None,
        "payload": dict(payload),
        "event_id": str(number),
    }
    raw = json.dumps(body).encode()
    event = CanonicalEvent(event_type, at or NOON, payload, system, str(number))
    connection.execute(
        "INSERT INTO cmms.maintenance_event_hooks (cmms_system_id, event_type, event_payload, hmac_signature, raw_body,"
        " body_sha256, dedup_key, occurred_at, entity_key) VALUES (%s, %s, %s, '', %s, %s, %s, %s, %s)",
        (system, event_type, json.dumps(dict(payload)), raw, hashlib.sha256(raw).digest(), f"id:{number}", at, entity_key(event)),
    )
    connection.execute("NOTIFY cmms_inbox")


def work_order(url: str, number: str = "4000123", **fields: Any) -> None:  # noqa: ANN401 - any field of a payload
    """Send an event on a work order: `type` (updated), `at` minutes after noon (0), the rest is its payload."""
    kind, minutes = fields.pop("type", "updated"), fields.pop("at", 0)
    payload = {"work_order_number": number, **fields}
    send(url, f"work_order_{kind}", payload, at=NOON + timedelta(minutes=minutes))


def drain_now(url: str, **options: Any) -> DrainReport:  # noqa: ANN401 - any option of drain()
    """Drain what is due and end."""
    return drain(url, **{"run_id": "a-run", "idle_s": 0.0, "max_s": 20.0, **options})


def query(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a statement, committed."""
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def order_row(url: str, number: str = "4000123") -> dict[str, Any]:
    """Return a stored work order."""
    rows = query(url, "SELECT to_jsonb(o) FROM cmms.work_orders o WHERE work_order_number = %s", number)
    found: dict[str, Any] = rows[0][0]
    return found


def inbox(url: str) -> list[tuple[str, str | None]]:
    """Return status and error of all events in order of arrival."""
    return [
        (row[0], row[1])
        for row in query(url, "SELECT processing_status, error_message FROM cmms.maintenance_event_hooks ORDER BY sequence")
    ]

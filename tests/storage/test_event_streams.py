"""A long stream of events on real work orders, repeated and out of order, with edits made here in between, ends where it must.

Where it must end is worked out another way: from all that was said, at once, by the few lines of `expected`.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
import pytest

from cmms_pipelines.domain.local_edits import WorkOrderEdit
from cmms_pipelines.emulator.flights import flight_hours
from cmms_pipelines.emulator.work_orders import WorkOrder, work_orders
from cmms_pipelines.storage import editing
from tests.conftest import Database
from tests.storage.inbox_world import SYSTEM, drain_now, query, send

FIRST_DAY = date(2013, 6, 1)
SKEW = timedelta(seconds=300)
PROGRESS = ("requested", "open", "in_progress", "completed", "closed")
STATUSES = {"CRTD": "requested", "REL": "open", "TECO": "completed", "CLSD": "closed"}

Fields = dict[str, Any]


@dataclass
class Order:
    """All that is said of one order, in the order of the source's time, and the edit made here."""

    number: str
    statements: list[tuple[datetime, str, Fields]]
    arrived: list[int] = field(default_factory=list)
    edit: Fields = field(default_factory=dict)
    edited_at: datetime | None = None
    known_then: Fields = field(default_factory=dict)

    def newest(self, name: str, numbers: list[int] | None = None) -> tuple[datetime | None, Any]:
        """Return the newest statement on a field, of all or of some statements, and its time."""
        for number in sorted(range(len(self.statements)) if numbers is None else numbers, reverse=True):
            at, _, said = self.statements[number]
            if name in said:
                return at, said[name]
        return None, {"status": "CRTD", "tags": []}.get(name)


def said_of(order: WorkOrder, chance: random.Random) -> Order:
    """Return the statements on an order: its four steps, and changes of single fields in between."""
    number = str(order.number)
    steps = order.changes_until(date.max)
    days = [*steps.values(), *(chance.choice(sorted(steps.values())) for _ in range(5))]
    times = sorted({datetime.combine(on, time(), UTC) + timedelta(seconds=chance.randrange(86_400)) for on in days})
    words = dict(zip(sorted(chance.sample(range(len(times)), 4)), steps, strict=True))
    statements: list[tuple[datetime, str, Fields]] = []
    for index, at in enumerate(times):
        said: Fields = {"status": words[index]} if index in words else {}
        if index == 0:
            said |= {"title": f"{order.inspection_hours} h inspection of {order.due.machine.number}", "tags": ["inspection"]}
            said |= {"priority": chance.randrange(1, 5), "assignee": "planner"}
        if chance.random() < 0.5:
            said["assignee"] = f"crew {index}"
        if chance.random() < 0.4:
            said["description"] = f"as of {index}"
        if chance.random() < 0.3:
            said["tags"] = ["inspection", f"tag {index}"]
        if chance.random() < 0.3:
            said["notes"] = [{"at": at.isoformat(), "text": f"note {index}"}]
        statements.append((at, "work_order_created" if index == 0 else "work_order_updated", said))
    return Order(number, statements)


def edit_here(database: Database, order: Order, chance: random.Random) -> None:
    """Edit an order that has arrived, at a time near one of its statements or at any."""
    [(identifier, tags, status)] = query(
        database.url, "SELECT id, tags, status FROM cmms.work_orders WHERE work_order_number = %s", order.number
    )
    near = chance.choice(order.statements)[0]
    order.edited_at = near + timedelta(seconds=chance.choice((-200, 200, chance.uniform(-300_000, 300_000))))
    order.edit = {"assignee": "foreman", "description": "seen here", "tags": [*tags, "ours"]}
    order.edit["notes"] = [{"at": order.edited_at.isoformat(), "text": "our note"}]
    if PROGRESS.index(status) < PROGRESS.index("in_progress"):
        order.edit["status"] = "in_progress"
    order.known_then = {name: order.newest(name, order.arrived)[1] for name in ("assignee", "description", "status")}
    with database.engine.begin() as connection:
        edit = WorkOrderEdit.model_validate(order.edit)
        editing.edit_work_order(connection, identifier, edit, expected_version=None, actor="Ada", now=order.edited_at)


def expected(order: Order) -> tuple[Fields, bool]:
    """Return how the order must end, and whether its description must wait for a person."""
    names = ("status", "title", "priority", "assignee", "description", "tags")
    source = {name: order.newest(name) for name in names}
    row: Fields = {name: value for name, (_, value) in source.items()}
    row["status"] = STATUSES[row["status"]]
    row["priority"] = {1: "critical", 2: "high", 3: "medium", 4: "low"}[row["priority"]]
    row["notes"] = {note["text"] for _, _, said in order.statements for note in said.get("notes", [])}
    is_waiting = False
    if order.edited_at is not None:
        has_moved = {name: source[name][1] != known for name, known in order.known_then.items()}
        row["notes"].add("our note")
        row["tags"] = [*row["tags"], "ours"]
        if not has_moved["assignee"]:
            row["assignee"] = "foreman"
        said_at = source["description"][0]
        if not has_moved["description"] or said_at is None or said_at <= order.edited_at + SKEW:
            row["description"] = "seen here"
            is_waiting = has_moved["description"] and said_at is not None and abs(said_at - order.edited_at) <= SKEW
        if "status" in order.edit:
            row["status"] = max(row["status"], "in_progress", key=PROGRESS.index) if has_moved["status"] else "in_progress"
    row["tags"] = set(row["tags"])
    return row, is_waiting


def stored(row: Mapping[str, Any], names: Mapping[str, Any]) -> Fields:
    found = {name: row[name] for name in names}
    return found | {"tags": set(row["tags"]), "notes": {note["text"] for note in row["notes"]}}


def replay(database: Database, days: int, count: int, seed: int) -> None:
    """Send the stream in parts, with edits between them, and compare each order with what it must be."""
    chance = random.Random(seed)  # noqa: S311 - a stream, not a secret
    found = work_orders(flight_hours(), FIRST_DAY, FIRST_DAY + timedelta(days=days), date.max)
    orders = [said_of(order, chance) for order in found][:count]
    assert len(orders) == count
    stream = [(order, number) for order in orders for number in range(len(order.statements))]
    stream += chance.sample(stream, len(stream) // 5)
    chance.shuffle(stream)
    parts = 8
    for part in range(parts):
        with psycopg.connect(database.url) as connection:
            for order, number in stream[part::parts]:
                at, kind, said = order.statements[number]
                send(database.url, kind, {"work_order_number": order.number, **said}, at=at, connection=connection)
                order.arrived.append(number)
        drain_now(database.url, max_s=300.0)
        for order in orders:
            if order.arrived and order.edited_at is None and chance.random() < 0.2:
                edit_here(database, order, chance)
    rows = query(database.url, "SELECT work_order_number, to_jsonb(o) FROM cmms.work_orders o WHERE cmms_system_id = %s", SYSTEM)
    by_number: dict[str, dict[str, Any]] = dict(rows)
    waiting = {
        key for (key,) in query(database.url, "SELECT entity_key FROM cmms.sync_conflicts WHERE status = 'open' ORDER BY id")
    }
    must = {order.number: expected(order) for order in orders}
    assert {number: stored(by_number[number], row) for number, (row, _) in must.items()} == {
        number: row for number, (row, _) in must.items()
    }
    assert waiting == {number for number, (_, is_waiting) in must.items() if is_waiting}
    assert waiting
    assert not any(row["is_partial"] for row in by_number.values())
    states = query(database.url, "SELECT DISTINCT processing_status FROM cmms.maintenance_event_hooks ORDER BY 1")
    assert states == [("ignored",), ("processed",)]


def test_a_stream_of_repeated_and_unordered_events_with_edits_in_between_ends_where_it_must(database: Database) -> None:
    replay(database, days=20, count=45, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_several_thousand_events_end_where_they_must(database: Database, seed: int) -> None:
    replay(database, days=90, count=500, seed=seed)

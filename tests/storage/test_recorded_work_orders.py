"""An order that the external API records and events tell of is one row, whichever came first, with one history."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cmms_pipelines.domain.dialects import dialect_of
from cmms_pipelines.domain.judged_work_orders import payloads
from cmms_pipelines.storage.equipment_lookup import find_equipment
from cmms_pipelines.storage.recorded_work_orders import MOST_LOCKS, Written, write
from cmms_pipelines.storage.work_order_history import ChangedBy, StatusChange, read_history, record_status_changes
from tests.conftest import Database
from tests.storage.inbox_world import add_machines, drain_now, order_row, query, send

SAP, MACHINE = "sap", "N526JB"
RECORD: dict[str, Any] = {
    "order": "000000004711",
    "order_type": "PM01",
    "description": "250 H INSPECTION",
    "plant": "B6JFK",
    "equipment_number": MACHINE,
    "order_status": "TECO",
    "main_work_center": "MECH",
    "technical_completion": "2026-03-02",
    "closed": None,
    "planned_completion": "2026-03-09",
    "updated_at": "2026-03-02T18:00:00Z",
}


def recorded(database: Database, **changes: Any) -> Written:  # noqa: ANN401 - any field of a record
    frame = dialect_of("ims").work_orders_frame([{**RECORD, **changes}], {})
    with database.engine.begin() as connection:
        return write(connection, SAP, list(payloads(frame)), find_equipment(connection, [MACHINE]), sync_log_id=7)


def told(database: Database, event_type: str, at: datetime, **payload: Any) -> None:  # noqa: ANN401 - any payload
    send(database.url, event_type, {"work_order_number": "4711", **payload}, at=at, system=SAP)
    drain_now(database.url)


def both_ways(database: Database) -> list[Callable[[], object]]:
    def at(day: int, hour: int) -> datetime:
        return datetime(2026, 3, day, hour, tzinfo=UTC)

    return [
        lambda: told(database, "work_order_created", at(1, 8), equipment_number=MACHINE, title="250 h", priority=2),
        lambda: told(database, "work_order_updated", at(2, 9), status="in_progress", assigned_to="ann", notes="begun"),
        lambda: recorded(database),
        lambda: told(database, "work_order_updated", at(3, 9), cost=120, due_date="2026-03-10"),
    ]


def test_events_and_the_nightly_sync_end_in_the_same_row_whichever_comes_first(database: Database) -> None:
    add_machines(database.url, MACHINE)
    ends = []
    created, started, recorded_once, priced = both_ways(database)
    orders = [
        (recorded_once, created, started, priced),
        (created, recorded_once, started, priced),
        (created, started, recorded_once, priced),
        (created, started, priced, recorded_once),
        (priced, recorded_once, started, created),
    ]
    for order in orders:
        for arrive in order:
            arrive()
        row = order_row(database.url, "4711")
        ends.append({name: value for name, value in row.items() if name not in {"id", "version", "created_at", "updated_at"}})
        assert query(database.url, "SELECT count(*) FROM cmms.work_orders") == [(1,)]
        query(database.url, "TRUNCATE cmms.work_orders, cmms.source_snapshots CASCADE")
    assert all(end == ends[0] for end in ends)
    assert (ends[0]["status"], ends[0]["title"], ends[0]["assignee"]) == ("completed", "250 H INSPECTION", "MECH")
    assert (ends[0]["priority"], ends[0]["cost"], ends[0]["notes"]) == ("high", 120, ["begun"])
    assert (ends[0]["due_at"][:10], ends[0]["started_at"][:13]) == ("2026-03-10", "2026-03-02T09")
    assert not ends[0]["is_partial"]


def test_a_record_is_inserted_then_unchanged_then_updated(database: Database) -> None:
    add_machines(database.url, MACHINE)
    assert recorded(database) == Written(1, 0, 0)
    assert recorded(database) == Written(0, 0, 1)
    assert recorded(database, order_status="CLSD", closed="2026-03-05", updated_at="2026-03-05T02:00:00Z") == Written(0, 1, 0)
    assert recorded(database) == Written(0, 0, 1)
    assert order_row(database.url, "4711")["status"] == "closed"


def test_each_step_of_an_order_is_in_its_history_once_with_who_took_it(database: Database) -> None:
    add_machines(database.url, MACHINE)
    for arrive in both_ways(database):
        arrive()
    recorded(database)
    query(database.url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'pending'")
    drain_now(database.url)
    with database.engine.connect() as connection:
        history = read_history(connection, SAP, "4711")
    assert [(step["from_status"], step["to_status"], step["at"].day, step["changed_by"]) for step in history] == [
        (None, "open", 1, "event"),
        ("open", "in_progress", 2, "event"),
        ("in_progress", "completed", 2, "api_sync"),
    ]
    assert history[2]["source"] == "7"
    events = query(database.url, "SELECT id::text FROM cmms.maintenance_event_hooks ORDER BY sequence LIMIT 2")
    assert [(step["source"],) for step in history[:2]] == events


def test_a_step_that_arrives_too_late_is_kept_as_such(database: Database) -> None:
    add_machines(database.url, MACHINE)
    recorded(database)
    told(database, "work_order_updated", datetime(2026, 3, 2, 9, tzinfo=UTC), status="in_progress")
    with database.engine.connect() as connection:
        history = read_history(connection, SAP, "4711")
    assert [(step["to_status"], step["is_applied"]) for step in history] == [("in_progress", False), ("completed", True)]


def test_a_step_that_is_known_is_not_entered_again(database: Database) -> None:
    recorded(database, equipment_number=None)
    step = StatusChange(
        SAP, "4711", "completed", "open", datetime(2026, 3, 6, tzinfo=UTC), ChangedBy.LOCAL_EDIT, "ann", "not tight"
    )
    with database.engine.begin() as connection:
        assert record_status_changes(connection, [step, step]) == 1
        assert record_status_changes(connection, [step]) == 0
        assert read_history(connection, SAP, "4711")[-1]["reason"] == "not tight"


def test_more_orders_than_the_server_has_locks_for_are_written_too(database: Database) -> None:
    records = [{**RECORD, "order": str(number), "equipment_number": None} for number in range(MOST_LOCKS + 1)]
    told_of = list(payloads(dialect_of("ims").work_orders_frame(records, {})))
    with database.engine.begin() as connection:
        assert write(connection, SAP, told_of, {}, sync_log_id=7) == Written(MOST_LOCKS + 1, 0, 0)

"""Events of the inbox: found, explained, and put back with a dry run first."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage.inbox_replay import dry_run, put_back
from cmms_pipelines.storage.inbox_search import EventFilter
from tests.conftest import Database
from tests.management.conftest import Api, problem
from tests.storage.inbox_world import add_machines, drain_now, order_row, query, send, work_order


def ids(url: str) -> list[uuid.UUID]:
    return [row[0] for row in query(url, "SELECT id FROM cmms.maintenance_event_hooks ORDER BY sequence")]


def test_an_event_shows_where_it_stands_what_it_did_and_no_signature(api: Api) -> None:
    work_order(api.database.url, type="created", title="250 h inspection")
    drain_now(api.database.url)
    [identifier] = ids(api.database.url)
    event = api.read(f"/events/{identifier}")
    assert (event["processing_status"], event["entity_key"]) == ("processed", "work_order:4000123")
    assert event["outcome"]["changed"]["title"]["after"] == "250 h inspection"
    assert event["event_payload"]["title"] == "250 h inspection"
    assert event["latency_ms"] > 0
    assert not {"hmac_signature", "raw_body"} & event.keys()


def test_history_pages_through_all_events_once_while_new_ones_come(api: Api) -> None:
    for number in range(7):
        work_order(api.database.url, str(number), title="A")
    seen, cursor = [], None
    while True:
        page = api.read("/events/history", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [event["sequence"] for event in page["events"]]
        work_order(api.database.url, "later", title="B")
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"source": "atlas"}, [1, 2]),
        ({"source": ["atlas", "other"]}, [1, 2, 3]),
        ({"type": "work_order_closed"}, [2]),
        ({"entity": "work_order:1"}, [1, 3]),
        ({"status": "dead_letter"}, [2]),
        ({"status": ["dead_letter", "pending"]}, [2]),
        ({"since": "2026-03-01T00:00:00Z", "until": "2026-03-02T00:00:00Z"}, [3]),
        ({"source": "atlas", "entity": "work_order:1"}, [1]),
    ],
)
def test_history_is_filtered_by_source_type_status_entity_and_time(api: Api, wanted: dict[str, str], found: list[int]) -> None:
    url = api.database.url
    send(url, "work_order_created", {"work_order_number": "1"})
    send(url, "work_order_closed", {"work_order_number": "2", "status": "exploded"})
    send(url, "work_order_created", {"work_order_number": "1"}, system="other")
    query(url, "UPDATE cmms.maintenance_event_hooks SET created_at = '2026-03-01T12:00:00Z' WHERE sequence = 3")
    drain_now(url)
    assert sorted(event["sequence"] for event in api.read("/events/history", **wanted)["events"]) == found


@pytest.mark.parametrize(
    "wanted",
    [{"cursor": "nonsense"}, {"cursor": "Zm9vOjE"}, {"status": "lost"}, {"since": "2026-03-01T00:00:00"}, {"limit": "0"}],
)
def test_a_filter_that_does_not_fit_is_refused(shared_api: Api, wanted: dict[str, str]) -> None:
    problem(shared_api.ask("GET", "/events/history", Role.VIEWER, params=wanted), 422)


def test_dead_letters_are_grouped_by_cause(api: Api) -> None:
    for number in range(3):
        send(api.database.url, "work_order_updated", {"work_order_number": str(number), "status": "exploded"})
    send(api.database.url, "asset_updated", {"equipment_number": ""})
    drain_now(api.database.url)
    found = api.read("/events/dead-letters")
    assert found["events"] == 4
    assert [(one["rule"], one["event_type"], one["events"]) for one in found["causes"]] == [
        ("invalid_payload", "work_order_updated", 3),
        ("invalid_payload", "asset_updated", 1),
    ]
    newest = ids(api.database.url)[2]
    assert (found["causes"][0]["example_id"], "status" in found["causes"][0]["example_error"]) == (str(newest), True)


def test_a_dry_run_says_what_a_replay_would_do_and_changes_nothing(api: Api) -> None:
    url = api.database.url
    send(url, "asset_updated", {"equipment_number": "N1", "name": "A new name"})
    drain_now(url)
    add_machines(url, "N1")
    send(url, "work_order_updated", {"work_order_number": "2", "status": "exploded"})
    drain_now(url, limit=1)
    query(
        url,
        "UPDATE cmms.maintenance_event_hooks SET processing_status = 'held', outcome = '{}', processed_at = NULL"
        " WHERE sequence = 1",
    )
    query(url, "UPDATE cmms.equipment SET equipment_description = 'AIRBUS A320'")
    before = query(url, "SELECT t::text FROM cmms.maintenance_event_hooks t ORDER BY sequence")
    wanted = {"statuses": ["held", "dead_letter"], "dry_run": True}
    report = api.ask("POST", "/events/replay", Role.OPERATOR, json=wanted).json()
    assert (report["is_dry_run"], report["events"], report["ids"]) == (True, 2, [])
    assert report["by_status"] == {"held": 1, "dead_letter": 1}
    assert [trial["verdict"] for trial in report["trials"]] == ["applied", "dead"]
    assert report["trials"][0]["outcome"]["changed"]["equipment_description"]["after"] == "A new name"
    assert "status" in report["trials"][1]["error"]
    assert query(url, "SELECT t::text FROM cmms.maintenance_event_hooks t ORDER BY sequence") == before
    assert query(url, "SELECT equipment_description FROM cmms.equipment") == [("AIRBUS A320",)]
    assert api.audit("event.replayed") == []


def test_a_replay_puts_back_what_is_meant_and_says_who_did_it(api: Api) -> None:
    url = api.database.url
    for number in range(3):
        send(url, "work_order_updated", {"work_order_number": str(number), "status": "exploded"})
    send(url, "work_order_updated", {"work_order_number": "9", "title": "fine"})
    drain_now(url)
    query(url, """UPDATE cmms.maintenance_event_hooks SET event_payload = event_payload || '{"status": "open"}'""")
    body = {"types": ["work_order_updated"], "limit": 2, "reason": "the mapping is mended"}
    report = api.ask("POST", "/events/replay", Role.OPERATOR, json=body).json()
    assert report["ids"] == [str(identifier) for identifier in ids(url)[:2]]
    entries = api.audit("event.replayed")
    assert [entry["entity_key"] for entry in entries] == report["ids"]
    assert {(entry["actor"], entry["reason"]) for entry in entries} == {("token a operator", "the mapping is mended")}
    assert entries[0]["before"]["processing_status"] == "dead_letter"
    drain_now(url)
    assert [order_row(url, number)["status"] for number in "01"] == ["open", "open"]
    assert api.read("/sync/status")["inbox"]["counts"] == {
        "pending": 0, "held": 0, "processed": 3, "ignored": 0, "quarantined": 0, "dead_letter": 1,
    }  # fmt: skip


def test_a_replay_of_nothing_in_particular_is_refused(shared_api: Api) -> None:
    problem(shared_api.ask("POST", "/events/replay", json={}), 422)
    problem(shared_api.ask("POST", "/events/replay", json={"dry_run": True}), 422)


def test_one_event_is_retried_at_once_whatever_state_it_is_in(api: Api) -> None:
    url = api.database.url
    work_order(url, title="A")
    work_order(url, "2", title="B")
    first, second = ids(url)
    problem(api.ask("POST", f"/events/{second}/retry"), 409)
    drain_now(url)
    query(url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'pending', retry_count = 5, retries_total = 5,"
               " next_attempt_at = now() + interval '9 min' WHERE sequence = 2")  # fmt: skip
    assert drain_now(url).claimed == 0
    for identifier in (first, second):
        assert api.ask("POST", f"/events/{identifier}/retry", Role.OPERATOR).json()["events"] == 1
    assert drain_now(url).claimed == 2
    event = api.read(f"/events/{second}")
    assert (event["processing_status"], event["retry_count"], event["retries_total"], event["replays"]) == ("ignored", 0, 5, 1)
    assert event["latency_ms"] < 20_000
    problem(api.ask("POST", f"/events/{uuid.uuid4()}/retry"), 404)


def test_the_latency_of_a_replayed_event_counts_from_the_replay(database: Database) -> None:
    work_order(database.url, title="A")
    drain_now(database.url)
    query(database.url, "UPDATE cmms.maintenance_event_hooks SET created_at = created_at - interval '3 days'")
    with database.engine.begin() as connection:
        assert len(put_back(connection, EventFilter(statuses=["processed"]), actor="tests")) == 1
    report = drain_now(database.url)
    assert report.claimed == 1
    assert (report.percentile_ms(1.0) or 0) < 60_000


def test_an_event_that_a_drain_is_applying_is_left_to_it(database: Database) -> None:
    work_order(database.url, title="A")
    drain_now(database.url)
    with database.engine.begin() as holder:
        holder.exec_driver_sql("SELECT FROM cmms.maintenance_event_hooks FOR UPDATE")
        with database.engine.begin() as connection:
            assert put_back(connection, EventFilter(statuses=["processed"]), actor="tests") == []


def test_replaying_many_events_takes_little_time(database: Database) -> None:
    send(database.url, "work_order_updated", {"work_order_number": "1", "status": "exploded"})
    query(
        database.url,
        "INSERT INTO cmms.maintenance_event_hooks (cmms_system_id, event_type, event_payload, hmac_signature, raw_body, "
        "body_sha256, dedup_key, occurred_at, entity_key, processing_status, processed_at, outcome) "
        "SELECT cmms_system_id, event_type, event_payload, '', raw_body, body_sha256, 'copy:' || n, occurred_at, entity_key, "
        "'dead_letter', now(), '{}' FROM cmms.maintenance_event_hooks, generate_series(1, 20000) n",
    )
    started = datetime.now(UTC)
    with database.engine.begin() as connection:
        assert len(put_back(connection, EventFilter(statuses=["dead_letter"]), actor="tests")) == 20_000
    assert datetime.now(UTC) - started < timedelta(seconds=10)
    with database.engine.connect() as connection:
        assert dry_run(connection, EventFilter(statuses=["dead_letter"])).events == 0


def test_a_dry_run_keeps_nothing_even_where_its_caller_commits(database: Database) -> None:
    work_order(database.url, title="A")
    drain_now(database.url)
    query(database.url, "UPDATE cmms.work_orders SET title = 'B', source_updated_at = NULL")
    query(database.url, "DELETE FROM cmms.source_snapshots")
    with database.engine.begin() as connection:
        found = dry_run(connection, EventFilter(statuses=["processed"]))
    assert found.trials[0].verdict == "applied"
    assert order_row(database.url)["title"] == "B"

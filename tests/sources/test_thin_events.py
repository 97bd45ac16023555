"""Events that hold a key only: the rest comes from the source's own API, within its budget, and nobody waits for it in vain."""

import threading
import time
from typing import Any

from cmms_pipelines.storage.inbox_replay import put_back
from cmms_pipelines.storage.inbox_search import EventFilter
from tests.sources.conftest import World
from tests.sources.source_server import TOKEN, source_server
from tests.storage.inbox_world import add_machines, inbox, order_row, query, send, work_order

ORDER = "/api/orders/4000123"


def serve_order(world: World, number: str = "4000123", **said: object) -> None:
    world.server.answers[f"/api/orders/{number}"] = {"data": {"name": "250 h inspection", "state": "in_progress", **said}}


def outcome(world: World) -> dict[str, Any]:
    found: dict[str, Any] = query(world.url, "SELECT outcome FROM cmms.maintenance_event_hooks ORDER BY sequence LIMIT 1")[0][0]
    return found


def test_an_event_that_names_a_key_only_is_applied_with_what_the_source_says(world: World) -> None:
    world.configure()
    serve_order(world)
    work_order(world.url)
    report = world.drain()
    assert (report.applied, report.fetching) == (1, 1)
    assert (order_row(world.url)["title"], order_row(world.url)["status"]) == ("250 h inspection", "in_progress")
    assert world.server.tokens == {f"Bearer {TOKEN}"}


def test_an_event_that_says_more_than_a_key_is_fetched_only_where_the_source_is_thin(world: World) -> None:
    serve_order(world)
    world.configure()
    work_order(world.url, title="as the event says")
    assert world.drain().fetching == 0
    world.configure(api={"thin": True})
    work_order(world.url, title="as the event says, again", at=5)
    assert world.drain().fetching == 1
    assert order_row(world.url)["title"] == "250 h inspection"


def test_machines_are_fetched_in_our_own_fields_where_none_are_mapped(world: World) -> None:
    world.configure()
    add_machines(world.url, "N526JB")
    world.server.answers["/api/machines/000N526JB"] = {"equipment_number": "N526JB", "description": "A320-232"}
    send(world.url, "asset_updated", {"equipment_number": "000N526JB"})
    query(world.url, "UPDATE cmms.equipment SET equipment_number = '000N526JB'")
    world.server.answers["/api/machines/000N526JB"]["equipment_number"] = "000N526JB"
    assert world.drain().applied == 1
    assert query(world.url, "SELECT equipment_description FROM cmms.equipment") == [("A320-232",)]


def test_events_of_one_entity_share_a_request_and_those_behind_them_keep_their_place(world: World) -> None:
    world.configure()
    serve_order(world)
    work_order(world.url)
    work_order(world.url, at=1)
    work_order(world.url, title="the newest statement", at=2)
    work_order(world.url, "other", title="nobody waits for it")
    report = world.drain()
    assert (world.server.asked, report.fetching, report.held + report.dead) == ([ORDER], 2, 0)
    assert (order_row(world.url)["title"], order_row(world.url)["status"]) == ("the newest statement", "in_progress")


def test_a_slow_source_keeps_nobody_elses_event_waiting(world: World) -> None:
    world.configure()
    serve_order(world)
    world.server.wait_s = 1.0
    work_order(world.url)
    work_order(world.url, "quick", title="A")
    drained = threading.Thread(target=world.drain)
    drained.start()
    deadline = time.monotonic() + 0.8
    while inbox(world.url)[1][0] != "processed":
        assert time.monotonic() < deadline, "the other event waited for the slow source"
        time.sleep(0.02)
    assert inbox(world.url)[0][0] == "pending"
    drained.join()
    assert [state for state, _ in inbox(world.url)] == ["processed", "processed"]


def test_a_source_that_is_down_for_a_moment_costs_a_retry_and_one_that_stays_down_a_dead_letter(world: World) -> None:
    world.configure()
    serve_order(world)
    serve_order(world, "2")
    world.server.failing = {ORDER: 1, "/api/orders/2": 9}
    work_order(world.url)
    work_order(world.url, "2")
    world.drain(idle_s=0.4)
    states = inbox(world.url)
    assert [state for state, _ in states] == ["processed", "dead_letter"]
    assert (states[1][1] or "").startswith(
        f"retries_exhausted: after 2 retries still: The API of atlas: GET orders/2 of {world.server.url}"
    )
    assert query(world.url, "SELECT retries_total FROM cmms.maintenance_event_hooks ORDER BY sequence") == [(1,), (2,)]
    assert query(world.url, "SELECT dagster_run_id FROM cmms.maintenance_event_hooks WHERE sequence = 2") == [("a-run",)]


def test_an_entity_that_the_source_does_not_know_is_dead_or_held_as_configured(world: World) -> None:
    world.configure()
    work_order(world.url)
    world.drain()
    assert outcome(world) == {"rule": "entity_not_found"}
    world.configure(api={"on_missing": "held"})
    work_order(world.url, at=1)
    world.drain()
    said = "entity_not_found: the source knows no work_order '4000123'"
    assert inbox(world.url) == [("dead_letter", said), ("held", said)]


def test_the_end_of_an_entity_needs_no_answer(world: World) -> None:
    world.configure()
    send(world.url, "maintenance_cancelled", {"work_order_number": "4000123"})
    assert world.drain().applied == 1
    assert order_row(world.url)["status"] == "cancelled"


def test_an_answer_that_no_retry_would_change_is_a_dead_letter_that_shows_no_token(world: World) -> None:
    world.configure()
    statuses = (401, 403, 400, 302)
    for status in statuses:
        world.server.answers[f"/api/orders/{status}"] = {"said": f"you sent {TOKEN}"}
        world.server.statuses[f"/api/orders/{status}"] = status
        work_order(world.url, str(status))
    world.drain()
    for state, error in inbox(world.url):
        assert (state, (error or "").partition(":")[0]) == ("dead_letter", "fetch_refused")
        assert TOKEN not in (error or "")
        assert "CMMS_API" not in (error or "")
    assert len(world.server.asked) == len(statuses)


def test_a_redirect_to_another_host_is_not_followed(world: World) -> None:
    with source_server() as elsewhere:
        elsewhere.answers["/api/orders/4000123"] = {"data": {"name": "stolen"}}
        world.configure()
        world.server.answers[ORDER] = {}
        world.server.statuses[ORDER] = 302
        world.server.headers[ORDER] = {"Location": f"{elsewhere.url}/orders/4000123"}
        work_order(world.url)
        world.drain()
        assert (elsewhere.asked, inbox(world.url)[0][0]) == ([], "dead_letter")


def test_a_number_cannot_lead_out_of_its_path(world: World) -> None:
    world.configure()
    numbers = ["../admin", "a/../../b", "4?x=1", "4#5", "http://evil/", "ä ö"]
    for number in numbers:
        work_order(world.url, number)
    work_order(world.url, "..")
    world.drain()
    assert len(world.server.asked) == len(numbers)
    for path in world.server.asked:
        assert path.startswith("/api/orders/")
        assert (path.count("/"), "?" in path) == (3, False)


def test_an_answer_that_cannot_be_meant_is_a_dead_letter_and_ends_nothing(world: World) -> None:
    fields = {"work_order_number": "/data/other", "title": "/data/name"}
    world.configure(api={"entities": {"work_order": {"path": "orders/{number}", "fields": fields}}})
    answers: dict[str, tuple[object, str]] = {
        "1": ({"data": {"name": "x\0y"}}, "refused_by_database: "),
        "2": ([1], "fetch_refused: "),
        "3": ({"data": {"name": "A", "other": "another one"}}, "fetched_another_entity: "),
    }
    for number, (answer, _) in answers.items():
        world.server.answers[f"/api/orders/{number}"] = answer
        work_order(world.url, number)
    work_order(world.url, "4", title="fine")
    assert world.drain().applied == 1
    for (_, said), (_, error) in zip(answers.values(), inbox(world.url), strict=False):
        assert (error or "").startswith(said)


def test_the_budget_of_a_source_is_kept(world: World) -> None:
    world.configure(api={"requests_per_s": 20.0, "max_in_flight": 2})
    world.server.wait_s = 0.08
    for number in range(12):
        serve_order(world, str(number))
        work_order(world.url, str(number))
    world.drain()
    assert [state for state, _ in inbox(world.url)] == ["processed"] * 12
    times = sorted(world.server.asked_at)
    assert times[-1] - times[0] >= 11 * 0.05 * 0.9
    assert world.server.most_in_flight == 2


def test_more_events_than_the_queue_holds_are_looked_at_again_and_cost_no_retry(world: World) -> None:
    world.configure(api={"requests_per_s": 2.0, "max_in_flight": 1})
    for number in range(6):
        serve_order(world, str(number))
        work_order(world.url, str(number))
    report = world.drain(idle_s=0.0)
    states = query(world.url, "SELECT processing_status, retries_total, outcome ->> 'rule' FROM cmms.maintenance_event_hooks")
    assert sorted(states) == [("pending", 0, "waits_to_be_fetched")] * 2 + [("processed", 0, None)] * 4
    assert (report.fetching, report.retried) == (6, 0)


def test_an_event_whose_fetching_died_is_fetched_again_when_its_lease_is_over(world: World) -> None:
    world.configure()
    serve_order(world)
    work_order(world.url)
    leased = "SET outcome = '{\"rule\": \"fetching\"}', next_attempt_at = now() + interval '1 min'"
    query(world.url, f"UPDATE cmms.maintenance_event_hooks {leased}")
    assert world.drain().claimed == 0
    query(world.url, "UPDATE cmms.maintenance_event_hooks SET next_attempt_at = now()")
    assert world.drain().applied == 1


def test_a_replayed_event_is_fetched_anew(world: World) -> None:
    world.configure()
    serve_order(world)
    work_order(world.url)
    world.drain()
    serve_order(world, name="changed since")
    with world.database.engine.begin() as connection:
        assert len(put_back(connection, EventFilter(statuses=["processed"]), actor="tests")) == 1
    world.drain()
    assert len(world.server.asked) == 2


def test_without_a_token_the_dead_letter_says_how_to_set_one(world: World) -> None:
    world.configure()
    serve_order(world)
    query(world.url, "DELETE FROM cmms.source_api_tokens")
    work_order(world.url)
    world.drain()
    assert inbox(world.url)[0][1] == "fetch_refused: The API of atlas has no token: set one (`cmms config api-token atlas`)."

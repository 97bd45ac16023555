"""The sweep finds what no webhook has told, brings it once, and counts it apart from what events had brought."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from cmms_pipelines.defs.maintenance.inbox import NO_MISSED_EVENTS, OBSERVE_INBOX
from cmms_pipelines.defs.maintenance.reconciliation import FIND_MISSED_EVENTS
from cmms_pipelines.storage import sync_controls
from cmms_pipelines.storage.event_analytics import AnalyticsFilter, Bucket, analyse_events
from cmms_pipelines.storage.inbox_replay import put_back
from cmms_pipelines.storage.inbox_search import EventFilter
from cmms_pipelines.sync.control import Patience, SyncStoppedError
from cmms_pipelines.sync.reconciliation import Swept, sweep
from tests.defs.test_inbox import execute
from tests.sources.conftest import World
from tests.storage.inbox_world import SYSTEM, add_machines, inbox, order_row, query, send, work_order

NOW = datetime(2026, 3, 2, 18, tzinfo=UTC)
CHANGES = {"path": "orders?since={since}", "records": "/items", "next": "/next", "updated_at": "/changed"}
ENTITIES: dict[str, Any] = {
    "work_order": {
        "path": "orders/{number}",
        "fields": {"work_order_number": "/id", "title": "/name", "equipment_number": "/machine"},
        "changes": CHANGES,
    }
}


def configure(world: World, **api: object) -> None:
    world.configure(api={"entities": ENTITIES, **api})


def changed(number: str, name: str, minutes: int = 0, **more: object) -> dict[str, object]:
    """An order that changed so many minutes after noon."""
    at = datetime(2026, 3, 2, 12, tzinfo=UTC) + timedelta(minutes=minutes)
    return {"id": number, "name": name, "changed": at.isoformat(), **more}


def serve(world: World, *orders: dict[str, object]) -> None:
    world.server.answers["/api/orders"] = {"items": list(orders)}


def sweep_now(world: World, now: datetime = NOW) -> Swept:
    [found] = sweep(world.database.engine, world.settings, run_id="a-run", now=lambda: now)
    return found


def books(swept: Swept) -> tuple[int, int, int, int]:
    assert swept.error is None, swept.error
    counts = swept.counts
    assert counts.entities == counts.known + counts.waiting + counts.missed + counts.refused
    return counts.known, counts.waiting, counts.missed, counts.refused


def test_what_no_event_has_brought_is_put_into_the_inbox_once_and_marked(world: World) -> None:
    configure(world)
    work_order(world.url, "1", type="created", title="told")
    work_order(world.url, "2", type="created", title="told, then changed without a word")
    world.drain()
    work_order(world.url, "3", type="created", title="still in the inbox")
    serve(
        world,
        changed("1", "told"),
        changed("2", "changed in silence", 30),
        changed("3", "still in the inbox"),
        changed("4", "never told", 40),
        changed("", "no number"),
        changed("6", "x\0y"),
        changed("7", "too new", 359),
    )
    assert books(sweep_now(world)) == (1, 1, 2, 2)
    origins = query(world.url, "SELECT event_type, origin FROM cmms.maintenance_event_hooks ORDER BY sequence")[3:]
    assert origins == [("work_order_updated", "sweep"), ("work_order_created", "sweep")]
    world.drain()
    assert [order_row(world.url, number)["title"] for number in "24"] == ["changed in silence", "never told"]
    assert books(sweep_now(world)) == (4, 0, 0, 2)
    row = query(world.url, "SELECT status, missed, dagster_run_id, examples FROM cmms.reconciliation_sweeps ORDER BY id")[0]
    assert row[:3] == ("success", 2, "a-run")
    assert [(one["entity"], one["changed"]) for one in row[3]] == [
        ("work_order:2", ["title"]),
        ("work_order:4", row[3][1]["changed"]),
    ]


def test_a_second_sweep_adds_nothing_while_what_the_first_has_found_waits(world: World) -> None:
    configure(world)
    serve(world, changed("4", "never told"), changed("5", "its machine is unknown", machine="N999ZZ"))
    assert books(sweep_now(world)) == (0, 0, 2, 0)
    assert books(sweep_now(world)) == (0, 2, 0, 0)
    world.drain()
    assert books(sweep_now(world)) == (1, 1, 0, 0)
    assert len(inbox(world.url)) == 2


def test_a_sweep_begins_before_the_end_of_the_last_one_that_succeeded(world: World) -> None:
    configure(world, grace_s=600, overlap_s=1800, first_look_back_s=7200)
    serve(world)
    sweep_now(world)
    world.server.statuses["/api/orders"] = 403
    failed = sweep_now(world, NOW + timedelta(hours=1))
    assert (failed.error or "").startswith(f"The API of {SYSTEM}: GET orders")
    world.server.statuses.clear()
    sweep_now(world, NOW + timedelta(hours=2))
    times = [path.partition("since=")[2] for path in world.server.asked]
    assert times == ["2026-03-02T15:50:00Z", "2026-03-02T17:20:00Z", "2026-03-02T17:20:00Z"]


def test_pages_are_followed_on_the_sources_own_host_alone(world: World) -> None:
    configure(world)
    world.server.answers["/api/orders"] = {"items": [changed("1", "first page")], "next": "orders?page=2"}
    world.server.answers["/api/orders?page=2"] = {"items": [changed("2", "second page")], "next": None}
    assert books(sweep_now(world)) == (0, 0, 2, 0)
    world.server.answers["/api/orders?page=2"] = {"items": [], "next": "http://127.0.0.1:9/steal"}
    assert "must not get this token" in (sweep_now(world).error or "")
    world.server.answers["/api/orders?page=2"] = {"items": [], "next": "orders?page=2"}
    assert "have no end" in (sweep_now(world).error or "")


def test_machines_are_swept_too_and_a_replay_of_what_was_found_reads_our_own_bytes(world: World) -> None:
    machines = {"changes": {"path": "machines?since={since}", "updated_at": "/changed"}}
    world.configure(scheme="atlas", api={"entities": {"equipment": machines}})
    add_machines(world.url, "N526JB")
    world.server.answers["/api/machines"] = [
        {"equipment_number": "N526JB", "description": "A320-232", "changed": "2026-03-02T12:00Z"}
    ]
    assert books(sweep_now(world)) == (0, 0, 1, 0)
    world.drain()
    described = "SELECT equipment_description FROM cmms.equipment"
    assert query(world.url, described) == [("A320-232",)]
    with world.database.engine.begin() as connection:
        assert len(put_back(connection, EventFilter(statuses=["processed"]), actor="tests", reread=True)) == 1
    assert world.drain().ignored == 1


def test_the_check_and_the_analytics_tell_what_was_missed(world: World) -> None:
    configure(world)
    assert check_of(world) == (True, 0)
    serve(world, changed("4", "never told"))
    sweep_now(world)
    assert check_of(world) == (False, 1)
    now = datetime.now(UTC)
    with world.database.engine.connect() as connection:
        wanted = AnalyticsFilter(now - timedelta(hours=1), now + timedelta(hours=1), Bucket.ALL)
        [row] = analyse_events(connection, wanted)
    assert (row["received"], row["found_by_sweep"]) == (1, 1)
    world.drain()
    sweep_now(world)
    assert check_of(world) == (True, 0)


def check_of(world: World) -> tuple[bool, object]:
    result = execute(world.database, OBSERVE_INBOX, {})
    [check] = [one for one in result.get_asset_check_evaluations() if one.check_name == NO_MISSED_EVENTS]
    assert check.severity is dg.AssetCheckSeverity.WARN
    return check.passed, check.metadata["missed"].value


def test_an_event_that_only_restates_what_is_known_is_not_missed(world: World) -> None:
    configure(world)
    send(world.url, "work_order_created", {"work_order_number": "0000000001", "title": "told"})
    world.drain()
    serve(world, changed("1", "told", 90))
    assert books(sweep_now(world)) == (1, 0, 0, 0)


QUICK = Patience(poll_s=0.02)


def until_asked(world: World) -> None:
    deadline = time.monotonic() + 20
    while not world.server.asked:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_pause_holds_a_sweep_before_it_asks_and_before_it_writes_and_it_goes_on(world: World) -> None:
    configure(world)
    serve(world, changed("4", "never told"))
    told: list[str] = []
    database = world.database.engine

    def pause() -> None:
        with database.begin() as connection:
            sync_controls.pause(connection, actor="jane", reason="the source is being moved")

    def resume() -> None:
        with database.begin() as connection:
            sync_controls.resume(connection, actor="jane")

    pause()
    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(sweep, database, world.settings, now=lambda: NOW, progress=told.append, patience=QUICK)
        time.sleep(0.5)
        assert world.server.asked == []
        world.server.wait_s = 0.5
        resume()
        until_asked(world)
        pause()
        time.sleep(1)
        assert inbox(world.url) == []
        resume()
        [swept] = sweeping.result(20)
    assert books(swept) == (0, 0, 1, 0)
    assert [one.partition(" since")[0] for one in told] == ["paused by jane", "goes on"] * 2


def test_a_stop_ends_a_sweep_asks_no_further_source_and_leaves_all_of_it_to_the_next(world: World) -> None:
    configure(world)
    world.configure(system="zz", api={"entities": ENTITIES})
    serve(world, changed("4", "never told"))
    world.server.wait_s = 0.5
    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(sweep, world.database.engine, world.settings, now=lambda: NOW, patience=QUICK)
        until_asked(world)
        with world.database.engine.begin() as connection:
            sync_controls.stop(connection, actor="jane", reason="wrong plant")
        with pytest.raises(SyncStoppedError, match="wrong plant"):
            sweeping.result(20)
    assert (len(world.server.asked), inbox(world.url)) == (1, [])
    [(system, status, error)] = query(world.url, "SELECT cmms_system_id, status, error_message FROM cmms.reconciliation_sweeps")
    assert (system, status, error.partition(" since")[0]) == (SYSTEM, "failed", "Stopped by jane")
    world.server.wait_s = 0
    [mine] = sweep(world.database.engine, world.settings, systems=[SYSTEM], now=lambda: NOW)
    assert books(mine) == (0, 0, 1, 0)


@pytest.mark.parametrize(("status", "is_passing"), [(403, False), (503, True)])
def test_a_source_that_refuses_us_is_told_from_one_that_is_away(world: World, status: int, is_passing: bool) -> None:
    configure(world)
    world.server.statuses["/api/orders"] = status
    swept = sweep_now(world)
    assert swept.error
    assert swept.is_passing is is_passing


def test_a_sweep_that_a_source_refuses_is_not_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMMS_HOME", str(world.settings.home))
    configure(world)
    world.server.statuses["/api/orders"] = 403
    result = execute(world.database, FIND_MISSED_EVENTS, {})
    assert not result.success
    assert len(world.server.asked) == 1

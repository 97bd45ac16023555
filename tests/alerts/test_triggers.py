"""Each trigger of our own tables fires and clears on a real database, in rounds as the watcher makes them."""

import datetime as dt
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.reports import SyncCounts, SyncStatus
from cmms_pipelines.storage import rejections, sync_controls, sync_log
from cmms_pipelines.storage.tables import plants, sync_conflicts, sync_rejections
from tests.alerts.conftest import World
from tests.storage.inbox_world import query, work_order
from tests.storage.readings_world import make_world, reading, sync
from tests.storage.test_rejections import refusal

CLEARED = 3
NEW_YORK_7_AM = dt.datetime(2026, 3, 3, 12, tzinfo=dt.UTC)


def end_sync(
    world: World,
    status: SyncStatus = SyncStatus.SUCCESS,
    error: str | None = None,
    *,
    refused: int = 0,
    calls: list[int | None] | None = None,
) -> None:
    """Let a sync of equipment end, with 1000 records and one request for each status in `calls`."""
    engine, log_error = world.database.engine, error
    with engine.begin() as connection:
        log = sync_log.insert_log(connection, "equipment", {"plants": "all"}, "key", "run-4711")
        if status is not SyncStatus.FAILED:
            sync_log.add_counts(connection, log, SyncCounts(received=1000, inserted=1000 - refused, refused=refused))
    made = [
        ApiCall("equipments", "GET", code, 3, 10.0, 0, 0, None if code == 200 else f"answer {code}", world.now)
        for code in calls or []
    ]
    sync_log.record_calls(engine, log, made)
    sync_log.finish(engine, log, status, stage_seconds={}, error_message=log_error)


@pytest.mark.parametrize(("refused", "severity"), [(0, None), (99, "medium"), (100, "medium"), (101, "high"), (1000, "critical")])
def test_refused_records_of_a_sync_alert_at_exact_borders_and_clear_with_a_good_one(
    world: World, refused: int, severity: str | None
) -> None:
    end_sync(world, SyncStatus.PARTIAL if refused > 100 else SyncStatus.SUCCESS, refused=refused)
    world.look(minutes=1)
    assert world.standing() == ({"sync:equipment": severity} if severity else {})
    end_sync(world)
    world.look(minutes=CLEARED)
    assert world.standing() == {}


def test_a_sync_that_failed_is_critical_once_its_retries_are_over(world: World) -> None:
    end_sync(world, SyncStatus.FAILED, "401: the token is refused", calls=[401])
    world.look(minutes=1)
    assert world.standing() == {}  # a retry may still put it right
    world.look(minutes=CLEARED)
    (alert,) = world.alerts()
    assert (alert["fingerprint"], alert["severity"], alert["dagster_run_id"]) == ("sync:equipment", "critical", "run-4711")
    assert alert["cause"] == "401: the token is refused"
    end_sync(world, calls=[200])
    world.look(minutes=CLEARED)
    assert world.standing() == {}


def test_a_source_that_does_not_answer_is_one_alert_until_it_answers(world: World) -> None:
    end_sync(world, SyncStatus.FAILED, "The source does not answer.", calls=[200, None])
    world.look(minutes=4)
    assert world.standing() == {"external_api": "critical"}
    end_sync(world, calls=[200])
    world.look(minutes=CLEARED)
    assert world.standing() == {}


def test_failures_in_a_row_make_a_partial_failure_critical(world: World) -> None:
    for attempt in range(3):
        end_sync(world, SyncStatus.PARTIAL, "1 slices failed")
        query(
            world.database.url,
            "UPDATE cmms.api_sync_logs SET dagster_run_id = %s WHERE dagster_run_id = 'run-4711'",
            f"run {attempt}",
        )
    world.look(minutes=4)
    assert world.standing() == {"sync:equipment": "critical"}


def test_events_that_wait_too_long_alert_until_they_are_applied(world: World) -> None:
    work_order(world.database.url)
    world.look(minutes=4.9)
    assert world.standing() == {}
    world.look(minutes=0.2)
    (alert,) = world.alerts()
    assert (alert["fingerprint"], alert["severity"], alert["figures"]["events_due"]) == ("inbox", "high", 1)
    assert "nothing drains the inbox" in alert["cause"]
    query(world.database.url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'processed', processed_at = now()")
    world.look(minutes=CLEARED)
    assert world.standing() == {}


def test_dead_letters_alert_by_their_share_until_they_are_put_back(world: World) -> None:
    url = world.database.url
    for number in range(20):
        work_order(url, str(number))
    query(url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'processed', processed_at = now()")
    dead = "UPDATE cmms.maintenance_event_hooks SET processing_status = 'dead_letter' WHERE mod(sequence, 20) < "
    query(url, f"{dead}2")
    world.look()
    assert world.standing() == {"dead_letters": "medium"}  # two of twenty: a tenth, not more
    query(url, f"{dead}3")
    world.look(minutes=1)
    assert world.standing() == {"dead_letters": "high"}
    query(url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'processed'")
    world.look(minutes=CLEARED)
    assert world.standing() == {}


def test_an_old_conflict_alerts_until_somebody_decides(world: World) -> None:
    values = {
        "cmms_system_id": "atlas",
        "entity_type": "work_order",
        "entity_key": "1",
        "field": "status",
        "rule": "r",
        "reason": "r",
    }
    with world.database.engine.begin() as connection:
        connection.execute(sa.insert(sync_conflicts).values(**values, created_at=world.now))
    world.look(minutes=23 * 60)
    assert world.standing() == {}
    world.look(minutes=60)
    assert world.standing() == {"conflicts": "medium"}
    query(world.database.url, "UPDATE cmms.sync_conflicts SET status = 'resolved', resolved_at = now()")
    world.look(minutes=CLEARED)
    assert world.standing() == {}


def note_day(world: World, day: dt.date, *codes: str) -> None:
    with world.database.engine.begin() as connection:
        log = sync_log.insert_log(connection, "running_times", {"plants": "all"}, str(day), None)
        sync_log.mark_slice_done(connection, log, str(day), day=day, plant_codes=codes, counts=SyncCounts())


def test_a_day_is_missing_from_the_deadline_on_by_the_plants_own_clock(world: World) -> None:
    make_world(world.database.engine)  # B6LG in New York has machines, the others have none
    query(world.database.url, "UPDATE cmms.plants SET created_at = '2026-03-02T05:00Z'")
    world.now = NEW_YORK_7_AM - dt.timedelta(hours=1, minutes=1)
    world.look()
    assert world.standing() == {}
    world.look(minutes=61)
    (alert,) = world.alerts()
    assert (alert["fingerprint"], alert["severity"]) == ("missing_day:B6LG", "high")
    assert "2026-03-02" in alert["title"]
    assert "2026-03-01" not in alert["title"]  # nobody knew the plant then
    note_day(world, dt.date(2026, 3, 2), "B6JF", "B6LG")
    world.look(minutes=CLEARED)
    assert world.standing() == {}
    with world.database.engine.begin() as connection:
        sync_controls.pause(connection, actor="jane", reason="a move")
    world.look(minutes=24 * 60)
    (alert,) = world.alerts()
    assert "paused by jane" in alert["cause"]


def test_an_empty_day_is_missing_only_where_the_weekday_has_always_had_readings(world: World) -> None:
    make_world(world.database.engine)
    query(world.database.url, "UPDATE cmms.plants SET created_at = '2026-03-02T05:00Z'")
    world.now, day = NEW_YORK_7_AM, dt.date(2026, 3, 2)
    note_day(world, day, "B6LG")
    weeks = [day - dt.timedelta(weeks=number) for number in (1, 2, 3, 4)]
    sync(world.database.engine, *(reading("B6LG", one, 5, None) for one in weeks[:3]))
    world.look()
    assert world.standing() == {}  # three weeks say nothing
    sync(world.database.engine, reading("B6LG", weeks[3], 5, None))
    world.look(minutes=1)
    assert world.standing() == {"missing_day:B6LG": "high"}


def refuse(world: World, day: dt.date, count: int) -> None:
    rows = [refusal("running_hours_exceed_day", key=f"N{number}|{day}", date=pd.Timestamp(day)) for number in range(count)]
    with world.database.engine.begin() as connection:
        rejections.store(connection, "running_times", None, pd.DataFrame(rows))


def test_refusals_beyond_the_weekdays_band_alert_and_a_replay_clears_them(world: World) -> None:
    world.now, day = NEW_YORK_7_AM, dt.date(2026, 3, 2)
    for number, count in enumerate((20, 22, 18, 21, 19), start=1):
        refuse(world, day - dt.timedelta(weeks=number), count)
        note_day(world, day - dt.timedelta(weeks=number), "B6LG")
        note_day(world, day - dt.timedelta(weeks=number, days=1), "B6LG")  # another weekday, without any
    note_day(world, day, "B6LG")
    refuse(world, day, 25)  # median 20, MAD 1: at most 20 + max(4.4, 5, a quarter of 20)
    world.look()
    assert world.standing() == {}
    refuse(world, day, 26)
    world.look(minutes=1)
    (alert,) = world.alerts()
    assert (alert["fingerprint"], alert["figures"]["usual_at_most"]) == ("rejections:B6LG", 25.0)
    assert "running_hours_exceed_day" in alert["detail"]
    with world.database.engine.begin() as connection:
        closed: dict[str, Any] = {"status": "replayed", "resolved_at": sa.func.now()}
        connection.execute(sa.update(sync_rejections).where(sync_rejections.c.date == day).values(**closed))
    world.look(minutes=CLEARED)
    assert world.standing() == {}


def test_a_plant_that_is_not_active_lacks_nothing(world: World) -> None:
    make_world(world.database.engine)
    with world.database.engine.begin() as connection:
        connection.execute(sa.update(plants).values(created_at=NEW_YORK_7_AM - dt.timedelta(days=9), is_active=False))
    world.now = NEW_YORK_7_AM
    world.look()
    assert world.standing() == {}

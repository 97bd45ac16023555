"""The external API and events write readings of the same machine: each waits for the other, and neither misses what it wrote."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.machine_days import lock_machines
from cmms_pipelines.storage.partitions import ensure_month_partitions
from tests.conftest import Database
from tests.storage.inbox_world import drain_now, inbox, query, send
from tests.storage.readings_world import events, make_world
from tests.storage.statements import FIRST, Counter, Statement, lived, tell
from tests.storage.test_running_times import wait_until_somebody_waits

DAYS = 12
PLAIN = Counter()


@pytest.fixture
def world(database: Database) -> Database:
    make_world(database.engine)
    with database.engine.begin() as connection:
        ensure_month_partitions(connection, [FIRST])
    return database


def send_reading(url: str, day: int, counter: float) -> None:
    read_at = f"{(FIRST + timedelta(days=day)).isoformat()}T16:00:00Z"
    send(url, "meter_reading_recorded", {"equipment_number": "N526JB", "reading": counter, "reading_at": read_at})


def counter_of(day: int) -> float:
    """Rises by 5 h and ever more, and goes back once, on a day that the external API reports."""
    return 100 + 5 * day + day * (day - 1) / 2 - (60 if day >= 8 else 0)


@pytest.mark.parametrize("round_number", range(2))
def test_days_that_both_write_at_once_come_to_what_the_counter_says(world: Database, round_number: int) -> None:
    for day in range(1, DAYS, 2):
        send_reading(world.url, day, counter_of(day))
    start = threading.Barrier(2)

    def sync() -> None:
        start.wait(10)
        for day in sorted(range(0, DAYS, 2), reverse=bool(round_number)):
            tell(world.engine, PLAIN, Statement(day, counter_of(day)))

    def apply() -> None:
        start.wait(10)
        drain_now(world.url)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(sync), pool.submit(apply)]:
            done.result()
    assert {state for state, _ in inbox(world.url)} == {"processed"}
    stored = lived(world.engine)
    assert [(day.day, day.counter) for day in stored] == [(day, counter_of(day)) for day in range(DAYS)]
    differences = [counter_of(day) - counter_of(day - 1) for day in range(1, DAYS)]
    assert [day.hours for day in stored] == [None, *(hours if hours >= 0 else None for hours in differences)]
    assert [day.days for day in stored] == [1] * DAYS
    assert [day for day, _, _ in events(world.engine)] == [FIRST + timedelta(days=8)]
    waiting = query(world.url, "SELECT status FROM cmms.sync_conflicts")
    assert set(waiting) <= {("converged",)}, "an event that came before the sync had told of the fall waits no longer"


def test_an_event_waits_for_the_sync_that_writes_its_machine(world: Database) -> None:
    send_reading(world.url, 1, 110)
    with ThreadPoolExecutor(1) as pool:
        with world.engine.begin() as connection:
            machine = connection.scalar(sa.text("SELECT id FROM cmms.equipment WHERE equipment_number = 'N526JB'"))
            lock_machines(connection, [machine])
            drained = pool.submit(drain_now, world.url)
            wait_until_somebody_waits(world.engine)
        assert drained.result(20).applied == 1


def test_a_late_reading_of_an_event_has_the_apis_next_difference_computed_again(world: Database) -> None:
    tell(world.engine, PLAIN, Statement(0, 100))
    tell(world.engine, PLAIN, Statement(2, 118))
    send_reading(world.url, 1, 110)
    drain_now(world.url)
    assert [(day.hours, day.days) for day in lived(world.engine)] == [(None, 1), (10, 1), (8, 1)]


def test_both_read_a_counter_with_what_either_knows_of_it(world: Database) -> None:
    tell(world.engine, Counter(overflow_at=10_000), Statement(0, 9998))
    send_reading(world.url, 1, 12)
    drain_now(world.url)
    assert [day.hours for day in lived(world.engine)] == [None, 14]


def test_a_reading_of_an_event_whose_hours_are_refused_keeps_its_counter_too(world: Database) -> None:
    tell(world.engine, PLAIN, Statement(0, 100))
    for day, counter in ((1, 50_000), (2, 50_008)):
        send_reading(world.url, day, counter)
        drain_now(world.url)
    assert [state for state, _ in inbox(world.url)] == ["dead_letter", "processed"]
    assert [(day.hours, day.counter) for day in lived(world.engine)] == [(None, 100), (None, 50_000), (8, 50_008)]
    assert tell(world.engine, PLAIN, Statement(1, 105)).updated == 1
    assert lived(world.engine)[1].hours == 5

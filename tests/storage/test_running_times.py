"""Readings in the database: one row a machine and day whatever arrives in which order, and a replay writes nothing."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage import running_times as storage
from cmms_pipelines.storage.neighbours import read_neighbours
from cmms_pipelines.storage.partitions import ensure_month_partitions
from cmms_pipelines.storage.tables import equipment, equipment_running_times, plants
from tests.conftest import Database
from tests.storage.readings_world import events, judged_rows, make_world, reading, stored, sync

DAY = date(2013, 10, 28)
LG = reading("B6LG", DAY, 5.0667, 674.0833, hour=10)
JF = reading("B6JF", DAY, 6.1, 680.1833, hour=20, BUKRS="ZZ", EQKTU="as JFK calls it")
TOGETHER = [(11.1667, 680.1833, 1, "B6JF", "ZZ", "as JFK calls it")]
COLUMNS = ("running_hours", "cumulative_hours", "days_covered", "plant_code", "t.company_code", "t.equipment_description")


@pytest.fixture
def engine(database: Database) -> sa.Engine:
    make_world(database.engine)
    return database.engine


def versions(engine: sa.Engine) -> list[tuple[Any, ...]]:
    """What changes whenever a row is written, even by an update to the same values."""
    return stored(engine, "t.xmin::text", "t.ctid::text", "t.updated_at")


@pytest.mark.parametrize("batches", [[[LG, JF]], [[LG], [JF]], [[JF], [LG]]], ids=["one batch", "in order", "last one first"])
def test_two_plants_readings_of_a_day_are_one_row_however_they_arrive(engine: sa.Engine, batches: list[Any]) -> None:
    for batch in batches:
        sync(engine, *batch)
    assert stored(engine, *COLUMNS) == TOGETHER
    assert stored(engine, "jsonb_object_keys(readings)") == [("B6JF",), ("B6LG",)]


def test_two_plants_readings_written_at_the_same_moment_are_one_row(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        ensure_month_partitions(connection, [DAY])  # or the writers would wait for one another at the partition
        rows = [judged_rows(connection, [record]) for record in (LG, JF)]
    is_first_written, may_commit = threading.Event(), threading.Event()

    def write_first() -> SyncCounts:
        with engine.begin() as connection:
            counts = storage.write(connection, rows[0])
            is_first_written.set()
            assert may_commit.wait(10)
        return counts

    def write_second() -> SyncCounts:
        assert is_first_written.wait(10)
        with engine.begin() as connection:
            return storage.write(connection, rows[1])

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(write_first), pool.submit(write_second)
        assert is_first_written.wait(10)
        wait_until_somebody_waits(engine)
        may_commit.set()
        assert (first.result().inserted, second.result().updated) == (1, 1)
    assert stored(engine, *COLUMNS) == TOGETHER


def wait_until_somebody_waits(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        for _ in range(1000):
            statement = sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if connection.scalar(statement):
                return
            connection.execute(sa.text("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()"))
    raise AssertionError("the second writer does not wait for the first")


@pytest.mark.parametrize("round_number", range(3))
def test_many_writers_of_the_same_days_lose_no_part(engine: sa.Engine, round_number: int) -> None:
    days = [DAY + timedelta(days=offset) for offset in range(4)]
    plant_codes = ("B6LG", "B6JF", "B6EW")
    batches = [
        [reading(code, day, 2 + place, 100 + place, hour=8 + place, number=number) for number in ("N2", "N3") for day in days]
        for place, code in enumerate(plant_codes)
    ]
    with engine.begin() as connection:
        ensure_month_partitions(connection, days)
        rows = [judged_rows(connection, batch) for batch in batches]

    def write(one: pd.DataFrame) -> SyncCounts:
        with engine.begin() as connection:
            return storage.write(connection, one)

    with ThreadPoolExecutor(3) as pool:
        counts = list(pool.map(write, rows))
    assert stored(engine) == [(9.0, 102.0, 1, "B6EW")] * 8
    assert sum(one.inserted for one in counts) == 8
    assert sum(one.inserted + one.updated for one in counts) == 24


def test_a_replay_writes_nothing(engine: sa.Engine) -> None:
    batches = [[LG, JF], [reading("B6LG", DAY, 3, 50, number="N2"), reading("B6LG", DAY, None, 51.5, number="N3")]]
    for batch in batches:
        sync(engine, *batch)
    before = versions(engine)
    for batch in [*batches, [LG], [JF], [JF, LG]]:
        counts = sync(engine, *batch)
        assert (counts.inserted, counts.updated) == (0, 0)
        assert counts.unchanged == len({record["EQUNR"] for record in batch})
    assert versions(engine) == before


def test_a_later_sync_of_one_plant_replaces_its_own_part_only(engine: sa.Engine) -> None:
    sync(engine, LG, JF)
    assert sync(engine, reading("B6LG", DAY, 4, 673, hour=10)).updated == 1
    assert stored(engine, *COLUMNS) == [(10.1, 680.1833, 1, "B6JF", "ZZ", "as JFK calls it")]
    sync(engine, reading("B6JF", DAY, 1, 669, hour=8, BUKRS="ZZ"))
    assert stored(engine, *COLUMNS[:-1]) == [(5.0, 673.0, 1, "B6LG", "B6")]


def test_of_three_plants_the_one_that_becomes_the_last_gives_plant_and_company(engine: sa.Engine) -> None:
    sync(engine, LG, reading("B6EW", DAY, 1, 682, hour=22, BUKRS="EW"), JF)
    assert stored(engine, *COLUMNS[:-1]) == [(12.1667, 682.0, 1, "B6EW", "EW")]
    sync(engine, reading("B6EW", DAY, 1, 668, hour=8, BUKRS="EW"))
    assert stored(engine, *COLUMNS[:-1]) == [(12.1667, 680.1833, 1, "B6JF", "ZZ")]


def test_a_warning_goes_with_the_part_that_earned_it(engine: sa.Engine) -> None:
    sync(engine, reading("B6LG", DAY, 24.5, 700, hour=10), reading("B6JF", DAY, 0.25, 701, hour=20))
    assert stored(engine, "warnings") == [(["running_hours_over_day"],)]
    sync(engine, reading("B6LG", DAY, 5, 700, hour=10))
    assert stored(engine, "running_hours", "warnings") == [(5.25, None)]


def test_a_reading_over_several_days_makes_room_for_another_plants_reading_of_its_day(engine: sa.Engine) -> None:
    sync(engine, reading("B6LG", DAY - timedelta(days=3), 5, 600))
    sync(engine, reading("B6LG", DAY, 60, 660, hour=10))
    sync(engine, reading("B6JF", DAY, 5, 665, hour=20))
    assert stored(engine)[1] == (65.0, 665.0, 3, "B6JF")


def test_a_backdated_reading_makes_and_takes_away_counter_events(engine: sa.Engine) -> None:
    sync(engine, reading("B6LG", DAY, 5, 100))
    sync(engine, reading("B6LG", DAY + timedelta(days=4), 5, 120))
    assert events(engine) == []
    sync(engine, reading("B6LG", DAY + timedelta(days=2), 5, 300))
    assert events(engine) == [(DAY + timedelta(days=4), 300, 120)]
    sync(engine, reading("B6LG", DAY + timedelta(days=3), None, 90))
    assert events(engine) == [(DAY + timedelta(days=3), 300, 90)]
    sync(engine, reading("B6LG", DAY + timedelta(days=2), 5, 85), reading("B6LG", DAY, 5, 80))
    assert events(engine) == []


def test_a_counter_that_goes_back_has_no_hours_and_an_event(engine: sa.Engine) -> None:
    sync(engine, reading("B6LG", DAY, 5, 21789))
    sync(engine, reading("B6LG", DAY + timedelta(days=1), -1069, 20720))
    assert stored(engine, "running_hours", "warnings")[1] == (None, ["counter_went_back"])
    assert events(engine) == [(DAY + timedelta(days=1), 21789, 20720)]


def test_a_backdated_reading_has_the_next_difference_computed_again(engine: sa.Engine) -> None:
    sync(engine, reading("B6LG", DAY, 5, 100))
    sync(engine, reading("B6LG", DAY + timedelta(days=2), None, 130))
    assert stored(engine)[1] == (30.0, 130.0, 2, "B6LG")
    sync(engine, reading("B6LG", DAY + timedelta(days=1), None, 112))
    assert stored(engine)[1:] == [(12.0, 112.0, 1, "B6LG"), (18.0, 130.0, 1, "B6LG")]
    assert stored(engine, "warnings")[2] == (["running_hours_missing"],)


def test_a_backdated_correction_that_leaves_too_much_or_too_little_leaves_the_hours_open(engine: sa.Engine) -> None:
    sync(engine, reading("B6LG", DAY, 5, 100))
    sync(engine, reading("B6LG", DAY + timedelta(days=1), None, 112))
    sync(engine, reading("B6LG", DAY, 5, 10))
    assert stored(engine, "running_hours", "warnings")[1] == (None, ["running_hours_exceed_day", "running_hours_missing"])
    sync(engine, reading("B6LG", DAY, 5, 200))
    assert stored(engine, "running_hours", "warnings")[1] == (None, ["counter_went_back", "running_hours_missing"])


def test_hours_that_the_source_gave_are_not_computed_again(engine: sa.Engine) -> None:
    sync(engine, reading("B6LG", DAY, 5, 100))
    sync(engine, reading("B6LG", DAY + timedelta(days=2), 7, 130))
    before = stored(engine, "t.xmin::text")[1]
    sync(engine, reading("B6LG", DAY + timedelta(days=1), 3, 120))
    assert stored(engine)[2] == (7.0, 130.0, 1, "B6LG")
    assert stored(engine, "t.xmin::text")[2] == before


def test_the_apis_reading_replaces_one_of_a_webhook(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        ensure_month_partitions(connection, [DAY])
        ids = connection.execute(
            sa.select(equipment.c.id, equipment.c.plant_id).where(equipment.c.equipment_number == "N526JB")
        ).one()
        row = {"equipment_id": ids.id, "plant_id": ids.plant_id, "date": DAY, "cumulative_hours": 1, "running_hours": 20}
        connection.execute(sa.insert(equipment_running_times).values(**row, source="webhook:atlas", warnings=["x"]))
    assert sync(engine, JF).updated == 1
    assert stored(engine, *COLUMNS[:4], "source", "warnings", "readings") == [
        (6.1, 680.1833, 1, "B6JF", "external_api", None, None)
    ]


def test_neighbours_tell_the_reading_before_and_what_other_plants_reported(engine: sa.Engine) -> None:
    sync(engine, reading("B6LG", DAY - timedelta(days=40), 5, 600))
    sync(engine, LG, JF)
    with engine.begin() as connection:
        rows = judged_rows(connection, [reading("B6EW", DAY, 1, 690, hour=23)])
        keys = rows.assign(equipment_number="N526JB")[["equipment_number", "date"]]
        around = read_neighbours(connection, keys, ["B6EW", "B6LG"]).iloc[0]
    assert around["previous_date"].date() == DAY - timedelta(days=40)
    assert (around["previous_cumulative_hours"], around["other_plants_hours"], around["other_plants_days_covered"]) == (
        600,
        6.1,
        1,
    )


def test_months_are_made_on_demand_by_many_connections_at_once(engine: sa.Engine) -> None:
    start = threading.Barrier(4)
    days = [date(2024, 11, 5), date(2024, 12, 31), date(2025, 1, 1)]

    def ensure(_: int) -> list[str]:
        with engine.begin() as connection:
            start.wait(10)
            return ensure_month_partitions(connection, days)

    with ThreadPoolExecutor(4) as pool:
        created = [name for names in pool.map(ensure, range(4)) for name in names]
    assert sorted(created) == [f"equipment_running_times_{month}" for month in ("2024_11", "2024_12", "2025_01")]
    sync(engine, *[reading("B6LG", day, 1, 5) for day in days])
    assert len(stored(engine)) == 3


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ({"running_hours": -1}, "running_hours_not_negative"),
        ({"running_hours": 26.5}, "running_hours_fit_days"),
        ({"cumulative_hours": -0.1}, "cumulative_hours_not_negative"),
        ({"running_hours": None, "cumulative_hours": None}, "says_something"),
        ({"days_covered": 0}, "running_hours_fit_days|days_covered_positive"),
        ({"equipment_id": 10**9}, "equipment_id"),
        ({"plant_id": 10**9}, "plant_id"),
    ],
)
def test_the_database_refuses_a_row_that_breaks_a_rule(engine: sa.Engine, wrong: dict[str, Any], constraint: str) -> None:
    with engine.begin() as connection:
        ensure_month_partitions(connection, [DAY])
        ids = {
            "equipment_id": connection.scalar(sa.select(equipment.c.id)),
            "plant_id": connection.scalar(sa.select(plants.c.id)),
        }
    good = {**ids, "date": DAY, "running_hours": 5, "cumulative_hours": 100, "days_covered": 1}
    with pytest.raises(sa.exc.IntegrityError, match=constraint), engine.begin() as connection:
        connection.execute(sa.insert(equipment_running_times).values(**{**good, **wrong}))
    with engine.begin() as connection:
        connection.execute(sa.insert(equipment_running_times).values(**good))
    with pytest.raises(sa.exc.IntegrityError, match="pkey"), engine.begin() as connection:
        connection.execute(sa.insert(equipment_running_times).values(**good))

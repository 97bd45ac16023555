"""Many machines at once go another way through the database than few, and end in the same tables."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.neighbours import Days, read_neighbours
from cmms_pipelines.storage.partitions import ensure_month_partitions
from cmms_pipelines.storage.tables import counter_facts, equipment, plants
from tests.conftest import Database
from tests.storage.readings_world import make_world, reading, sync
from tests.storage.statements import content

DAY = date(2013, 10, 20)
MACHINES = 1100  # a few more than what is done as many


@pytest.fixture
def engine(database: Database) -> sa.Engine:
    make_world(database.engine)
    with database.engine.begin() as connection:
        home = connection.scalar(sa.select(plants.c.id).where(plants.c.plant_code == "B6LG"))
        rows = [{"equipment_number": f"M{number}", "plant_id": home} for number in range(MACHINES)]
        connection.execute(sa.insert(equipment), rows)
    return database.engine


def of_day(day: int) -> Iterator[dict[str, Any]]:
    """Counters with gaps, decreases, left-out hours and second plants, each machine with its own."""
    for number in range(MACHINES):
        if (number + day) % 7 == 3:
            continue  # a gap
        counter = 1000 + number + 8 * day - (500 if number % 11 <= day else 0)
        hours = None if number % 3 == 0 else 8
        yield reading("B6LG", DAY + timedelta(days=day), hours, counter, number=f"M{number}")
        if number % 13 == day:
            yield reading("B6JF", DAY + timedelta(days=day), 2, counter + 2, hour=20, number=f"M{number}")


def in_batches(engine: sa.Engine, days: Sequence[int], size: int) -> SyncCounts:
    counts = SyncCounts()
    for day in days:
        records = list(of_day(day))
        for start in range(0, len(records), size):
            counts.add(sync(engine, *records[start : start + size]))
    return counts


def forget(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE cmms.equipment_running_times, cmms.counter_events"))


@pytest.mark.parametrize("days", [[0, 1, 2, 8], [8, 0, 2, 1]], ids=["in order", "late ones"])
def test_many_at_once_end_as_few_at_a_time(engine: sa.Engine, days: list[int]) -> None:
    at_once = in_batches(engine, days, 10_000)
    many = content(engine)
    replayed = in_batches(engine, days, 10_000)
    assert (replayed.inserted, replayed.updated, content(engine)) == (0, 0, many)
    forget(engine)
    few = in_batches(engine, sorted(days), 700)
    assert content(engine) == many
    assert at_once.inserted == len(many) - events_of(engine)
    assert few.inserted == at_once.inserted


def events_of(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT count(*) FROM cmms.counter_events")) or 0


def test_of_many_readings_those_that_changed_are_written_and_no_others(engine: sa.Engine) -> None:
    in_batches(engine, [0, 1, 2], 10_000)
    changed = [{**record, "MDTXT": "corrected"} if record["EQUNR"].endswith("7") else record for record in of_day(1)]
    counts = sync(engine, *changed)
    assert counts.updated == len({record["EQUNR"] for record in changed if record["EQUNR"].endswith("7")})
    assert counts.inserted == 0


@pytest.mark.parametrize("facts", [False, True], ids=["nothing known", "counters known"])
@pytest.mark.parametrize("days", [[], [2], [1, 7], [8], [1, 8], [1, 2, 7, 8]], ids=str)
def test_a_look_at_many_tells_what_a_look_at_few_tells_whatever_is_stored(
    engine: sa.Engine, days: list[int], facts: bool
) -> None:
    in_batches(engine, days, 10_000)
    keys = pd.DataFrame(
        {"equipment_number": [f"M{number}" for number in range(MACHINES)], "date": pd.Timestamp(DAY) + pd.Timedelta(8, "D")}
    )
    with engine.begin() as connection:
        ensure_month_partitions(connection, [DAY])
        if facts:
            ids = connection.scalars(sa.select(equipment.c.id).where(equipment.c.equipment_number.startswith("M")).limit(9)).all()
            known = {"overflow_at": 99_999, "is_counting_backwards": True}
            connection.execute(sa.insert(counter_facts), [{"equipment_id": identifier, **known} for identifier in ids])
        at_once = read_neighbours(connection, keys, ["B6LG"])
        few = [read_neighbours(connection, keys.iloc[start : start + 300], ["B6LG"]) for start in range(0, MACHINES, 300)]
    both = [frame.sort_values("equipment_number", ignore_index=True) for frame in (at_once, pd.concat(few))]
    pd.testing.assert_frame_equal(*both)
    assert len(at_once) == MACHINES
    assert at_once["is_stored"].any() == (8 in days)
    assert at_once["week_ago_cumulative_hours"].notna().any() == (1 in days)
    assert at_once["previous_date"].notna().any() == bool({1, 2, 7} & set(days))
    assert at_once["known_overflow_at"].notna().sum() == 9 * facts


def test_foreign_keys_of_many_rows_are_checked_by_index_however_small_a_table_is(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ANALYZE cmms.plants"))  # tells that it is one page, which PostgreSQL would read for each row
    before = times_read_whole(engine, "cmms.plants")
    assert sync(engine, *of_day(1)).inserted > MACHINES / 2
    assert times_read_whole(engine, "cmms.plants") - before < MACHINES / 10


def times_read_whole(engine: sa.Engine, table: str) -> int:
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    with engine.begin() as connection:
        return connection.scalar(sa.text("SELECT pg_stat_get_numscans(CAST(:name AS regclass))"), {"name": table}) or 0


@pytest.mark.parametrize(
    ("machines", "days", "is_one_by_one"),
    [(900, 1, True), (2000, 1, True), (15_000, 1, False), (15_000, 30, True)],
    ids=["few", "few beside all", "most of all", "one in thirty of a month"],
)
def test_rows_are_looked_up_one_by_one_unless_that_is_more_work_than_reading_all_of_their_days(
    engine: sa.Engine, machines: int, days: int, is_one_by_one: bool
) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("""
                INSERT INTO cmms.equipment (equipment_number, plant_id, equipment_description, object_number, point, company_code)
                SELECT 'X' || n, min(p.id), rpad('a machine among twenty thousand', 100), 'OBJ' || n, 'P' || n, '1000'
                FROM generate_series(1, 20000) n CROSS JOIN cmms.plants p GROUP BY n
            """)
        )
        of_days = pd.Series([pd.Timestamp(DAY), pd.Timestamp(DAY) + pd.Timedelta(days - 1, "D")])
        found = Days.of(connection, of_days, machines, ["B6LG"])
    assert (found.plant_ids is None) == is_one_by_one

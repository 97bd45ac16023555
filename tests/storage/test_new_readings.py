"""Rows that nobody has yet are added without a look at what is stored; whoever is faster is neither overwritten nor missed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.storage import running_times as storage
from cmms_pipelines.storage.machine_days import lock_machines
from cmms_pipelines.storage.neighbours import lock_and_read_plants, read_neighbours
from cmms_pipelines.storage.partitions import ensure_month_partitions
from cmms_pipelines.storage.tables import equipment, equipment_running_times, plants
from tests.conftest import Database
from tests.storage.readings_world import judged_rows, make_world, reading, stored, sync
from tests.storage.statements import content
from tests.storage.test_running_times import wait_until_somebody_waits

DAY = date(2013, 10, 20)
NEXT = DAY + timedelta(days=1)
MACHINES = 600  # more than what is worth a savepoint
NUMBERS = [f"M{number}" for number in range(MACHINES)]


@pytest.fixture
def engine(database: Database) -> sa.Engine:
    make_world(database.engine)
    with database.engine.begin() as connection:
        home = connection.scalar(sa.select(plants.c.id).where(plants.c.plant_code == "B6LG"))
        connection.execute(sa.insert(equipment), [{"equipment_number": number, "plant_id": home} for number in NUMBERS])
        ensure_month_partitions(connection, [DAY])
    return database.engine


def of_all(day: date, hours: float | None, counter: float) -> list[dict[str, object]]:
    return [reading("B6LG", day, hours, counter + place, number=number) for place, number in enumerate(NUMBERS)]


def judged_early(engine: sa.Engine, records: list[dict[str, object]]) -> pd.DataFrame:
    """Return rows that were judged beside what is stored now, to be written later."""
    with engine.begin() as connection:
        rows = judged_rows(connection, records)
    assert rows["is_new"].all()
    return rows


def same_day_same_plant(engine: sa.Engine) -> None:
    sync(engine, *(reading("B6LG", NEXT, 3, 500, number=number) for number in NUMBERS[:20]))


def same_day_other_plant(engine: sa.Engine) -> None:
    sync(engine, *(reading("B6JF", NEXT, 3, 2000, hour=20, number=number) for number in NUMBERS[:20]))


def day_before(engine: sa.Engine) -> None:
    sync(engine, *(reading("B6LG", DAY, 3, 990 + place, number=number) for place, number in enumerate(NUMBERS)))


def day_after(engine: sa.Engine) -> None:
    sync(engine, *(reading("B6LG", NEXT + timedelta(days=1), None, 1012, number=number) for number in NUMBERS[:20]))


@pytest.mark.parametrize("meanwhile", [same_day_same_plant, same_day_other_plant, day_before, day_after])
def test_what_others_write_between_the_look_and_the_write_ends_as_if_it_had_come_before(
    engine: sa.Engine, meanwhile: Callable[[sa.Engine], None]
) -> None:
    records = of_all(NEXT, None, 1000)
    rows = judged_early(engine, records)
    meanwhile(engine)
    of_others = len(stored(engine, where=f"t.date = '{NEXT}'"))
    with engine.begin() as connection:
        counts = storage.write(connection, rows)
    assert (counts.inserted, counts.inserted + counts.updated) == (MACHINES - of_others, MACHINES)
    found = content(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE cmms.equipment_running_times, cmms.counter_events"))
    meanwhile(engine)
    sync(engine, *records)
    assert content(engine) == found


def test_a_row_by_hand_that_is_not_committed_yet_is_waited_for(engine: sa.Engine) -> None:
    rows = judged_early(engine, of_all(DAY, 4, 1000))
    machine = int(rows["equipment_id"].iloc[300])

    def write() -> tuple[int, int]:
        with engine.begin() as connection:
            counts = storage.write(connection, rows)
        return counts.inserted, counts.updated

    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as by_hand:
            home = by_hand.scalar(sa.select(plants.c.id).where(plants.c.plant_code == "B6LG"))
            values = {"equipment_id": machine, "plant_id": home, "date": DAY, "running_hours": 1}
            by_hand.execute(sa.insert(equipment_running_times).values(values))
            written = pool.submit(write)
            wait_until_somebody_waits(engine)
        assert written.result(30) == (MACHINES - 1, 1)
    assert {hours for (hours,) in stored(engine, "running_hours")} == {4}


def test_whoever_has_the_machines_locked_is_waited_for(engine: sa.Engine) -> None:
    rows = judged_early(engine, of_all(DAY, 4, 1000))

    def write() -> int:
        with engine.begin() as connection:
            return storage.write(connection, rows).inserted

    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            lock_machines(connection, [int(rows["equipment_id"].iloc[300])])
            written = pool.submit(write)
            wait_until_somebody_waits(engine)
            assert stored(engine) == []
        assert written.result(30) == MACHINES


def test_a_broken_constraint_is_not_taken_for_somebody_who_was_faster(engine: sa.Engine) -> None:
    rows = judged_early(engine, of_all(DAY, 4, 1000)).assign(running_hours=1000.0)
    with pytest.raises(sa.exc.IntegrityError, match="running_hours_fit_days"), engine.begin() as connection:
        storage.write(connection, rows)


def test_all_machines_of_plants_at_once_have_the_neighbours_of_each(engine: sa.Engine) -> None:
    sync(engine, *of_all(DAY - timedelta(days=6), 4, 900))
    sync(engine, *(reading("B6LG", DAY, 3, 1000, number=number) for number in NUMBERS[::2]))
    sync(engine, *(reading("B6JF", DAY, 3, 1000, number=number) for number in NUMBERS[1:400:2]))
    sync(engine, *(reading("B6JF", NEXT, 3, 1010, number=number) for number in NUMBERS[:50]))
    sync(engine, *(reading("B6LG", NEXT, 3, 1020, hour=20, number=number) for number in NUMBERS[25:90]))
    keys = pd.DataFrame({"equipment_number": pd.Series(NUMBERS, dtype="str"), "date": pd.Timestamp(NEXT)})
    with engine.begin() as connection:
        one_by_one = pd.concat([read_neighbours(connection, keys.iloc[:300], ["B6LG"]),
                                read_neighbours(connection, keys.iloc[300:], ["B6LG"])])  # fmt: skip
        at_once = lock_and_read_plants(connection, NEXT, ["B6LG"], MACHINES + 4)
        assert lock_and_read_plants(connection, NEXT, ["B6LG"], MACHINES) is None
    assert at_once is not None
    of_these = at_once.loc[at_once["equipment_number"].isin(NUMBERS)]
    assert (at_once["is_locked"] == 1).all()
    frames = [frame.drop(columns="is_locked") for frame in (of_these, one_by_one)]
    by_number = [frame.sort_values("equipment_number", ignore_index=True) for frame in frames]
    pd.testing.assert_frame_equal(*by_number)
    assert (at_once["is_stored"].sum(), at_once["other_plants_hours"].sum()) == (90, 150)

"""The neighbours of a chunk are the same, whether its slice asked for those of all machines or it asks for its own."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.tables import equipment, plants
from cmms_pipelines.sync import neighbours
from cmms_pipelines.sync.neighbours import NeighboursOfSlice
from cmms_pipelines.sync.session import Slice
from tests.conftest import Database
from tests.storage.readings_world import NUMBERS, make_world, reading, sync

DAY = date(2013, 10, 20)
SLICE = Slice(("B6LG",), DAY)


@pytest.fixture
def engine(database: Database) -> sa.Engine:
    """Machines of a plant with readings of the day before, and one whose master is at another plant."""
    make_world(database.engine)
    with database.engine.begin() as connection:
        other = connection.scalar(sa.select(plants.c.id).where(plants.c.plant_code == "B6EW"))
        connection.execute(sa.insert(equipment).values(equipment_number="AWAY Ä", plant_id=other))
    before = DAY - timedelta(days=1)
    sync(database.engine, *(reading("B6LG", before, 3, 100, number=number) for number in ("N526JB", "N2", "AWAY Ä")))
    sync(database.engine, reading("B6JF", DAY, 2, 103, number="N3"))
    return database.engine


def chunk(*days: tuple[str | None, date | None]) -> pd.DataFrame:
    numbers, dates = zip(*days, strict=True)
    columns = {"equipment_number": pd.Series(numbers, dtype="str"), "date": pd.Series(dates, dtype="datetime64[s]")}
    return pd.DataFrame(columns).assign(plant_code=pd.Series(["B6LG"] * len(days), dtype="str"))


CHUNK = chunk(
    *((number, DAY) for number in NUMBERS),
    ("N2", DAY),
    ("N2", DAY + timedelta(days=1)),
    ("N4", None),
    ("AWAY Ä", DAY),
    ("NOBODY", DAY),
    (None, DAY),
)


HOME = chunk(*((number, DAY) for number in ("N2", "N4", "N2", "N526JB")))  # of machines whose masters are at the slice's plants


def of_chunk(around: NeighboursOfSlice) -> pd.DataFrame:
    found = around.of(CHUNK).neighbours
    return found.sort_values(["equipment_number", "date"], ignore_index=True)


def test_both_ways_bring_the_same(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one = of_chunk(NeighboursOfSlice(engine, SLICE, lambda: len(CHUNK), 20)).drop(columns="is_locked")
    monkeypatch.setattr(neighbours, "_FEWEST", 1)
    asked_for_all: list[date] = []
    read = neighbours.lock_and_read_plants

    def noted(connection: sa.Connection, day: date, plant_codes: tuple[str, ...], most: int) -> pd.DataFrame | None:
        asked_for_all.append(day)
        return read(connection, day, plant_codes, most)

    monkeypatch.setattr(neighbours, "lock_and_read_plants", noted)
    around = NeighboursOfSlice(engine, SLICE, lambda: len(CHUNK), 20)
    with engine.begin() as connection:
        around.begin(connection)
        at_once = of_chunk(around)
        pd.testing.assert_frame_equal(of_chunk(around), at_once)
    pd.testing.assert_frame_equal(at_once.drop(columns="is_locked"), one_by_one)
    assert asked_for_all == [DAY]
    assert one_by_one["equipment_number"].to_list() == ["AWAY Ä", "N2", "N2", "N3", "N4", "N526JB"]
    assert one_by_one["is_stored"].to_list() == [0, 0, 0, 1, 0, 0]
    of_day_at_home = [False, True, False, True, True, True]
    assert (at_once["is_locked"] == 1).to_list() == of_day_at_home


def test_another_attempt_looks_anew(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_FEWEST", 1)
    around = NeighboursOfSlice(engine, SLICE, lambda: len(CHUNK), 20)
    with engine.begin() as connection:
        around.begin(connection)
        assert of_chunk(around)["is_stored"].sum() == 1
    sync(engine, reading("B6LG", DAY, 3, 200, number="N4"))
    assert of_chunk(around)["is_stored"].sum() == 1
    with engine.begin() as connection:
        around.begin(connection)
        assert of_chunk(around)["is_stored"].sum() == 2


def test_what_is_said_of_a_locked_machine_stays_true_until_the_slice_is_written(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_FEWEST", 1)
    around = NeighboursOfSlice(engine, SLICE, lambda: len(CHUNK), 20)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            around.begin(connection)
            correction = pool.submit(sync, engine, reading("B6LG", DAY - timedelta(days=1), 3, 99, number="N526JB"))
            with pytest.raises(TimeoutError):
                correction.result(0.5)
            before = of_chunk(around).set_index("equipment_number")["previous_cumulative_hours"]
            assert before["N526JB"] == 100
        correction.result(10)
    with engine.begin() as connection:
        around.begin(connection)
        assert of_chunk(around).set_index("equipment_number")["previous_cumulative_hours"]["N526JB"] == 99


def test_records_of_locked_machines_are_told_their_neighbours_by_row(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_FEWEST", 1)
    around = NeighboursOfSlice(engine, SLICE, lambda: len(HOME), 20)
    by_key = around.of(HOME)
    assert by_key.rows is None
    with engine.begin() as connection:
        around.begin(connection)
        by_row = around.of(HOME)
        assert around.of(CHUNK).rows is None  # it has machines that are not of the slice's plants
    assert by_row.rows is not None
    found = by_row.neighbours.iloc[by_row.rows].reset_index(drop=True)
    assert found["equipment_number"].to_list() == ["N2", "N4", "N2", "N526JB"]
    expected = HOME[["equipment_number", "date"]].merge(by_key.neighbours, on=["equipment_number", "date"])
    pd.testing.assert_frame_equal(found.drop(columns="is_locked"), expected.drop(columns="is_locked"))

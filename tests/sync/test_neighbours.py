"""The neighbours of a chunk are the same, whether its slice asked for those of all machines or it asks for its own."""

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


def of_chunk(around: NeighboursOfSlice, attempt: int = 0) -> pd.DataFrame:
    found = around.of(CHUNK, attempt).neighbours
    return found.sort_values(["equipment_number", "date"], ignore_index=True)


def test_both_ways_bring_the_same(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one = of_chunk(NeighboursOfSlice(engine, SLICE, lambda: len(CHUNK), 20))
    monkeypatch.setattr(neighbours, "_FEWEST", 1)
    asked_for_all: list[date] = []
    read = neighbours.read_neighbours_of_plants

    def noted(connection: sa.Connection, day: date, plant_codes: tuple[str, ...], most: int) -> pd.DataFrame | None:
        asked_for_all.append(day)
        return read(connection, day, plant_codes, most)

    monkeypatch.setattr(neighbours, "read_neighbours_of_plants", noted)
    around = NeighboursOfSlice(engine, SLICE, lambda: len(CHUNK), 20)
    pd.testing.assert_frame_equal(of_chunk(around), one_by_one)
    pd.testing.assert_frame_equal(of_chunk(around), one_by_one)
    assert asked_for_all == [DAY]
    assert one_by_one["equipment_number"].to_list() == ["AWAY Ä", "N2", "N2", "N3", "N4", "N526JB"]
    assert one_by_one["is_stored"].to_list() == [0, 0, 0, 1, 0, 0]


def test_another_attempt_looks_anew(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_FEWEST", 1)
    around = NeighboursOfSlice(engine, SLICE, lambda: len(CHUNK), 20)
    assert of_chunk(around, attempt=1)["is_stored"].sum() == 1
    sync(engine, reading("B6LG", DAY, 3, 200, number="N4"))
    assert of_chunk(around, attempt=1)["is_stored"].sum() == 1
    assert of_chunk(around, attempt=2)["is_stored"].sum() == 2

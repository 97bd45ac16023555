"""Masters in the database: the newer record counts, whichever slice is written last."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.equipment import judge
from cmms_pipelines.domain.records import equipment_frame
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage import equipment as storage
from cmms_pipelines.storage.plants import read as read_plants
from cmms_pipelines.storage.tables import equipment, plants
from tests.conftest import Database
from tests.domain.samples import ZONES, master_record

OLDER = master_record(SWERK="B6LG", EQKTU="as LG has it", CREATED_AT="2013-01-01T00:00:00Z")
NEWER = master_record(SWERK="B6JF", EQKTU="as JF has it", CREATED_AT="2013-02-01T00:00:00Z")


@pytest.fixture
def engine(database: Database) -> sa.Engine:
    with database.engine.begin() as connection:
        rows = [{"plant_code": code, "name": code, "time_zone": zone} for code, zone in ZONES.items()]
        connection.execute(sa.insert(plants), rows)
    return database.engine


def write(engine: sa.Engine, record: dict[str, Any]) -> SyncCounts:
    with engine.begin() as connection:
        known: pd.DataFrame = read_plants(connection)
        rows = judge(equipment_frame([record], ZONES), known, ()).rows
        return storage.write(connection, rows.assign(equipment_group_id=pd.Series([None], dtype="Int64")))


def descriptions(engine: sa.Engine) -> list[tuple[str, str]]:
    statement = sa.select(plants.c.plant_code, equipment.c.equipment_description).join(
        plants, plants.c.id == equipment.c.plant_id
    )
    with engine.connect() as connection:
        return [(row.plant_code, row.equipment_description) for row in connection.execute(statement)]


@pytest.mark.parametrize("order", [[OLDER, NEWER], [NEWER, OLDER], [NEWER, OLDER, NEWER]])
def test_of_two_plants_records_of_one_machine_the_newer_one_counts(engine: sa.Engine, order: Sequence[dict[str, Any]]) -> None:
    for record in order:
        write(engine, record)
    assert descriptions(engine) == [("B6JF", "as JF has it")]


def test_an_older_record_of_another_plant_is_unchanged_in_the_books(engine: sa.Engine) -> None:
    write(engine, NEWER)
    counts = write(engine, OLDER)
    assert (counts.inserted, counts.updated, counts.unchanged) == (0, 0, 1)


def test_a_machine_that_moved_keeps_its_time_of_creation_and_is_written(engine: sa.Engine) -> None:
    write(engine, NEWER)
    assert write(engine, {**NEWER, "SWERK": "DE01"}).updated == 1
    assert descriptions(engine) == [("DE01", "as JF has it")]


def test_a_plant_may_correct_its_own_record_whatever_its_time_of_creation(engine: sa.Engine) -> None:
    write(engine, NEWER)
    assert write(engine, {**NEWER, "CREATED_AT": "2012-12-01T00:00:00Z", "EQKTU": "corrected"}).updated == 1
    assert descriptions(engine) == [("B6JF", "corrected")]

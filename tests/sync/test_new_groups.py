"""A group that a slice is the first to name is there for all slices, whatever becomes of that one."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa

from cmms_pipelines.storage.tables import equipment, plants
from tests.conftest import Database
from tests.domain.samples import master_record
from tests.sync.conftest import Source, settings_for
from tests.sync.served import serving

PLANTS = ["B6JF", "B6LG"]


def test_a_slice_that_waits_holds_up_no_other_that_names_the_same_new_group(database: Database, tmp_path: Path) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.insert(plants), [{"plant_code": code, "name": code} for code in PLANTS])
        first = sa.select(sa.func.min(plants.c.id)).scalar_subquery()
        connection.execute(sa.insert(equipment).values(equipment_number="N1", plant_id=first))
    with serving() as (emulator, served), ThreadPoolExecutor(1) as pool:
        served.masters = [master_record(EQUNR=number, SWERK=plant) for number, plant in zip(["N1", "N2"], PLANTS, strict=True)]
        settings = settings_for(emulator, database, tmp_path, sync_plants_per_slice=1, sync_slices_in_flight=2)
        with database.engine.begin() as somebody:
            somebody.execute(sa.select(equipment).where(equipment.c.equipment_number == "N1").with_for_update())
            going = pool.submit(Source(database, settings).equipment, PLANTS)
            wait_until_stored(database, "N2")
            assert not going.done()
        counts = going.result(20).counts
    assert (counts.inserted, counts.updated, counts.refused) == (1, 1, 0)
    with database.engine.connect() as connection:
        assert len(set(connection.scalars(sa.select(equipment.c.equipment_group_id)))) == 1


def wait_until_stored(database: Database, number: str) -> None:
    deadline = time.monotonic() + 15
    statement = sa.select(sa.func.count()).where(equipment.c.equipment_number == number)
    while True:
        with database.engine.connect() as connection:
            if connection.scalar(statement):
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)

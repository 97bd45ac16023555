"""Slices side by side: which may begin beside which, and that the tables are those of one slice after the other."""

import random
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from cmms_pipelines.storage import running_times
from cmms_pipelines.storage.tables import equipment, plants
from cmms_pipelines.sync import neighbours
from cmms_pipelines.sync.session import Slice, _next_of
from tests.conftest import Database
from tests.domain.samples import reading_record
from tests.emulator_server import Emulator
from tests.endurance.world import assert_books_balance, forget_running_times, outcome
from tests.sync.conftest import Source, settings_for
from tests.sync.served import Served, serving

DAYS = [date(2013, 10, 29) + timedelta(days=number) for number in range(6)]  # into another month
PLANTS = ["PL01", "PL02", "PL03", "PL04"]
MACHINES = [f"M{number}" for number in range(30)]


def begun(todo: list[Slice], *in_flight: Slice) -> Slice | None:
    return _next_of(deque(todo), in_flight)


def test_a_plants_day_waits_for_its_day_before_and_another_plant_is_a_day_ahead_at_most() -> None:
    a, b, c = (lambda day, code=code: Slice((code,), DAYS[day]) for code in "ABC")
    assert begun([a(0), b(0)]) == a(0)
    assert begun([a(1), b(1)], a(0), b(0)) is None
    assert begun([a(1), b(1)], a(0)) == b(1)
    assert begun([b(0), a(1), b(1)], a(0)) == b(0)
    assert begun([c(0), b(1), c(1)], a(0), b(0)) == c(0)
    assert begun([a(1), b(1), a(2), b(2)], a(0), b(0)) is None
    assert begun([b(2), a(2)], a(0), b(1)) is None  # two days ahead
    assert begun([Slice(("B", "D"), DAYS[1]), Slice(("E",), DAYS[1])], b(0)) == Slice(("E",), DAYS[1])
    assert begun([Slice(("B", "D"), DAYS[1]), Slice(("D",), DAYS[2])], b(0)) is None  # nor past one that waits
    assert begun([Slice(("B",)), Slice(("C",))], Slice(("A",))) == Slice(("B",))
    assert begun([], a(0)) is None


@pytest.fixture
def source(database: Database, tmp_path: Path) -> Iterator[tuple[Source, Served]]:
    with serving() as (server, served), database.engine.begin() as connection:
        connection.execute(
            sa.insert(plants), [{"plant_code": code, "name": code, "time_zone": "America/New_York"} for code in PLANTS]
        )
        home = connection.scalar(sa.select(plants.c.id).where(plants.c.plant_code == PLANTS[0]))
        connection.execute(sa.insert(equipment), [{"equipment_number": number, "plant_id": home} for number in MACHINES])
        connection.commit()
        yield made(server, database, tmp_path), served


def made(server: Emulator, database: Database, home: Path) -> Source:
    given = {"sync_plants_per_slice": 1, "api_plants_per_call": 1, "sync_chunk_rows": 100}
    return Source(database, settings_for(server, database, home, **given))


def wandering(chance: random.Random) -> list[dict[str, object]]:
    """Readings of machines that are at another plant every other day; hours are left out, and counters fall and are missing."""
    found: list[dict[str, object]] = []
    for number in MACHINES:
        counter, plant = 1000.0, PLANTS[0]
        for day in DAYS:
            plant = chance.choice(PLANTS) if chance.random() < 0.6 else plant
            hours = round(chance.uniform(0, 20), 2)
            counter = round(counter + hours if chance.random() < 0.95 else hours, 2)
            if chance.random() < 0.1:
                continue
            given = {
                "RECDV": f"{hours}" if chance.random() < 0.5 else None,
                "CNTRR": f"{counter}" if chance.random() < 0.9 else None,
            }
            found.append(reading_record(SWERK=plant, EQUNR=number, DATE=f"{day}", DATE_TIME=f"{day} 10:00:00", **given))
    return found


def wait_for_locks(database: Database, count: int) -> None:
    waiting = sa.text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
    deadline = time.monotonic() + 20
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while (connection.scalar(waiting) or 0) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_hours_of_two_plants_that_are_too_many_together_are_refused_for_one_of_them_also_side_by_side(
    source: tuple[Source, Served], database: Database
) -> None:
    synced, served = source
    served.is_by_day = True
    served.readings = [
        reading_record(SWERK=code, EQUNR="M1", DATE=f"{DAYS[0]}", DATE_TIME=f"{DAYS[0]} 10:00:00", RECDV="15", CNTRR=counter)
        for code, counter in (("PL01", "1000"), ("PL02", "1015"))
    ]
    lock = sa.select(equipment.c.id).where(equipment.c.equipment_number == "M1").with_for_update()
    with ThreadPoolExecutor(1) as pool:
        with database.engine.begin() as connection:
            connection.execute(lock)  # until both are judged and want to write
            going = pool.submit(synced.running_times, DAYS[0])
            wait_for_locks(database, 2)
        counts = going.result(60).counts
    assert (counts.received, counts.inserted, counts.refused) == (2, 1, 1)
    assert set(counts.refused_by_rule) == {"machine_hours_exceed_day"}
    assert_books_balance(synced.engine)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 42))])
def test_machines_that_wander_between_plants_end_as_by_one_slice_after_the_other(
    source: tuple[Source, Served], seed: int
) -> None:
    synced, served = source
    chance = random.Random(seed)  # noqa: S311 - a made-up history, not a secret
    served.is_by_day, served.readings = True, wandering(chance)
    synced.settings = synced.settings.model_copy(update={"sync_slices_in_flight": 1})
    synced.running_times(*DAYS)
    one_by_one = outcome(synced.engine)
    assert one_by_one["events"]
    served.delay_s = lambda: chance.choice([0, 0, 0.002, 0.02])
    for in_flight in (2, 4):
        forget_running_times(synced.engine)
        synced.settings = synced.settings.model_copy(update={"sync_slices_in_flight": in_flight})
        synced.running_times(*DAYS)
        assert outcome(synced.engine) == one_by_one
        synced.running_times(*DAYS)  # and nothing changes when all of it comes again
        assert outcome(synced.engine) == one_by_one
        assert_books_balance(synced.engine)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 22))])
def test_slices_that_lock_their_plants_machines_first_and_want_each_others_end_the_same(
    source: tuple[Source, Served], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    synced, served = source
    chance = random.Random(seed)  # noqa: S311 - a made-up history, not a secret
    with synced.engine.begin() as connection:
        ids = list(connection.scalars(sa.select(plants.c.id).order_by(plants.c.plant_code)))
        for number in MACHINES:
            at_home = sa.update(equipment).where(equipment.c.equipment_number == number)
            connection.execute(at_home.values(plant_id=chance.choice(ids)))
    served.is_by_day, served.readings = True, wandering(chance)
    synced.settings = synced.settings.model_copy(update={"sync_slices_in_flight": 1})
    synced.running_times(*DAYS[:3])
    one_by_one = outcome(synced.engine)
    for name, value in (("_FEWEST", 1), ("_MACHINES_A_RECORD", 1000)):
        monkeypatch.setattr(neighbours, name, value)
    monkeypatch.setattr(running_times, "_FEWEST_NEW", 1)
    for in_flight in (1, 4):
        forget_running_times(synced.engine)
        synced.settings = synced.settings.model_copy(update={"sync_slices_in_flight": in_flight})
        synced.running_times(*DAYS[:3])
        assert outcome(synced.engine) == one_by_one
        assert_books_balance(synced.engine)

"""A source where every fifth request goes wrong, in all ways that the emulator knows: nothing is lost and nothing comes twice."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from cmms_pipelines.emulator.faults import KINDS, Faults
from tests.conftest import Database
from tests.emulator_server import running_emulator
from tests.endurance.world import assert_books_balance
from tests.sync.conftest import Source, settings_for
from tests.sync.flown import Flown
from tests.sync.tables import hours_by_machine_and_day, open_rejections

SHARES = ",".join(f"{kind}={0.2 / len(KINDS):.4f}" for kind in KINDS)
DAYS = [date(2013, 10, 27), date(2013, 10, 28)]
MONTH = [date(2013, 10, 1) + timedelta(days=number) for number in range(31)]
SHORT_TIMEOUT_S = 1.0


def spec(seed: int) -> str:
    return f"{SHARES},retry_after_s=0,hang_s=3,seed={seed}"


def sync_through(
    faults: str, days: list[date], database: Database, home: Path, dialect: str = "ims"
) -> tuple[Source, dict[str, int]]:
    """Sync everything of some days; return the source and how many requests met which fault."""
    with running_emulator(faults=faults, dialect=dialect) as server:
        changes = {"api_timeout_s": SHORT_TIMEOUT_S, "api_dialect": dialect}
        source = Source(database, settings_for(server, database, home, **changes))
        source.plants()
        source.equipment()
        source.running_times(*days)
        return source, server.stats()["faults"]


def assert_complete(source: Source, flown: Flown, days: list[date]) -> None:
    orphans = [reading for reading in flown.received(*days) if reading[0] not in flown.registered]
    assert hours_by_machine_and_day(source.engine) == pytest.approx(flown.expected(*days), abs=1e-3)
    assert open_rejections(source.engine) == {"plant_code_missing": 6, "equipment_unknown": len(orphans)}
    assert_books_balance(source.engine)


def seed_with_every_kind(requests: int) -> int:
    """The first seed under which each kind of fault meets one of the first requests."""
    for seed in range(10_000):
        faults = Faults.parse(spec(seed))
        if {faults.pick(number) for number in range(1, requests + 1)} >= set(KINDS):
            return seed
    raise AssertionError("no seed has every kind of fault")


def test_days_from_a_source_that_fails_every_fifth_request_are_complete(database: Database, flown: Flown, tmp_path: Path) -> None:
    source, faults = sync_through(spec(seed_with_every_kind(25)), DAYS, database, tmp_path)
    assert set(faults) == set(KINDS)
    assert_complete(source, flown, DAYS)


@pytest.mark.soak
@pytest.mark.parametrize("dialect", ["ims", "odata_v2", "odata_v4"])
@pytest.mark.parametrize("seed", range(5))
def test_a_month_from_a_source_that_fails_every_fifth_request_is_complete(
    database: Database, flown: Flown, tmp_path: Path, seed: int, dialect: str
) -> None:
    source, faults = sync_through(spec(seed), MONTH, database, tmp_path, dialect)
    assert set(faults) == set(KINDS)
    assert_complete(source, flown, MONTH)

"""What the checks ask: the answers are wrong exactly where something is wrong."""

from datetime import date, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage import quality, rejections, sync_log
from cmms_pipelines.storage.tables import counter_events, equipment, plants
from tests.conftest import Database
from tests.storage.readings_world import make_world, reading, sync
from tests.storage.test_rejections import refusal

DAY = date(2013, 10, 28)


def run_sync(database: Database, counts: SyncCounts, *, in_ledger: bool = True, quarantined: int = 0) -> quality.Accounts:
    with database.engine.begin() as connection:
        log = sync_log.insert_log(connection, "running_times", {}, f"key-{counts}", "run-1")
        sync_log.add_counts(connection, log, counts)
        if in_ledger:
            sync_log.mark_slice_done(connection, log, "slice", day=DAY, plant_codes=["B6LG"], counts=counts)
        rows = [refusal("plant_unknown", key=f"{log.id}-{number}") for number in range(quarantined)]
        rejections.store(connection, "running_times", log.id, pd.DataFrame(rows))
    return quality.accounts_of_run(database.engine, "running_times", "run-1")


def test_books_that_agree_in_log_ledger_and_quarantine_are_balanced(database: Database) -> None:
    accounts = run_sync(database, SyncCounts(received=5, inserted=3, refused=2), quarantined=2)
    assert accounts.is_balanced
    assert accounts.figures() == {"received": 5, "stored": 3, "refused": 2, "received_by_slices": 5, "quarantined": 2}


@pytest.mark.parametrize(("in_ledger", "quarantined"), [(False, 2), (True, 1), (True, 3)])
def test_books_that_miss_a_record_anywhere_are_not(database: Database, in_ledger: bool, quarantined: int) -> None:
    counts = SyncCounts(received=5, inserted=3, refused=2)
    assert not run_sync(database, counts, in_ledger=in_ledger, quarantined=quarantined).is_balanced


def test_the_newest_sync_of_a_run_is_the_one_that_counts(database: Database) -> None:
    assert not run_sync(database, SyncCounts(received=1, refused=1)).is_balanced
    assert run_sync(database, SyncCounts(received=2, inserted=2)).is_balanced


def test_a_run_without_a_sync_has_empty_books(database: Database) -> None:
    assert quality.accounts_of_run(database.engine, "equipment", "nobody").is_balanced


def test_machines_are_counted_by_plant_and_active_plants_without_any_are_named(database: Database) -> None:
    make_world(database.engine)
    with database.engine.begin() as connection:
        connection.execute(sa.update(plants).where(plants.c.plant_code == "B6EW").values(is_active=False))
    assert quality.equipment_per_plant(database.engine) == {"B6LG": 4}
    assert quality.plants_without_equipment(database.engine) == ["B6JF"]


def test_readings_are_counted_by_day(database: Database) -> None:
    make_world(database.engine)
    sync(database.engine, reading("B6LG", DAY, 5, 100), reading("B6LG", DAY, 5, 100, number="N2"))
    assert quality.readings_per_day(database.engine, [DAY, DAY + timedelta(days=1)]) == {DAY: 2}


def test_a_decrease_without_its_event_is_found_and_one_with_it_is_not(database: Database) -> None:
    make_world(database.engine)
    for offset, counter in enumerate([100, 200, 50, 60]):
        sync(database.engine, reading("B6LG", DAY + timedelta(days=offset), 5, counter))
    assert quality.unexplained_decreases(database.engine) == 0
    with database.engine.begin() as connection:
        connection.execute(sa.delete(counter_events))
    assert quality.unexplained_decreases(database.engine) == 1


def test_an_empty_database_has_no_unexplained_decrease(database: Database) -> None:
    assert quality.unexplained_decreases(database.engine) == 0
    with database.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(equipment)) == 0

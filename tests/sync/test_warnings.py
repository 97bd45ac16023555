"""Readings that are stored with a warning: how many they were in the sync's row, and by which rule in its ledger."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.tables import equipment, plants, sync_slices
from tests.conftest import Database
from tests.domain.samples import reading_record
from tests.sync.conftest import Source, settings_for
from tests.sync.served import Served, serving
from tests.sync.tables import log_of

PLANTS = ["B6JF", "B6LG"]
MACHINES = ["N1", "N2", "N3", "N4"]
DAY = date(2013, 10, 28)
LATER = DAY + timedelta(days=1)


@pytest.fixture
def source(database: Database, tmp_path: Path) -> Iterator[tuple[Source, Served]]:
    """Machines at two plants, each of which is a slice of its own."""
    with database.engine.begin() as connection:
        connection.execute(sa.insert(plants), [{"plant_code": code, "name": code} for code in PLANTS])
        home = sa.select(sa.func.min(plants.c.id)).scalar_subquery()
        for number in MACHINES:
            connection.execute(sa.insert(equipment).values(equipment_number=number, plant_id=home))
    with serving() as (server, served):
        served.is_by_day = True
        yield Source(database, settings_for(server, database, tmp_path, sync_plants_per_slice=1)), served


def reading(plant: str, machine: str, day: date, hours: str, counter: str, **fields: object) -> dict[str, Any]:
    told = {"SWERK": plant, "EQUNR": machine, "DATE": f"{day}", "DATE_TIME": f"{day} 10:00:00", "RECDV": hours, "CNTRR": counter}
    return reading_record(**told, **fields)


def ledger(engine: sa.Engine, sync_key: str) -> dict[str, tuple[int, dict[str, int] | None]]:
    """By plant: records with warnings, and records by the rule that noted them."""
    kept = sync_slices.c
    statement = sa.select(kept.plant_codes, kept.counts).where(kept.sync_key == sync_key)
    with engine.connect() as connection:
        return {
            "+".join(row.plant_codes): (row.counts["records_warned"], row.counts.get("noted_by_rule"))
            for row in connection.execute(statement)
        }


def test_the_log_counts_records_with_warnings_and_the_ledger_says_which_rule_noted_how_many(
    source: tuple[Source, Served],
) -> None:
    synced, served = source
    served.readings = [
        *(reading("B6JF", machine, DAY, "5", "1000") for machine in MACHINES),
        reading("B6JF", "N1", LATER, "5", "90"),
        reading("B6JF", "N2", LATER, "5", "80"),
        reading("B6JF", "N3", LATER, "24.5", "1024.5"),
        reading("B6LG", "N4", LATER, "5", "1005"),
    ]
    first = synced.running_times(DAY, key="first")
    assert log_of(synced.engine, first.log.id)["records_warned"] == 0
    assert ledger(synced.engine, "first") == {"B6JF": (0, None), "B6LG": (0, None)}

    second = synced.running_times(LATER, key="second")
    log = log_of(synced.engine, second.log.id)
    assert (log["records_processed"], log["records_success"], log["records_failed"], log["records_warned"]) == (4, 4, 0, 3)
    noted = {"counter_went_back": 2, "running_hours_over_day": 1}
    assert ledger(synced.engine, "second") == {"B6JF": (3, noted), "B6LG": (0, None)}


def test_what_is_refused_is_not_counted_among_the_warnings_and_what_is_only_noted_is_no_warning(
    source: tuple[Source, Served],
) -> None:
    synced, served = source
    served.readings = [
        reading("B6JF", "N1", DAY, "5", "1000"),
        reading("B6JF", "N1", LATER, "85", "90"),
        reading("B6LG", "N2", LATER, "5", "1005", CANCL="X"),
    ]
    synced.running_times(DAY)
    session = synced.running_times(LATER, key="second")
    log = log_of(synced.engine, session.log.id)
    assert (log["records_processed"], log["records_failed"], log["records_warned"]) == (2, 1, 0)
    assert ledger(synced.engine, "second") == {"B6JF": (0, None), "B6LG": (0, {"reading_cancelled": 1})}

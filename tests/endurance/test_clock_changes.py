"""Days of 23 and 25 hours from end to end: hours that a machine can have run are stored, others refused (quirk 12)."""

from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.tables import equipment, equipment_running_times, sync_rejections
from tests.conftest import Database
from tests.endurance.records_server import Record, Records, serving
from tests.endurance.world import assert_books_balance
from tests.sync.conftest import Source, settings_for

ZONES = {"BERL": "Europe/Berlin", "NEWY": "America/New_York", "JAKA": "Asia/Jakarta"}
SPRING = {"BERL": date(2026, 3, 29), "NEWY": date(2026, 3, 8)}
AUTUMN = {"BERL": date(2026, 10, 25), "NEWY": date(2026, 11, 1)}
HOURS = (22.5, 23.0, 23.5, 24.0, 24.5, 25.0, 25.5, 26.0, 26.5)


def machine(plant: str, hours: float) -> str:
    return f"{plant}-{hours:g}"


def master(plant: str, number: str) -> Record:
    return {"SWERK": plant, "EQUNR": number, "CREATED_AT": "2026-01-01T00:15:00.000000Z"}


def reading(plant: str, day: date, hours: float) -> Record:
    of_machine = master(plant, machine(plant, hours))
    return {**of_machine, "DATE": day.isoformat(), "RECDV": f"{hours:.2f}", "CNTRR": "5000.00"}


def stored(source: Source, day: date) -> dict[str, tuple[float | None, list[str]]]:
    """Hours and warnings by machine; a reading whose hours were refused leaves its counter alone, without hours."""
    times = equipment_running_times.c
    statement = (
        sa.select(equipment.c.equipment_number, times.running_hours, times.warnings)
        .join(equipment, equipment.c.id == times.equipment_id)
        .where(times.date == day)
    )
    with source.engine.connect() as connection:
        return {row[0]: (row[1] and float(row[1]), list(row[2] or [])) for row in connection.execute(statement)}


def refused(source: Source, day: date) -> dict[str, str]:
    kept = sync_rejections.c
    statement = sa.select(kept.equipment_number, kept.rule).where(kept.date == day, kept.status == "open")
    with source.engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(statement)}


@pytest.mark.parametrize(
    ("plant", "day", "length"),
    [
        *((plant, day, 23) for plant, day in SPRING.items()),
        *((plant, day, 25) for plant, day in AUTUMN.items()),
        ("BERL", date(2026, 3, 28), 24),
        ("JAKA", SPRING["BERL"], 24),  # no change of clocks there
    ],
)
def test_hours_are_held_against_the_length_of_the_local_day(
    database: Database, tmp_path: Path, plant: str, day: date, length: int
) -> None:
    plants = [{"SWERK": code, "TIME_ZONE": zone} for code, zone in ZONES.items()]
    masters = [master(plant, machine(plant, hours)) for hours in HOURS]
    readings = [reading(plant, day, hours) for hours in HOURS]
    with serving(Records(plants, masters, readings)) as server:
        source = Source(database, settings_for(server, database, tmp_path))
        source.plants()
        source.equipment()
        session = source.running_times(day)
    fits = {machine(plant, hours): hours for hours in HOURS if hours <= length}
    is_jitter = {machine(plant, hours): hours for hours in HOURS if length < hours <= length + 1}
    is_too_much = {machine(plant, hours) for hours in HOURS if hours > length + 1}
    found = stored(source, day)
    assert {number: hours for number, (hours, _) in found.items()} == fits | is_jitter | dict.fromkeys(is_too_much)
    assert {number for number, (hours, warnings) in found.items() if hours and warnings} == set(is_jitter)
    assert set(refused(source, day)) == is_too_much
    assert session.counts.received == len(HOURS)
    assert_books_balance(source.engine)


def test_the_day_of_a_reading_is_the_plants_and_its_moment_is_kept_through_the_hour_that_comes_twice(
    database: Database, tmp_path: Path
) -> None:
    plant, day = "BERL", AUTUMN["BERL"]
    moments = {"TWICE-1": "2026-10-25T02:30:00+02:00", "TWICE-2": "2026-10-25T02:30:00+01:00", "LATE": "2026-10-25 23:59:00"}
    masters = [master(plant, number) for number in moments]
    readings = [{**reading(plant, day, 24.0), "EQUNR": number, "DATE_TIME": stamp} for number, stamp in moments.items()]
    with serving(Records([{"SWERK": plant, "TIME_ZONE": ZONES[plant]}], masters, readings)) as server:
        source = Source(database, settings_for(server, database, tmp_path))
        source.plants()
        source.equipment()
        source.running_times(day)
    times = equipment_running_times.c
    statement = sa.select(equipment.c.equipment_number, times.date, times.date_time).join(
        equipment, equipment.c.id == times.equipment_id
    )
    with source.engine.connect() as connection:
        rows = {row[0]: (row[1], row[2].strftime("%Y-%m-%d %H:%M")) for row in connection.execute(statement)}
    assert rows == {
        "TWICE-1": (day, "2026-10-25 00:30"),
        "TWICE-2": (day, "2026-10-25 01:30"),
        "LATE": (day, "2026-10-25 22:59"),
    }

"""`cmms sync` on real data: what is asked for is what is stored, what the log says, and what is printed."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.tables import equipment, plants
from tests.command_line import CommandLine, on_databases
from tests.conftest import Database
from tests.emulator_server import Emulator, running_emulator
from tests.sync.conftest import Source, settings_for
from tests.sync.flown import Flown
from tests.sync.tables import hours_by_machine_and_day, newest_log

PRINTED = (
    "sync_type", "status", "records_processed", "records_success", "records_failed", "records_inserted", "records_updated",
    "records_unchanged", "records_merged", "records_warned", "dagster_run_id",
)  # fmt: skip
DAYS = [date(2013, 10, 28), date(2013, 10, 29)]
PLANTS = ["B6JF", "B6LG"]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as server:
        yield server


@pytest.fixture
def cmms(database: Database, dagster_database: str, emulator: Emulator, tmp_path: Path) -> CommandLine:
    given = {"CMMS_API_URL": emulator.url, "CMMS_API_TOKEN": emulator.token}
    return on_databases(database, dagster_database, tmp_path, **given)


@pytest.fixture
def masters(database: Database, emulator: Emulator, tmp_path: Path) -> Source:
    source = Source(database, settings_for(emulator, database, tmp_path))
    source.plants()
    source.equipment()
    return source


def machines_by_plant(database: Database) -> dict[str, set[str]]:
    statement = sa.select(plants.c.plant_code, equipment.c.equipment_number).join(equipment, equipment.c.plant_id == plants.c.id)
    found: dict[str, set[str]] = {}
    with database.engine.connect() as connection:
        for row in connection.execute(statement):
            found.setdefault(row.plant_code, set()).add(row.equipment_number)
    return found


def test_masters_of_plants_and_machines_are_brought_as_far_as_they_are_asked_for(cmms: CommandLine, database: Database) -> None:
    assert cmms("sync", "plants").returncode == 0
    one = cmms("sync", "equipment", "--plant", "B6JF", "--equipment", "N190JB", "--full-refresh")
    assert one.returncode == 0, one.stderr
    log = newest_log(database.engine)
    header, row = one.stdout.splitlines()
    assert header.split() == [*PRINTED, "error_message"]
    assert row.split() == [str(log[name]) for name in PRINTED]
    assert (log["sync_type"], log["status"], log["records_processed"], log["records_inserted"]) == ("equipment", "success", 1, 1)
    assert log["scope"] == {"plants": ["B6JF"], "equipment": ["N190JB"], "full_refresh": True}
    assert machines_by_plant(database) == {"B6JF": {"N190JB"}}

    rows = cmms.json("sync", "equipment", "--plant", "B6JF", "--plant", "DLLG")
    assert [(row["status"], row["scope"]) for row in rows] == [
        ("success", {"plants": ["B6JF"]}),
        ("success", {"plants": ["DLLG"]}),
    ]
    assert (rows[0]["records_inserted"], rows[0]["records_unchanged"]) == (rows[0]["records_processed"] - 1, 1)
    assert {code: len(found) for code, found in machines_by_plant(database).items()} == {
        row["scope"]["plants"][0]: row["records_processed"] for row in rows
    }
    unknown = cmms("sync", "equipment", "--plant", "B6JX")
    assert (unknown.returncode, "No active plant has the code B6JX" in unknown.stderr) == (1, True)


def test_a_process_that_syncs_days_of_some_plants_prints_its_log_as_json_and_nothing_else(
    cmms: CommandLine, masters: Source, flown: Flown
) -> None:
    days = ("--date", DAYS[0].isoformat(), "--to", DAYS[1].isoformat())
    with cmms.start("sync", "running-times", *days, "--plant", "B6JF", "--plant", "B6LG", "--json") as process:
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    (row,) = json.loads(out)
    log = newest_log(masters.engine)
    assert {name: row[name] for name in ("id", *PRINTED)} == {name: log[name] for name in ("id", *PRINTED)}
    assert row["scope"] == log["scope"] == {"plants": PLANTS, "from": days[1], "to": days[3]}
    asked = [reading for reading in flown.received(*DAYS) if reading[2] in PLANTS]
    assert (row["sync_type"], row["status"], row["records_processed"]) == ("running_times", "success", len(asked))
    assert set(hours_by_machine_and_day(masters.engine)) == {
        (number, day) for number, day, _plant in asked if number in flown.registered
    }


def test_hours_of_one_machine_come_from_all_its_plants_with_a_full_refresh(
    cmms: CommandLine, masters: Source, flown: Flown
) -> None:
    day, machine = date(2013, 10, 30), "N637JB"
    assert {plant for number, _day, plant in flown.received(day) if number == machine} == set(PLANTS)
    with masters.engine.begin() as connection:
        connection.execute(sa.update(plants).where(plants.c.plant_code == "B6LG").values(is_active=False))
    (row,) = cmms.json("sync", "running-times", "--date", str(day), "--equipment", machine, "--full-refresh")
    assert (row["status"], row["records_processed"], row["records_failed"]) == ("success", 2, 0)
    scope = row["scope"]
    assert (scope["equipment"], scope["full_refresh"], scope["from"], scope["to"]) == ([machine], True, str(day), str(day))
    assert hours_by_machine_and_day(masters.engine) == pytest.approx({(machine, day): flown.minutes[machine, day] / 60}, abs=1e-4)


def test_a_sync_that_fails_prints_its_log_as_well_and_ends_with_one(cmms: CommandLine, masters: Source) -> None:
    refused = CommandLine({**cmms.environment, "CMMS_API_TOKEN": "not-the-one"})
    finished = refused("sync", "running-times", "--date", "2013-10-28", "--plant", "B6JF", "--json")
    (row,) = json.loads(finished.stdout)
    assert (finished.returncode, row["id"], row["status"]) == (1, newest_log(masters.engine)["id"], "failed")
    assert "401" in row["error_message"]
    assert finished.stderr.splitlines()[-1] == f"cmms: {row['error_message']}"

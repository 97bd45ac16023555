"""The syncs against the real emulator and a real PostgreSQL: every record accounted for, and a second run writes nothing."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage.tables import (
    api_calls,
    counter_events,
    equipment,
    equipment_groups,
    equipment_running_times,
    plants,
    sync_rejections,
)
from cmms_pipelines.sync.equipment import sync_equipment
from cmms_pipelines.sync.replay import replay_arrived
from tests.conftest import Database
from tests.emulator_server import Emulator
from tests.sync.conftest import Source, settings_for, silent
from tests.sync.flown import Flown
from tests.sync.tables import content, count, hours_by_machine_and_day, log_of, newest_log, open_rejections, versions

WEEK = [date(2013, 10, 25) + timedelta(days=offset) for offset in range(7)]
DAY = date(2013, 10, 28)


def test_all_plants_arrive_and_a_second_sync_writes_nothing(source: Source) -> None:
    first = source.plants()
    assert (first.counts.received, first.counts.inserted, first.counts.refused) == (35, 35, 0)
    before = versions(source.engine, plants)
    second = source.plants()
    assert (second.counts.unchanged, second.counts.inserted + second.counts.updated) == (35, 0)
    assert versions(source.engine, plants) == before


def test_the_whole_register_arrives_but_for_six_without_a_plant(source: Source) -> None:
    source.plants()
    first = source.equipment()
    assert (first.counts.received, first.counts.inserted) == (3322, 3316)
    assert first.counts.refused_by_rule == {"plant_code_missing": 6} == open_rejections(source.engine)
    log = log_of(source.engine, first.log.id)
    assert (log["status"], log["scope"], log["records_processed"]) == ("success", {"plants": "all"}, 3322)
    with source.engine.connect() as connection:
        without_group = connection.scalar(sa.select(sa.func.count()).where(equipment.c.equipment_group_id.is_(None)))
        groups = set(connection.scalars(sa.select(equipment_groups.c.name)))
    assert without_group == 0
    assert groups == {"Fixed wing multi engine", "Fixed wing single engine", "Rotorcraft"}

    before = versions(source.engine, equipment)
    second = source.equipment()
    assert (second.counts.unchanged, second.counts.inserted + second.counts.updated) == (3316, 0)
    assert versions(source.engine, equipment) == before
    assert count(source.engine, sync_rejections) == 6


def test_a_week_of_running_hours_is_what_the_aircraft_flew(ready: Source, flown: Flown) -> None:
    first = ready.running_times(*WEEK)
    expected = flown.expected(*WEEK)
    received = flown.received(*WEEK)
    orphans = [reading for reading in received if reading[0] not in flown.registered]
    assert first.counts.received == len(received)
    assert first.counts.refused_by_rule == {"equipment_unknown": len(orphans)}
    assert (len(expected), len(orphans), first.counts.merged) == (4150, 656, 115)
    assert hours_by_machine_and_day(ready.engine) == pytest.approx(expected, abs=1e-3)
    assert count(ready.engine, counter_events) == 0
    log = log_of(ready.engine, first.log.id)
    assert (log["records_processed"], log["records_failed"], log["records_inserted"]) == (len(received), 656, 4150)
    assert log["status"] == "partial"  # 13 % of the week's records are refused
    assert count(ready.engine, api_calls) > 7 * 7

    before = versions(ready.engine, equipment_running_times)
    second = ready.running_times(*WEEK)
    assert (second.counts.inserted, second.counts.updated, second.counts.unchanged) == (0, 0, 4150)
    assert versions(ready.engine, equipment_running_times) == before
    assert open_rejections(ready.engine) == {"plant_code_missing": 6, "equipment_unknown": 656}


def test_a_machine_that_two_plants_flew_has_one_row_with_both_parts(ready: Source, flown: Flown) -> None:
    ready.running_times(DAY)
    flyers = Counter(tail for tail, _, _ in flown.received(DAY) if tail in flown.registered)
    several = {tail: {plant for other, _, plant in flown.received(DAY) if other == tail} for tail in flyers if flyers[tail] > 1}
    statement = (
        sa.select(equipment.c.equipment_number, equipment_running_times.c.running_hours, equipment_running_times.c.readings)
        .join(equipment, equipment.c.id == equipment_running_times.c.equipment_id)
        .where(equipment_running_times.c.readings.is_not(None))
    )
    with ready.engine.connect() as connection:
        rows = connection.execute(statement).all()
    assert several
    assert {row.equipment_number: set(row.readings) for row in rows} == several
    for row in rows:
        assert sum(part["running_hours"] for part in row.readings.values()) == pytest.approx(float(row.running_hours), abs=1e-3)


def test_plants_one_after_the_other_end_in_the_same_table_as_all_at_once(ready: Source) -> None:
    ready.running_times(DAY)
    at_once = content(ready.engine)
    with ready.engine.begin() as connection:
        connection.execute(sa.delete(equipment_running_times))
    for code in ("B6LG", "B6JF", "B6EW"):
        ready.running_times(DAY, plants=[code])
    ready.running_times(DAY)
    assert content(ready.engine) == at_once


def test_a_sync_of_some_plants_leaves_the_others_alone(ready: Source, flown: Flown) -> None:
    session = ready.running_times(DAY, plants=["B6JF", "B6LG"])
    assert session.counts.received == len([reading for reading in flown.received(DAY) if reading[2] in {"B6JF", "B6LG"}])
    assert log_of(ready.engine, session.log.id)["scope"] == {"from": "2013-10-28", "to": "2013-10-28", "plants": ["B6JF", "B6LG"]}
    assert 0 < count(ready.engine, equipment_running_times) < len(flown.expected(DAY))


def test_a_sync_of_some_machines_brings_those_only(ready: Source, flown: Flown) -> None:
    session = ready.running_times(*WEEK, equipment=["N526JB", "N725MQ"])
    wanted = {key: hours for key, hours in flown.expected(*WEEK).items() if key[0] in {"N526JB", "N725MQ"}}
    assert hours_by_machine_and_day(ready.engine) == pytest.approx(wanted, abs=1e-3)
    assert session.counts.received == len([reading for reading in flown.received(*WEEK) if reading[0] in {"N526JB", "N725MQ"}])
    assert log_of(ready.engine, session.log.id)["scope"]["equipment"] == ["N526JB", "N725MQ"]


def test_the_log_of_a_sync_of_masters_says_whose_they_are_and_how_it_was_asked_for(source: Source) -> None:
    source.plants()

    def scope_of(*plant_codes: str, **given: Any) -> Any:  # noqa: ANN401 - as the log has it
        codes, key = list(plant_codes), repr((plant_codes, given))
        session = sync_equipment(source.engine, source.settings, codes, sync_key=key, run_id=None, progress=silent, **given)
        return log_of(source.engine, session.log.id)["scope"]

    some = ["B6JF", "DLLG"]
    assert scope_of("DLLG", "B6JF") == {"plants": some}
    assert scope_of(*some, equipment_numbers=["N190JB"]) == {"plants": some, "equipment": ["N190JB"]}
    assert scope_of("B6JF", is_full_refresh=True) == {"plants": ["B6JF"], "full_refresh": True}
    with source.engine.begin() as connection:
        connection.execute(sa.update(plants).where(plants.c.plant_code.not_in(some)).values(is_active=False))
    both = {"equipment_numbers": ["N193JB", "N190JB"], "is_full_refresh": True}
    assert scope_of(*some, **both) == {"plants": "all", "equipment": ["N190JB", "N193JB"], "full_refresh": True}


def test_readings_that_came_before_their_equipment_are_applied_once_it_arrives(source: Source, flown: Flown) -> None:
    source.plants()
    days = WEEK[:2]
    early = source.running_times(*days)
    assert early.counts.refused_by_rule == {"equipment_unknown": early.counts.received}
    assert log_of(source.engine, early.log.id)["status"] == "partial"
    source.equipment()
    applied = replay_arrived(source.engine, source.settings, sync_key="arrived", run_id=None, progress=silent).accepted
    expected = flown.expected(*days)
    with_master = [reading for reading in flown.received(*days) if reading[0] in flown.registered]
    assert hours_by_machine_and_day(source.engine) == pytest.approx(expected, abs=1e-3)
    assert applied == len(with_master)
    assert open_rejections(source.engine) == {
        "plant_code_missing": 6,
        "equipment_unknown": early.counts.received - applied,
    }

    table = content(source.engine)
    assert replay_arrived(source.engine, source.settings, sync_key="again", run_id=None, progress=silent).judged == 0
    assert source.running_times(*days).counts.unchanged == len(expected)
    assert content(source.engine) == table


def test_a_wrong_token_fails_at_once_with_a_clear_message_and_stores_nothing(
    emulator: Emulator, ready: Source, tmp_path: Path
) -> None:
    database = ready.database
    refused = Source(database, settings_for(emulator, database, tmp_path, api_token="wrong", sync_plants_per_slice=5))
    with pytest.raises(PermanentError, match="401"):
        refused.running_times(DAY, key="refused")
    log = newest_log(database.engine)
    assert (log["status"], log["records_processed"]) == ("failed", 0)
    assert "CMMS_API_TOKEN" in log["error_message"]
    assert "wrong" not in log["error_message"].split("CMMS_API_TOKEN")[0]
    assert count(database.engine, equipment_running_times) == 0


@pytest.mark.parametrize("missing", ["api_url", "api_token"])
def test_a_source_that_is_not_configured_is_named_in_the_log(ready: Source, missing: str) -> None:
    database = ready.database
    unset = Source(database, ready.settings.model_copy(update={missing: None}))
    with pytest.raises(PermanentError, match=f"CMMS_{missing.upper()} is not set"):
        unset.running_times(DAY, key="unset")
    assert f"CMMS_{missing.upper()}" in newest_log(database.engine)["error_message"]


def test_without_plants_there_is_nothing_to_sync_and_a_sentence_says_what_to_do(source: Source) -> None:
    for sync in (lambda: source.running_times(DAY), source.equipment):
        with pytest.raises(PermanentError, match="run sync_plants first"):
            sync()


@pytest.mark.parametrize("policy", ["reject", "create"])
def test_a_plant_that_nobody_knows_is_refused_or_created_as_configured(
    emulator: Emulator, database: Database, tmp_path: Path, policy: str
) -> None:
    source = Source(database, settings_for(emulator, database, tmp_path, on_unknown_plant=policy))
    masters = source.equipment(["B6JF"])
    readings = source.running_times(DAY, plants=["B6LG"])
    with database.engine.connect() as connection:
        known = set(connection.scalars(sa.select(plants.c.plant_code)))
    if policy == "reject":
        assert known == set()
        assert masters.counts.refused_by_rule == {"plant_unknown": masters.counts.received}
        assert set(readings.counts.refused_by_rule) == {"plant_unknown"}
    else:
        assert known == {"B6JF", "B6LG"}
        assert masters.counts.refused == 0
        assert set(readings.counts.refused_by_rule) <= {"equipment_unknown"}


def test_plants_can_come_from_a_file_and_a_bad_line_costs_only_itself(
    emulator: Emulator, database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "plants.csv"
    path.write_text(
        'plant_code,name,time_zone,is_active\nB6JF,"JetBlue, JFK",America/New_York,true\nB6LG,,,false\nXX,X,Mars/Olympus,\n',
        encoding="utf-8-sig",
    )
    source = Source(database, settings_for(emulator, database, tmp_path, plants_file=path))
    session = source.plants()
    assert session.counts.refused_by_rule == {"time_zone_unknown": 1}
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(plants.c.plant_code, plants.c.name, plants.c.time_zone, plants.c.is_active)).all()
    assert sorted(map(tuple, rows)) == [("B6JF", "JetBlue, JFK", "America/New_York", True), ("B6LG", "B6LG", "UTC", False)]
    assert log_of(database.engine, session.log.id)["status"] == "partial"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("code;name\nB6JF;x\n", "lacks the column plant_code"),
        (b"plant_code\n\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_plants_file_that_is_no_use_is_a_clear_failure(
    emulator: Emulator, database: Database, tmp_path: Path, text: str | bytes | None, message: str
) -> None:
    path = tmp_path / "plants.csv"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    source = Source(database, settings_for(emulator, database, tmp_path, plants_file=path))
    with pytest.raises(PermanentError, match=message):
        source.plants()
    log = newest_log(database.engine)
    assert (log["status"], "CMMS_PLANTS_FILE" in log["error_message"]) == ("failed", True)
    assert count(database.engine, plants) == 0

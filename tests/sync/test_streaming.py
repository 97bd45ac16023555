"""A slice in chunks is a slice: the same tables, quarantine and counts whatever their size, and memory that does not grow."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.tables import (
    api_sync_logs,
    counter_events,
    equipment,
    equipment_groups,
    equipment_running_times,
    plants,
    sync_rejections,
    sync_slices,
)
from cmms_pipelines.sync import running_times
from cmms_pipelines.sync.running_times import _batches
from tests.conftest import Database
from tests.domain.samples import master_record, reading_record
from tests.emulator_server import Emulator
from tests.sync.conftest import Source, settings_for
from tests.sync.served import Served, serving
from tests.sync.tables import content, log_of, newest_log, slices

DAY = date(2013, 10, 28)
PLANTS = ["B6JF", "B6LG"]
MACHINES = [f"N{number}" for number in range(1, 7)]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Emulator, Served]]:
    with serving() as served:
        yield served


@pytest.fixture
def chunked(server: tuple[Emulator, Served], database: Database, tmp_path: Path) -> Source:
    """A source of two plants, of which six machines are known."""
    emulator, _ = server
    with database.engine.begin() as connection:
        connection.execute(sa.insert(plants), [{"plant_code": code, "name": code} for code in PLANTS])
        first = sa.select(sa.func.min(plants.c.id)).scalar_subquery()
        for number in MACHINES:
            connection.execute(sa.insert(equipment).values(equipment_number=number, plant_id=first))
    return Source(database, settings_for(emulator, database, tmp_path))


READINGS = st.fixed_dictionaries(
    {
        "EQUNR": st.sampled_from([*MACHINES, "000N1", " N2 ", "N99", "", None]),
        "SWERK": st.sampled_from([*PLANTS, PLANTS[0]]),
        "RECDV": st.sampled_from(["2.5", "4", "4", "20", "85", "-3", "lots", None]),
        "CNTRR": st.sampled_from(["100", "101.5", "99", None, "-1"]),
        "DATE": st.sampled_from(["2013-10-28", "20131028", "2013-10-28", "2013-10-27", "never"]),
        "DATE_TIME": st.sampled_from(["2013-10-28 08:00:00", "2013-10-28 20:00:00", None, "x"]),
    }
).map(lambda changes: reading_record(**changes))


def outcome(source: Source, served: Served, records: list[dict[str, Any]], chunk_rows: int) -> tuple[Any, ...]:
    """Everything that a sync of these readings leaves behind in empty tables."""
    served.readings = records
    source.settings = source.settings.model_copy(update={"sync_chunk_rows": chunk_rows})
    with source.engine.begin() as connection:
        for table in (equipment_running_times, counter_events, sync_rejections, api_sync_logs):
            connection.execute(sa.delete(table))
    session = source.running_times(DAY)
    kept = sync_rejections.c
    columns = (kept.record_key, kept.rule, kept.other_failures, kept.column_name, kept.value, kept.equipment_number, kept.date)
    events = sa.select(counter_events.c.equipment_id, counter_events.c.date, counter_events.c.kind, counter_events.c.offset_hours)
    with source.engine.connect() as connection:
        payloads = sa.cast(kept.payload, sa.Text)
        rejected = connection.execute(sa.select(*columns, payloads, kept.times_seen).order_by(kept.record_key, kept.rule)).all()
        found_events = connection.execute(events.order_by(*events.selected_columns)).all()
    log = log_of(source.engine, session.log.id)
    books = {name: value for name, value in log.items() if name.startswith("records_")}
    return content(source.engine), rejected, found_events, replace(session.counts, stage_seconds={}), books, log["status"]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(READINGS, min_size=1, max_size=24), st.integers(1, 24), st.randoms(use_true_random=False))
def test_neither_the_size_of_chunks_nor_the_order_of_arrival_changes_anything(
    server: tuple[Emulator, Served],
    chunked: Source,
    records: list[dict[str, Any]],
    chunk_rows: int,
    random: Any,  # noqa: ANN401
) -> None:
    _, served = server
    at_once = outcome(chunked, served, records, 1000)
    shuffled = random.sample(records, len(records))
    assert outcome(chunked, served, shuffled, chunk_rows) == at_once


def test_masters_in_chunks_are_the_masters_at_once(server: tuple[Emulator, Served], chunked: Source) -> None:
    _, served = server
    newer = {"CREATED_AT": "2013-05-01T00:15:00.000000Z"}
    served.masters = [
        *(master_record(EQUNR=f"M{number}", SWERK=PLANTS[number % 2], EQART=f"KIND {number % 3}") for number in range(40)),
        *(master_record(EQUNR=f"M{number}", SWERK=PLANTS[number % 2], EQART=f"KIND {number % 3}") for number in range(0, 40, 4)),
        *(master_record(EQUNR=f"M{number}", SWERK=PLANTS[0], EQKTU="RENAMED", **newer) for number in range(0, 40, 7)),
        master_record(EQUNR="", SWERK=PLANTS[0]),
    ]
    found = []
    for chunk_rows in (1000, 7, 1):
        chunked.settings = chunked.settings.model_copy(update={"sync_chunk_rows": chunk_rows})
        with chunked.engine.begin() as connection:
            connection.execute(sa.delete(equipment).where(equipment.c.equipment_number.like("M%")))
            connection.execute(sa.delete(sync_rejections))
        counts = replace(chunked.equipment().counts, stage_seconds={})
        columns = (
            equipment.c.equipment_number,
            equipment.c.equipment_description,
            equipment_groups.c.name,
            equipment.c.attributes,
        )
        statement = sa.select(*columns).outerjoin(equipment_groups, equipment_groups.c.id == equipment.c.equipment_group_id)
        with chunked.engine.connect() as connection:
            rows = connection.execute(statement.order_by(equipment.c.equipment_number)).all()
            refused = sa.select(sync_rejections.c.record_key, sync_rejections.c.rule).order_by(sync_rejections.c.record_key)
            found.append((counts, rows, connection.execute(refused).all()))
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert found[0][0].merged > 0
    assert found[0][0].refused > 1


def test_a_plant_of_which_nothing_can_be_read_is_refused_as_critical_and_the_others_of_its_slice_are_written(
    server: tuple[Emulator, Served], chunked: Source
) -> None:
    _, served = server
    good = [reading_record(EQUNR=number, SWERK=PLANTS[0]) for number in MACHINES]
    bad = [reading_record(EQUNR=f"N{number}", SWERK=PLANTS[1], DATE="??") for number in range(60)]
    served.readings = good + bad
    chunked.settings = chunked.settings.model_copy(update={"sync_chunk_rows": 10})
    for stored in ({"records_inserted": 6}, {"records_unchanged": 6}):  # the same sync again does the slice again
        with pytest.raises(PermanentError, match="plant_unreadable: plant B6LG, 60 records"):
            chunked.running_times(DAY, key="night")
        assert len(content(chunked.engine)) == 6
        log = newest_log(chunked.engine)
        expected = {"status": "partial", "records_processed": 66, "records_failed": 60, "slices_done": 0} | stored
        assert {name: log[name] for name in expected} == expected
        assert log["slices_total"] == 1
        with chunked.engine.connect() as connection:
            refused = sa.select(sync_rejections.c.severity, sync_rejections.c.plant_code)
            assert connection.execute(refused).all() == [("critical", "B6LG")] * 60
            written = sa.select(sync_slices.c.plant_codes, sync_slices.c.counts).where(sync_slices.c.sync_log_id == log["id"])
            (entry,) = connection.execute(written).all()
            assert (entry.plant_codes, entry.counts["records_processed"]) == ([PLANTS[0]], 66)
    served.readings = good + [record | {"DATE": DAY.isoformat(), "EQUNR": "N1"} for record in bad[:1]]
    assert chunked.running_times(DAY, key="night").counts.merged == 1
    log = newest_log(chunked.engine)
    assert (log["status"], log["slices_done"]) == ("success", 1)


def test_a_sync_of_which_nothing_can_be_read_has_failed_and_its_books_are_kept(
    server: tuple[Emulator, Served], chunked: Source
) -> None:
    _, served = server
    served.readings = [reading_record(EQUNR=f"N{number}", SWERK=code, DATE="??") for number in range(30) for code in PLANTS]
    with pytest.raises(PermanentError, match=r"plant B6JF, 30 records.*plant B6LG, 30 records"):
        chunked.running_times(DAY)
    log = newest_log(chunked.engine)
    assert (log["status"], log["records_processed"], log["records_failed"]) == ("failed", 60, 60)
    served.readings = [reading_record(EQUNR=number, SWERK=PLANTS[0], DATE="??") for number in MACHINES]  # single bad records
    chunked.running_times(DAY)
    with chunked.engine.connect() as connection:
        again = sa.select(sync_rejections.c.severity).where(sync_rejections.c.sync_log_id == newest_log(chunked.engine)["id"])
        assert set(connection.scalars(again)) == {"error"}


def test_a_plant_whose_masters_cannot_be_read_is_refused_as_critical_and_other_plants_are_written(
    server: tuple[Emulator, Served], chunked: Source
) -> None:
    _, served = server
    served.masters = [master_record(EQUNR=f"A{number}", SWERK=PLANTS[0]) for number in range(3)] + [
        master_record(EQUNR=f"B{number}", SWERK=PLANTS[1], CREATED_AT="??") for number in range(25)
    ]
    with pytest.raises(PermanentError, match="plant_unreadable: plant B6LG, 25 records"):
        chunked.equipment()
    with chunked.engine.connect() as connection:
        numbers = sa.select(equipment.c.equipment_number).where(equipment.c.equipment_number.like("A%"))
        assert set(connection.scalars(numbers)) == {"A0", "A1", "A2"}
        severities = sa.select(sync_rejections.c.severity)
        assert list(connection.scalars(severities)) == ["critical"] * 25


def test_each_stage_has_its_seconds_in_the_log(server: tuple[Emulator, Served], chunked: Source) -> None:
    _, served = server
    served.readings = [reading_record(EQUNR=number, SWERK=PLANTS[0]) for number in MACHINES]
    session = chunked.running_times(DAY)
    stages = log_of(chunked.engine, session.log.id)["stage_seconds"]
    assert {"fetch", "parse", "neighbours", "validate", "copy", "merge", "total"} <= set(stages)
    assert all(seconds >= 0 for seconds in stages.values())
    assert session.counts == replace(
        SyncCounts(received=6, inserted=6), stage_seconds=session.counts.stage_seconds, warned=session.counts.warned
    )


@given(st.lists(st.integers(0, 150_000), max_size=60), st.integers(1, 20))
def test_a_slice_has_as_many_plants_as_are_wanted_unless_they_have_too_many_machines(
    machines: list[int], plants_per_slice: int
) -> None:
    of_plants = {f"P{number:02}": count for number, count in enumerate(machines)}
    codes = [*of_plants, "new"]
    batches = list(_batches(codes, Settings.model_construct(sync_plants_per_slice=plants_per_slice), of_plants))
    assert [code for batch in batches for code in batch] == codes
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        count = sum(of_plants.get(code, 0) for code in batch)
        assert len(batch) <= plants_per_slice
        assert count <= 100_000 or len(batch) == 1
        if following is not None:  # none is smaller than it has to be
            assert len(batch) == plants_per_slice or count + of_plants.get(following[0], 0) > 100_000


def test_plants_with_many_machines_are_in_slices_of_their_own(
    server: tuple[Emulator, Served], chunked: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, served = server
    served.readings = [reading_record(EQUNR=number, SWERK=PLANTS[0]) for number in MACHINES]
    with chunked.engine.begin() as connection:
        last = sa.select(sa.func.max(plants.c.id)).scalar_subquery()
        connection.execute(sa.insert(equipment).values(equipment_number="X1", plant_id=last))
    for most, expected in ((7, [(f"{DAY}|B6JF,B6LG", 6)]), (6, [(f"{DAY}|B6JF", 6), (f"{DAY}|B6LG", 0)])):
        monkeypatch.setattr(running_times, "_MOST_MACHINES", most)
        chunked.running_times(DAY, key=f"{most}")
        assert slices(chunked.engine, f"{most}") == expected


RUN = """
import sys
from datetime import date
from cmms_pipelines.settings import read_settings
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.sync.memory import peak_mb
from cmms_pipelines.sync.running_times import sync_running_times

settings = read_settings()
engine = make_engine(settings.database_url.get_secret_value())
for key, day in enumerate(map(date.fromisoformat, sys.argv[1:])):
    asked = {"plant_codes": ["B6JF"], "sync_key": str(key), "run_id": None, "progress": lambda _: None}
    session = sync_running_times(engine, settings, [day], **asked)
    print(session.counts.received, session.counts.inserted, session.counts.unchanged, peak_mb())
"""


def peaks_mb(server: tuple[Emulator, Served], source: Source, rows: Sequence[int], chunk_rows: int) -> list[int]:
    """The most memory of one process after each of several days, of so many machines each, all of a day in one reply.

    At the end the last day comes once more, as it was.
    """
    emulator, served = server
    rows = [*rows, rows[-1]]
    days = [date(2013, 10, 1 + number) for number in range(len(rows) - 1)]
    days.append(days[-1])
    left = list(zip(days, rows, strict=True))

    def stream() -> Iterator[bytes]:
        day, machines = left.pop(0)
        yield b'{"data":['
        for start in range(0, machines, 1000):
            numbers = range(start + 1, start + 1001)
            records = [reading_record(EQUNR=f"{number:018d}", SWERK=PLANTS[0], DATE=day.isoformat()) for number in numbers]
            yield (b"," if start else b"") + orjson.dumps(records)[1:-1]
        yield b"]}"

    served.stream = stream
    with source.engine.begin() as connection:
        connection.execute(sa.delete(equipment))
        connection.execute(
            sa.text(
                "INSERT INTO cmms.equipment (equipment_number, plant_id) "
                "SELECT number::text, (SELECT min(id) FROM cmms.plants) FROM generate_series(1, :rows) number"
            ),
            {"rows": max(rows)},
        )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CMMS_")},
        "CMMS_HOME": str(source.settings.home),
        "CMMS_DATABASE_URL": source.database.url,
        "CMMS_API_URL": emulator.url,
        "CMMS_API_TOKEN": emulator.token,
        "CMMS_SYNC_CHUNK_ROWS": str(chunk_rows),
    }
    command = [sys.executable, "-c", RUN, *(day.isoformat() for day in days)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    finally:
        served.stream = None
    told = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [counts for *counts, _ in told] == [*([count, count, 0] for count in rows[:-1]), [rows[-1], 0, rows[-1]]]
    return [peak for *_, peak in told]


def test_a_day_of_six_times_as_many_machines_needs_no_more_memory(server: tuple[Emulator, Served], chunked: Source) -> None:
    few, many, again = peaks_mb(server, chunked, (8_000, 48_000), 2000)
    assert again - few < 40, (few, many, again)


@pytest.mark.soak
def test_a_day_of_a_million_machines_needs_no_more_memory_than_one_of_a_hundred_thousand(
    server: tuple[Emulator, Served], chunked: Source
) -> None:
    few, many, again = peaks_mb(server, chunked, (100_000, 1_000_000), Settings.model_fields["sync_chunk_rows"].default)
    assert again < 500, (few, many, again)
    assert many - few < 80, (few, many, again)
    assert again - many < 100, (few, many, again)  # of a plant, which is never cut: its digests are looked up at once

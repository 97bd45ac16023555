"""Records that came before are left out, and nothing can tell: neither the tables nor the books."""

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmms_pipelines.clients.spool import BLOCK_BYTES, RecordSpool
from cmms_pipelines.domain.field_names import FieldNames
from cmms_pipelines.domain.record_digests import Digests
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.day_rows import Change
from cmms_pipelines.storage.known_records import KnownRows
from cmms_pipelines.storage.machine_days import lock_machines, work_out_days
from cmms_pipelines.storage.tables import (
    counter_events,
    counter_facts,
    equipment,
    equipment_running_times,
    local_edits,
    plants,
    sync_rejections,
)
from cmms_pipelines.sync import known_records
from cmms_pipelines.sync.known_records import JUDGED_BY, Recognised, without_known
from cmms_pipelines.sync.session import SyncSession
from tests.conftest import Database
from tests.domain.samples import master_record, reading_record
from tests.emulator_server import Emulator
from tests.sync.conftest import Source, settings_for, silent
from tests.sync.served import Served, serving
from tests.sync.tables import content, open_rejections, versions

DAYS = [date(2013, 10, 28), date(2013, 10, 29)]
PLANTS = ["B6JF", "B6LG"]
MACHINES = ["N1", "N2", "N3"]

Record = dict[str, Any]
Step = tuple[Any, ...]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Emulator, Served]]:
    with serving() as served:
        yield served


class Nights:
    """One database and one source, night after night; `is_full` has every record judged."""

    def __init__(self, source: Source, served: Served) -> None:
        self.source = source
        self.engine = source.engine
        self._served = served
        self._number = 0

    def readings(self, day: date, records: Sequence[Record], *, is_full: bool = False) -> SyncSession:
        from cmms_pipelines.sync.running_times import sync_running_times  # noqa: PLC0415

        self._served.readings = list(records)
        return sync_running_times(
            self.engine, self.source.settings, [day], is_full_refresh=is_full, sync_key=self._key(), run_id=None, progress=silent
        )

    def masters(self, records: Sequence[Record], *, is_full: bool = False) -> SyncSession:
        from cmms_pipelines.sync.equipment import sync_equipment  # noqa: PLC0415

        self._served.masters = list(records)
        return sync_equipment(
            self.engine, self.source.settings, PLANTS, is_full_refresh=is_full, sync_key=self._key(), run_id=None, progress=silent
        )

    def known(self, table: sa.Table) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count(table.c.record_digest))) or 0)

    def execute(self, statement: str, **bound: object) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), bound)

    def _key(self) -> str:
        self._number += 1
        return f"night-{self._number}"


@pytest.fixture
def nights(server: tuple[Emulator, Served], database: Database, tmp_path: Path) -> Nights:
    emulator, served = server
    with database.engine.begin() as connection:
        connection.execute(sa.insert(plants), [{"plant_code": code, "name": code} for code in PLANTS])
        first = sa.select(sa.func.min(plants.c.id)).scalar_subquery()
        for number in MACHINES:
            connection.execute(sa.insert(equipment).values(equipment_number=number, plant_id=first))
    # a plant is a slice of its own, and few records a chunk
    changes = {"sync_plants_per_slice": 1, "sync_slices_in_flight": 1, "sync_chunk_rows": 100}
    return Nights(Source(database, settings_for(emulator, database, tmp_path, **changes)), served)


def record(machine: str, day: int, plant: str, hours: str | None, counter: str | None) -> Record:
    at = f"{DAYS[day]} {8 + PLANTS.index(plant):02d}:00:00"
    return reading_record(EQUNR=machine, SWERK=plant, DATE=str(DAYS[day]), DATE_TIME=at, RECDV=hours, CNTRR=counter)


RECORDS = st.builds(
    record,
    st.sampled_from([*MACHINES, "N1", "000N1", " N2 ", "N9"]),
    st.sampled_from([0, 1]),
    st.sampled_from([*PLANTS, PLANTS[0]]),
    st.sampled_from(["5", "5", "20", "85", "-3", "lots", None]),
    st.sampled_from(["100", "105", "99", None]),
)
STEPS = st.one_of(
    st.tuples(st.just("sync"), st.sampled_from([0, 1]), st.sets(st.integers(0, 7), min_size=1)),
    st.tuples(st.just("sync"), st.sampled_from([0, 1]), st.sets(st.integers(0, 7), min_size=5)),
    st.tuples(st.just("sync"), st.sampled_from([0, 1]), st.sets(st.integers(0, 7), min_size=5)),
    st.tuples(st.just("twice"), st.sampled_from([0, 1]), st.integers(0, 7)),
    st.tuples(st.just("event"), st.sampled_from([0, 1]), st.sampled_from(MACHINES), st.sampled_from([90.0, 104.0])),
    st.tuples(st.just("edit"), st.sampled_from([0, 1]), st.sampled_from(MACHINES)),
    st.tuples(st.just("remove"), st.sampled_from([0, 1]), st.sampled_from(MACHINES)),
    st.tuples(st.just("zone"), st.sampled_from(["UTC", "Asia/Jakarta"])),
)


def lived(nights: Nights, records: Sequence[Record], steps: Sequence[Step], *, is_full: bool) -> list[Any]:
    """Everything that some nights leave behind in empty tables, step by step."""
    tables = ", ".join(table.fullname for table in (equipment_running_times, counter_events, counter_facts, sync_rejections))
    nights.execute(f"TRUNCATE {tables} CASCADE")
    nights.execute("UPDATE cmms.plants SET time_zone = 'UTC'")
    found: list[Any] = []
    for kind, *how in steps:
        if kind in {"sync", "twice"}:
            chosen = sorted(how[1]) if kind == "sync" else [how[1], how[1]]
            of_day = [records[number % len(records)] for number in chosen]
            of_day = [one for one in of_day if one["DATE"] == str(DAYS[how[0]])]
            session = nights.readings(DAYS[how[0]], of_day, is_full=is_full)
            found.append(replace(session.counts, stage_seconds={}))
        elif kind == "event":
            apply_event(nights.engine, DAYS[how[0]], how[1], how[2])
        elif kind == "edit":
            change(nights, "UPDATE cmms.equipment_running_times SET running_hours = 1.5", DAYS[how[0]], how[1])
        elif kind == "remove":
            change(nights, "DELETE FROM cmms.equipment_running_times", DAYS[how[0]], how[1])
        else:
            nights.execute("UPDATE cmms.plants SET time_zone = :zone", zone=how[0])
        found.append(tables_of(nights.engine))
    return found


def change(nights: Nights, statement: str, day: date, machine: str) -> None:
    condition = "equipment_id = (SELECT id FROM cmms.equipment WHERE equipment_number = :machine) AND date = :day"
    nights.execute(f"{statement} WHERE {condition}", machine=machine, day=day)


def apply_event(engine: sa.Engine, day: date, machine: str, counter: float) -> None:
    part = {
        "running_hours": None, "cumulative_hours": counter, "days_covered": 1, "date_time": f"{day}T12:00:00+00:00",
        "warnings": ["running_hours_missing"], "company_code": None,
    }  # fmt: skip
    with engine.begin() as connection:
        identifier = int(connection.scalar(sa.select(equipment.c.id).where(equipment.c.equipment_number == machine)) or 0)
        lock_machines(connection, [identifier])
        connection.execute(
            sa.text("CREATE TABLE IF NOT EXISTS cmms.equipment_running_times_2013_10 PARTITION OF cmms.equipment_running_times "
                    "FOR VALUES FROM ('2013-10-01') TO ('2013-11-01')")
        )  # fmt: skip
        work_out_days(connection, {(identifier, day): Change({PLANTS[0]: part}, source="webhook:test")})


def tables_of(engine: sa.Engine) -> tuple[Any, ...]:
    kept, events, facts = sync_rejections.c, counter_events.c, counter_facts.c
    rejected = sa.select(kept.record_key, kept.rule, kept.status, kept.times_seen, kept.value, sa.cast(kept.payload, sa.Text))
    happened = sa.select(events.equipment_id, events.date, events.kind, events.counter_before, events.offset_hours)
    known = sa.select(facts.equipment_id, facts.overflow_at, facts.is_counting_backwards)
    with engine.connect() as connection:
        others = [sorted(map(repr, connection.execute(statement))) for statement in (rejected, happened, known)]
    return content(engine), *others


def assert_nothing_tells(nights: Nights, records: list[Record], steps: list[Step]) -> None:
    """What was known before the steps and what came of them must not differ from judging everything."""
    before, after = [("sync", 0, frozenset(range(8)))], [("sync", day, frozenset(range(8))) for day in (0, 1)]
    everything = [*before, *steps, *after]
    assert lived(nights, records, everything, is_full=False) == lived(nights, records, everything, is_full=True)


LIVES = (st.lists(RECORDS, min_size=4, max_size=8), st.lists(STEPS, min_size=1, max_size=4))
UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=3, suppress_health_check=UNCHECKED)
@given(*LIVES)
def test_whatever_happens_between_the_nights_tables_and_books_are_those_of_judging_everything(
    nights: Nights, records: list[Record], steps: list[Step]
) -> None:
    assert_nothing_tells(nights, records, steps)


@pytest.mark.soak
@settings(max_examples=150, suppress_health_check=UNCHECKED)
@given(*LIVES)
def test_for_a_long_time_tables_and_books_are_those_of_judging_everything(
    nights: Nights, records: list[Record], steps: list[Step]
) -> None:
    assert_nothing_tells(nights, records, steps)


def test_nothing_tells_of_what_is_known_to_matter(nights: Nights) -> None:
    """The same again, a second reading, another plant too, a repeat, an event, a correction, a deletion, a refusal in between."""
    steps: list[Step] = [
        ("sync", 0, {0, 1, 2}),
        ("sync", 0, {0, 3}),
        ("sync", 0, {1, 4}),
        ("sync", 0, {0, 1, 2}),
        ("twice", 0, 0),
        ("event", 0, "N2", 90.0),
        ("sync", 1, {5}),
        ("edit", 0, "N1"),
        ("remove", 0, "N2"),
        ("sync", 0, {0, 1}),
        ("sync", 0, {6}),
        ("sync", 0, {1}),
        ("sync", 1, {5}),
    ]
    records = [
        record("N1", 0, PLANTS[0], "5", "100"),
        record("N2", 0, PLANTS[0], "5", "100"),
        record("N3", 0, PLANTS[1], "5", "100"),
        record("N1", 0, PLANTS[0], "6", "105"),
        record("N2", 0, PLANTS[1], "5", "105"),
        record("N1", 1, PLANTS[0], "5", "105"),
        record("N2", 0, PLANTS[0], "85", "99"),
        record("000N2", 0, PLANTS[0], "5", "100"),
    ]
    assert lived(nights, records, steps, is_full=False) == lived(nights, records, steps, is_full=True)


def plain(day: int = 0) -> list[Record]:
    return [record(machine, day, PLANTS[0], "5", str(100 + 5 * day)) for machine in MACHINES]


def test_a_record_that_came_before_is_neither_read_nor_written_again(nights: Nights) -> None:
    nights.readings(DAYS[0], plain())
    assert nights.known(equipment_running_times) == 3
    before = versions(nights.engine, equipment_running_times)
    again = nights.readings(DAYS[0], plain())
    assert replace(again.counts, stage_seconds={}) == SyncCounts(received=3, unchanged=3)
    assert "parse" not in again.counts.stage_seconds
    assert again.counts.stage_seconds["prefilter"] > 0
    assert versions(nights.engine, equipment_running_times) == before


def test_a_full_refresh_judges_every_record_again(nights: Nights) -> None:
    nights.readings(DAYS[0], plain())
    again = nights.readings(DAYS[0], plain(), is_full=True)
    assert again.counts.unchanged == 3
    assert again.counts.stage_seconds["parse"] > 0


def test_only_the_machines_of_records_that_differ_are_judged_again(nights: Nights) -> None:
    nights.readings(DAYS[0], plain())
    changed = plain()
    changed[1]["RECDV"] = "6"
    again = nights.readings(DAYS[0], changed)
    assert (again.counts.received, again.counts.updated, again.counts.unchanged) == (3, 1, 2)
    assert again.counts.stage_seconds["parse"] > 0


@pytest.mark.parametrize("together", [1, 3, 25_000])
def test_the_machines_of_all_unknown_records_are_looked_up_however_many_at_a_time(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_records, "_KEYS_TOGETHER", together)
    asked: list[str] = []

    class EveryThirdKnown:
        def recognise(self, digests: Digests) -> Recognised:
            place = np.arange(len(digests))
            return Recognised(KnownRows(place, place, place), np.where(place % 3 == 0, place, -1))

        def without_machines(self, recognised: Recognised, numbers: Iterable[Sequence[str]]) -> Recognised:
            asked.extend(number for some in numbers for number in some)
            return recognised

    with closing(RecordSpool()) as spool:
        for number in range(12):
            spool.append([{"EQUNR": f"000{number}", "POINT": "2" * (BLOCK_BYTES // 3)}])  # two records fill a block
        rest, _ = without_known([spool], EveryThirdKnown(), ("EQUNR",))  # type: ignore[arg-type]
    assert sorted(map(int, asked)) == [number for number in range(12) if number % 3]
    assert rest is not None
    assert len(rest) == len(asked)
    rest.close()


@pytest.mark.parametrize(
    "happening",
    [
        lambda nights: nights.execute("UPDATE cmms.equipment_running_times SET running_hours = 1"),
        lambda nights: nights.execute("UPDATE cmms.equipment_running_times SET updated_at = now()"),
        lambda nights: nights.execute("UPDATE cmms.plants SET time_zone = 'Asia/Jakarta'"),
    ],
    ids=["somebody corrected the rows", "somebody touched the rows", "the plant's clock is another one"],
)
def test_what_happens_to_a_row_has_its_record_judged_again_once(nights: Nights, happening: Callable[[Nights], None]) -> None:
    nights.readings(DAYS[0], plain())
    happening(nights)
    assert "parse" in nights.readings(DAYS[0], plain()).counts.stage_seconds
    nights.readings(DAYS[0], plain())
    assert "parse" not in nights.readings(DAYS[0], plain()).counts.stage_seconds
    with nights.engine.connect() as connection:
        assert set(connection.scalars(sa.select(equipment_running_times.c.running_hours))) == {5}


def test_a_refused_record_that_comes_right_another_night_waits_no_longer(nights: Nights) -> None:
    too_many = [record("N1", day, PLANTS[0], "85", "100") for day in (0, 1)]
    for day in (0, 1):
        nights.readings(DAYS[day], [too_many[day], *plain(day)[1:]])
    assert open_rejections(nights.engine) == {"running_hours_exceed_day": 2}
    right = nights.readings(DAYS[1], plain(1))
    assert (right.counts.unchanged, right.counts.updated, right.counts.refused) == (2, 1, 0)
    with nights.engine.connect() as connection:
        kept = sync_rejections.c
        waiting = {row.date: row.status for row in connection.execute(sa.select(kept.date, kept.status))}
    assert waiting == {DAYS[0]: "open", DAYS[1]: "replayed"}


def test_records_that_warn_or_come_twice_are_judged_every_night(nights: Nights) -> None:
    nights.readings(DAYS[0], plain())
    second = [record("N1", 1, PLANTS[0], "5", "90"), *(record("N2", 1, PLANTS[0], "5", "105") for _ in range(2))]
    for _ in range(2):
        counts = nights.readings(DAYS[1], second).counts
        assert (counts.received, counts.warned, counts.merged) == (3, 1, 1)
        assert counts.noted_by_rule == {"counter_went_back": 1}
    assert nights.known(equipment_running_times) == 3


def test_records_that_came_before_count_where_the_unreadable_ones_of_their_plant_are_weighed(nights: Nights) -> None:
    nights.readings(DAYS[0], plain())
    unreadable = [{**record("N1", 0, PLANTS[0], "5", "100"), "EQUNR": None, "ID": number} for number in range(30)]
    counts = nights.readings(DAYS[0], [*plain(), *unreadable]).counts
    assert (counts.unchanged, counts.refused) == (3, 30)


def test_masters_that_came_before_are_left_out_until_something_changes(nights: Nights) -> None:
    masters = [master_record(EQUNR=f"M{number}", SWERK=PLANTS[number % 2]) for number in range(6)]
    assert nights.masters(masters).counts.inserted == 6
    before = versions(nights.engine, equipment)
    again = nights.masters(masters).counts
    assert (again.received, again.unchanged) == (6, 6)
    assert "parse" not in again.stage_seconds
    assert versions(nights.engine, equipment) == before
    nights.execute("UPDATE cmms.equipment SET equipment_description = 'BY HAND' WHERE equipment_number = 'M1'")
    assert nights.masters(masters).counts.updated == 1
    moved = [*masters[1:], {**masters[0], "SWERK": PLANTS[1], "CREATED_AT": "2013-05-01T00:15:00.000000Z"}]
    assert nights.masters(moved).counts.updated == 1
    assert nights.masters(masters).counts.unchanged == 6
    assert nights.masters(masters, is_full=True).counts.unchanged == 6


def test_a_machine_that_was_edited_here_is_judged_every_night(nights: Nights) -> None:
    masters = [master_record(EQUNR=f"M{number}", SWERK=PLANTS[0]) for number in range(3)]
    nights.masters(masters)
    edit = sa.insert(local_edits).values(
        entity_type="equipment",
        entity_key="M1",
        field="point",
        value="1",
        base="000000020570",
        edited_by="me",
        edited_at=sa.func.now(),
    )
    with nights.engine.begin() as connection:
        connection.execute(edit)
        connection.execute(sa.text("UPDATE cmms.equipment SET point = '1' WHERE equipment_number = 'M1'"))
    for _ in range(2):
        counts = nights.masters(masters).counts
        assert (counts.received, counts.refused) == (3, 0)
        assert "parse" in counts.stage_seconds
        assert nights.known(equipment) == 2


def test_the_version_of_the_judgement_covers_all_code_that_judges() -> None:
    entries = ("domain.records", "domain.odata_records", "domain.running_times", "domain.equipment", "domain.classification")
    reached: set[str] = set()
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        origin = find_spec(f"cmms_pipelines.{name}")
        assert origin is not None
        assert origin.origin is not None
        for node in ast.walk(ast.parse(Path(origin.origin).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cmms_pipelines.domain"):
                module = node.module.removeprefix("cmms_pipelines.")
                names = [module] if module != "domain" else [f"domain.{alias.name}" for alias in node.names]
                waiting += names
    assert reached - set(JUDGED_BY) <= {"domain.errors", "domain.record_digests"}


def test_a_sites_own_fields_are_read_and_a_changed_mapping_has_every_record_judged_again(nights: Nights) -> None:
    """The same reading, word for word, is 5 hours by `RECDV` and 7.5 by the site's own `ZRUNH`."""
    one = reading_record(EQUNR="N1", SWERK=PLANTS[0], RECDV="5", ZRUNH="7.5")
    for expected in (0, 1):  # the second night knows it
        assert nights.readings(DAYS[0], [one]).counts.unchanged == expected
    before = content(nights.engine)
    names = {"ims": {"running_times": {"running_hours": ["ZRUNH"]}}}
    nights.source.settings = nights.source.settings.model_copy(update={"field_names": FieldNames.model_validate(names)})
    counts = nights.readings(DAYS[0], [one]).counts
    assert (counts.updated, counts.unchanged) == (1, 0)
    with nights.engine.connect() as connection:
        assert connection.scalar(sa.select(equipment_running_times.c.running_hours)) == 7.5
    assert nights.readings(DAYS[0], [one]).counts.unchanged == 1
    nights.source.settings = nights.source.settings.model_copy(update={"field_names": FieldNames()})
    assert nights.readings(DAYS[0], [one]).counts.updated == 1
    assert content(nights.engine) == before


def test_own_fields_of_masters_are_columns_and_no_attributes(nights: Nights) -> None:
    names = {"ims": {"equipment": {"equipment_description": ["ZTEXT"]}}}
    nights.source.settings = nights.source.settings.model_copy(update={"field_names": FieldNames.model_validate(names)})
    nights.masters([master_record(EQUNR="N1", SWERK=PLANTS[0], ZTEXT="Compressor 4")])
    with nights.engine.connect() as connection:
        row = connection.execute(sa.select(equipment).where(equipment.c.equipment_number == "N1")).mappings().one()
    assert row["equipment_description"] == "Compressor 4"
    assert "ZTEXT" not in (row["attributes"] or {})

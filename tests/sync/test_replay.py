"""Records that come out of the quarantine: by themselves when what they waited for arrives, or because an operator says so."""

from datetime import date
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.dialects import Dialect, dialect_of
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.settings import UnknownPlantPolicy
from cmms_pipelines.storage import quality, rejections
from cmms_pipelines.storage.rejection_search import RejectionFilter
from cmms_pipelines.storage.tables import equipment, equipment_running_times, plants, sync_rejections
from cmms_pipelines.sync.control import SyncStoppedError
from cmms_pipelines.sync.equipment import sync_equipment
from cmms_pipelines.sync.replay import ReplayReport, replay_arrived, replay_rejections, replaying_arrived
from tests.conftest import Database
from tests.storage.readings_world import make_world, reading, stored
from tests.sync.conftest import Source, silent
from tests.sync.flown import Flown
from tests.sync.tables import content, count, hours_by_machine_and_day, log_of, open_rejections

DAY = date(2013, 10, 28)


def arrived(source: Source, key: str = "arrived") -> ReplayReport:
    return replay_arrived(source.engine, source.settings, sync_key=key, run_id=None, progress=silent)


def replayed(source: Source, wanted: RejectionFilter, key: str = "replay", *, is_dry_run: bool = False) -> ReplayReport:
    return replay_rejections(
        source.engine, source.settings, wanted, sync_key=key, run_id=None, progress=silent, is_dry_run=is_dry_run
    )


def keep(database: Database, rule: str, *records: dict[str, Any], dialect: Dialect | None = None) -> None:
    """Put readings into the quarantine as a sync would that had to refuse them."""
    rows = [
        {
            "record_key": f"{record['EQUNR']}|{record['DATE']}|{record['SWERK']}|{number}",
            "rule": rule,
            "severity": "error",
            "column_name": "",
            "value": None,
            "message": rule,
            "other_failures": None,
            "payload": record,
            "plant_code": record["SWERK"],
            "equipment_number": record["EQUNR"],
            "date": pd.Timestamp(record["DATE"]),
        }
        for number, record in enumerate(records)
    ]
    with database.engine.begin() as connection:
        rejections.store(connection, "running_times", None, pd.DataFrame(rows), dialect)


def spoken(engine: sa.Engine) -> set[tuple[str | None, bool | None]]:
    """The dialects that the quarantine knows of."""
    kept = sync_rejections.c
    with engine.connect() as connection:
        return {(row[0], row[1]) for row in connection.execute(sa.select(kept.dialect, kept.has_decimal_comma).distinct())}


def add_machine(database: Database, number: str) -> None:
    with database.engine.begin() as connection:
        plant = connection.scalar(sa.select(plants.c.id).where(plants.c.plant_code == "B6LG"))
        connection.execute(sa.insert(equipment).values(equipment_number=number, plant_id=plant))


def test_a_plant_that_arrives_brings_its_machines_and_they_bring_their_readings(source: Source, flown: Flown) -> None:
    codes = sorted({plant for _, _, plant in flown.received(DAY)})
    masters = source.equipment(["B6JF"])  # the register is spread over the plants: this one has its share of it
    readings = source.running_times(DAY, plants=codes)
    assert masters.counts.refused_by_rule == {"plant_unknown": masters.counts.received}
    assert readings.counts.refused_by_rule == {"plant_unknown": readings.counts.received}
    assert spoken(source.engine) == {("ims", False)}
    assert arrived(source, "too-early").judged == 0

    source.plants()
    report = arrived(source)
    machines = count(source.engine, equipment)
    assert report.accepted_by_sync["equipment"] == machines == masters.counts.received
    with source.engine.connect() as connection:
        known = set(connection.scalars(sa.select(equipment.c.equipment_number)))
    expected = {key: hours for key, hours in flown.expected(DAY).items() if key[0] in known}
    assert expected
    assert hours_by_machine_and_day(source.engine) == pytest.approx(expected, abs=1e-3)
    assert report.refused_by_rule == {"equipment_unknown": report.refused}
    assert open_rejections(source.engine) == {"equipment_unknown": report.refused}
    assert report.judged == report.accepted + report.refused == masters.counts.received + readings.counts.received

    logs = [log_of(source.engine, log_id) for log_id in report.sync_log_ids]
    assert [log["sync_type"] for log in logs] == ["equipment", "running_times"]
    assert [log["scope"]["replay"] for log in logs] == ["arrived", "arrived"]
    assert sum(log["records_processed"] for log in logs) == report.judged
    assert sum(log["records_failed"] for log in logs) == report.refused

    table = content(source.engine)
    assert arrived(source, "again").judged == 0
    source.equipment()
    arrived(source, "rest")
    assert hours_by_machine_and_day(source.engine) == pytest.approx(flown.expected(DAY), abs=1e-3)
    assert len(content(source.engine)) > len(table)


def test_an_operator_is_told_what_was_accepted_and_why_the_rest_was_not(source: Source, database: Database) -> None:
    make_world(database.engine)
    good, orphan = reading("B6LG", DAY, 5, 100), reading("B6LG", DAY, 5, 100, number="N9")
    empty = reading("B6JF", DAY, None, None, number="N2")
    keep(database, "equipment_unknown", good, orphan, empty)
    report = replayed(source, RejectionFilter(rules=("equipment_unknown",)))
    assert (report.judged, report.accepted, report.refused, report.overtaken) == (3, 1, 2, 0)
    why = {one.record_key.split("|")[0]: one.rule for one in report.still_refused}
    assert why == {"N9": "equipment_unknown", "N2": "reading_missing"}
    assert all(one.message for one in report.still_refused)
    assert stored(database.engine) == [(5.0, 100.0, 1, "B6LG")]
    log = log_of(database.engine, report.sync_log_ids[0])
    assert log["scope"]["replay"] == {"rules": ["equipment_unknown"]}
    assert (log["records_processed"], log["records_inserted"], log["records_failed"]) == (3, 1, 2)
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(sync_rejections).order_by("id")).all()
    assert (rows[0].resolved_by, rows[0].resolution_reason) == ("replay", "judged again and accepted")
    state = [(row.equipment_number, row.rule, row.status, row.times_seen) for row in rows]
    assert state == [
        ("N526JB", "equipment_unknown", "replayed", 1),
        ("N9", "equipment_unknown", "open", 1),
        ("N2", "reading_missing", "open", 1),  # the same row, under the rule that it fails now
    ]


def test_a_dry_run_says_what_would_happen_and_changes_nothing(source: Source, database: Database) -> None:
    make_world(database.engine)
    keep(database, "equipment_unknown", reading("B6LG", DAY, 5, 100), reading("B6LG", DAY, 85, 185, number="N2"))
    with database.engine.connect() as connection:
        before = connection.execute(sa.select(sync_rejections).order_by("id")).all()
    report = replayed(source, RejectionFilter(), is_dry_run=True)
    assert (report.judged, report.accepted, report.refused) == (2, 1, 1)
    assert [one.rule for one in report.still_refused] == ["running_hours_exceed_day"]
    with database.engine.connect() as connection:
        assert connection.execute(sa.select(sync_rejections).order_by("id")).all() == before
    assert count(database.engine, equipment_running_times) == 0
    log = log_of(database.engine, report.sync_log_ids[0])
    assert (log["scope"]["dry_run"], log["records_processed"], log["status"]) == (True, 0, "success")


def test_a_reading_does_not_push_out_one_that_is_stored_from_the_same_plant_and_day(source: Source, database: Database) -> None:
    make_world(database.engine)
    keep(database, "equipment_unknown", reading("B6LG", DAY, 5, 100))
    assert replayed(source, RejectionFilter(), "first").accepted == 1
    keep(database, "running_hours_exceed_day", reading("B6LG", DAY, 3, 103, hour=18), reading("B6JF", DAY, 2, 105, hour=20))
    report = replayed(source, RejectionFilter(), "second")
    assert (report.judged, report.accepted, report.overtaken) == (1, 1, 1)
    assert stored(database.engine, "running_hours") == [(7.0,)]
    assert open_rejections(database.engine) == {"running_hours_exceed_day": 1}


def test_a_reading_whose_counter_alone_was_stored_can_still_be_replayed(source: Source, database: Database) -> None:
    make_world(database.engine)
    keep(database, "equipment_unknown", reading("B6LG", DAY, 85, 185))
    first = replayed(source, RejectionFilter(), "first")
    assert (first.accepted, first.refused_by_rule) == (0, {"running_hours_exceed_day": 1})
    assert stored(database.engine) == [(None, 185.0, 1, "B6LG")]
    assert replayed(source, RejectionFilter(), "second").judged == 1


def test_a_master_that_has_changed_since_is_not_put_back(ready: Source) -> None:
    with ready.engine.begin() as connection:
        rejected = connection.execute(sa.select(sync_rejections).limit(1)).one()
        number = rejected.equipment_number
        plant = connection.scalar(sa.select(plants.c.id).limit(1))
        connection.execute(
            sa.insert(equipment).values(equipment_number=number, plant_id=plant, updated_at=sa.text("now() + interval '1 day'"))
        )
    report = replayed(ready, RejectionFilter(ids=(rejected.id,)))
    assert (report.judged, report.overtaken) == (0, 1)


def test_masters_without_a_plant_are_judged_again_and_refused_again(ready: Source) -> None:
    report = replayed(ready, RejectionFilter(sync_types=("equipment",)))
    assert (report.judged, report.accepted, report.refused_by_rule) == (6, 0, {"plant_code_missing": 6})
    with ready.engine.connect() as connection:
        seen = connection.scalars(sa.select(sync_rejections.c.times_seen)).all()
    assert list(seen) == [1] * 6


def test_a_plant_is_judged_again_like_any_record(source: Source, database: Database) -> None:
    row = {
        "record_key": "XX", "rule": "time_zone_unknown", "other_failures": None, "severity": "error", "column_name": "time_zone",
        "value": "Mars", "message": "no zone", "payload": {"SWERK": "XX", "NAME1": "X", "TIME_ZONE": "Europe/Berlin"},
        "plant_code": "XX", "equipment_number": None, "date": pd.NaT,
    }  # fmt: skip
    with database.engine.begin() as connection:
        rejections.store(connection, "plants", None, pd.DataFrame([row]).astype({"equipment_number": "str"}))
    assert replayed(source, RejectionFilter()).accepted_by_sync == {"plants": 1}
    assert count(database.engine, plants) == 1


def test_the_books_of_an_equipment_run_hold_beside_those_of_its_replays(source: Source) -> None:
    codes = ["B6JF", "B6LG"]
    source.equipment(codes)
    source.plants()
    session = sync_equipment(source.engine, source.settings, ["DLLG"], sync_key="a-run", run_id="run-1", progress=silent)
    replay_arrived(source.engine, source.settings, sync_key="a-run:replay", run_id="run-1", progress=silent)
    accounts = quality.accounts_of_run(source.engine, "equipment", "run-1")
    assert accounts.received == session.counts.received
    assert accounts.is_balanced


@pytest.mark.parametrize(
    ("error", "is_applied"),
    [
        (TransientError("one slice failed"), True),
        (PermanentError("one machine is missing"), True),
        (SyncStoppedError("Stopped by jane"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_arrived_with_a_sync_that_failed_in_part_is_applied_unless_somebody_wanted_its_end(
    source: Source, database: Database, error: BaseException, is_applied: bool
) -> None:
    make_world(database.engine)
    keep(database, "equipment_unknown", reading("B6LG", DAY, 5, 100, number="N9"))

    def bring() -> None:
        with replaying_arrived(source.engine, source.settings, sync_key="a", run_id=None, progress=silent) as report:
            add_machine(database, "N9")
            assert report.judged == 0
            raise error

    with pytest.raises(type(error)) as raised:
        bring()
    assert raised.value is error
    assert bool(stored(database.engine)) is is_applied


def test_a_replay_that_fails_after_a_failed_sync_is_told_and_hides_nothing(source: Source, database: Database) -> None:
    make_world(database.engine)
    keep(database, "equipment_unknown", reading("B6LG", DAY, 5, 100))
    with database.engine.begin() as connection:
        connection.execute(sa.update(sync_rejections).values(dialect="of another time"))
    told: list[str] = []

    def bring() -> None:
        with replaying_arrived(source.engine, source.settings, sync_key="a", run_id=None, progress=told.append):
            raise TransientError("one slice failed")

    with pytest.raises(TransientError, match="one slice failed"):
        bring()
    assert "could not be judged again" in told[-1]


@pytest.mark.parametrize("machines", [["N9"], ["N9", "N10"]])
def test_a_retry_of_a_replay_does_not_judge_twice_what_the_first_attempt_settled(
    source: Source, database: Database, machines: list[str]
) -> None:
    make_world(database.engine)
    keep(database, "equipment_unknown", *(reading("B6LG", DAY, 5, 100, number=number) for number in machines))
    add_machine(database, "N9")
    assert arrived(source, "one").accepted == 1
    assert arrived(source, "one").judged == 0
    assert stored(database.engine) == [(5.0, 100.0, 1, "B6LG")]


def in_seconds(number: str) -> dict[str, Any]:
    """A reading in SAP's own field names, which say seconds in OData and nothing of the kind in ims."""
    counted = {"CDIFF": "18000", "CNTRR": "360000"}
    return {"SWERK": "B6LG", "EQUNR": number, "DATE": DAY.isoformat(), "IDATE": "20131028", "ITIME": "120000", **counted}


def test_a_record_is_judged_in_the_dialect_in_which_it_came_whatever_the_source_speaks_now(
    source: Source, database: Database
) -> None:
    make_world(database.engine)
    keep(database, "equipment_unknown", in_seconds("N526JB"), dialect=dialect_of("odata_v2"))
    comma = {**reading("B6LG", DAY, 5, 100, number="N2"), "RECDV": "8,5", "CNTRR": "1.234,50"}
    keep(database, "equipment_unknown", comma, dialect=dialect_of("ims", has_decimal_comma=True))
    keep(database, "equipment_unknown", reading("B6LG", DAY, 4, 50, number="N3"))  # kept before dialects were
    keep(database, "equipment_unknown", in_seconds("N9"), dialect=dialect_of("odata_v4"))
    report = replayed(source, RejectionFilter())
    assert (report.judged, report.accepted, report.refused) == (4, 3, 1)
    found = stored(database.engine, "equipment_number", "running_hours", "cumulative_hours")
    assert sorted(found) == [("N2", 8.5, 1234.5), ("N3", 4.0, 50.0), ("N526JB", 5.0, 100.0)]
    assert spoken(database.engine) == {("odata_v2", False), ("ims", True), (None, None), ("odata_v4", False)}
    logs = [log_of(database.engine, log_id) for log_id in report.sync_log_ids]
    assert sorted(log["scope"]["dialect"] for log in logs) == ["ims", "ims", "odata_v2", "odata_v4"]
    assert sum(log["records_processed"] for log in logs) == 4


def test_a_replay_creates_an_unknown_plant_where_the_syncs_do(source: Source, database: Database) -> None:
    make_world(database.engine)
    keep(database, "plant_unknown", reading("DLLG", DAY, 5, 100))
    source.settings = source.settings.model_copy(update={"on_unknown_plant": UnknownPlantPolicy.CREATE})
    assert replayed(source, RejectionFilter()).accepted == 1
    assert stored(database.engine) == [(5.0, 100.0, 1, "DLLG")]

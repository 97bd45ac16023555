"""Every row of the quirks table (docs/source_data.md): what comes, and what we make of it, at the level where the row lives.

The number in a test's name is that of the row; a test at the end sees that none is missing.
"""

import datetime as dt
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from fastapi import Response

from cmms_pipelines.clients.connect import connect
from cmms_pipelines.clients.envelope import records_and_next
from cmms_pipelines.clients.transport import Retries
from cmms_pipelines.domain import equipment as masters
from cmms_pipelines.domain import sap_values
from cmms_pipelines.domain.dialects import Dialect, dialect_of
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.running_times import JudgedReadings, judge, with_context
from cmms_pipelines.storage import equipment as equipment_storage
from cmms_pipelines.storage import running_times as storage
from cmms_pipelines.storage.neighbours import read_neighbours
from cmms_pipelines.storage.plants import read as read_plants
from cmms_pipelines.storage.tables import counter_events, equipment, equipment_running_times, plants
from cmms_pipelines.sync.replay import replay_arrived
from tests.clients.scripted_source import reply, scripted_server, scripted_source
from tests.conftest import Database
from tests.emulator_server import Emulator
from tests.sync.conftest import Source, settings_for, silent

IMS, V2, V4 = (dialect_of(name) for name in ("ims", "odata_v2", "odata_v4"))
ZONES = {
    "TO30": "America/New_York",
    "WD10": "America/New_York",
    "VOLV": "Europe/Oslo",
    "B6LG": "America/New_York",
    "B6JF": "America/New_York",
}
PLANTS = pd.DataFrame({"plant_code": list(ZONES), "plant_id": range(1, 6), "time_zone": list(ZONES.values())}).astype(
    {"plant_code": "str", "time_zone": "str"}
)
NUMBER = "10020570"
ONCE = Retries(attempts=2, wait_initial_s=0.001, wait_max_s=0.001, wait_jitter_s=0)
UTC = dt.UTC


def ims_reading(day: str, hours: float | str | None, counter: float | str | None, **fields: object) -> dict[str, Any]:
    return {
        "SWERK": "WD10",
        "EQUNR": "000000000010020570",
        "BUKRS": "BKBZ",
        "DATE": day,
        "DATE_TIME": f"{day} 23:59:00",
        "RECDV": hours,
        "CNTRR": counter,
        "CREATED_AT": f"{day}T23:59:30Z",
        **fields,
    }


def document(day: str, counter: float | None, difference: float | None = None, **fields: object) -> dict[str, Any]:
    """A measurement document of version 4 with its point joined; hours in, seconds out."""
    return {
        "MeasurementDocument": "1",
        "MeasuringPoint": "20570",
        "Equipment": NUMBER,
        "MaintenancePlant": "WD10",
        "MsmtRdngDate": day,
        "MsmtRdngTime": "23:59:00",
        "MeasurementCounterReading": None if counter is None else counter * 3600,
        "MsmtCounterReadingDifference": None if difference is None else difference * 3600,
        "MeasurementReadingInEntryUoM": counter,
        "MeasurementReadingEntryUoM": "H",
        **fields,
    }


def judged(
    dialect: Dialect, records: Sequence[dict[str, Any]], previous: tuple[str, float] | None = None, is_known: bool = True
) -> JudgedReadings:
    """Records judged as a sync does, all of one machine, whose reading before is `previous`."""
    frame = dialect.running_times_frame(records, ZONES)
    keys = frame.loc[:, ["equipment_number", "date"]].dropna().drop_duplicates()
    neighbours = keys.assign(
        equipment_id=pd.Series(1 if is_known else None, index=keys.index, dtype="Int64"),
        previous_date=pd.Timestamp(previous[0]).as_unit("s") if previous else pd.NaT,
        previous_cumulative_hours=previous[1] if previous else None,
        other_plants_hours=None,
        other_plants_days_covered=None,
    ).astype(
        {"previous_date": "datetime64[s]"}
        | dict.fromkeys(("previous_cumulative_hours", "other_plants_hours", "other_plants_days_covered"), "float64")
    )
    days = sorted({day.date() for day in frame["date"].dropna()})
    return judge(with_context(frame, PLANTS, neighbours, days))


def one_row(outcome: JudgedReadings) -> dict[str, Any]:
    (row,) = outcome.rows.to_dict("records")
    return {str(name): value for name, value in row.items()}


def rules(outcome: JudgedReadings, *severities: str) -> list[str]:
    failures = outcome.failures
    return failures.loc[failures["severity"].isin(severities or ("error", "warning")), "rule"].to_list()


class World:
    """One machine in a database of its own, and what syncs make of its readings."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        with engine.begin() as connection:
            rows = [{"plant_code": code, "name": code, "time_zone": zone} for code, zone in ZONES.items()]
            connection.execute(sa.insert(plants), rows)
            home = connection.scalar(sa.select(plants.c.id).where(plants.c.plant_code == "WD10"))
            connection.execute(sa.insert(equipment), [{"equipment_number": NUMBER, "plant_id": home}])

    def sync(self, dialect: Dialect, *records: dict[str, Any], refused: Sequence[str] = ()) -> None:
        with self.engine.begin() as connection:
            known = read_plants(connection)
            frame = dialect.running_times_frame(records, dict(zip(known["plant_code"], known["time_zone"], strict=True)))
            keys = frame[["equipment_number", "date"]].drop_duplicates()
            codes = sorted(set(frame["plant_code"]))
            neighbours = read_neighbours(connection, keys, codes)
            days = sorted({day.date() for day in frame["date"]})
            outcome = judge(with_context(frame, known, neighbours, days))
        assert rules(outcome, "error") == list(refused)
        with self.engine.begin() as connection:
            storage.write(connection, outcome.rows, outcome.refused_counters)

    def stored(self) -> list[tuple[str, float | None, float | None]]:
        times = equipment_running_times.c
        statement = sa.select(times.date, times.running_hours, times.cumulative_hours).order_by(times.date)
        with self.engine.connect() as connection:
            return [
                (row.date.isoformat(), *(None if value is None else float(value) for value in row[1:]))
                for row in connection.execute(statement)
            ]

    def lifetimes(self) -> list[float]:
        """Hours of the machine's life by day: its counter, and what earlier counters had shown."""
        times, events = equipment_running_times.c, counter_events.c
        shown_before = sa.select(sa.func.coalesce(sa.func.sum(events.offset_hours), 0)).where(
            events.equipment_id == times.equipment_id, events.date <= times.date
        )
        statement = sa.select(times.cumulative_hours + shown_before.scalar_subquery()).order_by(times.date)
        with self.engine.connect() as connection:
            return [float(hours) for hours in connection.scalars(statement)]

    def events(self) -> list[tuple[str, str]]:
        table = counter_events.c
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(table.date, table.kind).order_by(table.date))
            return [(row.date.isoformat(), row.kind) for row in rows]


@pytest.fixture
def world(database: Database) -> World:
    return World(database.engine)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with scripted_server():
        yield


@pytest.mark.parametrize(
    ("sent", "key"),
    [("000000000010020570", "10020570"), ("10020570", "10020570"), ("N355NB", "N355NB"), ("00N355NB", "00N355NB"), ("000", "0")],
)
def test_quirk_01_leading_zeros_go_from_keys_that_are_all_digits(sent: str, key: str) -> None:
    assert sap_values.read_key(sent) == key


def test_quirk_01_one_machine_has_one_number_and_one_point_in_every_dialect() -> None:
    of_ims = IMS.running_times_frame([ims_reading("2013-04-20", 1, 1, POINT="000000020570", OBJNR="IE000000000217100901")], ZONES)
    of_odata = V4.running_times_frame([document("2013-04-20", 1, MeasuringPointObjectIdentifier="IE000000000217100901")], ZONES)
    columns = ["equipment_number", "point", "object_number"]
    assert of_ims[columns].to_dict("records") == of_odata[columns].to_dict("records")
    assert of_ims["object_number"].to_list() == ["IE000000000217100901"]  # its zeros stay


@pytest.mark.parametrize(("sent", "number"), [("302.35-________", -302.35), ("  12.5  ", 12.5), ("5-", -5.0)])
def test_quirk_02_numbers_come_padded_and_with_their_sign_behind(sent: str, number: float) -> None:
    assert sap_values.read_number(sent) == number


def test_quirk_02_text_comes_padded() -> None:
    assert sap_values.read_text("PUMP   ") == "PUMP"


@pytest.mark.parametrize(
    ("sent", "has_comma", "number"),
    [("8,5", True, 8.5), ("1.234,50", True, 1234.5), ("1.234", True, 1234.0), ("1.234", False, 1.234), ("8,5", False, None)],
)
def test_quirk_03_a_decimal_comma_is_read_where_the_source_is_declared_so_and_never_guessed(
    sent: str, has_comma: bool, number: float | None
) -> None:
    frame = dialect_of("ims", has_decimal_comma=has_comma).running_times_frame([ims_reading("2013-04-20", sent, 1)], ZONES)
    hours = frame["running_hours"].iloc[0]
    assert (None if pd.isna(hours) else hours) == number
    assert frame["is_running_hours_unreadable"].to_list() == [number is None]


def test_quirk_04_floating_numbers_come_as_text() -> None:
    assert sap_values.read_number("2.0720000000000000E+04") == 20720


@pytest.mark.parametrize("dialect", [V2, V4], ids=["v2", "v4"])
@pytest.mark.parametrize(
    "record",
    [
        {"MeasurementCounterReading": 7.4592e07, "MeasurementReadingInEntryUoM": 20720.0, "MeasurementReadingEntryUoM": "H"},
        {"MeasurementCounterReading": "7.4592000000000000E+07"},
        {"CNTRR": "7.4592000000000000E+07", "RECDV": "2.0720000000000000E+04", "RECDU": "H"},
    ],
)
def test_quirk_05_counters_and_differences_come_in_seconds(dialect: Dialect, record: dict[str, Any]) -> None:
    frame = dialect.running_times_frame([{"CDIFF": "-3.8484000000000000E+06", **record}], ZONES)
    assert frame[["cumulative_hours", "running_hours"]].to_dict("records") == [
        {"cumulative_hours": 20720.0, "running_hours": -1069.0}
    ]


def test_quirk_05_the_dialect_decides_on_the_unit_and_never_the_size() -> None:
    for value in (1.0, 20720.0, 7.4592e07):
        assert IMS.running_times_frame([ims_reading("2013-04-20", 1, value)], ZONES)["cumulative_hours"].to_list() == [value]
        seconds = V4.running_times_frame([document("2013-04-20", value)], ZONES)
        assert seconds["cumulative_hours"].to_list() == [value]


@pytest.mark.parametrize(
    ("entered", "unit", "hours"), [(90, "MIN", 1.5), (3600, "S", 1.0), (1.5, "H", 1.5), (2, "D", 48.0), (600, "KM", None)]
)
def test_quirk_05_the_entered_value_is_in_the_unit_of_its_entry(entered: float, unit: str, hours: float | None) -> None:
    record = document(
        "2013-04-20",
        None,
        MsmtCntrReadingDiffIsEntered=True,
        MeasurementReadingInEntryUoM=entered,
        MeasurementReadingEntryUoM=unit,
    )
    frame = V4.running_times_frame([record], ZONES)
    value = frame["running_hours"].iloc[0]
    assert (None if pd.isna(value) else value) == hours
    assert frame["is_running_hours_unreadable"].to_list() == [hours is None]


@pytest.mark.parametrize(
    ("dialect", "record"),
    [
        (IMS, ims_reading("2013-04-20", "0.0", "0.0", RECDVI="", CNTRRI="")),
        (V4, {"CNTRR": "0.0", "CNTRRI": "", "CDIFF": "0.0", "CDIFFI": ""}),
        (V4, document("2013-04-20", 0.0, None, MsmtCntrRdngIsEntered=False)),
    ],
)
def test_quirk_06_a_number_whose_flag_is_empty_is_missing_and_not_0(dialect: Dialect, record: dict[str, Any]) -> None:
    frame = dialect.running_times_frame([record], ZONES)
    assert frame[["running_hours", "cumulative_hours"]].isna().all(axis=None)
    assert not frame[["is_running_hours_unreadable", "is_cumulative_hours_unreadable"]].any(axis=None)


def test_quirk_06_a_number_whose_flag_is_set_counts() -> None:
    frame = IMS.running_times_frame([ims_reading("2013-04-20", "0.0", "7.5", RECDVI="X", CNTRRI="X")], ZONES)
    assert frame[["running_hours", "cumulative_hours"]].to_numpy().tolist() == [[0.0, 7.5]]


@pytest.mark.parametrize(
    ("sent", "day"),
    [
        ("20130420", dt.date(2013, 4, 20)),
        ("2013-04-20", dt.date(2013, 4, 20)),
        ("/Date(1492041600000)/", dt.date(2017, 4, 13)),
        ("/Date(1734000000000+0000)/", dt.date(2024, 12, 12)),
        ("/Date(-86400000)/", dt.date(1969, 12, 31)),
    ],
)
def test_quirk_07_dates_in_each_spelling(sent: str, day: dt.date) -> None:
    assert sap_values.read_date(sent) == day


def test_quirk_07_the_offset_of_ticks_is_optional_and_changes_no_instant() -> None:
    expected = dt.datetime(2024, 12, 12, 10, 40, tzinfo=UTC)
    for sent in ("/Date(1734000000000+0000)/", "/Date(1734000000000)/", "2024-12-12T10:40:00Z"):
        assert sap_values.read_instant(sent, "Asia/Tokyo") == expected


@pytest.mark.parametrize(
    ("sent", "day"), [("00000000", None), ("", None), (None, None), ("/Date(253402214400000)/", dt.date(9999, 12, 31))]
)
def test_quirk_08_initial_dates_are_none_and_open_ends_are_the_last_day(sent: object, day: dt.date | None) -> None:
    assert sap_values.read_date(sent) == day


@pytest.mark.parametrize(
    ("sent", "time"),
    [
        ("PT15H51M04S", dt.timedelta(hours=15, minutes=51, seconds=4)),
        ("235900", dt.timedelta(hours=23, minutes=59)),
        ("15:51:04", dt.timedelta(hours=15, minutes=51, seconds=4)),
        ("240000", dt.timedelta(days=1)),
    ],
)
def test_quirk_09_times_of_day_in_each_spelling(sent: str, time: dt.timedelta) -> None:
    assert sap_values.read_time(sent) == time


def test_quirk_09_midnight_at_the_end_of_a_day_is_the_next_days_first_instant_and_the_reading_stays_on_its_day() -> None:
    frame = V4.running_times_frame([document("2013-04-20", 5, MsmtRdngTime="240000")], {"WD10": "UTC"})
    assert frame["date_time"].to_list() == [pd.Timestamp("2013-04-21 00:00", tz="UTC")]
    assert frame["date"].to_list() == [pd.Timestamp("2013-04-20")]


@pytest.mark.parametrize(("sent", "plain"), [("79899168", 20100831), ("99999999999", 0), ("00000000000", 99999999999)])
def test_quirk_10_inverted_stamps_are_nines_complements(sent: str, plain: int) -> None:
    assert sap_values.read_inverted(sent) == plain


def test_quirk_10_an_inverted_date_is_a_date() -> None:
    assert sap_values.read_date(str(sap_values.read_inverted("79899168"))) == dt.date(2010, 8, 31)


def test_quirk_11_the_business_day_counts_and_not_the_utc_day_of_the_stamp() -> None:
    frame = IMS.running_times_frame([ims_reading("2013-10-28", 5, 5, DATE_TIME="2013-10-29T00:00:00Z")], ZONES)
    assert frame["date"].to_list() == [pd.Timestamp("2013-10-28")]
    assert frame["date_time"].to_list() == [pd.Timestamp("2013-10-29", tz="UTC")]


@pytest.mark.parametrize(
    ("day", "hours", "found"),
    [
        ("2008-10-26", 25.0, []),  # the clock shows an hour twice
        ("2014-03-30", 23.0, []),
        ("2014-03-30", 24.0, ["running_hours_over_day"]),
        ("2008-10-27", 25.0, ["running_hours_over_day"]),
        ("2008-10-26", 26.5, ["running_hours_exceed_day"]),
    ],
)
def test_quirk_12_hours_are_held_against_the_length_of_the_local_day(day: str, hours: float, found: list[str]) -> None:
    outcome = judged(IMS, [ims_reading(day, hours, 5637.37, SWERK="VOLV")])
    assert rules(outcome) == found


def test_quirk_13_a_reading_that_comes_twice_is_counted_once() -> None:
    twice = [ims_reading("2013-10-28", 5, 100), ims_reading("2013-10-28", 5, 100)]
    outcome = judged(IMS, twice)
    assert one_row(outcome)["running_hours"] == 5
    assert outcome.records_merged == 1


@pytest.mark.parametrize(("hours", "found"), [(23, []), (24, []), (25, ["running_hours_over_day"])])
def test_quirk_14_snapshots_jitter_by_an_hour(hours: float, found: list[str]) -> None:
    outcome = judged(IMS, [ims_reading("2013-10-28", hours, 1000 + hours)], previous=("2013-10-27", 1000))
    assert rules(outcome) == found
    assert one_row(outcome)["running_hours"] == hours


@pytest.mark.parametrize("hours", [85, 70, 59, 44, 37, 35, 31, 29])
def test_quirk_15_an_impossible_jump_in_a_day_is_refused_and_its_counter_goes_on(hours: int) -> None:
    outcome = judged(IMS, [ims_reading("2013-10-28", hours, 1000 + hours)], previous=("2013-10-27", 1000))
    assert "running_hours_exceed_day" in rules(outcome, "error")
    assert not len(outcome.rows) or pd.isna(outcome.rows["running_hours"]).all()


def test_quirk_15_the_reading_after_an_impossible_jump_is_compared_with_the_counter_of_the_jump(world: World) -> None:
    world.sync(IMS, ims_reading("2013-10-27", 5, 1000))
    world.sync(IMS, ims_reading("2013-10-28", 85, 1085), refused=["running_hours_exceed_day"])
    world.sync(IMS, ims_reading("2013-10-29", None, 1093))
    assert world.stored() == [("2013-10-27", 5, 1000), ("2013-10-28", None, 1085), ("2013-10-29", 8, 1093)]
    assert world.events() == []


def test_quirk_16_a_difference_over_several_days_is_stored_with_the_days_that_it_covers() -> None:
    outcome = judged(IMS, [ims_reading("2013-04-25", 304, 1304)], previous=("2013-04-12", 1000))
    row = one_row(outcome)
    assert (row["running_hours"], row["days_covered"]) == (304, 13)
    assert rules(outcome) == ["reading_spans_days"]


def test_quirk_17_a_counter_that_goes_back_is_an_event_and_never_negative_hours(world: World) -> None:
    world.sync(IMS, ims_reading("2013-04-19", 24, 21789))
    world.sync(IMS, ims_reading("2013-04-20", -1069, 20720))
    world.sync(IMS, ims_reading("2013-04-21", 24, 20744))
    assert world.stored() == [("2013-04-19", 24, 21789), ("2013-04-20", None, 20720), ("2013-04-21", 24, 20744)]
    assert world.events() == [("2013-04-20", "reset")]


def test_quirk_17_a_counter_that_went_back_before_its_first_known_reading_is_stored_without_hours(world: World) -> None:
    world.sync(IMS, ims_reading("2013-04-20", -1069, 20720))
    world.sync(IMS, ims_reading("2013-04-21", 24, 20744))
    assert world.stored() == [("2013-04-20", None, 20720), ("2013-04-21", 24, 20744)]
    assert world.events() == []
    world.sync(IMS, ims_reading("2013-04-19", 24, 21789))
    assert world.stored()[1] == ("2013-04-20", None, 20720)
    assert world.events() == [("2013-04-20", "reset")]


def test_quirk_18_a_counter_that_passes_its_limit_has_run_on(world: World) -> None:
    limit = {"CounterOverflowRdngThreshold": 10_000 * 3600.0}
    world.sync(V4, document("2013-04-19", 9998, **limit))
    world.sync(V4, document("2013-04-20", 12, **limit))
    assert world.stored()[-1] == ("2013-04-20", 14, 12)
    assert world.events() == [("2013-04-20", "rollover")]


def test_quirk_19_a_replaced_counter_begins_a_new_line(world: World) -> None:
    world.sync(V4, document("2013-04-19", 9000, 8))
    world.sync(V4, document("2013-04-20", 0, MsmtCounterReadingIsReplaced=True))
    world.sync(V4, document("2013-04-21", 7))
    assert [counter for _, _, counter in world.stored()] == [9000, 0, 7]
    assert world.stored()[-1] == ("2013-04-21", 7, 7)
    assert world.events() == [("2013-04-20", "replacement")]
    assert world.lifetimes() == [9000, 9000, 9007]


@pytest.mark.parametrize("difference", [None, -10, 10])
def test_quirk_20_a_counter_that_counts_backwards_has_run_what_it_lost(world: World, difference: float | None) -> None:
    backwards = {"MsrgPtIsCountingBackwards": True}
    world.sync(V4, document("2013-04-19", 5000, 1, **backwards))
    world.sync(V4, document("2013-04-20", 4990, difference, **backwards))
    assert world.stored()[-1] == ("2013-04-20", 10, 4990)
    assert world.events() == []


def test_quirk_21_what_was_entered_as_a_difference_is_the_increment(world: World) -> None:
    world.sync(V4, document("2013-04-19", 100, 5))
    entered = {"MsmtCntrReadingDiffIsEntered": True, "MeasurementReadingInEntryUoM": 6.0, "MeasurementReadingEntryUoM": "H"}
    world.sync(V4, document("2013-04-20", None, **entered))
    assert world.stored()[-1] == ("2013-04-20", 6, 106)


def test_quirk_22_a_cancelled_document_goes_and_comes_back_without_a_second_row(world: World) -> None:
    world.sync(V4, document("2013-04-19", 100, 5), document("2013-04-20", 108, 8))
    before = world.stored()
    world.sync(V4, document("2013-04-20", 108, 8, MsmtRdngIsReversed=True))
    assert world.stored() == before[:1]
    world.sync(V4, document("2013-04-20", 108, 8, MsmtRdngIsReversed=False))
    assert world.stored() == before


def test_quirk_22_a_source_that_passes_the_flags_of_its_documents_on_is_understood_in_the_first_dialect(world: World) -> None:
    world.sync(IMS, ims_reading("2013-04-19", 8, 9000, CANCL="", EXCHG=""), ims_reading("2013-04-20", 99, 9099, CANCL="X"))
    world.sync(IMS, ims_reading("2013-04-21", None, 3, EXCHG="X"), ims_reading("2013-04-21", 7, 9106, CANCL="X"))
    assert world.stored() == [("2013-04-19", 8, 9000), ("2013-04-21", None, 3)]
    assert world.events() == [("2013-04-21", "replacement")]


def test_quirk_22_a_cancelled_document_beside_its_correction_counts_for_nothing(world: World) -> None:
    wrong = document("2013-04-20", 1080, 980, MsmtRdngIsReversed=True, MeasurementDocument="2")
    world.sync(V4, wrong, document("2013-04-20", 108, 8))
    assert world.stored() == [("2013-04-20", 8, 108)]


def test_quirk_23_a_backdated_reading_takes_its_own_day_and_the_next_difference_is_computed_again(world: World) -> None:
    world.sync(IMS, ims_reading("2013-10-21", 5, 100))
    world.sync(IMS, ims_reading("2013-10-24", None, 130))
    assert world.stored()[-1] == ("2013-10-24", 30, 130)
    world.sync(IMS, ims_reading("2013-10-23", None, 120))
    assert world.stored() == [("2013-10-21", 5, 100), ("2013-10-23", 20, 120), ("2013-10-24", 10, 130)]


def of_two_plants() -> list[dict[str, Any]]:
    """N526JB on 2013-10-28."""
    return [
        ims_reading("2013-10-28", "5.0667", "674.0833", SWERK="B6LG", EQUNR="N526JB", DATE_TIME="2013-10-28 08:00:00"),
        ims_reading("2013-10-28", "6.1000", "680.1833", SWERK="B6JF", EQUNR="N526JB", DATE_TIME="2013-10-28 20:00:00"),
    ]


@pytest.mark.parametrize("is_turned_round", [False, True])
def test_quirk_24_several_readings_of_a_day_are_one_row(is_turned_round: bool) -> None:
    outcome = judged(IMS, of_two_plants()[::-1] if is_turned_round else of_two_plants())
    row = one_row(outcome)
    assert (round(row["running_hours"], 4), row["cumulative_hours"]) == (11.1667, 680.1833)
    assert outcome.records_merged == 1


def test_quirk_25_a_reading_keeps_its_own_plant() -> None:
    outcome = judged(IMS, of_two_plants())
    assert set(one_row(outcome)["readings"]) == {"B6LG", "B6JF"}
    assert one_row(judged(IMS, of_two_plants()[:1]))["plant_code"] == "B6LG"


def test_quirk_25_a_reading_from_another_plant_does_not_move_the_machine(world: World) -> None:
    world.sync(IMS, ims_reading("2013-10-27", 5, 100), ims_reading("2013-10-28", 5, 105, SWERK="B6LG"))
    statement = sa.select(plants.c.plant_code).join(equipment_running_times, equipment_running_times.c.plant_id == plants.c.id)
    home = sa.select(plants.c.plant_code).join(equipment, equipment.c.plant_id == plants.c.id)
    with world.engine.connect() as connection:
        assert list(connection.scalars(statement.order_by(equipment_running_times.c.date))) == ["WD10", "B6LG"]
        assert connection.scalars(home).one() == "WD10"


def test_quirk_26_a_reading_keeps_its_own_company() -> None:
    for company in ("9E", "DL"):
        assert one_row(judged(IMS, [ims_reading("2013-10-28", 5, 100, BUKRS=company)]))["company_code"] == company


def test_quirk_27_a_reading_without_master_waits() -> None:
    outcome = judged(IMS, [ims_reading("2013-10-28", 5, 100)], is_known=False)
    assert rules(outcome) == ["equipment_unknown"]
    assert outcome.rows.empty


def test_quirk_27_the_readings_beside_it_are_stored_and_it_is_tried_again_once_its_master_has_come(
    world: World, database: Database, tmp_path: Path
) -> None:
    day = dt.date(2013, 10, 28)
    readings = [ims_reading(f"{day}", 5, 100), ims_reading(f"{day}", 6, 200, EQUNR="N526JB")]
    master = {"EQUNR": "N526JB", "SWERK": "WD10", "CREATED_AT": "2013-01-01T00:15:00Z"}
    with scripted_source(*(reply(json.dumps({"data": records})) for records in (readings, [master]))) as server:
        source = Source(database, settings_for(Emulator(server.url, "token"), database, tmp_path))
        early = source.running_times(day, plants=["WD10"])
        assert (early.counts.inserted, early.counts.refused_by_rule) == (1, {"equipment_unknown": 1})
        assert world.stored() == [(f"{day}", 5, 100)]
        source.equipment(["WD10"])
    replay_arrived(database.engine, source.settings, sync_key="arrived", run_id=None, progress=silent)
    assert sorted(world.stored()) == [(f"{day}", 5, 100), (f"{day}", 6, 200)]


def test_quirk_28_a_master_without_plant_is_refused_with_a_reason() -> None:
    frame = IMS.equipment_frame([{"EQUNR": "N347SW", "SWERK": None, "CREATED_AT": "2013-01-01T00:15:00Z"}], ZONES)
    outcome = masters.judge(frame, PLANTS, [])
    assert outcome.failures["rule"].to_list() == ["plant_code_missing"]


def test_quirk_29_a_counter_that_stands_still_is_accepted() -> None:
    outcome = judged(IMS, [ims_reading("2013-10-28", 0, 100)], previous=("2013-10-27", 100))
    assert rules(outcome, "error") == []
    assert one_row(outcome)["running_hours"] == 0


def test_quirk_30_an_absurd_counter_is_stored_with_a_warning(world: World) -> None:
    outcome = judged(IMS, [ims_reading("2013-10-28", 24, "255111.25")])
    assert rules(outcome, "error") == []
    assert rules(outcome, "warning") == ["cumulative_hours_implausible"]
    world.sync(IMS, ims_reading("2013-10-28", 24, "255111.25"))
    assert world.stored() == [("2013-10-28", 24, 255_111.25)]
    with world.engine.connect() as connection:
        warned = connection.scalars(sa.select(equipment_running_times.c.warnings)).one()
    assert warned == ["cumulative_hours_implausible"]


def test_quirk_31_a_reading_that_is_null_is_missing_and_not_0() -> None:
    outcome = judged(IMS, [ims_reading("2013-10-28", None, None)])
    assert rules(outcome) == ["reading_missing"]
    assert pd.isna(one_row(judged(IMS, [ims_reading("2013-10-28", None, 100)]))["running_hours"])


def test_quirk_32_a_machine_that_is_absent_stays_active(world: World) -> None:
    def arrive(*numbers: str) -> set[str]:
        records = [{"EQUNR": number, "SWERK": "WD10", "CREATED_AT": "2013-01-01T00:15:00Z"} for number in numbers]
        with world.engine.begin() as connection:
            outcome = masters.judge(IMS.equipment_frame(records, ZONES), read_plants(connection), [])
            rows = outcome.rows.assign(equipment_group_id=pd.Series(None, index=outcome.rows.index, dtype="Int64"))
            equipment_storage.write(connection, rows)
            return set(connection.scalars(sa.select(equipment.c.equipment_number).where(equipment.c.is_active)))

    assert arrive("A", "B") == {"A", "B", NUMBER}
    assert arrive("A") == {"A", "B", NUMBER}
    assert arrive("B") == {"A", "B", NUMBER}


@pytest.mark.parametrize(
    ("dialect", "flags", "is_active"),
    [
        (V2, {}, True),
        (V2, {"EquipmentIsMarkedForDeletion": True}, False),
        (V2, {"EquipmentIsInactive": True}, False),
        (V4, {"MeasuringPointIsInactive": True}, False),
        (V4, {"EquipmentIsInactive": False, "EquipmentIsMarkedForDeletion": False}, True),
        (IMS, {"INAC": "X"}, False),
        (IMS, {"DLFL": "X"}, False),
        (IMS, {"INAC": "", "DLFL": ""}, True),
    ],
)
def test_quirk_33_only_a_flag_makes_a_machine_inactive(dialect: Dialect, flags: dict[str, Any], is_active: bool) -> None:
    assert dialect.equipment_frame([{"Equipment": "1", "EQUNR": "1", **flags}], ZONES)["is_active"].to_list() == [is_active]


def test_quirk_34_of_several_time_segments_the_newest_counts() -> None:
    segments = [
        {"Equipment": "1", "ValidityEndDate": "/Date(253402214400000)/", "EquipmentName": "new"},
        {"Equipment": "1", "ValidityEndDate": "/Date(1396310400000)/", "EquipmentName": "old"},
    ]
    replies = [reply(json.dumps({"d": {"results": rows}})) for rows in (segments, [])]
    with scripted_source(*replies) as source, connect(source.url, "t", dialect="odata_v2") as api:
        names = [record["EquipmentName"] for page in api.equipment(["P1"]) for record in page]
    assert names == ["new"]


@pytest.mark.parametrize(
    ("sent", "flag"), [("X", True), ("", False), (None, False), (True, True), (False, False), ("true", True)]
)
def test_quirk_35_flags_in_each_spelling(sent: object, flag: bool) -> None:
    assert sap_values.read_flag(sent) is flag


def test_quirk_36_names_beyond_ascii_and_long_ones_are_kept(world: World) -> None:
    name = "WELL NO 15/9-F-12 H MÆRSK INSPIRER Ø 日本語 " + "x" * 180
    frame = IMS.equipment_frame([{"EQUNR": "5599", "SWERK": "VOLV", "EQKTU": name, "CREATED_AT": "2013-01-01T00:15:00Z"}], ZONES)
    with world.engine.begin() as connection:
        outcome = masters.judge(frame, read_plants(connection), [])
        rows = outcome.rows.assign(equipment_group_id=pd.Series(None, index=outcome.rows.index, dtype="Int64"))
        equipment_storage.write(connection, rows)
        stored = connection.scalar(sa.select(equipment.c.equipment_description).where(equipment.c.equipment_number == "5599"))
    assert stored == name


def test_quirk_37_a_row_that_csv_quoting_broke_costs_only_itself() -> None:
    shifted = {**ims_reading("2013-10-28", 5, 100), "RECDV": "t swing", "DATE": "REPLACE BUCKET TEETH"}  # cells moved by one
    outcome = judged(IMS, [shifted, ims_reading("2013-10-28", 5, 100)])
    assert outcome.failures.loc[outcome.failures["severity"] == "error", "row"].unique().tolist() == [0]
    assert set(outcome.failures.loc[outcome.failures["row"] == 0, "rule"]) >= {"date_invalid", "running_hours_invalid"}
    assert one_row(outcome)["running_hours"] == 5


@pytest.mark.parametrize(
    ("body", "count", "link"),
    [
        ({"data": [{"a": 1}]}, 1, None),
        ([{"a": 1}], 1, None),
        (None, 0, None),
        ({"d": {"results": [{"a": 1}], "__next": "next?$skiptoken=1"}}, 1, "next?$skiptoken=1"),
        ({"d": [{"a": 1}]}, 1, None),
        ({"value": [{"a": 1}], "@odata.nextLink": "next"}, 1, "next"),
    ],
)
def test_quirk_38_each_envelope_is_a_list_and_a_link(body: Any, count: int, link: str | None) -> None:  # noqa: ANN401
    records, following = records_and_next(body)
    assert (len(records), following) == (count, link)


def page(rows: Sequence[str], link: str | None = None, total: int | None = None) -> Response:
    body: dict[str, Any] = {"value": [{"Plant": code} for code in rows]}
    body |= {"@odata.nextLink": link} if link else {}
    return reply(json.dumps(body | ({} if total is None else {"@odata.count": total})))


@pytest.mark.parametrize(
    ("pages", "codes", "queries"),
    [
        ([page(["A"], "Plant?$skiptoken=2"), page(["B"])], ["A", "B"], ["$skiptoken=2"]),  # without the filter
        ([page(["A"], "Plant?$skiptoken=a+b"), page(["B"])], ["A", "B"], ["$skiptoken=a+b"]),
        ([page(["A"], "Plant?$skiptoken=%27A%27%2C%271%27"), page(["B"])], ["A", "B"], ["$skiptoken=%27A%27%2C%271%27"]),
        ([page(["A", "B"], "Plant?$skip=2"), page(["B", "C"])], ["A", "B", "C"], ["$skip=2"]),
        (
            [page(["A", "B"], "Plant?$skip=2", 4), page(["D"]), page(["B", "C"], "Plant?$skip=2", 3), page(["D"])],
            ["A", "B", "D", "C"],  # A was deleted after the first page, so that C slipped past the second one
            ["$skip=2", "", "$skip=2"],
        ),
    ],
)
def test_quirk_39_links_are_followed_as_given_and_each_row_arrives_once(
    pages: list[Response], codes: list[str], queries: list[str]
) -> None:
    with scripted_source(*pages) as source, connect(source.url, "t", dialect="odata_v4") as api:
        assert [plant["Plant"] for plant in api.plants()] == codes
    seen = [request.query for request in source.seen[1:]]
    assert [query if "$skip" in query else "" for query in seen] == queries


def test_quirk_39_pages_that_repeat_are_an_error() -> None:
    circle = page(["A"], "Plant?$skiptoken=2")
    with (
        scripted_source(circle) as source,
        connect(source.url, "t", dialect="odata_v4") as api,
        pytest.raises(PermanentError, match="repeats itself"),
    ):
        api.plants()
    assert len(source.seen) == 2


@pytest.mark.parametrize(
    ("bad", "failure"),
    [
        (reply("{}", 429, Retry_After="0"), TransientError),
        (reply("{}", 503, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), TransientError),
        (reply("<html>502 Bad Gateway</html>", 502, "text/html"), TransientError),
        (reply("<!doctype html>Sign in", 200, "text/html"), TransientError),
        (reply("", 200), TransientError),
        (reply('{"data": [{"SWERK"', 200), TransientError),
        (reply("SWERK;NAME1", 200, "text/csv"), PermanentError),
    ],
)
def test_quirk_40_what_is_no_data_is_tried_again_and_is_never_an_empty_list(bad: Response, failure: type[Exception]) -> None:
    good = reply('{"data": [{"SWERK": "P1"}]}')
    with scripted_source(bad) as source, connect(source.url, "t", retries=ONCE) as api, pytest.raises(failure):
        api.plants()
    attempts = len(source.seen)
    assert attempts == (2 if failure is TransientError else 1)
    if failure is TransientError:
        with scripted_source(bad, good) as source, connect(source.url, "t", retries=ONCE) as api:
            assert api.plants() == [{"SWERK": "P1"}]


def test_quirk_41_the_plants_travel_in_the_body_of_a_get_and_the_token_raw() -> None:
    day = dt.date(2013, 10, 28)
    codes = [f"P{number}" for number in range(7)]
    with scripted_source(reply()) as source, connect(source.url, "the-token") as api:
        assert [list(records) for records in api.running_times(codes, day, day)] == [[], []]
    assert [json.loads(request.body) for request in source.seen] == [{"plant": codes[:5]}, {"plant": codes[5:]}]
    assert {request.query for request in source.seen} == {"start_date=2013-10-28&end_date=2013-10-28"}
    assert {request.headers["authorization"] for request in source.seen} == {"the-token"}


def test_quirk_42_misspelt_and_lower_case_names_are_read() -> None:
    usual = ims_reading("2013-10-28", "5.5", "100.5")
    names = {
        "SWERK": "plant_code",
        "EQUNR": "equipment_number",
        "DATE": "date",
        "DATE_TIME": "date_time",
        "RECDV": "running_hours",
    }
    renamed = {names.get(name, name): value for name, value in usual.items()} | {"cumulative_hours": usual["CNTRR"]}
    renamed.pop("CNTRR")
    pd.testing.assert_frame_equal(IMS.running_times_frame([renamed], ZONES), IMS.running_times_frame([usual], ZONES))
    master = IMS.equipment_frame([{"EQUNR": "1", "MAINTAINANCE_WORK_CENTER": "MECH", "MRNGU": "H"}], ZONES)
    assert master["attributes"].to_list() == [{"MAINTAINANCE_WORK_CENTER": "MECH", "MRNGU": "H"}]


def test_every_row_of_the_table_has_a_test() -> None:
    tested = {int(match[1]) for name in globals() if (match := re.match(r"test_quirk_(\d\d)_", name))}
    assert tested == set(range(1, 43))

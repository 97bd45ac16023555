"""Raw records become canonical frames: field by field, alias by alias, and a bad cell costs nothing but itself."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from cmms_pipelines.domain.records import IMS_RUNNING_TIME, equipment_frame, plants_frame, raw_value, running_times_frame
from tests.domain.samples import ZONES, master_record, plant_record, reading_record


def test_every_field_of_a_reading_lands_in_its_column() -> None:
    frame = running_times_frame([reading_record(MDTXT="PRODUCTION/OP", EQUNR="000000000000005599")], ZONES)
    row = frame.loc[0, [name for name in frame if not name.startswith("is_")]].to_dict()
    assert row == {
        "plant_code": "B6LG",
        "equipment_number": "5599",
        "company_code": "B6",
        "equipment_description": "AIRBUS A320-232",
        "object_number": "IEN526JB",
        "point": "000000000526",
        "description": "PRODUCTION/OP",
        "date": pd.Timestamp("2013-10-28"),
        "date_time": datetime(2013, 10, 29, 0, 0, tzinfo=UTC),
        "api_created_at": datetime(2013, 10, 29, 0, 15, tzinfo=UTC),
        "running_hours": 5.0667,
        "cumulative_hours": 674.0833,
    }
    assert not frame.loc[0, [name for name in frame if name.startswith("is_")]].any()


def test_lower_case_aliases_mean_the_same_as_saps_own_names() -> None:
    names = {
        "SWERK": "plant_code", "EQUNR": "equipment_number", "BUKRS": "company_code", "EQKTU": "equipment_description",
        "OBJNR": "object_number", "POINT": "point", "DATE": "date", "DATE_TIME": "date_time", "RECDV": "running_hours",
        "CNTRR": "cumulative_hours", "MDTXT": "description", "CREATED_AT": "api_created_at",
    }  # fmt: skip
    record = reading_record()
    aliased = {names.get(name, name): value for name, value in record.items()}
    pd.testing.assert_frame_equal(running_times_frame([aliased], ZONES), running_times_frame([record], ZONES))


def test_saps_own_name_wins_over_an_alias_whatever_the_first_record_of_the_page_has() -> None:
    records = [{"equipment_number": "N1"}, {"EQUNR": "N2", "equipment_number": "other"}, {"EQUNR": "N3"}]
    assert running_times_frame(records, ZONES)["equipment_number"].to_list() == ["N1", "N2", "N3"]
    assert [raw_value(record, "equipment_number", IMS_RUNNING_TIME) for record in records] == ["N1", "N2", "N3"]


@pytest.mark.parametrize(("flag", "hours"), [("", None), (" ", None), (None, None), ("X", 0.0)])
def test_an_empty_value_present_flag_means_no_value_and_not_zero(flag: str | None, hours: float | None) -> None:
    frame = running_times_frame([reading_record(RECDV="0.0", RECDVI=flag)], ZONES)
    assert (None if pd.isna(frame.loc[0, "running_hours"]) else frame.loc[0, "running_hours"]) == hours
    assert frame.loc[0, "cumulative_hours"] == 674.0833
    assert not frame.loc[0, "is_running_hours_unreadable"]


def test_a_flag_speaks_for_its_own_record_alone() -> None:
    records = [reading_record(), reading_record(RECDV="0.0", RECDVI=""), reading_record(CNTRR="0", CNTRRI="X")]
    frame = running_times_frame(records, ZONES)
    assert frame["running_hours"].isna().to_list() == [False, True, False]
    assert frame["cumulative_hours"].to_list() == [674.0833, 674.0833, 0.0]


def test_a_null_reading_stays_null() -> None:
    frame = running_times_frame([reading_record(RECDV=None), reading_record(RECDV="")], ZONES)
    assert frame["running_hours"].isna().all()
    assert not frame["is_running_hours_unreadable"].any()


def test_the_business_day_is_the_one_that_the_source_names_even_where_utc_is_a_day_further() -> None:
    frame = running_times_frame([reading_record(DATE="2013-10-28", DATE_TIME="2013-10-29T00:00:00Z")], ZONES)
    assert frame.loc[0, "date"] == pd.Timestamp("2013-10-28")
    assert frame.loc[0, "date_time"] == datetime(2013, 10, 29, tzinfo=UTC)


def test_a_stamp_without_a_zone_is_read_in_the_zone_of_its_own_plant() -> None:
    records = [reading_record(SWERK=code, DATE_TIME="2013-10-28 12:00:00") for code in ("B6LG", "DE01", "WHO?")]
    hours = running_times_frame(records, ZONES)["date_time"].dt.hour.to_list()
    assert hours == [16, 11, 12]


def test_one_cell_that_cannot_be_read_costs_only_itself() -> None:
    records = [reading_record(), reading_record(RECDV="lots", DATE="2013-02-30", CNTRR={"value": 1}, DATE_TIME=[1])]
    frame = running_times_frame(records, ZONES)
    unreadable = [
        "is_running_hours_unreadable",
        "is_date_unreadable",
        "is_cumulative_hours_unreadable",
        "is_date_time_unreadable",
    ]
    assert not frame.loc[0, unreadable].any()
    assert frame.loc[1, unreadable].all()
    assert frame.loc[1, "equipment_number"] == "N526JB"


@pytest.mark.parametrize("frame_of", [lambda: running_times_frame([], ZONES), lambda: equipment_frame([], ZONES)])
def test_no_records_give_an_empty_frame_with_the_columns_and_types_of_a_full_one(frame_of) -> None:
    empty = frame_of()
    full = running_times_frame([reading_record()], ZONES) if "date" in empty else equipment_frame([master_record()], ZONES)
    assert empty.empty
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


def test_a_master_keeps_the_fields_that_classification_needs_and_no_empty_ones() -> None:
    frame = equipment_frame([master_record()], ZONES)
    assert frame.loc[0, "equipment_number"] == "10020570"
    assert frame.loc[0, "object_number"] == "IE000000000010020570"
    assert frame.loc[0, "attributes"] == {
        "ID": 17,
        "MANDT": "300",
        "EQTYP": "M",
        "EQART": "Fixed wing multi engine",
        "HERST": "AIRBUS",
    }


@pytest.mark.parametrize(
    ("flags", "is_active"),
    [
        ({}, True),
        ({"INAC": "", "DLFL": ""}, True),
        ({"INAC": None}, True),
        ({"INAC": "X"}, False),
        ({"DLFL": "X"}, False),
        ({"LVORM": True}, False),
        ({"is_deleted": "true"}, False),
        ({"is_inactive": False}, True),
    ],
)
def test_a_machine_is_inactive_only_where_a_flag_says_so(flags: dict[str, object], is_active: bool) -> None:
    frame = equipment_frame([master_record(**flags)], ZONES)
    assert bool(frame.loc[0, "is_active"]) is is_active
    assert not frame.loc[0, "is_is_active_unreadable"]


@pytest.mark.parametrize("flag", ["maybe", ["X"], 2])
def test_a_flag_that_says_neither_is_marked(flag: object) -> None:
    assert equipment_frame([master_record(INAC=flag)], ZONES).loc[0, "is_is_active_unreadable"]
    assert plants_frame([plant_record(ACTIVE=flag)]).loc[0, "is_is_active_unreadable"]


def test_a_plant_that_says_nothing_of_its_state_is_active_and_one_without_a_name_has_its_code() -> None:
    frame = plants_frame([{"plant_code": "B6JF"}, plant_record(ACTIVE=""), plant_record()])
    assert frame["is_active"].to_list() == [True, False, True]
    assert frame["name"].to_list() == ["B6JF", "JetBlue, La Guardia", "JetBlue, La Guardia"]

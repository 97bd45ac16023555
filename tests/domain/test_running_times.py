"""Running hours: days, gaps and several readings a day, as the policy on counters says."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmms_pipelines.domain.machine_days import day_hours
from cmms_pipelines.domain.quarantine import refused_count
from cmms_pipelines.domain.running_times import JudgedReadings, judge
from tests.domain.samples import context_of, reading_record

NEW_YORK, BERLIN = "America/New_York", "Europe/Berlin"


def judged(*records: dict[str, Any], **world: object) -> JudgedReadings:
    return judge(context_of(records, **world))  # type: ignore[arg-type]


def only_row(readings: JudgedReadings) -> dict[str, Any]:
    assert len(readings.rows) == 1
    row = readings.rows.iloc[0].to_dict()
    return {name: None if not isinstance(value, list | dict) and pd.isna(value) else value for name, value in row.items()}


@pytest.mark.parametrize(
    ("day", "zone", "days", "hours"),
    [
        (date(2013, 3, 10), NEW_YORK, 1, 23),
        (date(2013, 11, 3), NEW_YORK, 1, 25),
        (date(2008, 10, 26), BERLIN, 1, 25),
        (date(2014, 3, 30), BERLIN, 1, 23),
        (date(2014, 3, 30), NEW_YORK, 1, 24),
        (date(2014, 3, 30), BERLIN, 13, 311),
        (date(2013, 11, 4), NEW_YORK, 2, 49),
    ],
)
def test_a_day_has_the_hours_of_the_plants_own_clock(day: date, zone: str, days: int, hours: float) -> None:
    assert day_hours(day, zone, days) == hours


@pytest.mark.parametrize(
    ("plant", "day", "hours", "rules"),
    [
        ("DE01", date(2008, 10, 26), "25.0", []),
        ("B6LG", date(2008, 10, 26), "25.0", ["running_hours_over_day"]),
        ("DE01", date(2014, 3, 30), "23.0", []),
        ("DE01", date(2014, 3, 30), "24.0", ["running_hours_over_day"]),
        ("DE01", date(2014, 3, 30), "24.5", ["running_hours_exceed_day"]),
        ("B6LG", date(2013, 11, 3), "26.0", ["running_hours_over_day"]),
    ],
)
def test_the_limit_of_a_day_is_its_local_length_and_not_24(plant: str, day: date, hours: str, rules: list[str]) -> None:
    readings = judged(reading_record(SWERK=plant, DATE=day.isoformat(), RECDV=hours), requested=[day])
    assert readings.failures["rule"].to_list() == rules
    assert readings.records_warned == (1 if rules == ["running_hours_over_day"] else 0)


def test_a_record_that_only_repeats_another_one_is_not_added_up() -> None:
    readings = judged(reading_record(RECDV="14"), reading_record(RECDV="14", ID=2))
    assert only_row(readings)["running_hours"] == 14
    assert (readings.records_merged, len(readings.failures)) == (1, 0)


def test_two_plants_readings_of_a_day_are_one_row_with_both_parts() -> None:
    readings = judged(
        reading_record(SWERK="B6JF", RECDV="6.1000", CNTRR="680.1833", DATE_TIME="2013-10-28 23:00:00", BUKRS="ZZ"),
        reading_record(RECDV="5.0667", CNTRR="674.0833", DATE_TIME="2013-10-28 20:00:00"),
    )
    row = only_row(readings)
    assert (row["running_hours"], row["cumulative_hours"]) == (pytest.approx(11.1667), 680.1833)
    assert (row["plant_code"], row["company_code"]) == ("B6JF", "ZZ")  # those of the last reading of the day
    told = {
        "point": "000000000526",
        "equipment_description": "AIRBUS A320-232",
        "object_number": "IEN526JB",
        "api_created_at": "2013-10-29T00:15:00+00:00",
    }
    assert row["readings"] == {
        "B6LG": {
            "running_hours": 5.0667,
            "cumulative_hours": 674.0833,
            "days_covered": 1,
            "date_time": "2013-10-29T00:00:00+00:00",
            "company_code": "B6",
            "warnings": [],
            **told,
        },
        "B6JF": {
            "running_hours": 6.1,
            "cumulative_hours": 680.1833,
            "days_covered": 1,
            "date_time": "2013-10-29T03:00:00+00:00",
            "company_code": "ZZ",
            "warnings": [],
            **told,
        },
    }
    assert readings.records_merged == 1


def test_several_readings_of_one_plant_are_added_up_without_parts() -> None:
    later = reading_record(RECDV="2", CNTRR="676.0833", DATE_TIME="2013-10-28 22:00:00")
    row = only_row(judged(later, reading_record()))
    assert (row["running_hours"], row["cumulative_hours"], row["readings"]) == (pytest.approx(7.0667), 676.0833, None)


@pytest.mark.parametrize("hours", ["85", "70", "59", "44", "37", "35", "31", "29"])
def test_an_impossible_jump_in_a_day_is_refused(hours: str) -> None:
    readings = judged(reading_record(RECDV=hours))
    assert readings.rows.empty
    assert readings.failures["rule"].to_list() == ["running_hours_exceed_day"]


def test_an_impossible_reading_of_one_plant_does_not_take_the_other_plants_with_it() -> None:
    readings = judged(
        reading_record(RECDV="85"), reading_record(SWERK="XX99", RECDV="22"), reading_record(SWERK="B6JF", RECDV="6.1")
    )
    assert readings.failures["rule"].to_list() == ["running_hours_exceed_day", "plant_unknown"]
    assert only_row(readings)["running_hours"] == 6.1


def test_hours_that_only_together_exceed_the_day_are_refused_on_both_sides() -> None:
    readings = judged(reading_record(RECDV="13"), reading_record(SWERK="B6JF", RECDV="13"))
    assert readings.failures["rule"].to_list() == ["machine_hours_exceed_day"] * 2


def test_a_difference_over_several_days_is_stored_with_the_days_that_it_covers() -> None:
    record = reading_record(SWERK="DE01", DATE="2013-04-25", RECDV="304", CNTRR="20304")
    readings = judged(record, previous=(date(2013, 4, 12), 20000.0), requested=[date(2013, 4, 25)])
    row = only_row(readings)
    assert (row["running_hours"], row["days_covered"]) == (304, 13)
    assert row["warnings"] == ["reading_spans_days"]


def test_days_covered_are_as_long_as_the_clock_made_them_even_where_the_last_one_is_short() -> None:
    record = reading_record(SWERK="DE01", DATE="2014-03-30", RECDV="311", CNTRR="20311")
    readings = judged(record, previous=(date(2014, 3, 17), 20000.0), requested=[date(2014, 3, 30)])
    assert only_row(readings)["days_covered"] == 13


def test_too_many_hours_after_a_gap_that_are_not_the_counters_difference_are_refused() -> None:
    readings = judged(reading_record(RECDV="60", CNTRR="630"), previous=(date(2013, 10, 25), 600.0))
    assert readings.failures["rule"].to_list() == ["running_hours_exceed_day"]


def test_a_day_of_two_plants_covers_as_many_days_as_its_longest_reading() -> None:
    gap = reading_record(RECDV="60", CNTRR="660", DATE_TIME="2013-10-28 10:00:00")
    flown = reading_record(SWERK="B6JF", RECDV="5", CNTRR="665", DATE_TIME="2013-10-28 20:00:00")
    row = only_row(judged(gap, flown, previous=(date(2013, 10, 25), 600.0)))
    assert (row["running_hours"], row["days_covered"]) == (65, 3)
    assert {code: part["days_covered"] for code, part in row["readings"].items()} == {"B6LG": 3, "B6JF": 1}


def test_a_stored_part_that_covers_several_days_leaves_room_for_another_plants_reading() -> None:
    readings = judged(reading_record(RECDV="5"), previous=(date(2013, 10, 25), 600.0), others=(60.0, 3))
    assert readings.failures.empty


def test_a_counter_that_goes_back_keeps_the_reading_without_hours_and_with_a_warning() -> None:
    record = reading_record(RECDV="-1069.00", CNTRR="20720.00")
    row = only_row(judged(record, previous=(date(2013, 10, 27), 21789.0)))
    assert (row["running_hours"], row["cumulative_hours"]) == (None, 20720)
    assert row["warnings"] == ["counter_went_back"]


def test_hours_that_the_source_leaves_out_are_the_counters_difference() -> None:
    row = only_row(judged(reading_record(RECDV=None), previous=(date(2013, 10, 27), 670.0)))
    assert row["running_hours"] == pytest.approx(4.0833)
    assert row["warnings"] == ["running_hours_missing"]


def test_counters_of_one_day_are_compared_with_one_another_so_that_no_hour_counts_twice() -> None:
    first = reading_record(RECDV=None, CNTRR="674", DATE_TIME="2013-10-28 10:00:00")
    second = reading_record(SWERK="B6JF", RECDV=None, CNTRR="680", DATE_TIME="2013-10-28 20:00:00")
    row = only_row(judged(second, first, first, previous=(date(2013, 10, 26), 670.0)))
    assert (row["running_hours"], row["days_covered"]) == (10, 2)
    assert {code: part["running_hours"] for code, part in row["readings"].items()} == {"B6LG": 4, "B6JF": 6}


@pytest.mark.parametrize("previous", [None, (date(2013, 10, 27), 700.0)])
def test_hours_that_nobody_can_know_stay_null_and_are_never_zero(previous: tuple[date, float] | None) -> None:
    assert only_row(judged(reading_record(RECDV=None), previous=previous))["running_hours"] is None


def test_a_null_counter_stays_null_beside_its_hours() -> None:
    row = only_row(judged(reading_record(CNTRR="")))
    assert (row["running_hours"], row["cumulative_hours"]) == (5.0667, None)


@pytest.mark.parametrize(
    ("records", "flags", "is_told"),
    [
        ([reading_record(CNTRR="")], {}, True),
        ([reading_record(CNTRR="675")], {}, False),
        ([reading_record(CNTRR="lots")], {}, False),
        ([reading_record(CNTRR="")], {"is_difference": True}, False),
        ([reading_record(CNTRR="")], {"is_reversed": True}, False),
        ([reading_record(RECDV="5", CNTRR=""), reading_record(SWERK="B6JF", RECDV="6", CNTRR="680")], {}, False),
        ([reading_record(RECDV="5", CNTRR=""), reading_record(SWERK="B6JF", RECDV="6", CNTRR="")], {}, True),
    ],
)
def test_hours_alone_are_told_where_the_machine_has_a_counter_and_its_day_brought_none(
    records: Sequence[dict[str, Any]], flags: dict[str, Any], is_told: bool
) -> None:
    of_machine_with_counter = judged(*records, previous=(date(2013, 10, 27), 670.0), **flags)
    assert ("cumulative_hours_missing" in of_machine_with_counter.noted_by_rule) == is_told
    assert "cumulative_hours_missing" not in judged(*records, **flags).noted_by_rule
    assert of_machine_with_counter.rows["warnings"].isna().all()


def test_a_stuck_counter_is_accepted_with_zero_hours() -> None:
    readings = judged(reading_record(RECDV="0", CNTRR="670"), previous=(date(2013, 10, 27), 670.0))
    assert only_row(readings)["running_hours"] == 0
    assert readings.failures.empty


def test_an_absurd_but_possible_counter_is_stored() -> None:
    assert only_row(judged(reading_record(CNTRR="255111")))["cumulative_hours"] == 255111


def test_a_reading_without_master_waits_and_the_others_of_its_page_are_stored() -> None:
    readings = judged(reading_record(), reading_record(EQUNR="N999XX"))
    assert readings.failures[["row", "rule"]].to_numpy().tolist() == [[1, "equipment_unknown"]]
    assert len(readings.rows) == 1


def test_a_reading_keeps_the_plant_and_the_company_that_it_names() -> None:
    readings = judged(reading_record(SWERK="B6JF", BUKRS="ZZ"))
    assert (only_row(readings)["plant_id"], only_row(readings)["company_code"]) == (2, "ZZ")


HOURS = st.one_of(st.none(), st.integers(-50, 300).map(lambda tenths: f"{tenths / 10:.1f}"))
RECORDS = st.lists(
    st.builds(
        lambda plant, number, hour, hours, counter, point: reading_record(
            SWERK=plant, EQUNR=number, DATE_TIME=f"2013-10-28 {hour:02d}:00:00", RECDV=hours, CNTRR=counter, POINT=point
        ),
        st.sampled_from(["B6LG", "B6JF", "DE01", "XX99"]),
        st.sampled_from(["N526JB", "N2", "N999XX"]),
        st.integers(8, 11),
        HOURS,
        st.one_of(st.none(), st.integers(99, 102).map(str)),
        st.sampled_from(["1", "2"]),
    ),
    max_size=7,
)
Previous = tuple[date, float] | None

FEWER = settings(max_examples=25)  # each is a whole judgement, 50 ms
PREVIOUS = st.one_of(st.none(), st.tuples(st.dates(date(2013, 10, 20), date(2013, 10, 27)), st.floats(50, 110)))


@FEWER
@given(st.data(), RECORDS, PREVIOUS)
def test_the_order_of_arrival_does_not_matter(data: st.DataObject, records: list[dict[str, Any]], previous: Previous) -> None:
    shuffled = data.draw(st.permutations(records))
    first, second = (judged(*order, known=["N526JB", "N2"], previous=previous) for order in (records, shuffled))
    pd.testing.assert_frame_equal(first.rows, second.rows)
    assert sorted(first.failures["rule"]) == sorted(second.failures["rule"])


@FEWER
@given(RECORDS, PREVIOUS)
def test_it_does_not_matter_whether_neighbours_are_told_by_row_or_found_by_key(
    records: list[dict[str, Any]], previous: Previous
) -> None:
    known = ["N2", "N526JB", "N999XX"]
    by_key, by_row = (judged(*records, known=known, previous=previous, is_by_row=way) for way in (False, True))
    pd.testing.assert_frame_equal(by_row.rows, by_key.rows)
    pd.testing.assert_frame_equal(by_row.failures, by_key.failures)
    assert (by_row.records_merged, by_row.records_warned) == (by_key.records_merged, by_key.records_warned)


@FEWER
@given(RECORDS, PREVIOUS)
def test_received_is_rows_and_merged_and_refused_and_no_hour_is_lost_or_negative(
    records: list[dict[str, Any]], previous: Previous
) -> None:
    readings = judged(*records, known=["N526JB", "N2"], previous=previous)
    rows = readings.rows
    assert len(records) == len(rows) + readings.records_merged + refused_count(readings.failures)
    assert not rows.duplicated(["equipment_id", "date"]).any()
    assert not (rows["running_hours"] < 0).any()
    assert not (rows["running_hours"] > 26 * rows["days_covered"]).any()
    for row in rows.loc[rows["readings"].notna()].itertuples():
        parts = [part["running_hours"] for part in row.readings.values() if part["running_hours"] is not None]
        assert (sum(parts) if parts else None) == (
            None if pd.isna(row.running_hours) else pytest.approx(row.running_hours, abs=1e-3)
        )


def test_a_page_without_records_has_no_rows() -> None:
    assert judged().rows.empty


YESTERDAY = date(2013, 10, 27)


@pytest.mark.parametrize(
    ("record", "previous", "flags", "hours", "counter"),
    [
        ({"RECDV": None, "CNTRR": "12"}, 9998.0, {"overflow_at": 10_000.0}, 14, 12),  # quirk 18
        ({"RECDV": None, "CNTRR": "12"}, 9000.0, {"overflow_at": 10_000.0}, None, 12),
        ({"RECDV": None, "CNTRR": "0"}, 5000.0, {"is_replaced": True}, None, 0),  # quirk 19
        ({"RECDV": "-5000", "CNTRR": "0"}, 5000.0, {"is_replaced": True}, None, 0),
        ({"RECDV": None, "CNTRR": "4990"}, 5000.0, {"is_counting_backwards": True}, 10, 4990),  # quirk 20
        ({"RECDV": "8", "CNTRR": None}, 5000.0, {"is_difference": True}, 8, 5008),  # quirk 21
        ({"RECDV": "8", "CNTRR": None}, 5000.0, {"is_difference": True, "is_counting_backwards": True}, 8, 4992),
        ({"RECDV": "8", "CNTRR": "5007.9"}, 5000.0, {"is_difference": True}, 8, 5007.9),
        ({"RECDV": "8", "CNTRR": None}, 9995.0, {"is_difference": True, "overflow_at": 10_000.0}, 8, 3),
    ],
)
def test_what_other_dialects_tell_of_a_counter_is_believed(
    record: dict[str, Any], previous: float, flags: dict[str, Any], hours: float | None, counter: float
) -> None:
    row = only_row(judged(reading_record(**record), previous=(YESTERDAY, previous), **flags))
    assert (row["running_hours"], row["cumulative_hours"]) == (hours, counter)


def test_what_is_known_of_a_counter_holds_where_a_reading_does_not_tell_it() -> None:
    context = context_of([reading_record(RECDV=None, CNTRR="12")], previous=(YESTERDAY, 9998.0), known_limit=10_000.0)
    row = only_row(judge(context))
    assert (row["running_hours"], row["learned_overflow_at"]) == (14, None)


def test_a_cancelled_document_leaves_nothing_of_its_plant_and_is_counted() -> None:
    readings = judged(reading_record(RECDV="lots", CNTRR="-3"), is_reversed=True)
    row = only_row(readings)
    assert (row["running_hours"], row["cumulative_hours"], row["readings"]) == (None, None, {"B6LG": None})
    assert (readings.noted_by_rule, readings.records_warned, readings.records_merged) == ({"reading_cancelled": 1}, 0, 0)


def test_a_cancelled_document_beside_a_valid_one_of_its_plant_is_merged_into_it() -> None:
    readings = judged(reading_record(RECDV="5"), reading_record(RECDV="7", ID=2), is_reversed=[False, True])
    assert (only_row(readings)["running_hours"], readings.records_merged) == (5, 1)


def test_a_day_of_two_plants_of_which_one_is_cancelled_says_both() -> None:
    readings = judged(reading_record(), reading_record(SWERK="B6JF", RECDV="6"), is_reversed=[True, False])
    row = only_row(readings)
    assert (row["running_hours"], row["plant_code"], row["readings"]["B6LG"]) == (6, "B6JF", None)


def test_the_counter_of_a_reading_whose_hours_are_refused_is_kept_for_the_next_ones() -> None:
    readings = judged(reading_record(RECDV="85"), reading_record(EQUNR="N2", RECDV="85", CNTRR="lots"), known=["N526JB", "N2"])
    kept = readings.refused_counters
    assert kept[["equipment_number", "cumulative_hours"]].to_numpy().tolist() == [["N526JB", 674.0833]]
    assert kept["running_hours"].isna().all()
    assert judged(reading_record(RECDV="85"), reading_record(RECDV="5", ID=2)).refused_counters.empty


def test_warnings_and_infos_are_counted_by_rule() -> None:
    records = [reading_record(RECDV="24.5"), reading_record(EQUNR="N2", RECDV="25"), reading_record(EQUNR="N3", CNTRR="3")]
    readings = judged(*records, known=["N526JB", "N2", "N3"], is_replaced=[False, False, True])
    assert readings.noted_by_rule == {"running_hours_over_day": 2, "counter_replaced": 1}

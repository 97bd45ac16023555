"""The contracts: every rule has a record that fails it and nothing else, and one bad record never hides another."""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmms_pipelines.domain.contracts import CONTRACTS, failures_of
from cmms_pipelines.domain.equipment import judge as judge_equipment
from cmms_pipelines.domain.judged_work_orders import judge as judge_orders
from cmms_pipelines.domain.records import equipment_frame, plants_frame
from cmms_pipelines.domain.rejections import Rule, Severity
from cmms_pipelines.domain.tallies import FEWEST_FOR_CRITICAL, Tally, critical_failures, tally_of
from cmms_pipelines.domain.work_order_records import IMS_WORK_ORDER, ODATA_WORK_ORDER, work_orders_frame
from tests.domain.samples import (
    DAY,
    PLANTS,
    ZONES,
    context_of,
    maintenance_order,
    master_record,
    order_record,
    plant_record,
    reading_record,
)

YESTERDAY = date(2013, 10, 27)

# rule -> the record (or records, of which the last one fails) and what else has to be so
PLANTS_FAILING: dict[str, Sequence[dict[str, Any]]] = {
    "plant_code_missing": [plant_record(SWERK="")],
    "plant_code_too_long": [plant_record(SWERK="P" * 21)],
    "name_too_long": [plant_record(NAME1="N" * 201)],
    "is_active_invalid": [plant_record(ACTIVE="perhaps")],
    "time_zone_unknown": [plant_record(TIME_ZONE="America/Newark")],
    "plant_code_not_unique": [plant_record(), plant_record(NAME1="another")],
}
EQUIPMENT_FAILING: dict[str, Sequence[dict[str, Any]]] = {
    "equipment_number_missing": [master_record(EQUNR="   ")],
    "equipment_number_too_long": [master_record(EQUNR="N" * 51)],
    "plant_code_missing": [master_record(SWERK=None)],
    "plant_unknown": [master_record(SWERK="XX99")],
    "company_code_too_long": [master_record(BUKRS="B" * 11)],
    "equipment_description_too_long": [master_record(EQKTU="D" * 256)],
    "object_number_too_long": [master_record(OBJNR="O" * 51)],
    "point_too_long": [master_record(POINT="1" * 51)],
    "is_active_invalid": [master_record(INAC="perhaps")],
    "api_created_at_invalid": [master_record(CREATED_AT="yesterday")],
    "api_created_at_missing": [master_record(CREATED_AT="")],
    "equipment_number_not_unique": [
        master_record(CREATED_AT="2013-02-01T00:15:00Z"),
        master_record(CREATED_AT="2013-01-01T00:15:00Z", EQKTU="an older description"),
    ],
}
READINGS_FAILING: dict[str, tuple[Sequence[dict[str, Any]], dict[str, Any]]] = {
    "equipment_number_missing": ([reading_record(EQUNR="")], {}),
    "equipment_number_too_long": ([reading_record(EQUNR="N" * 51)], {"known": ["N" * 51]}),
    "plant_code_missing": ([reading_record(SWERK="")], {}),
    "plant_unknown": ([reading_record(SWERK="XX99")], {}),
    "date_invalid": ([reading_record(EQUNR="", DATE="2013-02-30")], {}),
    "date_missing": ([reading_record(EQUNR="", DATE="00000000")], {}),
    "date_not_requested": ([reading_record(DATE="2013-10-20")], {}),
    "date_time_invalid": ([reading_record(DATE_TIME="noon")], {}),
    "running_hours_invalid": ([reading_record(RECDV="8,5")], {}),
    "cumulative_hours_invalid": ([reading_record(CNTRR="lots")], {}),
    "reading_missing": ([reading_record(RECDV="", CNTRR=None)], {}),
    "running_hours_negative": ([reading_record(RECDV="-1.0")], {"previous": (YESTERDAY, 600.0)}),
    "first_hours_negative": ([reading_record(RECDV="-1.0")], {}),
    "cumulative_hours_negative": ([reading_record(CNTRR="-1")], {}),
    "cumulative_hours_too_large": ([reading_record(CNTRR="10000000")], {}),
    "running_hours_exceed_day": ([reading_record(RECDV="85")], {}),
    "running_hours_over_day": ([reading_record(RECDV="25")], {}),
    "machine_hours_exceed_day": ([reading_record(RECDV="13")], {"others": (13.0, 1)}),
    "counter_went_back": ([reading_record(CNTRR="600")], {"previous": (YESTERDAY, 700.0)}),
    "reading_spans_days": ([reading_record(RECDV="60", CNTRR="660")], {"previous": (date(2013, 10, 25), 600.0)}),
    "running_hours_missing": ([reading_record(RECDV=None)], {"previous": (YESTERDAY, 670.0)}),
    "company_code_too_long": ([reading_record(BUKRS="B" * 11)], {}),
    "equipment_description_too_long": ([reading_record(EQKTU="D" * 256)], {}),
    "object_number_too_long": ([reading_record(OBJNR="O" * 51)], {}),
    "point_too_long": ([reading_record(POINT="1" * 51)], {}),
    "api_created_at_invalid": ([reading_record(CREATED_AT="yesterday")], {}),
    "api_created_at_missing": ([reading_record(CREATED_AT=None)], {}),
    "equipment_unknown": ([reading_record(EQUNR="N999XX")], {}),
    "cumulative_hours_implausible": ([reading_record(CNTRR="255111")], {}),
    "reading_cancelled": ([reading_record(RECDV="85")], {"is_reversed": True}),
    "counter_replaced": ([reading_record(CNTRR="3")], {"is_replaced": True}),
    "counter_from_difference": ([reading_record(CNTRR=None)], {"is_difference": True}),
    "cumulative_hours_missing": ([reading_record(CNTRR=None)], {"previous": (YESTERDAY, 670.0)}),
    "counter_stands_still": (
        [reading_record(RECDV="0", CNTRR="670")],
        {"previous": (YESTERDAY, 670.0), "week_ago": 670.0},
    ),
}
ORDERS_FAILING: dict[str, Sequence[dict[str, Any]]] = {
    "work_order_number_missing": [order_record(order="")],
    "work_order_number_too_long": [order_record(order="N" * 101)],
    "equipment_number_too_long": [order_record(equipment_number="N" * 51)],
    "plant_unknown": [order_record(plant="XX99")],
    "status_invalid": [order_record(order_status="MANC NMAT")],
    "status_missing": [order_record(order_status=None)],
    "title_too_long": [order_record(description="T" * 256)],
    "work_type_too_long": [order_record(order_type="P" * 51)],
    "assignee_too_long": [order_record(main_work_center="M" * 201)],
    "priority_too_long": [maintenance_order(MaintPriority="1" * 21)],
    "scheduled_at_invalid": [maintenance_order(MaintOrdBasicStartDate="soon")],
    "due_at_invalid": [order_record(planned_completion="soon")],
    "completed_at_invalid": [order_record(technical_completion="2013-02-30")],
    "closed_at_invalid": [order_record(closed="never")],
    "updated_at_invalid": [order_record(updated_at="yesterday")],
    "updated_at_missing": [order_record(updated_at=None)],
    "equipment_unknown": [order_record(equipment_number="N999XX")],
}
# a record without a key cannot be found in the master data either, and a day that is not there is no key
ALSO = {"date_invalid": ["equipment_number_missing"], "date_missing": ["equipment_number_missing"]}
WARNINGS = {
    "running_hours_over_day", "counter_went_back", "reading_spans_days", "running_hours_missing", "cumulative_hours_implausible",
    "first_hours_negative",
}  # fmt: skip
INFOS = {"reading_cancelled", "counter_replaced", "counter_from_difference", "counter_stands_still", "cumulative_hours_missing"}


def failures(table: str, records: Sequence[dict[str, Any]], world: dict[str, Any]) -> pd.DataFrame:
    if table == "plants":
        return failures_of("plants", plants_frame(records))
    if table == "equipment":
        return judge_equipment(equipment_frame(records, ZONES), PLANTS, ()).failures
    if table == "work_orders":
        mapping = ODATA_WORK_ORDER if "MaintenanceOrder" in records[0] else IMS_WORK_ORDER
        plant_ids = dict(zip(PLANTS["plant_code"], PLANTS["plant_id"], strict=True))
        return judge_orders(work_orders_frame(records, ZONES, mapping), plant_ids, {"N526JB": 1, "N" * 51: 2}).failures
    return failures_of("running_times", context_of(records, **world))


EXAMPLES = {
    "plants": {rule: (records, {}) for rule, records in PLANTS_FAILING.items()},
    "equipment": {rule: (records, {}) for rule, records in EQUIPMENT_FAILING.items()},
    "running_times": READINGS_FAILING,
    "work_orders": {rule: (records, {}) for rule, records in ORDERS_FAILING.items()},
}
RULES = [(table, checked.rule) for table, rules in CONTRACTS.items() for checked in rules]


@pytest.mark.parametrize("table", CONTRACTS)
def test_a_good_record_fails_no_rule(table: str) -> None:
    good = {"plants": plant_record, "equipment": master_record, "running_times": reading_record, "work_orders": order_record}[
        table
    ]()
    assert failures(table, [good], {}).empty


@pytest.mark.parametrize(("table", "rule"), RULES, ids=[f"{table}-{rule.id}" for table, rule in RULES])
def test_every_rule_has_a_record_that_fails_it_and_only_it(table: str, rule: Rule) -> None:
    records, world = EXAMPLES[table][rule.id]
    found = failures(table, records, world)
    assert sorted(found["rule"]) == sorted([rule.id, *ALSO.get(rule.id, [])])
    of_rule = found.loc[found["rule"] == rule.id].iloc[0]
    assert of_rule["row"] == len(records) - 1
    assert of_rule["severity"] == ("warning" if rule.id in WARNINGS else "info" if rule.id in INFOS else "error")
    assert (of_rule["column"], of_rule["message"]) == (rule.column, rule.message)


@pytest.mark.parametrize("table", CONTRACTS)
def test_rule_ids_are_unique_in_a_contract_and_no_example_is_of_a_rule_that_is_gone(table: str) -> None:
    ids = [checked.rule.id for checked in CONTRACTS[table]]
    assert sorted(ids) == sorted(EXAMPLES[table])


def test_all_rows_are_checked_at_once_and_each_ones_failures_stand_in_the_order_of_the_contract() -> None:
    order = [checked.rule.id for checked in CONTRACTS["running_times"]]
    records = [
        reading_record(EQUNR="", SWERK="", RECDV="lots", CREATED_AT=""),
        reading_record(),
        reading_record(SWERK="XX99", POINT="1" * 51, RECDV="85"),
    ]
    found = failures("running_times", records, {})
    assert found["row"].to_list() == sorted(found["row"])
    by_row = {row: rules.to_list() for row, rules in found.groupby("row")["rule"]}
    assert by_row == {
        0: ["equipment_number_missing", "plant_code_missing", "running_hours_invalid", "api_created_at_missing"],
        2: ["plant_unknown", "running_hours_exceed_day", "point_too_long"],
    }
    assert all(rules == sorted(rules, key=order.index) for rules in by_row.values())


@pytest.mark.parametrize(
    ("hours", "rules"),
    [
        ("24", []),
        ("24.5", ["running_hours_over_day"]),
        ("25", ["running_hours_over_day"]),
        ("25.01", ["running_hours_exceed_day"]),
    ],
)
def test_an_hour_of_snapshot_jitter_is_a_warning_and_more_is_refused(hours: str, rules: list[str]) -> None:
    assert failures("running_times", [reading_record(RECDV=hours)], {})["rule"].to_list() == rules


def test_the_same_bad_value_in_many_rows_is_a_failure_of_each() -> None:
    found = failures("running_times", [reading_record(RECDV="85", ID=number) for number in range(500)], {})
    assert found["row"].to_list() == list(range(500))


def test_a_frame_that_lacks_a_column_is_our_mistake_and_no_fault_of_its_records() -> None:
    with pytest.raises(RuntimeError, match="could not be checked"):
        failures_of("running_times", context_of([reading_record()]).drop(columns="day_hours"))


def test_only_warnings_leave_a_record_in() -> None:
    assert {severity for severity in Severity if severity.refuses} == {Severity.CRITICAL, Severity.ERROR}


def test_a_day_that_was_not_asked_for_is_refused_and_one_that_was_is_not() -> None:
    asked = [DAY, YESTERDAY]
    assert failures("running_times", [reading_record(DATE=day.isoformat()) for day in asked], {"requested": asked}).empty


def tally(records: Sequence[dict[str, Any]]) -> Tally:
    frame = context_of(records)
    return tally_of("running_times", frame, failures_of("running_times", frame))


UNREADABLE = [reading_record(DATE="28/Oct/2013", EQUNR=f"N{number}") for number in range(FEWEST_FOR_CRITICAL)]


def test_a_plant_of_which_nothing_can_be_read_is_critical_and_says_what_to_do() -> None:
    [failure] = critical_failures("running_times", tally([*UNREADABLE, reading_record(SWERK="B6JF")]))
    assert (failure.rule.severity, failure.plant_code, failure.records) == (Severity.CRITICAL, "B6LG", FEWEST_FOR_CRITICAL)
    assert failure.broken_rule == "date_invalid"
    assert str(failure).startswith("plant_unreadable: plant B6LG, 20 records, first date_invalid. None of the plant's records")


@pytest.mark.parametrize(
    "records",
    [
        [*UNREADABLE, reading_record()],
        UNREADABLE[1:],
        [reading_record(RECDV="85")] * FEWEST_FOR_CRITICAL,
        [reading_record(EQUNR="N999XX")] * FEWEST_FOR_CRITICAL,
    ],
    ids=["one can be read", "too few to tell", "wrong but readable", "all unknown"],
)
def test_single_bad_records_are_not_critical(records: Sequence[dict[str, Any]]) -> None:
    assert critical_failures("running_times", tally(records)) == []


@given(st.lists(st.integers(0, FEWEST_FOR_CRITICAL), max_size=3))
@settings(max_examples=10)
def test_what_is_critical_does_not_depend_on_the_chunks_of_a_slice(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(UNREADABLE)]
    together = Tally()
    for start, end in pairwise(bounds):
        together.add(tally(UNREADABLE[start:end]))
    assert together == tally(UNREADABLE)
    assert len(critical_failures("running_times", together)) == 1


def test_masters_of_a_plant_without_any_number_are_critical() -> None:
    frame = equipment_frame([master_record(EQUNR="")] * FEWEST_FOR_CRITICAL, ZONES)
    found = judge_equipment(frame, PLANTS, ()).failures
    assert [one.broken_rule for one in critical_failures("equipment", tally_of("equipment", frame, found))] == [
        "equipment_number_missing"
    ]

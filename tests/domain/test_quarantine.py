"""The quarantine's rows: each refused record whole, under a key that it has again the next night."""

from typing import Any

import orjson
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from cmms_pipelines.domain.contracts import failures_of
from cmms_pipelines.domain.quarantine import record_keys, refused_by_rule, refused_count, rejected_frame
from cmms_pipelines.domain.records import IMS_RUNNING_TIME, running_times_frame
from tests.domain.samples import ZONES, context_of, reading_record

KEY = ["equipment_number", "date", "plant_code"]


def keys_of(*records: dict[str, Any]) -> list[str]:
    return record_keys(records, running_times_frame(records, ZONES), KEY, IMS_RUNNING_TIME).to_list()


def rejected_of(*records: dict[str, Any]) -> pd.DataFrame:
    context = context_of(records)
    frame = running_times_frame(records, ZONES)
    failures = failures_of("running_times", context)
    return rejected_frame(records, frame, failures, record_keys(records, frame, KEY, IMS_RUNNING_TIME), IMS_RUNNING_TIME)


def test_a_record_has_the_same_key_when_it_comes_again_with_other_values_or_another_id() -> None:
    again = reading_record(ID=99, RECDV="7", EQUNR=" N526JB ")
    assert keys_of(reading_record()) == keys_of(again) == ["N526JB|2013-10-28|B6LG"]


def test_a_part_of_the_key_that_cannot_be_read_is_kept_as_it_came() -> None:
    assert keys_of(reading_record(DATE="2013-02-30")) == ["N526JB|2013-02-30|B6LG"]


def test_a_record_without_any_key_is_known_by_its_content() -> None:
    blank = reading_record(EQUNR="", DATE=None, SWERK="")
    first, second = keys_of(blank, {**blank, "ID": 2})
    assert first.startswith("sha256:")
    assert first != second
    assert keys_of(blank) == [first]


def test_records_that_share_a_key_are_both_kept() -> None:
    rejected = rejected_of(reading_record(RECDV="85"), reading_record(RECDV="70"), reading_record(RECDV="59"))
    assert sorted(rejected["record_key"]) == [f"N526JB|2013-10-28|B6LG{suffix}" for suffix in ("", "#2", "#3")]
    assert [payload["RECDV"] for payload in rejected["payload"]] == ["85", "70", "59"]


@given(st.permutations(range(4)))
def test_which_of_several_records_gets_which_key_does_not_depend_on_the_order_of_their_arrival(order: list[int]) -> None:
    hours = {"DATE_TIME": "2013-10-28 08:00:00"}, {"DATE_TIME": "2013-10-28 20:00:00"}, {"RECDV": "85"}, {"RECDV": "70"}
    records = [reading_record(**{"DATE_TIME": None, **changes}) for changes in hours]
    usual = dict(zip(map(orjson.dumps, records), keys_of(*records), strict=True))
    arrived = [records[position] for position in order]
    assert dict(zip(map(orjson.dumps, arrived), keys_of(*arrived), strict=True)) == usual
    assert len(set(usual.values())) == 4


def test_two_machines_whose_endless_numbers_begin_alike_have_keys_of_their_own() -> None:
    first, second = keys_of(reading_record(EQUNR="N" * 400)), keys_of(reading_record(EQUNR="N" * 401))
    assert first != second


def test_endless_keys_fit_the_quarantine_and_stay_apart() -> None:
    keys = keys_of(reading_record(EQUNR="N" * 400), reading_record(EQUNR="N" * 400))
    assert len(set(keys)) == 2
    assert all(len(key) <= 300 for key in keys)


def test_a_record_is_one_row_with_its_first_failure_and_the_others_beside_it_each_with_the_value_as_it_came() -> None:
    several = reading_record(SWERK="XX99", RECDV="85", POINT="1" * 51)
    rejected = rejected_of(several, reading_record(RECDV="70"))
    told = ["rule", "column_name", "value"]
    assert rejected[told].to_numpy().tolist() == [
        ["plant_unknown", "plant_code", "XX99"],
        ["running_hours_exceed_day", "running_hours", "70"],
    ]
    others, none = rejected["other_failures"]
    assert [[failure[name] for name in told] for failure in others] == [
        ["running_hours_exceed_day", "running_hours", "85"],
        ["point_too_long", "point", "1" * 51],
    ]
    assert {failure["severity"] for failure in others} == {"error"}
    assert all(failure["message"] for failure in others)
    assert none is None


def test_a_warning_alone_puts_nothing_into_quarantine() -> None:
    assert rejected_of(reading_record(RECDV="25")).empty


def test_a_chunk_without_a_refused_record_has_the_same_columns_as_one_with_some() -> None:
    refused = rejected_of(reading_record(RECDV="85"))
    assert len(refused)
    assert rejected_of(reading_record()).columns.to_list() == refused.columns.to_list()


def test_every_refused_record_counts_once_under_its_first_rule() -> None:
    failures = failures_of(
        "running_times",
        context_of([reading_record(SWERK="XX99", RECDV="85"), reading_record(RECDV="85"), reading_record(RECDV="25")]),
    )
    assert refused_by_rule(failures) == {"plant_unknown": 1, "running_hours_exceed_day": 1}
    assert refused_count(failures) == 2


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
    lambda values: st.one_of(st.lists(values, max_size=2), st.dictionaries(st.text(max_size=4), values, max_size=2)),
    max_leaves=4,
)
FIELDS = st.dictionaries(st.sampled_from([*reading_record(), "EXTRA", "equipment_number"]), JSON, max_size=6)


@settings(max_examples=30)
@given(st.lists(FIELDS, min_size=1, max_size=4))
def test_whatever_json_a_record_holds_it_is_judged_and_if_refused_kept_whole(changes: list[dict[str, Any]]) -> None:
    records = [reading_record(**change) for change in changes]
    rejected = rejected_of(*records)
    kept = [orjson.dumps(payload) for payload in rejected["payload"]]
    refused = failures_of("running_times", context_of(records)).query("severity == 'error'")["row"].unique()
    assert kept == [orjson.dumps(records[row]) for row in refused]
    assert not rejected.duplicated("record_key").any()

"""Columns straight out of JSON hold what whole records hold, and a refused record comes back character for character."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.raw_records import ABSENT, RawRecords, RecordBlock, checked_records
from cmms_pipelines.domain.records import IMS_RUNNING_TIME, running_times_frame
from tests.domain.samples import ZONES, reading_record

FIELDS = {"number": ("EQUNR", "equipment_number"), "hours": ("RECDV",), "plant": ("SWERK", "plant_code", "plant")}
FLAGS = ("RECDVI",)
NAMES = ["EQUNR", "equipment_number", "RECDV", "SWERK", "plant_code", "plant", "RECDVI", "ID"]
CELLS = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(-1e9, 1e9), st.text(max_size=4))
RECORDS = st.lists(st.dictionaries(st.sampled_from(NAMES), CELLS, max_size=8), max_size=8)


def records_of(*blocks: list[dict[str, Any]]) -> RawRecords:
    return RawRecords((RecordBlock(orjson.dumps(block)[1:-1], len(block)), 0, len(block)) for block in blocks)


def expected(records: list[dict[str, Any]]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {
        column: [next((record[name] for name in names if name in record), None) for record in records]
        for column, names in FIELDS.items()
    }
    return columns | {name: [record.get(name, ABSENT) for record in records] for name in FLAGS}


@given(RECORDS, RECORDS)
def test_columns_hold_what_the_records_hold_whichever_names_they_use(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    assert records_of(first, second).columns(FIELDS, FLAGS) == expected(first + second)


@given(st.integers(1, 5), st.sampled_from(["EQUNR", "equipment_number"]), st.sampled_from([None, "SWERK", "plant_code", "plant"]))
def test_records_that_are_all_alike_are_read_by_the_names_that_they_have(count: int, number: str, plant: str | None) -> None:
    records = [{number: str(row), "RECDV": row, **({plant: "P"} if plant else {})} for row in range(count)]
    assert records_of(records).columns(FIELDS, FLAGS) == expected(records)


def test_a_number_beyond_all_floats_costs_no_other_cell_anything() -> None:
    text = b'{"EQUNR":"N1","RECDV":1e400},{"EQUNR":"N2","RECDV":2.5}'
    assert len(checked_records(text)) == 2
    records = RawRecords([(RecordBlock(text, 2), 0, 2)])
    assert records.columns(FIELDS)["hours"] == ["1e400", 2.5]
    frame = running_times_frame(records, ZONES)
    assert frame["is_running_hours_unreadable"].to_list() == [True, False]
    assert frame["running_hours"].to_list()[1] == 2.5


@given(RECORDS, st.integers(0, 8), st.integers(0, 8), st.data())
def test_some_records_out_of_many_are_the_same_records(
    records: list[dict[str, Any]], start: int, stop: int, data: st.DataObject
) -> None:
    block = RecordBlock(orjson.dumps(records)[1:-1], len(records))
    stop = min(stop, len(records))
    chosen = RawRecords([(block, start, stop), (block, 0, len(records))])
    all_of_them = records[start:stop] + records
    assert list(chosen) == all_of_them
    assert len(chosen) == len(all_of_them)
    is_kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(chosen), max_size=len(chosen))), dtype="bool")
    kept = [record for record, is_wanted in zip(all_of_them, is_kept, strict=True) if is_wanted]
    assert list(chosen.only(is_kept)) == kept
    assert chosen.only(is_kept).columns(FIELDS, FLAGS) == expected(kept)
    rows = np.flatnonzero(is_kept).tolist()
    assert chosen.pick(rows) == {row: all_of_them[row] for row in rows}
    assert orjson.loads(b"[" + b",".join(text for text, _ in chosen.texts(is_kept)) + b"]") == kept


def test_a_refused_record_is_whole_with_the_fields_that_nobody_knows() -> None:
    record = reading_record(UNKNOWN={"a": [1, 2.50, None]}, RECDV="85")
    assert records_of([reading_record(), record])[1] == record


READING_FIELDS = {name: CELLS for names in IMS_RUNNING_TIME.values() for name in names[:2]}


@given(st.lists(st.fixed_dictionaries({}, optional=READING_FIELDS), max_size=4))
def test_a_frame_out_of_json_is_the_frame_of_its_records(records: list[dict[str, Any]]) -> None:
    out_of_json = running_times_frame(records_of(records), ZONES)
    assert out_of_json.equals(running_times_frame(records, ZONES))


@pytest.mark.parametrize("text", [b'{"a":1}{"b":1}', b'{"a":1},', b'{"a":', b'{"a":"\xff"}', b"{" * 3000])
def test_a_broken_block_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"malformed|truncated|decode|too deeply"):
        checked_records(text)

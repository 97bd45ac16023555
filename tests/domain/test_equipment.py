"""Equipment masters: one row per machine, the newest record, and no contradiction passed over in silence."""

from typing import Any

import pandas as pd
import pytest

from cmms_pipelines.domain.classification import DEFAULT_RULES
from cmms_pipelines.domain.equipment import JudgedEquipment, judge
from cmms_pipelines.domain.quarantine import refused_count
from cmms_pipelines.domain.records import equipment_frame
from tests.domain.samples import PLANTS, ZONES, master_record

OLD, NEW = "2013-01-01T00:15:00Z", "2013-06-01T00:15:00Z"


def judged(*records: dict[str, Any]) -> JudgedEquipment:
    return judge(equipment_frame(records, ZONES), PLANTS, DEFAULT_RULES)


def test_a_good_record_becomes_a_row_with_plant_and_group() -> None:
    row = judged(master_record()).rows.iloc[0]
    assert (row["equipment_number"], row["plant_id"], row["equipment_group"]) == ("10020570", 1, "Fixed wing multi engine")
    assert bool(row["is_active"])


def test_one_bad_record_does_not_stop_the_others() -> None:
    readings = judged(master_record(SWERK=None), master_record(EQUNR="N2"), master_record(EQUNR="N3", SWERK="XX99"))
    assert readings.rows["equipment_number"].to_list() == ["N2"]
    assert readings.failures["rule"].to_list() == ["plant_code_missing", "plant_unknown"]


def test_the_same_machine_with_and_without_zeros_is_one_machine() -> None:
    readings = judged(master_record(), master_record(EQUNR="10020570"))
    assert len(readings.rows) == 1
    assert (readings.records_merged, refused_count(readings.failures)) == (1, 0)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_records_that_differ_the_newest_is_stored_and_the_other_refused(order: tuple[int, int]) -> None:
    pair = [master_record(CREATED_AT=OLD, EQKTU="old"), master_record(CREATED_AT=NEW, EQKTU="new")]
    readings = judged(*(pair[position] for position in order))
    assert readings.rows["equipment_description"].to_list() == ["new"]
    assert readings.failures["rule"].to_list() == ["equipment_number_not_unique"]


def test_records_that_differ_in_a_classification_field_alone_do_differ() -> None:
    assert judged(master_record(), master_record(HERST="BOEING")).failures["rule"].to_list() == ["equipment_number_not_unique"]


def test_a_record_that_repeats_a_superseded_one_is_superseded_too() -> None:
    old = master_record(CREATED_AT=OLD, EQKTU="old")
    readings = judged(master_record(CREATED_AT=NEW, EQKTU="new"), old, old)
    assert (refused_count(readings.failures), readings.records_merged, len(readings.rows)) == (2, 0, 1)


def test_records_without_a_number_are_no_duplicates_of_one_another() -> None:
    assert judged(master_record(EQUNR=""), master_record(EQUNR="")).failures["rule"].to_list() == ["equipment_number_missing"] * 2


def test_no_records_give_no_rows() -> None:
    readings = judged()
    assert readings.rows.empty
    assert isinstance(readings.rows, pd.DataFrame)

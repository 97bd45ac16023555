"""`docs/source_data.md` has every field of every mapping beside its column."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from cmms_pipelines.domain import odata_records, records, work_order_records
from cmms_pipelines.domain.dialects import Mapped

PAGE = (Path(__file__).parents[2] / "docs" / "source_data.md").read_text("utf-8")
ROWS = {
    "Plants": {},
    "Equipment": {"plant_code": "plants.plant_code", "is_inactive": "is_active", "is_deleted": "is_active"},
    "Running hours": {
        "plant_code": "plants.plant_code",
        "is_replaced": "the counter was swapped",
        "is_reversed": "the document is cancelled",
        "is_difference": "the counter follows from the hours",
        "is_counting_backwards": "the counter counts backwards",
        "overflow_at": "its limit",
    },
    "Work orders": {"plant_code": "plants.plant_code", "updated_at": "source time of all of them"},
}
"""By table: what stands in the first column of a row, where that is not the name of the column."""


def together(*mappings: Mapping[str, str | tuple[str, ...]]) -> Mapped:
    """All names of each column, those of several mappings side by side."""
    names: dict[str, tuple[str, ...]] = {}
    for mapping in mappings:
        for column, of_column in mapping.items():
            names[column] = (*names.get(column, ()), *((of_column,) if isinstance(of_column, str) else of_column))
    return names


IMS = {
    "Plants": records.IMS_PLANT,
    "Equipment": records.IMS_EQUIPMENT,
    "Running hours": together(records.IMS_RUNNING_TIME, records.VALUE_PRESENT_FLAGS, records.DOCUMENT_FLAGS),
    "Work orders": work_order_records.IMS_WORK_ORDER,
}
ODATA = {
    "Plants": odata_records.PLANT,
    "Equipment": odata_records.EQUIPMENT,
    "Running hours": together(
        odata_records.RUNNING_TIME,
        {"running_hours": (*odata_records.ENTERED, *odata_records.ENTRY_UNIT), "api_created_at": odata_records.CREATED_TIME},
    ),
    "Work orders": work_order_records.ODATA_WORK_ORDER,
}


@pytest.mark.parametrize("table", ROWS)
@pytest.mark.parametrize(("place", "mappings"), [(1, IMS), (2, ODATA)], ids=["ims", "odata"])
def test_every_field_of_a_mapping_is_on_the_page_beside_its_column(
    table: str, place: int, mappings: Mapping[str, Mapped]
) -> None:
    section = PAGE.split(f"\n### {table}\n")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()[2:]]
    said = {cells[0].strip("`"): re.findall(r"\w+", cells[place]) for cells in rows}
    missing = {
        column: absent
        for column, names in mappings[table].items()
        if (absent := [name for name in names if name not in said[ROWS[table].get(column, column)]])
    }
    assert missing == {}

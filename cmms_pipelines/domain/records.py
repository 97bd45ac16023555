"""Raw records of the external API as canonical frames: which field of which dialect is which column of ours.

What belongs here: the mapping tables (the specification's "API Data Mapping") and the frames they produce.
What does not: reading single values (`domain.sap_values`) and judging them (`domain.contracts`).

A canonical frame has one row per raw record, in their order and with index 0..n-1, whatever the record holds: a cell that
cannot be read is missing in its column and True in `is_<column>_unreadable`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmms_pipelines.domain import sap_values
from cmms_pipelines.domain.raw_records import ABSENT, RawRecord, RawRecords

# column of ours <- names that the source uses for it, the first one present in a record wins (quirk 42)
IMS_PLANT: Mapping[str, tuple[str, ...]] = {
    "plant_code": ("SWERK", "WERKS", "plant_code"),
    "name": ("NAME1", "name"),
    "time_zone": ("TIME_ZONE", "time_zone"),
    "is_active": ("ACTIVE", "is_active"),
}
IMS_EQUIPMENT: Mapping[str, tuple[str, ...]] = {
    "plant_code": ("SWERK", "plant_code", "plant"),
    "equipment_number": ("EQUNR", "equipment_number"),
    "company_code": ("BUKRS", "company_code"),
    "equipment_description": ("EQKTU", "equipment_description"),
    "object_number": ("OBJNR", "object_number"),
    "point": ("POINT", "point"),
    "is_inactive": ("INAC", "is_inactive"),
    "is_deleted": ("DLFL", "LVORM", "is_deleted"),
    "api_created_at": ("CREATED_AT", "api_created_at"),
}
IMS_RUNNING_TIME: Mapping[str, tuple[str, ...]] = {
    "plant_code": ("SWERK", "plant_code", "plant"),
    "equipment_number": ("EQUNR", "equipment_number"),
    "company_code": ("BUKRS", "company_code"),
    "equipment_description": ("EQKTU", "equipment_description"),
    "object_number": ("OBJNR", "object_number"),
    "point": ("POINT", "point"),
    "date": ("DATE", "date"),
    "date_time": ("DATE_TIME", "date_time"),
    "running_hours": ("RECDV", "running_hours"),
    "cumulative_hours": ("CNTRR", "cumulative_hours"),
    "description": ("MDTXT", "description"),
    "api_created_at": ("CREATED_AT", "api_created_at"),
}
# fields that say whether a number is there at all: an empty flag means null, not 0 (quirk 6)
VALUE_PRESENT_FLAGS = {"running_hours": "RECDVI", "cumulative_hours": "CNTRRI"}
# what few sources pass on of a document: its counter was swapped, it was cancelled (quirks 19, 22)
DOCUMENT_FLAGS = {"is_replaced": "EXCHG", "is_reversed": "CANCL"}


def plants_frame(records: Sequence[RawRecord], *, mapping: Mapping[str, tuple[str, ...]] = IMS_PLANT) -> pd.DataFrame:
    """Map records of plants; `mapping` gives the source's fields by column, here and below.

    Returns:
        plant_code, name, time_zone (str), is_active (bool, True where the source says nothing), is_is_active_unreadable.
    """
    return plants_of(_raw_columns(records, mapping))


def plants_of(raw: Mapping[str, list[object]]) -> pd.DataFrame:
    """Return the columns of `plants_frame` from cells by column, whatever the dialect that they come in."""
    is_active, unreadable = sap_values.flag_column(raw["is_active"])
    code = sap_values.text_column(raw["plant_code"])
    name = sap_values.text_column(raw["name"])
    return pd.DataFrame(
        {
            "plant_code": code,
            "name": name.where(name.notna(), code),
            "time_zone": sap_values.text_column(raw["time_zone"]),
            "is_active": is_active | pd.Series([value is None for value in raw["is_active"]], dtype="bool"),
            "is_is_active_unreadable": unreadable,
        }
    )


def equipment_frame(
    records: Sequence[RawRecord], zones: Mapping[str, str], *, mapping: Mapping[str, tuple[str, ...]] = IMS_EQUIPMENT
) -> pd.DataFrame:
    """Map records of equipment masters; `zones` gives the IANA time zone of each plant code.

    Returns:
        plant_code, equipment_number, company_code, equipment_description, object_number, point (str), is_active (bool, False
        only on a flag, never on absence: quirks 32, 33), api_created_at (UTC), the `is_*_unreadable` masks, and `attributes`
        (object: the source's other fields, for classification).
    """
    records = list(records)  # all of a master's fields are looked at
    raw = _raw_columns(records, mapping)
    mapped = frozenset(name for names in mapping.values() for name in names)
    plant_code = sap_values.text_column(raw["plant_code"])
    is_inactive, inactive_unreadable = sap_values.flag_column(raw["is_inactive"])
    is_deleted, deleted_unreadable = sap_values.flag_column(raw["is_deleted"])
    created_at, created_unreadable = sap_values.instant_column(raw["api_created_at"], _zones_of(plant_code, zones))
    return pd.DataFrame(
        {
            "plant_code": plant_code,
            "equipment_number": sap_values.key_column(raw["equipment_number"]),
            **{
                name: sap_values.text_column(raw[name])
                for name in ("company_code", "equipment_description", "object_number", "point")
            },
            "is_active": ~(is_inactive | is_deleted),
            "is_is_active_unreadable": inactive_unreadable | deleted_unreadable,
            "api_created_at": created_at,
            "is_api_created_at_unreadable": created_unreadable,
            "attributes": pd.Series([_attributes(record, mapped) for record in records], dtype=object),
        }
    )


def running_times_frame(
    records: Sequence[RawRecord],
    zones: Mapping[str, str],
    *,
    mapping: Mapping[str, tuple[str, ...]] = IMS_RUNNING_TIME,
    has_decimal_comma: bool = False,
) -> pd.DataFrame:
    """Map records of running hours; `zones` gives the IANA time zone of each plant code, in which stamps without one are.

    Returns:
        plant_code, equipment_number, company_code, equipment_description, object_number, point, description (str), date
        (datetime64[s], the business day as the source says it: quirk 11), date_time, api_created_at (UTC), running_hours,
        cumulative_hours (float64, hours), and an `is_<column>_unreadable` mask for each column that is not text; is_replaced
        and is_reversed (bool) where the source passes them on.
    """
    # cells are most of what this takes: those of a column go as soon as they have been read
    raw = _raw_columns(records, mapping, (*VALUE_PRESENT_FLAGS.values(), *DOCUMENT_FLAGS.values()))
    for column, flag in VALUE_PRESENT_FLAGS.items():
        present = raw.pop(flag)
        if present.count(ABSENT) < len(present):
            raw[column] = [
                None if said is not ABSENT and sap_values.read_text(said) is None else value
                for said, value in zip(present, raw[column], strict=True)
            ]
    plant_code = sap_values.text_column(raw.pop("plant_code"))
    zone_of = _zones_of(plant_code, zones)
    columns = {
        "plant_code": plant_code,
        "equipment_number": sap_values.key_column(raw.pop("equipment_number")),
        **{
            name: sap_values.text_column(raw.pop(name))
            for name in ("company_code", "equipment_description", "object_number", "point", "description")
        },
    }
    columns["date"], columns["is_date_unreadable"] = sap_values.date_column(raw.pop("date"))
    for name in ("date_time", "api_created_at"):
        columns[name], columns[f"is_{name}_unreadable"] = sap_values.instant_column(raw.pop(name), zone_of)
    for name in ("running_hours", "cumulative_hours"):
        numbers = sap_values.number_column(raw.pop(name), has_decimal_comma=has_decimal_comma)
        columns[name], columns[f"is_{name}_unreadable"] = numbers
    for column, flag in DOCUMENT_FLAGS.items():
        flags = raw.pop(flag)
        if flags.count(ABSENT) < len(flags):
            columns[column] = sap_values.flag_column(None if cell is ABSENT else cell for cell in flags)[0]
    return pd.DataFrame(columns, copy=False)


def raw_value(record: RawRecord, column: str, mapping: Mapping[str, tuple[str, ...]]) -> object:
    """Return what a record held for one of our columns, as it came; None where it held nothing."""
    return next((record[name] for name in mapping.get(column, ()) if name in record), None)


def _raw_columns(
    records: Sequence[RawRecord], mapping: Mapping[str, tuple[str, ...]], optional: tuple[str, ...] = ()
) -> dict[str, list[object]]:
    """Return the cells of each column, and of further fields under their own names, `ABSENT` where a record lacks one."""
    if isinstance(records, RawRecords):
        return records.columns(mapping, optional)
    columns = {column: list(_column(records, names)) for column, names in mapping.items()}
    return columns | {name: [record.get(name, ABSENT) for record in records] for name in optional}


def _column(records: Sequence[RawRecord], names: tuple[str, ...]) -> Iterable[object]:
    first, *others = names
    for record in records:
        yield record[first] if first in record else next((record[name] for name in others if name in record), None)


def _zones_of(plant_code: pd.Series, zones: Mapping[str, str]) -> npt.NDArray[np.object_]:
    """Return the zone of each row, UTC for a plant that nobody knows."""
    codes, plants = pd.factorize(plant_code)
    of_plants = np.array([*(zones.get(code, "UTC") for code in plants), "UTC"], dtype=object)
    return of_plants[codes]


def _attributes(record: RawRecord, mapped: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in mapped and value not in (None, "")}

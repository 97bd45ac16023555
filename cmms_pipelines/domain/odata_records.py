"""Raw records of an OData source (API_EQUIPMENT, API_MEASURINGPOINT, API_MEASUREMENTDOCUMENT) as canonical frames.

What belongs here: which OData property is which column of ours, and which unit it is in. What does not: reading single
values (`domain.sap_values`) and joining measuring points to their documents (`clients.odata`).

Versions 2 and 4 name the same properties and differ only in how a value is spelt, which the readers take either way. Beside
the properties stand the names of SAP's tables (IMRG, IMPTT, EQUI), for services that pass those through. Shape of the frames:
see `domain.records`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time
from typing import Any

import numpy as np
import pandas as pd

from cmms_pipelines.domain import sap_values
from cmms_pipelines.domain.raw_records import RawRecord
from cmms_pipelines.domain.records import plants_of

PLANT: Mapping[str, tuple[str, ...]] = {
    "plant_code": ("Plant", "WERKS", "plant_code"),
    "name": ("PlantName", "NAME1", "name"),
    "time_zone": ("TimeZone", "time_zone"),
    "is_active": ("PlantIsActive", "is_active"),
}
EQUIPMENT: Mapping[str, tuple[str, ...]] = {
    "plant_code": ("MaintenancePlant", "SWERK"),
    "equipment_number": ("Equipment", "EQUNR"),
    "company_code": ("CompanyCode", "BUKRS"),
    "equipment_description": ("EquipmentName", "EQKTU"),
    "object_number": ("MaintObjectInternalID", "OBJNR"),
    "point": ("MeasuringPoint", "POINT"),
    "is_active": ("EquipmentIsInactive", "EquipmentIsMarkedForDeletion", "MeasuringPointIsInactive"),
    "api_created_at": ("LastChangeDateTime", "CreationDate", "ERDAT"),
}
RUNNING_TIME: Mapping[str, tuple[str, ...]] = {
    "plant_code": ("MaintenancePlant", "SWERK"),
    "equipment_number": ("Equipment", "EQUNR"),
    "company_code": ("CompanyCode", "BUKRS"),
    "equipment_description": ("EquipmentName", "EQKTU"),
    "object_number": ("MeasuringPointObjectIdentifier", "OBJNR"),
    "point": ("MeasuringPoint", "POINT"),
    "date": ("MsmtRdngDate", "IDATE"),
    "date_time": ("MsmtRdngTime", "ITIME"),
    "running_hours": ("MsmtCounterReadingDifference", "CDIFF"),
    "cumulative_hours": ("MeasurementCounterReading", "CNTRR"),
    "description": ("MeasurementDocumentText", "MDTXT"),
    "api_created_at": ("CreationDate", "ERDAT"),
    "is_replaced": ("MsmtCounterReadingIsReplaced", "EXCHG"),
    "is_reversed": ("MsmtRdngIsReversed", "CANCL"),
    "is_difference": ("MsmtCntrReadingDiffIsEntered", "IDIFF"),
    "is_counting_backwards": ("MsrgPtIsCountingBackwards", "INDRV"),
    "overflow_at": ("CounterOverflowRdngThreshold", "CJUMP"),
}
ENTERED = ("MeasurementReadingInEntryUoM", "RECDV")
ENTRY_UNIT = ("MeasurementReadingEntryUoM", "RECDU")
CREATED_TIME = ("CreationTime", "ERUHR")
HOURS_OF_ENTRY_UNIT = {"H": 1.0, "HR": 1.0, "STD": 1.0, "MIN": 1 / 60, "S": 1 / 3600, "D": 24.0, "DAY": 24.0, "TAG": 24.0}
SECONDS_PER_HOUR = 3600.0  # the SI unit of time, in which IMRG keeps READG, CNTRR and CDIFF (quirk 5)
DECIMALS = 4  # of an hour, as the tables keep them: finer noise of a conversion must not look like a counter that fell
POINT_DIGITS = 12
# a number's "value present" flag: an empty one means null, not 0 (quirk 6)
_PRESENT_FLAGS = {
    "running_hours": ("CDIFFI",),
    "cumulative_hours": ("MsmtCntrRdngIsEntered", "CNTRRI"),
    "entered": ("MsmtReadingInEntryUoMIsEntered", "RECDVI"),
    "overflow_at": ("OverflowReadingIsEntered", "CJUMPI"),
}
# classification rules name SAP's fields, whatever the dialect calls them
_ATTRIBUTES = {
    "EquipmentCategory": "EQTYP",
    "TechnicalObjectType": "EQART",
    "AssetManufacturerName": "HERST",
    "ManufacturerPartTypeName": "TYPBZ",
    "ConstructionYear": "BAUJJ",
    "SizeOrDimensionText": "GROES",
    "CostCenter": "KOSTL",
    "FunctionalLocation": "TPLNR",
    "MeasurementRangeUnit": "MRNGU",
}
_NO_ATTRIBUTES = frozenset({name for names in EQUIPMENT.values() for name in names} | {"__metadata"})


def plants_frame(records: Sequence[RawRecord], *, mapping: Mapping[str, tuple[str, ...]] = PLANT) -> pd.DataFrame:
    """Map records of plants (API_PLANT_SRV, or the plants file); returns the columns of `records.plants_frame`."""
    return plants_of({column: _first(records, names) for column, names in mapping.items()})


def equipment_frame(records: Sequence[RawRecord], zones: Mapping[str, str]) -> pd.DataFrame:
    """Map equipment with its measuring point joined to it; returns the columns of `records.equipment_frame`.

    Inactive is what any of the three flags says (quirk 33). Attributes carry the names of SAP's tables (EQART, HERST, ...)
    where there is one, so that one set of classification rules serves every dialect.
    """
    records = list(records)
    raw = {column: _first(records, names) for column, names in EQUIPMENT.items()}
    plant_code = sap_values.text_column(raw["plant_code"])
    flags = [sap_values.flag_column(_first(records, (name,))) for name in EQUIPMENT["is_active"]]
    created_at, created_unreadable = sap_values.instant_column(raw["api_created_at"], _zones_of(plant_code, zones))
    return pd.DataFrame(
        {
            "plant_code": plant_code,
            "equipment_number": sap_values.key_column(raw["equipment_number"]),
            **{name: sap_values.text_column(raw[name]) for name in ("company_code", "equipment_description", "object_number")},
            "point": _point_column(raw["point"]),
            "is_active": ~np.logical_or.reduce([flag for flag, _ in flags]),
            "is_is_active_unreadable": np.logical_or.reduce([unreadable for _, unreadable in flags]),
            "api_created_at": created_at,
            "is_api_created_at_unreadable": created_unreadable,
            "attributes": pd.Series([_attributes(record) for record in records], dtype=object),
        }
    )


def running_times_frame(
    records: Sequence[RawRecord],
    zones: Mapping[str, str],
    *,
    mapping: Mapping[str, tuple[str, ...]] = RUNNING_TIME,
    has_decimal_comma: bool = False,
) -> pd.DataFrame:
    """Map measurement documents with their measuring point and equipment joined to them.

    A day's hours are the counter's difference, or what was entered where the document was entered as a difference
    (quirk 21). Counter, difference and overflow limit come in seconds, the entered value in the unit of its entry (quirk 5);
    all are hours here, to 4 decimals. A document without a time of creation counts as created when it was read.

    Returns:
        The columns of `records.running_times_frame`, and is_replaced, is_reversed, is_difference (the counter follows from
        the hours: entered as a difference, and no counter came), is_counting_backwards (bool), overflow_at (float64, hours,
        missing where there is no limit).
    """
    records = list(records)
    raw = {column: _first(records, names) for column, names in mapping.items()}
    raw["entered"] = _first(records, ENTERED)
    for column, flags in _PRESENT_FLAGS.items():
        raw[column] = _where_present(records, raw[column], flags)
    plant_code = sap_values.text_column(raw["plant_code"])
    zone_of = _zones_of(plant_code, zones)
    frame = pd.DataFrame(
        {
            "plant_code": plant_code,
            "equipment_number": sap_values.key_column(raw["equipment_number"]),
            **{
                name: sap_values.text_column(raw[name])
                for name in ("company_code", "equipment_description", "object_number", "description")
            },
            "point": _point_column(raw["point"]),
        }
    )
    frame["date"], frame["is_date_unreadable"] = sap_values.date_column(raw["date"])
    frame["date_time"], frame["is_date_time_unreadable"] = _local_instants(raw["date"], raw["date_time"], zone_of)
    created_at, created_unreadable = _local_instants(raw["api_created_at"], _first(records, CREATED_TIME), zone_of)
    frame["api_created_at"] = created_at.where(created_at.notna() | created_unreadable, frame["date_time"])
    frame["is_api_created_at_unreadable"] = created_unreadable
    for flag in ("is_replaced", "is_reversed", "is_difference", "is_counting_backwards"):
        frame[flag] = sap_values.flag_column(raw[flag])[0]
    for name in ("cumulative_hours", "overflow_at"):
        frame[name], unreadable = _hours_of_seconds(raw[name], has_decimal_comma=has_decimal_comma)
        if name == "cumulative_hours":
            frame["is_cumulative_hours_unreadable"] = unreadable
    frame["overflow_at"] = frame["overflow_at"].mask(frame["overflow_at"] <= 0)
    difference, difference_unreadable = _hours_of_seconds(raw["running_hours"], has_decimal_comma=has_decimal_comma)
    entered, entered_unreadable = _entered_hours(raw["entered"], _first(records, ENTRY_UNIT), has_decimal_comma=has_decimal_comma)
    is_entered = frame["is_difference"]
    hours = difference.where(~is_entered, entered)
    frame["running_hours"] = hours.abs().where(frame["is_counting_backwards"], hours)
    frame["is_running_hours_unreadable"] = difference_unreadable.where(~is_entered, entered_unreadable)
    frame["is_difference"] = is_entered & frame["cumulative_hours"].isna() & ~frame["is_cumulative_hours_unreadable"]
    return frame


def _first(records: Sequence[RawRecord], names: tuple[str, ...]) -> list[object]:
    """Return the first value that is not empty: an OData record has all its properties, empty or not."""
    return [next((record[name] for name in names if record.get(name) not in (None, "")), None) for record in records]


def _where_present(records: Sequence[RawRecord], values: list[object], flags: tuple[str, ...]) -> list[object]:
    return [
        None if any(flag in record and not _is_set(record[flag]) for flag in flags) else value
        for record, value in zip(records, values, strict=True)
    ]


def _is_set(flag: object) -> bool:
    return sap_values.read_text(flag) is not None and flag is not False


def _hours_of_seconds(values: Iterable[object], *, has_decimal_comma: bool) -> tuple[pd.Series, pd.Series]:
    seconds, unreadable = sap_values.number_column(values, has_decimal_comma=has_decimal_comma)
    return (seconds / SECONDS_PER_HOUR).round(DECIMALS), unreadable


def _entered_hours(values: Iterable[object], units: Iterable[object], *, has_decimal_comma: bool) -> tuple[pd.Series, pd.Series]:
    """Return entered values in hours; one in a unit that is no unit of time cannot be read."""
    entered, unreadable = sap_values.number_column(values, has_decimal_comma=has_decimal_comma)
    factor = sap_values.text_column(units).str.upper().map(HOURS_OF_ENTRY_UNIT).astype("float64")
    return (entered * factor).round(DECIMALS), unreadable | (entered.notna() & factor.isna())


def _local_instants(dates: list[object], times: list[object], zones: Sequence[str]) -> tuple[pd.Series, pd.Series]:
    """Put dates and local times of day together (quirk 9: 24:00 is the next midnight); without a date there is no instant."""
    known: dict[tuple[str, str], tuple[str | None, bool]] = {}
    stamps: list[object] = []
    broken: list[bool] = []
    for pair in zip(map(str, dates), map(str, times), strict=True):
        if pair not in known:
            known[pair] = _stamp(*(None if text == "None" else text for text in pair))
        stamps.append(known[pair][0])
        broken.append(known[pair][1])
    instants, unreadable = sap_values.instant_column(stamps, zones)
    return instants, unreadable | pd.Series(broken, dtype="bool")


def _stamp(date_text: str | None, time_text: str | None) -> tuple[str | None, bool]:
    """Return date and time as ISO text without a zone, and whether either cannot be read."""
    try:
        day, of_day = sap_values.read_date(date_text), sap_values.read_time(time_text)
        if day is None:
            return None, False
        start = datetime.combine(day, time())
        return (start + of_day if of_day else start).isoformat(), False
    except (ValueError, OverflowError):
        return None, True


def _point_column(values: Iterable[object]) -> pd.Series:
    """Return measuring points in the form in which SAP keeps them: digits alone are filled up to 12 (quirk 1)."""
    points = sap_values.text_column(values)
    return points.where(~points.str.isdigit().fillna(False).astype("bool"), points.str.zfill(POINT_DIGITS))


def _zones_of(plant_code: pd.Series, zones: Mapping[str, str]) -> list[str]:
    return [zones.get(code, "UTC") for code in plant_code.to_list()]


def _attributes(record: RawRecord) -> dict[str, Any]:
    return {
        _ATTRIBUTES.get(name, name): value
        for name, value in record.items()
        if name not in _NO_ATTRIBUTES and value not in (None, "")
    }

"""Records as the external API sends them, with one field changed at a time, and the world they are judged in."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from cmms_pipelines.domain.records import running_times_frame
from cmms_pipelines.domain.running_times import with_context

DAY = date(2013, 10, 28)
ZONES = {"B6LG": "America/New_York", "B6JF": "America/New_York", "DE01": "Europe/Berlin"}
PLANTS = pd.DataFrame({"plant_code": list(ZONES), "plant_id": [1, 2, 3], "time_zone": list(ZONES.values())}).astype(
    {"plant_code": "str", "time_zone": "str"}
)


def plant_record(**changes: object) -> dict[str, Any]:
    return {"SWERK": "B6LG", "NAME1": "JetBlue, La Guardia", "TIME_ZONE": "America/New_York", "ACTIVE": "X", **changes}


def master_record(**changes: object) -> dict[str, Any]:
    record = {
        "ID": 17,
        "MANDT": "300",
        "SWERK": "B6LG",
        "EQUNR": "000000000010020570",
        "BUKRS": "B6",
        "EQKTU": "AIRBUS A320-232",
        "OBJNR": "IE000000000010020570",
        "POINT": "000000020570",
        "EQTYP": "M",
        "EQART": "Fixed wing multi engine",
        "HERST": "AIRBUS",
        "KOSTL": None,
        "CREATED_AT": "2013-01-01T00:15:00.000000Z",
    }
    return {**record, **changes}


def reading_record(**changes: object) -> dict[str, Any]:
    record = {
        "ID": 1,
        "MANDT": "300",
        "SWERK": "B6LG",
        "EQUNR": "N526JB",
        "BUKRS": "B6",
        "EQKTU": "AIRBUS A320-232",
        "OBJNR": "IEN526JB",
        "POINT": "000000000526",
        "DATE": "2013-10-28",
        "DATE_TIME": "2013-10-28 20:00:00",
        "RECDV": "5.0667",
        "CNTRR": "674.0833",
        "MDTXT": None,
        "CREATED_AT": "2013-10-29T00:15:00.000000Z",
    }
    return {**record, **changes}


def order_record(**changes: object) -> dict[str, Any]:
    record = {
        "order": "000004000123",
        "order_type": "PM01",
        "description": "250 H INSPECTION",
        "plant": "B6LG",
        "equipment_number": "N526JB",
        "order_status": "TECO",
        "main_work_center": "MECH",
        "released": "2013-04-22",
        "technical_completion": "2013-04-23",
        "closed": None,
        "planned_completion": "2013-04-25",
        "updated_at": "2013-04-23T02:00:00.000000Z",
    }
    return {**record, **changes}


def maintenance_order(**changes: object) -> dict[str, Any]:
    """An order of an OData source, which tells the planned start and a priority, and no dates of completion."""
    record = {
        "MaintenanceOrder": "4000123",
        "MaintenanceOrderType": "PM01",
        "MaintenanceOrderDesc": "250 H INSPECTION",
        "MaintOrdBasicStartDate": "/Date(1366588800000)/",
        "MaintOrdBasicEndDate": "/Date(1366848000000)/",
        "MaintPriority": "2",
        "Equipment": "N526JB",
        "MaintenancePlant": "B6LG",
        "MainWorkCenter": "MECH",
        "SystemStatusText": "TECO  MANC PRC REL",
        "LastChangeDateTime": "/Date(1366682400000+0000)/",
    }
    return {**record, **changes}


def context_of(
    records: Sequence[dict[str, Any]],
    *,
    known: Sequence[str] = ("N526JB",),
    previous: tuple[date, float] | None = None,
    others: tuple[float, int] | None = None,
    requested: Sequence[date] = (DAY,),
    week_ago: float | None = None,
    known_limit: float | None = None,
    is_by_row: bool = False,
    **flags: object,
) -> pd.DataFrame:
    """The frame that is judged, where the `known` machines all have the same reading before and the same other plants' part.

    With `is_by_row` each record brings the row of its neighbours; all machines are known then. `flags` are what other dialects
    tell of counters, one value for all records or a list of one for each.
    """
    frame = running_times_frame(records, ZONES).assign(**flags)
    keys = frame.loc[:, ["equipment_number", "date"]].dropna().drop_duplicates()
    neighbours = keys.loc[keys["equipment_number"].isin(list(known))].assign(
        equipment_id=lambda rows: rows["equipment_number"].map({number: row for row, number in enumerate(known, start=1)}),
        previous_date=pd.Timestamp(previous[0]) if previous else pd.NaT,
        previous_cumulative_hours=previous[1] if previous else None,
        other_plants_hours=others[0] if others else None,
        other_plants_days_covered=others[1] if others else None,
        week_ago_cumulative_hours=week_ago,
        known_overflow_at=known_limit,
    )
    types = {"equipment_id": "Int64", "previous_date": "datetime64[s]", "previous_cumulative_hours": "float64"}
    return with_context(
        frame,
        PLANTS,
        neighbours.astype({**types, "other_plants_hours": "float64", "other_plants_days_covered": "float64"}),
        requested,
        _rows_of(frame, neighbours) if is_by_row else None,
    )


def _rows_of(frame: pd.DataFrame, neighbours: pd.DataFrame) -> "np.ndarray[Any, np.dtype[np.int64]]":
    key = ["equipment_number", "date"]
    rows = pd.MultiIndex.from_frame(neighbours[key]).get_indexer(pd.MultiIndex.from_frame(frame[key]))
    assert (rows >= 0).all()
    return rows.astype("int64")

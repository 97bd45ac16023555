"""The entity sets of an OData source over the flights: which rows there are, as Python values, and how versions spell them.

What does not belong here: query options (`odata_query`), paging, envelopes and errors (`odata`).

Readings, differences and limits are in seconds, SAP's unit of time (MeasurementReadingInEntryUoM is in the unit of its entry).
Documents carry MaintenancePlant and CompanyCode, as services do that were extended by them, unless they are to be SAP's
standard ones; `TimeZone` extends plants.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from cmms_pipelines.emulator import counters
from cmms_pipelines.emulator.counters import CounterKind, Document
from cmms_pipelines.emulator.flights import TIME_ZONE, FlightHours, Machine
from cmms_pipelines.emulator.odata_query import Condition, QueryError, Row, at_most_days, at_most_values
from cmms_pipelines.emulator.work_orders import CHANGED_AT, DUE_AFTER, FIRST_NOTIFICATION, FIRST_ORDER, WorkOrder, work_orders

OPEN_END = dt.date(9999, 12, 31)
MASTERS_LOADED_AT = dt.datetime(2013, 1, 1, 0, 15, tzinfo=dt.UTC)
LOAD_TIME = dt.time(0, 15, tzinfo=dt.UTC)  # of the day after the reading
LONGEST_WINDOW_DAYS = 366
EXTENSIONS = ("MaintenancePlant", "CompanyCode")  # of documents
ORDER_PROPERTIES = (
    "MaintenanceOrder", "MaintenanceOrderType", "MaintenanceOrderDesc", "MaintOrdBasicStartDate", "MaintOrdBasicEndDate",
    "MaintPriority", "Equipment", "MaintenancePlant", "CompanyCode", "MainWorkCenter", "MaintenanceNotification",
    "SystemStatusText", "LastChangeDateTime",
)  # fmt: skip
V2_ROOT = "/sap/opu/odata/sap"
V4_ROOT = "/sap/opu/odata4/sap"
_ZONE = ZoneInfo(TIME_ZONE)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class EntitySet:
    """One list of a service.

    `rows` gets the parsed `$filter` and may leave out what it excludes; it yields rows in the order of `key`, each with all
    `properties`.
    """

    service: str
    v2_name: str
    v4_name: str
    key: tuple[str, ...]
    properties: tuple[str, ...]
    rows: Callable[[Condition], Iterable[Row]]

    def path(self, version: int) -> str:
        if version == 2:
            return f"{V2_ROOT}/API_{self.service.upper()}{'_SRV' if self.service == 'plant' else ''}/{self.v2_name}"
        return f"{V4_ROOT}/api_{self.service}/srvd_a2x/sap/{self.service}/0001/{self.v4_name}"

    def name(self, version: int) -> str:
        return self.v2_name if version == 2 else self.v4_name


def entity_sets(
    hours: FlightHours, today: Callable[[], dt.date], *, has_counters: bool, is_standard: bool = False
) -> list[EntitySet]:
    """Plants, equipment, measuring points, measurement documents and maintenance orders; `today` is the last day with documents.

    `is_standard` leaves plant and company out of the documents, as SAP's service does.
    """
    plants = [
        {"Plant": plant.code, "PlantName": plant.name, "CompanyCode": plant.company_code, "TimeZone": TIME_ZONE}
        for plant in hours.plants
    ]
    masters = [row for machine in hours.machines if machine.is_registered for row in _equipment(machine)]
    masters.sort(key=lambda row: (row["Equipment"], row["ValidityEndDate"]))
    points = [_point(machine, has_counters=has_counters) for machine in hours.machines]
    points.sort(key=lambda row: row["MeasuringPoint"])

    def documents(condition: Condition) -> Iterable[Row]:
        first, last = at_most_days(condition, "MsmtRdngDate")
        if first is None or last is None or (last - first).days >= LONGEST_WINDOW_DAYS:
            raise QueryError(f"$filter must limit MsmtRdngDate to at most {LONGEST_WINDOW_DAYS} days")
        readings = hours.readings(first, min(last, today()), at_most_values(condition, "MaintenancePlant"))
        if not has_counters:
            return map(_document, map(counters.plain_document, readings))
        return (_document(document) for reading in readings for document in counters.documents(reading))

    def orders(condition: Condition) -> Iterable[Row]:
        first, last = at_most_days(condition, "LastChangeDateTime")
        if first is None or last is None or (last - first).days >= LONGEST_WINDOW_DAYS:
            raise QueryError(f"$filter must limit LastChangeDateTime to less than {LONGEST_WINDOW_DAYS} days")
        as_of, wanted = today(), at_most_values(condition, "MaintenancePlant")
        found = work_orders(hours, first, min(last, as_of), as_of)
        rows = [_order(order, as_of) for order in found if wanted is None or order.due.plant_code in wanted]
        return sorted(rows, key=itemgetter("MaintenanceOrder"))

    sample = next(iter(hours.readings(dt.date(2013, 1, 1), dt.date(2013, 1, 1))))
    return [
        EntitySet("plant", "A_Plant", "Plant", ("Plant",), tuple(plants[0]), lambda _condition: plants),
        EntitySet(
            "equipment",
            "Equipment",
            "Equipment",
            ("Equipment", "ValidityEndDate"),
            tuple(masters[0]),
            lambda _condition: masters,
        ),
        EntitySet(
            "measuringpoint",
            "MeasuringPoint",
            "MeasuringPoint",
            ("MeasuringPoint",),
            tuple(points[0]),
            lambda _condition: points,
        ),
        EntitySet(
            "measurementdocument",
            "MeasurementDocument",
            "MeasurementDocument",
            ("MeasurementDocument",),
            tuple(name for name in _document(counters.plain_document(sample)) if not (is_standard and name in EXTENSIONS)),
            documents,
        ),
        EntitySet(
            "maintenanceorder",
            "MaintenanceOrder",
            "MaintenanceOrder",
            ("MaintenanceOrder",),
            ORDER_PROPERTIES,
            orders,
        ),
    ]


def _equipment(machine: Machine) -> list[Row]:
    """The time segments of a machine: every tenth one was at no plant before it came to its own."""
    current = {
        "Equipment": machine.tail_number,
        "ValidityEndDate": OPEN_END,
        "ValidityEndTime": dt.time(0),
        "ValidityStartDate": MASTERS_LOADED_AT.date(),
        "EquipmentName": machine.description,
        "EquipmentCategory": "M",
        "TechnicalObjectType": machine.type or "",
        "MaintenancePlant": machine.plant_code or "",
        "CompanyCode": (machine.plant_code or "")[:2],
        "MaintObjectInternalID": f"IE{machine.tail_number}",
        "AssetManufacturerName": machine.manufacturer or "",
        "ManufacturerPartTypeName": machine.model or "",
        "ConstructionYear": str(machine.year or ""),
        "SizeOrDimensionText": f"{machine.seats} SEATS",
        "ENGINE": machine.engine or "",
        "CreationDate": MASTERS_LOADED_AT.date(),
        "LastChangeDateTime": MASTERS_LOADED_AT,
        "EquipmentIsMarkedForDeletion": False,
        "EquipmentIsInactive": False,
    }
    if machine.number % 10:
        return [current]
    delivered = dt.date(2012, 6, 30)
    past = {
        "ValidityEndDate": delivered,
        "ValidityStartDate": dt.date(2012, 1, 1),
        "EquipmentName": "IN DELIVERY",
        "LastChangeDateTime": dt.datetime.combine(delivered, LOAD_TIME),
    }
    return [current | past, current | {"ValidityStartDate": delivered + dt.timedelta(days=1)}]


def _point(machine: Machine, *, has_counters: bool) -> Row:
    kind = counters.kind_of(machine) if has_counters else CounterKind.PLAIN
    return {
        "MeasuringPoint": str(machine.number),
        "MeasuringPointDescription": "Operating hours",
        "MeasuringPointObjectIdentifier": f"IE{machine.tail_number}",
        "Equipment": machine.tail_number,
        "MeasuringPointIsCounter": True,
        "MeasuringPointIsInactive": kind is CounterKind.INACTIVE,
        "MeasurementRangeUnit": "H",
        "MeasuringPointSIUnitOfMeasure": "S",
        "MsrgPtIsCountingBackwards": kind is CounterKind.BACKWARDS,
        "CounterOverflowRdngThreshold": counters.OVERFLOW_MINUTES * 60.0 if kind is CounterKind.OVERFLOW else 0.0,
    }


def _document(document: Document) -> Row:
    reading = document.reading
    local_hour = reading.read_at.astimezone(_ZONE).time()
    created_on, created_at = _created(reading.date)
    shown, difference = _hours(document.counter_minutes), _hours(document.difference_minutes)
    return {
        "MeasurementDocument": str(document.number),
        "MeasuringPoint": str(reading.machine.number),
        "MaintenancePlant": reading.plant_code,
        "CompanyCode": reading.company_code,
        "MsmtRdngDate": reading.date,
        "MsmtRdngTime": local_hour,
        "Characteristic": "OPERATING_HOURS",
        "CharcValueUnit": "H",
        "MeasurementReading": _seconds(_hours(reading.counter_minutes)),
        "MeasurementReadingInEntryUoM": difference if document.is_difference else shown,
        "MeasurementReadingEntryUoM": "H",
        "MeasurementCounterReading": _seconds(shown),
        "MsmtCounterReadingDifference": _seconds(difference),
        "MsmtCntrReadingDiffIsEntered": document.is_difference,
        "MsmtRdngIsReversed": document.is_reversed,
        "MsmtCounterReadingIsReplaced": document.is_replaced,
        "MeasurementDocumentText": "",
        "MsmtRdngByUser": "CB0000000001",
        "CreationDate": created_on,
        "CreationTime": created_at,
    }


def _order(order: WorkOrder, today: dt.date) -> Row:
    """An order as SAP's service has it: its statuses side by side, and no dates of release, completion and closing."""
    changes = order.changes_until(today)
    status, changed_on = list(changes.items())[-1]
    values = (
        str(FIRST_ORDER + order.number),
        "PM01",
        f"{order.inspection_hours} H INSPECTION",
        order.created_on,
        order.created_on + DUE_AFTER,
        "3",
        order.due.machine.tail_number,
        order.due.plant_code,
        order.due.company_code,
        "MECH",
        str(FIRST_NOTIFICATION + order.number),
        f"{status}  MANC NMAT PRC",
        dt.datetime.combine(changed_on, CHANGED_AT, dt.UTC),
    )
    return dict(zip(ORDER_PROPERTIES, values, strict=True))


@lru_cache(maxsize=1024)
def _created(date: dt.date) -> tuple[dt.date, dt.time]:
    """When the documents of a day came into being, by the clock of the plant."""
    local = dt.datetime.combine(date + dt.timedelta(days=1), LOAD_TIME).astimezone(_ZONE)
    return local.date(), local.time()


def _hours(minutes: int) -> float:
    return round(minutes / 60, 4)  # as it was entered


def _seconds(hours: float) -> float:
    return round(hours * 3600, 6)


def spelt_v4(row: Mapping[str, Any], names: Iterable[str]) -> Row:
    """A row as version 4 spells it: ISO dates, numbers as numbers."""
    return {name: _spell_v4(row[name]) for name in names}


def spelt_v2(row: Mapping[str, Any], names: Iterable[str]) -> Row:
    """A row as version 2 spells it: `/Date(ms)/`, `PT..H..M..S`, numbers as text."""
    return {name: _spell_v2(row[name]) for name in names}


def _spell_v4(value: Any) -> Any:  # noqa: ANN401 - any cell
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return value.isoformat() if isinstance(value, dt.date | dt.time) else value


def _spell_v2(value: Any) -> Any:  # noqa: ANN401 - any cell
    if isinstance(value, float):
        return f"{value:.16E}"
    if isinstance(value, dt.datetime):
        return f"/Date({_milliseconds(value)}+0000)/"
    if isinstance(value, dt.date):
        return f"/Date({_milliseconds(dt.datetime.combine(value, dt.time(), dt.UTC))})/"
    if isinstance(value, dt.time):
        return f"PT{value:%HH%MM%SS}"
    return value


def _milliseconds(instant: dt.datetime) -> int:
    return round((instant - _EPOCH) / dt.timedelta(milliseconds=1))

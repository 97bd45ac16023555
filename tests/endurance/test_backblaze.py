"""The power-on hours of 22,892 real drives over 40 days (Backblaze's public drive statistics): every reading accounted for.

The files are not part of the repository: `backblaze_equipment.csv.gz` and `backblaze_readings.csv.gz` are looked for in the
folder that CMMS_BACKBLAZE_DIR names, else in a folder `data` of a directory beside the checkout.
"""

import csv
import gzip
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.tables import counter_events, equipment, equipment_running_times, sync_rejections
from tests.conftest import Database
from tests.endurance.records_server import Record, Records, serving
from tests.endurance.world import assert_books_balance, outcome
from tests.sync.conftest import Source, settings_for
from tests.sync.tables import open_rejections

REPOSITORY = Path(__file__).resolve().parents[2]
READINGS, MASTERS = "backblaze_readings.csv.gz", "backblaze_equipment.csv.gz"
FIRST_DAY, LAST_DAY = date(2013, 4, 10), date(2013, 5, 19)
DAYS = [FIRST_DAY + timedelta(days=number) for number in range((LAST_DAY - FIRST_DAY).days + 1)]
JITTER_HOURS = 1


def folder() -> Path:
    named = os.environ.get("CMMS_BACKBLAZE_DIR")
    candidates = [Path(named)] if named else sorted(path.parent for path in REPOSITORY.parent.glob(f"*/data/{READINGS}"))
    for candidate in candidates:
        if (candidate / READINGS).is_file() and (candidate / MASTERS).is_file():
            return candidate
    pytest.skip(f"needs {READINGS} and {MASTERS}: set CMMS_BACKBLAZE_DIR to their folder")


@dataclass(frozen=True)
class Reading:
    """A line of the file: hours since the drive's line before, which is `days` older; both missing for its first line."""

    machine: str
    day: date
    counter: float
    hours: float | None
    days: int | None

    @property
    def is_decrease(self) -> bool:
        return self.hours is not None and self.hours < 0

    @property
    def is_too_much(self) -> bool:
        return self.hours is not None and self.days is not None and self.hours > 24 * self.days + JITTER_HOURS


def lines(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(folder() / name, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def as_read(rows: Iterable[dict[str, str]]) -> list[Reading]:
    """The file's lines, each with what the one before of the same drive makes of it, and nothing of the product."""
    found, before = [], {}
    for row in rows:
        machine, day, counter = row["EQUNR"].lstrip("0"), date.fromisoformat(row["DATE"]), float(row["CNTRR"])
        if machine in before:
            last_day, last_counter = before[machine]
            found.append(Reading(machine, day, counter, counter - last_counter, (day - last_day).days))
        else:
            found.append(Reading(machine, day, counter, None, None))
        before[machine] = (day, counter)
    return found


def served(rows: Iterable[dict[str, str]]) -> Iterator[Record]:
    for row in rows:
        after = date.fromisoformat(row["DATE"]) + timedelta(days=1)
        given = {name: value or None for name, value in row.items()}
        yield {**given, "CREATED_AT": f"{after}T00:15:00.000000Z"}


def masters() -> list[Record]:
    return [{**row, "CREATED_AT": "2013-04-10T00:15:00.000000Z"} for row in lines(MASTERS)]


def sync_drives(database: Database, home: Path, rows: list[dict[str, str]]) -> tuple[Source, list[Reading]]:
    """Sync some lines of the file day after day, and once more the newest three days, as every night does."""
    machines = {row["EQUNR"] for row in rows}
    equipment_of_them = [master for master in masters() if master["EQUNR"] in machines]
    plants = [{"SWERK": code, "TIME_ZONE": "UTC"} for code in sorted({row["SWERK"] for row in equipment_of_them})]
    with serving(Records(plants, equipment_of_them, served(rows))) as server:
        source = Source(database, settings_for(server, database, home))
        source.plants()
        assert source.equipment().counts.inserted == len(machines)
        session = source.running_times(*DAYS)
        before = outcome(source.engine)
        again = source.running_times(*DAYS[-3:])
        assert (again.counts.inserted, again.counts.updated) == (0, 0)
        assert outcome(source.engine) == before
    assert session.counts.received == len(rows)
    return source, as_read(rows)


def assert_all_accounted_for(source: Source, readings: list[Reading]) -> None:
    """Stored or refused, nothing else: refused is what no machine can run in its days, and of that the counter is kept."""
    kept, times = sync_rejections.c, equipment_running_times.c
    of_machine = sa.select(equipment.c.equipment_number, times.date, times.cumulative_hours, times.running_hours).join(
        equipment, equipment.c.id == times.equipment_id
    )
    refused = sa.select(kept.equipment_number, kept.date).where(kept.status == "open", kept.sync_type == "running_times")
    with source.engine.connect() as connection:
        stored = {(row[0], row[1]): (float(row[2]), row[3] and float(row[3])) for row in connection.execute(of_machine)}
        quarantined = {(row[0], row[1]) for row in connection.execute(refused)}
    assert quarantined == {(one.machine, one.day) for one in readings if one.is_too_much}
    assert {key: counter for key, (counter, _) in stored.items()} == {(one.machine, one.day): one.counter for one in readings}
    without_hours = {(one.machine, one.day) for one in readings if one.hours is None or one.is_decrease or one.is_too_much}
    assert {key for key, (_, hours) in stored.items() if hours is None} == without_hours
    of_hours = {(one.machine, one.day): one.hours for one in readings if (one.machine, one.day) not in without_hours}
    assert {key: hours for key, (_, hours) in stored.items() if hours is not None} == of_hours
    assert_books_balance(source.engine)


def assert_resets_are_events(source: Source, readings: list[Reading]) -> None:
    """Each decrease is an event with the counters that were read, and lifetime hours never fall."""
    events, times = counter_events.c, equipment_running_times.c
    found = sa.select(equipment.c.equipment_number, events.date, events.counter_after).join(
        equipment, equipment.c.id == events.equipment_id
    )
    lifetime = (
        sa.select(
            times.equipment_id,
            times.date,
            (
                times.cumulative_hours
                + sa.func.coalesce(
                    sa.select(sa.func.sum(events.offset_hours))
                    .where(events.equipment_id == times.equipment_id, events.date <= times.date)
                    .scalar_subquery(),
                    0,
                )
            ).label("hours"),
        )
    ).subquery()  # fmt: skip
    before = sa.func.lag(lifetime.c.hours).over(partition_by=lifetime.c.equipment_id, order_by=lifetime.c.date)
    steps = sa.select((lifetime.c.hours - before).label("step")).subquery()
    with source.engine.connect() as connection:
        said = {(row[0], row[1], float(row[2])) for row in connection.execute(found)}
        falls = connection.scalar(sa.select(sa.func.count()).where(steps.c.step < 0))
    assert said == {(one.machine, one.day, one.counter) for one in readings if one.is_decrease}
    assert falls == 0


def assert_no_machine_is_refused_for_ever(source: Source, readings: list[Reading]) -> None:
    """Every drive's last reading that is possible at all has been accepted, whatever was refused before it."""
    last = {one.machine: one for one in readings if not one.is_too_much}
    times = equipment_running_times.c
    hours = sa.select(equipment.c.equipment_number, times.date, times.running_hours).join(
        equipment, equipment.c.id == times.equipment_id
    )
    with source.engine.connect() as connection:
        stored = {(row[0], row[1]): row[2] and float(row[2]) for row in connection.execute(hours)}
    for machine in {one.machine for one in readings if one.is_too_much}:
        one = last[machine]
        assert stored[machine, one.day] == (None if one.is_decrease else one.hours)


def warnings(source: Source) -> Counter[str]:
    rule = sa.func.unnest(equipment_running_times.c.warnings).label("rule")
    with source.engine.connect() as connection:
        return Counter(connection.scalars(sa.select(rule)))


def test_drives_that_were_reset_or_read_what_cannot_be_are_followed_from_day_to_day(database: Database, tmp_path: Path) -> None:
    rows = list(lines(READINGS))
    strange = {one.machine for one in as_read(rows) if one.is_decrease or one.is_too_much}
    source, readings = sync_drives(database, tmp_path, [row for row in rows if row["EQUNR"].lstrip("0") in strange])
    assert len({one.machine for one in readings if one.is_decrease}) == 46
    assert sum(one.is_decrease for one in readings) == 92
    assert_all_accounted_for(source, readings)
    assert_resets_are_events(source, readings)
    assert_no_machine_is_refused_for_ever(source, readings)


@pytest.mark.soak
def test_every_reading_of_every_drive_is_accounted_for(database: Database, tmp_path: Path) -> None:
    source, readings = sync_drives(database, tmp_path, list(lines(READINGS)))
    assert len(readings) == 868_524
    assert len({one.machine for one in readings}) == 22_892
    assert_all_accounted_for(source, readings)
    assert_resets_are_events(source, readings)
    assert_no_machine_is_refused_for_ever(source, readings)
    print(f"refused: {open_rejections(source.engine)}; warned: {dict(warnings(source))}")  # noqa: T201 - shown with -rP

"""What a source says of one machine, day by day and with all that the other dialects tell; and what the tables make of it."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.records import running_times_frame
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.domain.running_times import judge, with_context
from cmms_pipelines.storage import running_times as storage
from cmms_pipelines.storage.neighbours import read_neighbours
from cmms_pipelines.storage.plants import read as read_plants
from cmms_pipelines.storage.tables import counter_events, counter_facts, equipment_running_times
from tests.storage.readings_world import ZONE, reading

FIRST = date(2013, 10, 20)  # no change of the clock in New York before the third of November
PLANTS = ("B6LG", "B6JF")


@dataclass(frozen=True)
class Statement:
    """What a source says of one machine, day and plant; a later statement of the same takes its place."""

    day: int
    counter: float | None
    hours: float | None = None
    plant: str = "B6LG"
    is_replaced: bool = False
    is_reversed: bool = False
    is_difference: bool = False

    @property
    def key(self) -> tuple[int, str]:
        return self.day, self.plant

    def record(self) -> dict[str, Any]:
        return reading(
            self.plant, FIRST + timedelta(days=self.day), self.hours, self.counter, hour=8 if self.plant == "B6LG" else 20
        )


@dataclass(frozen=True)
class Counter:
    """What all readings of a machine say of its counter."""

    overflow_at: float | None = None
    is_counting_backwards: bool = False


@dataclass(frozen=True)
class Lived:
    """A machine's day as it must be stored."""

    day: int
    hours: float | None
    counter: float | None
    days: int
    warnings: tuple[str, ...]


def tell(engine: sa.Engine, counter: Counter, *statements: Statement) -> SyncCounts:
    """Judge and write statements as a sync does, in one batch."""
    frame = running_times_frame([one.record() for one in statements], dict.fromkeys(PLANTS, ZONE)).assign(
        is_replaced=[one.is_replaced for one in statements],
        is_reversed=[one.is_reversed for one in statements],
        is_difference=[one.is_difference for one in statements],
        is_counting_backwards=counter.is_counting_backwards,
        overflow_at=float("nan") if counter.overflow_at is None else counter.overflow_at,
    )
    days = sorted({FIRST + timedelta(days=one.day) for one in statements})
    with engine.begin() as connection:
        known = read_plants(connection)
        keys = frame[["equipment_number", "date"]].drop_duplicates()
        neighbours = read_neighbours(connection, keys, sorted({one.plant for one in statements}))
    judged = judge(with_context(frame, known, neighbours, days))
    with engine.begin() as connection:
        counts = storage.write(connection, judged.rows, judged.refused_counters)
    refused = judged.failures.loc[judged.failures["severity"] == "error", "row"].nunique()
    assert len(statements) == counts.stored + judged.records_merged + refused
    return counts


def content(engine: sa.Engine) -> list[tuple[Any, ...]]:
    left_out = {"id", "created_at", "updated_at", "detected_at"}
    found = []
    with engine.connect() as connection:
        for table in (equipment_running_times, counter_events, counter_facts):
            columns = [column for column in table.columns if column.name not in left_out]
            order = [column for column in columns if column.name in {"equipment_id", "date"}]
            found += [tuple(row) for row in connection.execute(sa.select(*columns).order_by(*order))]
    return found


def lived(engine: sa.Engine) -> list[Lived]:
    table = equipment_running_times.c
    columns = (table.date, table.running_hours, table.cumulative_hours, table.days_covered, table.warnings)
    with engine.connect() as connection:
        return [
            Lived(
                (row.date - FIRST).days,
                None if row.running_hours is None else float(row.running_hours),
                None if row.cumulative_hours is None else float(row.cumulative_hours),
                row.days_covered,
                tuple(row.warnings or ()),
            )
            for row in connection.execute(sa.select(*columns).order_by(table.date))
        ]


def lifetime(engine: sa.Engine) -> list[float]:
    statement = sa.text("SELECT lifetime_hours FROM cmms.equipment_lifetime_hours ORDER BY date")
    with engine.connect() as connection:
        return [float(hours) for hours in connection.scalars(statement)]

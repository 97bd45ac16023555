"""A small world for tests of readings: three plants, four machines, and readings as the domain folds them."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.records import running_times_frame
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.domain.running_times import judge, with_context
from cmms_pipelines.storage import running_times as storage
from cmms_pipelines.storage.neighbours import read_neighbours
from cmms_pipelines.storage.plants import read as read_plants
from cmms_pipelines.storage.tables import counter_events, equipment, equipment_running_times, plants

NUMBERS = ("N526JB", "N2", "N3", "N4")
ZONE = "America/New_York"


def make_world(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        codes = [{"plant_code": code, "name": code, "time_zone": ZONE} for code in ("B6LG", "B6JF", "B6EW")]
        connection.execute(sa.insert(plants), codes)
        home = connection.scalar(sa.select(plants.c.id).where(plants.c.plant_code == "B6LG"))
        connection.execute(sa.insert(equipment), [{"equipment_number": number, "plant_id": home} for number in NUMBERS])


def reading(
    plant: str, day: date, hours: float | None, counter: float | None, *, hour: int = 12, number: str = "N526JB", **fields: object
) -> dict[str, Any]:
    return {
        "SWERK": plant,
        "EQUNR": number,
        "BUKRS": plant[:2],
        "DATE": day.isoformat(),
        "DATE_TIME": f"{day} {hour:02d}:00:00",
        "RECDV": None if hours is None else f"{hours:.4f}",
        "CNTRR": None if counter is None else f"{counter:.4f}",
        "CREATED_AT": f"{day}T23:00:00Z",
        **fields,
    }


def judged_rows(connection: sa.Connection, records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Judge records as a sync does; all of them have to be acceptable."""
    known = read_plants(connection)
    frame = running_times_frame(records, dict(zip(known["plant_code"], known["time_zone"], strict=True)))
    keys = frame[["equipment_number", "date"]].drop_duplicates()
    neighbours = read_neighbours(connection, keys, sorted({record["SWERK"] for record in records}))
    days = sorted({day.date() for day in frame["date"]})
    judged = judge(with_context(frame, known, neighbours, days))
    refused = judged.failures.loc[judged.failures["severity"] == "error"]
    assert refused.empty, refused
    return judged.rows


def sync(engine: sa.Engine, *records: dict[str, Any]) -> SyncCounts:
    with engine.begin() as connection:
        rows = judged_rows(connection, records)
    with engine.begin() as connection:
        return storage.write(connection, rows)


def stored(engine: sa.Engine, *columns: str, where: str = "true") -> list[tuple[Any, ...]]:
    """Rows by machine and day; numbers as floats."""
    names = columns or ("running_hours", "cumulative_hours", "days_covered", "plant_code")
    statement = sa.text(f"""
        SELECT {", ".join(names)} FROM {equipment_running_times.fullname} t
        JOIN {plants.fullname} p ON p.id = t.plant_id JOIN {equipment.fullname} e ON e.id = t.equipment_id
        WHERE {where} ORDER BY equipment_number, date
    """)  # noqa: S608 - names and conditions of the tests
    with engine.connect() as connection:
        return [
            tuple(float(value) if hasattr(value, "quantize") else value for value in row) for row in connection.execute(statement)
        ]


def events(engine: sa.Engine) -> list[tuple[date, float, float]]:
    table = counter_events.c
    statement = sa.select(table.date, table.counter_before, table.counter_after).order_by(table.equipment_id, table.date)
    with engine.connect() as connection:
        return [(row.date, float(row.counter_before), float(row.counter_after)) for row in connection.execute(statement)]

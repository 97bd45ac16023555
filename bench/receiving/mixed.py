"""A mixture of real events: the demo's days (orders from creation to closing, master data, counters) of aircraft that flew then.

What belongs here: machines for the database and bodies for the sender. What does not: sending.
"""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

import sqlalchemy as sa

from cmms_pipelines.emulator.flights import TIME_ZONE, flight_hours
from cmms_pipelines.operate.demo_events import SYSTEM, Machine, events_of
from cmms_pipelines.storage.tables import equipment, plants

MIXED_SYSTEM = SYSTEM
_FIRST_DAY = dt.date(2013, 3, 1)


def add_aircraft(engine: sa.Engine) -> None:
    """Put all plants and registered aircraft into the database, as a sync would have."""
    hours = flight_hours()
    aircraft = [machine for machine in hours.machines if machine.is_registered and machine.plant_code]
    with engine.begin() as connection:
        rows = [{"plant_code": plant.code, "name": plant.name, "time_zone": TIME_ZONE} for plant in hours.plants]
        inserted = connection.execute(sa.insert(plants).returning(plants.c.plant_code, plants.c.id), rows)
        ids = {row.plant_code: row.id for row in inserted}
        connection.execute(
            sa.insert(equipment),
            [
                {
                    "equipment_number": machine.tail_number,
                    "plant_id": ids[machine.plant_code],
                    "equipment_description": machine.description,
                }
                for machine in aircraft
            ],
        )


def bodies(count: int) -> list[str]:
    """Return `count` events of successive days in the order in which their system would send them."""
    result: list[str] = []
    day = _FIRST_DAY
    while len(result) < count:
        result += [event.body.decode() for event in events_of(day, _flown_on(day), ())]
        day += dt.timedelta(days=1)
    return result[:count]


def _flown_on(day: dt.date) -> Sequence[Machine]:
    return [
        Machine(flown.machine.tail_number, flown.machine.description, Decimal(flown.counter_minutes) / 60)
        for flown in flight_hours().machine_days(day, day)
        if flown.machine.is_registered and flown.machine.plant_code
    ]

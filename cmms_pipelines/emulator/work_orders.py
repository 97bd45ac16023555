"""Work orders that follow from the counters: an inspection is due whenever a machine passes a multiple of 250 hours.

What belongs here: which orders there are, and where each stands on a given day. What does not: a dialect's field names.
"""

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

from cmms_pipelines.emulator.flights import FlightHours, MachineDay

INSPECTION_INTERVAL_H = 250
FIRST_ORDER = 4_000_000_000
FIRST_NOTIFICATION = 10_000_000_000
DUE_AFTER = dt.timedelta(days=3)
CHANGED_AT = dt.time(2)  # of the day, in UTC
LONGEST_LIFE = dt.timedelta(days=9)  # from creation to closing


class WorkOrder(NamedTuple):
    """An inspection as it will be; what of it has happened on a day is `changes_until`."""

    number: int
    due: MachineDay
    inspection_hours: int
    """The multiple of 250 h that the counter has passed."""
    created_on: dt.date
    released_on: dt.date
    technically_completed_on: dt.date
    closed_on: dt.date

    def changes_until(self, today: dt.date) -> dict[str, dt.date]:
        """System status to the date on which the order reached it, in order, of all statuses reached by `today`."""
        steps = {
            "CRTD": self.created_on,
            "REL": self.released_on,
            "TECO": self.technically_completed_on,
            "CLSD": self.closed_on,
        }
        return {status: on for status, on in steps.items() if on <= today}


def work_orders(hours: FlightHours, start: dt.date, end: dt.date, today: dt.date) -> Iterator[WorkOrder]:
    """Orders created before or on `today` that changed (were created, released, completed or closed) in start..end."""
    for day in hours.machine_days(start - LONGEST_LIFE, min(end, today)):
        order = _order(day)
        if order and any(start <= on <= end for on in order.changes_until(today).values()):
            yield order


def _order(day: MachineDay) -> WorkOrder | None:
    interval = INSPECTION_INTERVAL_H * 60
    passed = day.counter_minutes // interval
    if passed == (day.counter_minutes - day.running_minutes) // interval:
        return None
    number = day.machine.number * 10_000 + passed
    released_on = day.date + dt.timedelta(days=number % 2)
    technically_completed_on = released_on + dt.timedelta(days=1 + number % 3)
    closed_on = technically_completed_on + dt.timedelta(days=2 + number % 4)
    return WorkOrder(
        number=number,
        due=day,
        inspection_hours=passed * INSPECTION_INTERVAL_H,
        created_on=day.date,
        released_on=released_on,
        technically_completed_on=technically_completed_on,
        closed_on=closed_on,
    )

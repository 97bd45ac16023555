"""The events that the demo sends: one day in a maintenance department, the same for the same day and machines.

What belongs here: making them. What does not: signing and sending them (`operate.demo`).
"""

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import orjson

SYSTEM = "demo-cmms"
ORDERS = 100
CLOSED = 60
ASSETS = 20
READINGS = 17
STRANGERS = 3
_WORK = ("250 h inspection", "Replace filter", "Vibration too high", "Oil analysis", "Brake check", "Lubrication")


@dataclass(frozen=True)
class Machine:
    """A machine as the database has it, with its counter after the last day that was synced."""

    equipment_number: str
    description: str
    counter_h: Decimal


@dataclass(frozen=True)
class DemoEvent:
    """One event: its id, the exact bytes that are signed and sent, and whether it must wait for a machine nobody knows yet."""

    event_id: str
    body: bytes
    waits: bool = False


def events_of(day: dt.date, machines: Sequence[Machine], strangers: Sequence[str]) -> list[DemoEvent]:
    """Return the events of `day`, in the order in which they are sent; events of one order keep their order.

    Args:
        day: the events' ids and times follow from it, so that sending them again on the same day is noticed as such.
        machines: known ones, at least one.
        strangers: numbers of machines that the equipment master does not have; their readings are held.
    """
    chance = random.Random(day.toordinal())  # noqa: S311 - a reproducible choice, nothing secret
    morning = dt.datetime.combine(day, dt.time(0, 5), dt.UTC)
    chosen = chance.sample(list(machines), min(ORDERS, len(machines)))
    lives = [_order(day, morning, number, machine, chance) for number, machine in enumerate(_cycle(chosen, ORDERS))]
    lives += [[_asset(day, morning, number, machine)] for number, machine in enumerate(chosen[:ASSETS])]
    lives += [[_reading(day, morning, machine.equipment_number, machine.counter_h)] for machine in chosen[-READINGS:]]
    lives += [[_reading(day, morning, number, Decimal(100), waits=True)] for number in strangers[:STRANGERS]]
    order = [index for index, life in enumerate(lives) for _ in life]
    chance.shuffle(order)
    pending = [iter(life) for life in lives]
    return [next(pending[index]) for index in order]


def order_name(day: dt.date, number: int) -> str:
    """Return the number of an order of `day`; those from `CLOSED` on are in progress after the day's events."""
    return f"WO-{day:%y%m%d}-{number:03d}"


def contradiction(day: dt.date, order: str, changes: Mapping[str, str]) -> DemoEvent:
    """Return what the CMMS says an hour later of an order that was edited here meanwhile."""
    at = dt.datetime.combine(day, dt.time(1, 5), dt.UTC)
    return _event(f"{order}-contradicted", "work_order_updated", at, {"work_order_number": order, **changes})


def _cycle(machines: Sequence[Machine], count: int) -> list[Machine]:
    return [machines[index % len(machines)] for index in range(count)]


def _order(day: dt.date, morning: dt.datetime, number: int, machine: Machine, chance: random.Random) -> list[DemoEvent]:
    name = order_name(day, number)
    created = {
        "work_order_number": name,
        "equipment_number": machine.equipment_number,
        "title": chance.choice(_WORK),
        "priority": chance.choice(("high", "medium", "low")),
        "due_date": (day + dt.timedelta(days=chance.randint(1, 14))).isoformat(),
    }
    updated = {"work_order_number": name, "status": "in_progress", "assigned_to": f"crew-{number % 7 + 1}"}
    closed = {"work_order_number": name, "status": "closed", "cost": f"{chance.randint(100, 4000)}.50", "currency": "EUR"}
    start = morning + dt.timedelta(seconds=number)
    life = [
        _event(f"{name}-created", "work_order_created", start, created),
        _event(f"{name}-updated", "work_order_updated", start + dt.timedelta(minutes=1), updated),
    ]
    return (
        [*life, _event(f"{name}-closed", "work_order_closed", start + dt.timedelta(minutes=2), closed)]
        if number < CLOSED
        else life
    )


def _asset(day: dt.date, morning: dt.datetime, number: int, machine: Machine) -> DemoEvent:
    payload = {"equipment_number": machine.equipment_number, "description": machine.description, "is_active": True}
    return _event(f"asset-{day:%y%m%d}-{number:03d}", "asset_updated", morning, payload)


def _reading(day: dt.date, morning: dt.datetime, equipment_number: str, counter_h: Decimal, *, waits: bool = False) -> DemoEvent:
    payload = {
        "equipment_number": equipment_number,
        "reading": f"{counter_h:.4f}",
        "unit": "h",
        "reading_at": morning.isoformat(),
    }
    return _event(f"reading-{day:%y%m%d}-{equipment_number}", "meter_reading_recorded", morning, payload, waits=waits)


def _event(event_id: str, event_type: str, at: dt.datetime, payload: Mapping[str, object], *, waits: bool = False) -> DemoEvent:
    envelope = {
        "event_id": event_id,
        "event_type": event_type,
        "cmms_system_id": SYSTEM,
        "timestamp": at.isoformat(),
        "payload": payload,
    }
    return DemoEvent(event_id, orjson.dumps(envelope), waits)

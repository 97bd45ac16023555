"""Entities, edits and statements that scenarios are put together from, drawn from a seed.

What belongs here: plausible values, and `Scenario`. What does not: its class, and what should become of it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Base, Delivery, Operation, Side
from cmms_pipelines.domain.counters import NOTHING_KNOWN, CounterFacts

FORWARD = ("requested", "open", "scheduled", "in_progress", "completed", "closed")
PEOPLE = ("M. Weber", "J. Ortiz", "A. Novak", "hangar-2", "night shift", "L. Haddad", "K. Yamada", "crew 7")
PARTS = ("seal", "bearing 6204", "filter LF-9", "O-ring 40", "hydraulic hose", "bolt M12", "belt B-54", "gasket", "relay K2")
TAGS = ("urgent", "warranty", "audit", "line-3", "night", "leak", "oil", "electric", "spare")
VERBS = ("Replace", "Inspect", "Lubricate", "Adjust", "Clean", "Test", "Repair", "Calibrate")
THINGS = ("pump", "gearbox", "fuel line", "conveyor belt", "hydraulic unit", "cooling fan", "door actuator", "compressor")
PRIORITIES = ("critical", "high", "medium", "low", "none")
ZONES = (timedelta(hours=-5), timedelta(hours=1), timedelta(hours=5, minutes=30), timedelta(hours=9))


@dataclass(frozen=True)
class Event:
    """One statement of the source as it comes in."""

    theirs: Side
    operation: Operation = Operation.CHANGE
    delivery: Delivery = field(default_factory=Delivery)


@dataclass(frozen=True)
class Scenario:
    """What both sides did to an entity. The last three fields are for the scorer: no engine is ever given them."""

    entity_type: str
    base: Base | None
    ours: Side
    events: tuple[Event, ...]
    counter: CounterFacts = NOTHING_KNOWN
    claims: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    has_open_work: bool | None = None
    clock_of_system_is_trusted: bool = True
    contested: tuple[str, ...] = ()
    """Fields that both sides changed to values that mean different things."""
    changed_here: tuple[str, ...] = ()
    changed_there: tuple[str, ...] = ()
    """Fields that a statement changes which is neither late, nor a duplicate, nor an echo."""


class World:
    """A source of chance for one scenario, and what can be drawn from it."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - scenarios, not secrets
        self.start = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(minutes=self.chance.randrange(200_000))

    def after(self, low_minutes: float, high_minutes: float) -> datetime:
        """Return a moment that many minutes after the base was agreed."""
        return self.start + timedelta(minutes=self.chance.uniform(low_minutes, high_minutes))

    def text(self) -> str:
        """Return a short text about work, different each time."""
        chance = self.chance
        return f"{chance.choice(VERBS)} {chance.choice(THINGS)}, position {chance.randrange(1, 10_000)}"

    def other(self, values: Sequence[str], *known: JsonValue) -> str:
        """Return one of `values` that is none of `known`."""
        return self.chance.choice([value for value in values if value not in known])

    def moment(self) -> str:
        """Return a time in the weeks after the base, to the second."""
        return (self.start + timedelta(seconds=self.chance.randrange(3_000_000))).replace(microsecond=0).isoformat()

    def note(self, by: str) -> dict[str, JsonValue]:
        """Return a note."""
        return {"at": self.moment(), "by": by, "text": self.text()}

    def reading(self, at: datetime, hours: float) -> dict[str, JsonValue]:
        """Return a reading of a counter."""
        return {"at": at.isoformat(), "hours": round(hours, 4)}

    def order(self, status: str | None = None) -> dict[str, JsonValue]:
        """Return a work order that both sides agree on."""
        chance = self.chance
        state = status or chance.choice(("open", "scheduled", "in_progress"))
        values: dict[str, JsonValue] = {
            "status": state,
            "priority": chance.choice(PRIORITIES),
            "title": self.text(),
            "description": self.text(),
            "work_type": chance.choice(("PM01", "PM02", "PM03")),
            "assignee": chance.choice(PEOPLE),
            "due_at": self.moment(),
            "scheduled_at": self.moment(),
            "started_at": None,
            "completed_at": self.moment() if state in ("completed", "closed") else None,
            "closed_at": self.moment() if state == "closed" else None,
            "cost": f"{chance.randrange(10_000, 900_000) / 100:.2f}",
            "currency": "EUR",
            "parts": self.some(PARTS),
            "tags": self.some(TAGS),
            "notes": [self.note("system")],
            "equipment_number": str(chance.randrange(10_000_000, 99_999_999)),
            "plant_code": "WD10",
        }
        return values

    def machine(self) -> dict[str, JsonValue]:
        """Return a machine that both sides agree on."""
        chance = self.chance
        return {
            "equipment_description": self.text(),
            "object_number": f"IE{chance.randrange(10**9, 10**10)}",
            "plant_code": "WD10",
            "is_active": True,
            "attributes.HERST": chance.choice(("AIRBUS", "BOEING", "CATERPILLAR", "KOMATSU")),
            "attributes.BAUJJ": str(chance.randrange(1985, 2025)),
            "attributes.lockout_state": "none",
        }

    def some(self, values: Sequence[str]) -> list[JsonValue]:
        """Return two to four of `values`."""
        return list(self.chance.sample(values, self.chance.randrange(2, 5)))

    def base(self, values: Mapping[str, JsonValue]) -> Base:
        """Return what was agreed at the start."""
        return Base(values, dict.fromkeys(values, self.start))

    def edited(self, values: Mapping[str, JsonValue], edits: Mapping[str, JsonValue], at: datetime) -> Side:
        """Return our side: the agreed values with our edits, made at one time."""
        times: dict[str, datetime | None] = {**dict.fromkeys(values, self.start), **dict.fromkeys(edits, at)}
        return Side({**values, **edits}, times, writer="R. Stone")

    def stated(self, values: Mapping[str, JsonValue], edits: Mapping[str, JsonValue], at: datetime) -> Side:
        """Return the source's side: only its edits, or its whole state, as senders do the one or the other."""
        is_whole = self.chance.random() < 0.5
        said = {**values, **edits} if is_whole else dict(edits)
        return Side(said, dict.fromkeys(said, at), writer="atlas")

    def apart(self, minutes: float = 15) -> tuple[datetime, datetime]:
        """Return two times in either order that are at least `minutes` apart."""
        first = self.after(30, 2_000)
        second = first + timedelta(minutes=self.chance.uniform(minutes, 2_000))
        return (first, second) if self.chance.random() < 0.5 else (second, first)

    def contest(
        self,
        entity_type: str,
        values: Mapping[str, JsonValue],
        here: Mapping[str, JsonValue],
        there: Mapping[str, JsonValue],
        *,
        contested: Sequence[str] | None = None,
        times: tuple[datetime, datetime] | None = None,
        has_noise: bool = True,
    ) -> Scenario:
        """Return a scenario of one edit here and one statement there, both after `values` were agreed.

        Args:
            contested: the fields on which they differ in meaning; by default those that both name.
            times: when each side did it; by default far apart, in either order.
            has_noise: whether either side may also have changed something that the other left alone.
        """
        here, there = dict(here), dict(there)
        fields = tuple(name for name in here if name in there) if contested is None else tuple(contested)
        if has_noise and entity_type == "work_order":
            if "title" not in {*here, *there} and self.chance.random() < 0.3:
                here["title"] = self.text()
            if "work_type" not in {*here, *there} and self.chance.random() < 0.3:
                there["work_type"] = self.other(("PM01", "PM02", "PM03"), values["work_type"])
        ours_at, theirs_at = times or self.apart()
        return Scenario(
            entity_type,
            self.base(values),
            self.edited(values, here, ours_at),
            (Event(self.stated(values, there, theirs_at)),),
            contested=fields,
            changed_here=tuple(here),
            changed_there=tuple(there),
        )


def with_delivery(scenario: Scenario, delivery: Delivery) -> Scenario:
    """Return the scenario with other facts about how its statement came in."""
    return replace(scenario, events=tuple(replace(event, delivery=delivery) for event in scenario.events))

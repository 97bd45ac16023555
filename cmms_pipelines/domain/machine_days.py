"""One machine's day: what was reported for it, and what follows from that and the reading before.

What belongs here: the one policy on differences, gaps, counter events and several readings of a day, for one day at a time
and for every writer of readings, the syncs and the events. What does not: judging whole frames of the external API
(`domain.running_times`), whether a reading is accepted at all (`domain.contracts`), and rows (`storage.day_rows`).
Without pandas: the run that applies an event must start fast.

A stored day is a pure function of the parts that were accepted for it, of the reading before it and of what is known of the
counter. Whoever changes a part works out the days that follow from it again, so that the order of arrival does not matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cmms_pipelines.domain.counters import CounterChange, CounterEventKind, CounterFacts, CounterStep, counter_step

JITTER_HOURS = 1.0  # daily snapshots are taken up to an hour early or late (quirk 14)
MAX_DAYS_COVERED = 32_767  # what SMALLINT holds
_SAME_HOURS = 0.01

HOURS_MISSING = "running_hours_missing"
WENT_BACK = "counter_went_back"
SPANS_DAYS = "reading_spans_days"
EXCEEDS_DAY = "running_hours_exceed_day"
OVER_DAY = "running_hours_over_day"
# what a reading earns by the one before it, and not by itself
_BY_CONTEXT = frozenset({WENT_BACK, SPANS_DAYS, EXCEEDS_DAY})

DayHours = Callable[[str, int], float]
"""Hours of the given number of local days up to the day, at the plant of the given code."""


@dataclass(frozen=True)
class Part:
    """What one plant (or one event) reported for a machine's day.

    Attributes:
        plant_code: who reported.
        read_at: the moment of its last reading.
        running_hours: as stated; None where it was left out, or says nothing because the counter went back.
        counter: as stated, in hours.
        is_replaced: the counter is a new one since the reading before (quirk 19).
        is_difference: the hours were entered, and the counter follows from them where none is stated (quirk 21).
        is_refused: its hours were refused; the counter alone counts (quirk 15).
        is_told: an event brought it. Where its counter falls for no known reason it waits for a person, and does not count; of
            the external API such a fall is a reset.
        is_accepted: somebody decided that the counter did fall.
        is_dismissed: somebody decided that the counter is wrong.
        warnings: ids of the rules that it met by itself.
    """

    plant_code: str
    read_at: datetime | None
    running_hours: float | None
    counter: float | None
    is_replaced: bool = False
    is_difference: bool = False
    is_refused: bool = False
    is_told: bool = False
    is_accepted: bool = False
    is_dismissed: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[datetime, float, str]:
        """The place of a part among those of its day."""
        return self.read_at or datetime.min.replace(tzinfo=UTC), -1.0 if self.counter is None else self.counter, self.plant_code


@dataclass(frozen=True)
class Before:
    """The last counter before a day."""

    day: date
    counter: float


@dataclass(frozen=True)
class Outcome:
    """What a day comes to: hours over `days_covered` days, the day's last counter, warnings, and the event since `Before`.

    `part_hours`, `part_warnings` and `part_waits` (its counter waits for a person) are those of each part, in the order given.
    """

    running_hours: float | None
    cumulative_hours: float | None
    days_covered: int
    warnings: tuple[str, ...]
    event: CounterChange | None
    part_hours: tuple[float | None, ...]
    part_days: tuple[int, ...]
    part_warnings: tuple[tuple[str, ...], ...]
    part_waits: tuple[bool, ...]


@lru_cache(maxsize=4096)
def day_hours(day: date, time_zone: str, days_covered: int = 1) -> float:
    """Return the hours of the `days_covered` local days up to `day`: 23 or 25 for one where the clock changes (quirk 12)."""
    zone = ZoneInfo(time_zone)
    start = datetime.combine(day - timedelta(days=days_covered - 1), time(), zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    return (end - start).total_seconds() / 3600


def work_out(parts: Sequence[Part], before: Before | None, day: date, facts: CounterFacts, hours_of: DayHours) -> Outcome:
    """Return what `parts` come to, given in their `order`; hours that were not stated are the counter's difference."""
    gap = min((day - before.day).days, MAX_DAYS_COVERED) if before else 1
    counter = before.counter if before else None
    is_first, worked, waits = True, [], []
    for part in parts:
        days = gap if is_first else 1
        part_counter = None if part.is_dismissed else _counter(part, counter, facts)
        step = None
        if counter is not None and part_counter is not None:
            possible = hours_of(part.plant_code, days) + JITTER_HOURS
            step = counter_step(counter, part_counter, hours_possible=possible, facts=facts, is_replaced=part.is_replaced)
        waits.append(part.is_told and not part.is_accepted and is_unexplained(step))
        if waits[-1]:
            part_counter = None
        worked.append(_part_outcome(part, None if step is None else step.running_hours, days, hours_of))
        if part_counter is not None:
            counter, is_first = part_counter, False
    if before is not None and not is_first and counter is not None:
        possible = max(hours_of(part.plant_code, gap) for part in parts) + JITTER_HOURS
        is_replaced = any(part.is_replaced for part in parts)
        event = counter_step(before.counter, counter, hours_possible=possible, facts=facts, is_replaced=is_replaced).event
    else:
        event = None
    last = counter if not is_first else None
    worked = _fitting(worked, parts, hours_of)
    went_back = event is not None and last is not None and before is not None and _is_behind(before.counter, last, facts)
    known = [one.hours for one in worked if one.hours is not None]
    return Outcome(
        running_hours=round(sum(known), 4) if known else None,
        cumulative_hours=last,
        days_covered=max(one.days for one in worked),
        warnings=tuple(
            sorted({*(rule for one in worked for rule in one.warnings), *([WENT_BACK] if went_back or any(waits) else [])})
        ),
        event=event,
        part_hours=tuple(one.hours for one in worked),
        part_days=tuple(one.days for one in worked),
        part_warnings=tuple(one.warnings for one in worked),
        part_waits=tuple(waits),
    )


def is_unexplained(step: CounterStep | None) -> bool:
    """Tell a fall that neither a limit nor a replacement explains."""
    return step is not None and step.event is not None and step.event.kind is CounterEventKind.RESET


@dataclass(frozen=True)
class _Worked:
    hours: float | None
    days: int
    warnings: tuple[str, ...]
    is_stated: bool


def _part_outcome(part: Part, difference: float | None, days: int, hours_of: DayHours) -> _Worked:
    """Return what one part comes to, by what it states or by the counter's difference over `days`."""
    own = set(part.warnings) - _BY_CONTEXT
    if part.is_refused:
        return _Worked(None, 1, tuple(sorted({*own, EXCEEDS_DAY})), is_stated=False)
    stated = part.running_hours
    if stated is not None and 0 <= stated <= hours_of(part.plant_code, 1) + JITTER_HOURS:
        return _Worked(stated, 1, tuple(sorted(own)), is_stated=True)
    own.discard(OVER_DAY)
    if difference is None:
        return _Worked(None, 1, tuple(sorted(own)), is_stated=False)
    difference = round(difference, 4)
    limit = hours_of(part.plant_code, days)
    if difference > limit + JITTER_HOURS:
        return _Worked(None, days, tuple(sorted({*own, EXCEEDS_DAY, *([SPANS_DAYS] if days > 1 else [])})), is_stated=False)
    hours = stated if stated is not None and abs(stated - difference) < _SAME_HOURS else difference
    context = [SPANS_DAYS] if days > 1 else []
    context += [OVER_DAY] if hours > limit else []
    return _Worked(hours, days, tuple(sorted({*own, *context})), is_stated=False)


def _fitting(worked: list[_Worked], parts: Sequence[Part], hours_of: DayHours) -> list[_Worked]:
    """Leave differences out where all parts together would have more hours than their days."""
    days = max(one.days for one in worked)
    limit = max(hours_of(part.plant_code, days) for part in parts) + JITTER_HOURS
    if sum(one.hours or 0.0 for one in worked) <= limit:
        return worked
    return [
        one
        if one.is_stated or one.hours is None
        else replace(one, hours=None, warnings=tuple(sorted({*one.warnings, EXCEEDS_DAY} - {OVER_DAY})))
        for one in worked
    ]


def _counter(part: Part, before: float | None, facts: CounterFacts) -> float | None:
    """Return the counter of a part: as stated, or where only a difference was entered the one that follows from it."""
    if part.counter is not None or not part.is_difference or part.running_hours is None or before is None:
        return part.counter
    after = before - part.running_hours if facts.is_counting_backwards else before + part.running_hours
    if facts.overflow_at is not None and not 0 <= after < facts.overflow_at:
        after -= facts.overflow_at if after > 0 else -facts.overflow_at
    return round(after, 4) if after >= 0 else None


def _is_behind(before: float, after: float, facts: CounterFacts) -> bool:
    return after > before if facts.is_counting_backwards else after < before

"""Where a meter reading of a webhook belongs among the days of its machine, and what it says about running hours.

What belongs here: the policy on days, differences, gaps, resets and limits, with the rule ids of `domain.contracts`, for one
reading at a time and without pandas: the run that applies an event must start fast. What does not: whole frames of the external
API (`domain.running_times`), and reading or writing rows (`storage.meter_effects`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from cmms_pipelines.domain.counters import NOTHING_KNOWN, CounterChange, CounterEventKind, CounterFacts, counter_step
from cmms_pipelines.domain.event_payloads import Refusal
from cmms_pipelines.domain.machine_days import (
    EXCEEDS_DAY,
    HOURS_MISSING,
    MAX_DAYS_COVERED,
    OVER_DAY,
    SPANS_DAYS,
    WENT_BACK,
    day_hours,
)

EXTERNAL_API = "external_api"
JITTER_HOURS = 1


@dataclass(frozen=True)
class DayReading:
    """What is known of a machine's day; hours are those of `days_covered` days. Warnings are rule ids.

    `held`: time and counter of a later reading of the day that does not count, because it waits for a person or was dismissed.
    `is_accepted`: somebody decided that the counter did fall.
    """

    day: date
    cumulative_hours: Decimal | None
    running_hours: Decimal | None
    days_covered: int
    source: str
    read_at: datetime | None
    warnings: tuple[str, ...] = ()
    held: tuple[datetime, Decimal] | None = None
    is_accepted: bool = False

    @property
    def is_difference(self) -> bool:
        """Whether its hours were computed from the reading before, and so change when that one does."""
        return HOURS_MISSING in self.warnings

    @property
    def is_kept_counter(self) -> bool:
        """Whether it is only the counter of a reading whose hours were refused."""
        return self.running_hours is None and EXCEEDS_DAY in self.warnings and not self.is_difference


@dataclass(frozen=True)
class CounterReset:
    """A counter that went back; `offset_hours` keeps the machine's lifetime hours rising."""

    day: date
    kind: str
    counter_before: Decimal
    counter_after: Decimal
    offset_hours: Decimal


@dataclass(frozen=True)
class Placement:
    """Rows to write, the counter event of each day that was looked at (None: none), and a sentence on the outcome.

    `waits`: the reading does not count until somebody has decided about it.
    """

    rows: tuple[DayReading, ...]
    counter_events: Mapping[date, CounterReset | None]
    reason: str
    waits: bool = False


def place(
    new: DayReading, days: Mapping[date, DayReading], time_zone: str, facts: CounterFacts = NOTHING_KNOWN
) -> Placement | Refusal:
    """Place `new` among the stored `days` of its machine, of which the ones next to it must be there.

    - A day that the external API has reported is left alone: it has authority.
    - Of several readings of a day the last one read counts.
    - Hours that are not given are the difference to the reading before, over the days since. A counter that is lower has passed
      its limit, where one is known; else its reading waits beside what counts.
    - Hours beyond the length of the days covered are a warning up to an hour, and refused beyond (`running_hours_exceed_day`).
    - A backdated reading has the difference of the day after it computed again, unless that day came from the external API.
    """
    stored = days.get(new.day)
    if stored is not None and stored.source == EXTERNAL_API and not stored.is_kept_counter:
        return Placement((), {}, "the external API has reported this day, and has authority")
    if stored is not None and stored.held is not None and stored.held == _order(new):
        return Placement((), {}, "this reading is known already, and waits or was decided")
    if stored is not None and not stored.is_kept_counter and _order(stored) >= _order(new):
        is_same = stored.cumulative_hours == new.cumulative_hours and stored.read_at == new.read_at
        return Placement((), {}, "this reading is stored already" if is_same else "a later reading of this day is stored")
    placed, event = _judge(new, _before(new.day, days), time_zone, facts)
    if isinstance(placed, Refusal):
        return placed
    if event is not None and event.kind == CounterEventKind.RESET:
        return _wait(new, stored)
    if stored is not None and stored.held is not None and stored.held > _order(new):
        placed = replace(placed, held=stored.held)
    rows, events = [placed], {new.day: event}
    after = _after(new.day, days)
    if after is not None and after.source != EXTERNAL_API and after.cumulative_hours is not None:
        rejudged, event = _judge(replace(after, running_hours=_given(after)), placed, time_zone, facts)
        events[after.day] = event
        if isinstance(rejudged, Refusal):
            rejudged = replace(after, running_hours=None, warnings=(*after.warnings, rejudged.rule))
        if event is not None and event.kind == CounterEventKind.RESET and not after.is_accepted:
            rejudged, events[after.day] = _held(after), None
        if rejudged != after:
            rows.append(rejudged)
    reason = "stored" if len(rows) == 1 else "stored, and the difference of the reading after it computed again"
    return Placement(tuple(rows), events, reason)


def _wait(new: DayReading, stored: DayReading | None) -> Placement:
    """Keep a reading whose counter fell beside the one of its day that counts, if there is one."""
    if stored is not None and stored.held is not None and stored.held > _order(new):
        return Placement((), {}, "a later reading of this day waits")
    counts = stored if stored is not None and not stored.is_kept_counter else _held(new)
    reason = "the counter fell, and no limit explains it: it waits in cmms.sync_conflicts"
    return Placement((replace(counts, held=_order(new)),), {new.day: None}, reason, waits=True)


def _held(reading: DayReading) -> DayReading:
    warnings = tuple(sorted({*reading.warnings, WENT_BACK, *([HOURS_MISSING] if reading.running_hours is None else [])}))
    return replace(reading, cumulative_hours=None, read_at=None, warnings=warnings, held=_order(reading))


def local_day(moment: datetime, time_zone: str) -> date:
    """Return the business day at the machine."""
    return moment.astimezone(ZoneInfo(time_zone)).date()


def length_hours(day: date, days_covered: int, time_zone: str) -> Decimal:
    """Return the hours that the `days_covered` local days up to and with `day` have: 23 or 25 for one where the clock changes."""
    return Decimal(str(day_hours(day, time_zone, days_covered)))


def _judge(
    reading: DayReading, before: DayReading | None, time_zone: str, facts: CounterFacts
) -> tuple[DayReading | Refusal, CounterReset | None]:
    counter, hours, covered, warnings, event = reading.cumulative_hours, reading.running_hours, 1, [], None
    last = before.cumulative_hours if before is not None else None
    if hours is None:
        warnings.append(HOURS_MISSING)
    if before is not None and counter is not None and last is not None:
        days = min((reading.day - before.day).days, MAX_DAYS_COVERED)
        possible = float(length_hours(reading.day, days, time_zone) + JITTER_HOURS)
        step = counter_step(float(last), float(counter), hours_possible=possible, facts=facts)
        if hours is None and step.running_hours is not None:
            hours, covered = Decimal(str(round(step.running_hours, 4))), days
        if step.event is not None:
            warnings.append(WENT_BACK)
            event = _reset(reading.day, last, counter, step.event)
    if covered > 1:
        warnings.append(SPANS_DAYS)
    limit = length_hours(reading.day, covered, time_zone)
    if hours is not None and hours > limit + JITTER_HOURS:
        message = f"{hours} h are more than the {limit} h that {covered} day(s) up to {reading.day.isoformat()} have"
        return Refusal(EXCEEDS_DAY, message), None
    if hours is not None and hours > limit:
        warnings.append(OVER_DAY)
    return replace(reading, running_hours=hours, days_covered=covered, warnings=tuple(warnings)), event


def _reset(day: date, before: Decimal, after: Decimal, change: CounterChange) -> CounterReset:
    return CounterReset(day, change.kind.value, before, after, Decimal(str(round(change.offset_hours, 4))))


def _order(reading: DayReading) -> tuple[datetime, Decimal]:
    return reading.read_at or datetime.min.replace(tzinfo=UTC), reading.cumulative_hours or Decimal(0)


def _given(reading: DayReading) -> Decimal | None:
    return None if reading.is_difference or WENT_BACK in reading.warnings else reading.running_hours


def _before(day: date, days: Mapping[date, DayReading]) -> DayReading | None:
    known = [other for other in days if other < day and days[other].cumulative_hours is not None]
    return days[max(known)] if known else None


def _after(day: date, days: Mapping[date, DayReading]) -> DayReading | None:
    known = [other for other in days if other > day and days[other].cumulative_hours is not None]
    return days[min(known)] if known else None

"""Counters of running hours from one reading to the next: the hours in between, and why a counter went back.

What belongs here: the policy for two readings. What does not: the readings of one day and several plants
(`domain.machine_days`), and where counters are stored. Without pandas: the run that applies an event must start fast.

Policy: a reading is compared with the reading before it, of whatever kind, not with the highest ever seen. A decrease is an
event, and from its day on the machine's lifetime hours are the counter plus an offset, so that they go on rising.
"""

from dataclasses import dataclass
from enum import StrEnum


class CounterEventKind(StrEnum):
    """Why a counter shows less than before: it passed its limit, was swapped, or was set back for no known reason."""

    ROLLOVER = "rollover"
    REPLACEMENT = "replacement"
    RESET = "reset"


@dataclass(frozen=True)
class CounterChange:
    """A decrease, explained: hours run since the reading before (None where nobody can know) and the offset it adds."""

    kind: CounterEventKind
    running_hours: float | None
    offset_hours: float


@dataclass(frozen=True)
class CounterFacts:
    """What is known of a machine's counter: the hours at which it starts again from 0, and whether it counts down."""

    overflow_at: float | None = None
    is_counting_backwards: bool = False


@dataclass(frozen=True)
class CounterStep:
    """What lies between two readings: the hours (None where nobody can know) and the event, if one happened."""

    running_hours: float | None
    event: CounterChange | None = None


NOTHING_KNOWN = CounterFacts()


def explain_decrease(
    before: float, after: float, *, overflow_at: float | None = None, is_replaced: bool = False
) -> CounterChange:
    """Explain a counter that went from `before` down to `after` (hours; quirks 17 to 19).

    Raises:
        ValueError: the counter did not go down, or `before` lies beyond the overflow limit.
    """
    if after >= before:
        raise ValueError(f"a counter that goes from {before} to {after} did not decrease")
    if is_replaced:
        return CounterChange(CounterEventKind.REPLACEMENT, None, before)
    if overflow_at is not None:
        if before > overflow_at:
            raise ValueError(f"the counter {before} lies beyond its overflow limit {overflow_at}")
        return CounterChange(CounterEventKind.ROLLOVER, overflow_at - before + after, overflow_at)
    return CounterChange(CounterEventKind.RESET, None, before - after)


def counter_step(
    before: float, after: float, *, hours_possible: float, facts: CounterFacts = NOTHING_KNOWN, is_replaced: bool = False
) -> CounterStep:
    """Return what a machine ran while its counter went from `before` to `after` (hours; quirks 17 to 20).

    A counter that counts backwards is read with the sign turned. A decrease is an overflow only where the hours across the
    limit fit into `hours_possible`, the hours of the days in between; else nobody knows, and it is a reset. A new counter
    is taken to have started at 0 where what it shows fits into those days; else its reading is the new baseline, and
    lifetime hours stand still between the two.
    """
    if is_replaced:
        starts_at_zero = not facts.is_counting_backwards and after <= hours_possible
        if starts_at_zero and after < before:
            return CounterStep(None, explain_decrease(before, after, is_replaced=True))
        offset = before if starts_at_zero else after - before if facts.is_counting_backwards else before - after
        return CounterStep(None, CounterChange(CounterEventKind.REPLACEMENT, None, offset))
    rise = before - after if facts.is_counting_backwards else after - before
    if rise >= 0:
        return CounterStep(rise)
    limit = facts.overflow_at
    if limit is not None and max(before, after) <= limit and limit + rise <= hours_possible:
        change = CounterChange(CounterEventKind.ROLLOVER, limit + rise, limit)
    else:
        change = CounterChange(CounterEventKind.RESET, None, -rise)
    return CounterStep(change.running_hours, change)

"""Counters from one reading to the next: every decrease has its reason, and a machine's lifetime hours never fall."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.counters import (
    CounterChange,
    CounterEventKind,
    CounterFacts,
    CounterStep,
    counter_step,
    explain_decrease,
)

LIMITED = CounterFacts(overflow_at=10_000)
BACKWARDS = CounterFacts(is_counting_backwards=True)
RESET, ROLLOVER, REPLACEMENT = CounterEventKind.RESET, CounterEventKind.ROLLOVER, CounterEventKind.REPLACEMENT


@pytest.mark.parametrize(
    ("before", "after", "known", "change"),
    [
        (21789.0, 20720.0, {}, CounterChange(CounterEventKind.RESET, None, 1069.0)),
        (9998.0, 12.0, {"overflow_at": 10000.0}, CounterChange(CounterEventKind.ROLLOVER, 14.0, 10000.0)),
        (5000.0, 0.0, {"is_replaced": True}, CounterChange(CounterEventKind.REPLACEMENT, None, 5000.0)),
        (9998.0, 12.0, {"overflow_at": 10000.0, "is_replaced": True}, CounterChange(CounterEventKind.REPLACEMENT, None, 9998.0)),
    ],
)
def test_a_decrease_is_a_replacement_a_rollover_or_else_a_reset(
    before: float, after: float, known: dict[str, float | bool], change: CounterChange
) -> None:
    assert explain_decrease(before, after, **known) == change


@pytest.mark.parametrize(("before", "after"), [(10.0, 10.0), (10.0, 11.0)])
def test_a_counter_that_did_not_fall_has_nothing_to_explain(before: float, after: float) -> None:
    with pytest.raises(ValueError, match="did not decrease"):
        explain_decrease(before, after)


def test_a_counter_beyond_its_own_limit_is_a_contradiction() -> None:
    with pytest.raises(ValueError, match="beyond its overflow limit"):
        explain_decrease(10001.0, 12.0, overflow_at=10000.0)


def change(kind: CounterEventKind, hours: float | None, offset: float) -> CounterStep:
    return CounterStep(hours, CounterChange(kind, hours, offset))


@pytest.mark.parametrize(
    ("before", "after", "facts", "step"),
    [
        (21789, 20720, CounterFacts(), change(RESET, None, 1069)),  # quirk 17
        (20743, 20666, CounterFacts(), change(RESET, None, 77)),
        (9998, 12, LIMITED, change(ROLLOVER, 14, 10_000)),  # quirk 18
        (9000, 12, LIMITED, change(RESET, None, 8988)),  # 1012 hours across the limit do not fit a day
        (10_500, 12, LIMITED, change(RESET, None, 10_488)),  # it has been beyond its limit before: so that is none
        (5000, 4990, BACKWARDS, CounterStep(10)),  # quirk 20
        (4990, 5000, BACKWARDS, change(RESET, None, 10)),
        (3, 9995, CounterFacts(10_000, is_counting_backwards=True), change(ROLLOVER, 8, 10_000)),
        (100, 100, CounterFacts(), CounterStep(0)),  # quirk 29
        (100, 108, LIMITED, CounterStep(8)),
    ],
)
def test_two_counters_tell_the_hours_between_them_or_why_they_do_not(
    before: float, after: float, facts: CounterFacts, step: CounterStep
) -> None:
    assert counter_step(before, after, hours_possible=25, facts=facts) == step


@pytest.mark.parametrize(
    ("before", "after", "facts", "offset"),
    [
        (5000, 0, CounterFacts(), 5000),  # quirk 19
        (5000, 12, CounterFacts(), 5000),  # the new counter has run these hours
        (5000, 4000, CounterFacts(), 1000),  # it cannot have run 4000 h in a day: a used one, whose reading is the baseline
        (5000, 7000, CounterFacts(), -2000),
        (10, 12, CounterFacts(), 10),
        (5000, 4000, BACKWARDS, -1000),
        (9998, 12, LIMITED, 9998),
    ],
)
def test_a_replaced_counter_begins_anew_and_lifetime_hours_go_on(
    before: float, after: float, facts: CounterFacts, offset: float
) -> None:
    step = counter_step(before, after, hours_possible=25, facts=facts, is_replaced=True)
    assert step == CounterStep(None, CounterChange(REPLACEMENT, None, offset))


COUNTERS = st.lists(st.tuples(st.integers(0, 10**6).map(lambda tenths: tenths / 10), st.booleans()), min_size=1, max_size=12)
FACTS = st.builds(CounterFacts, st.one_of(st.none(), st.integers(1, 10**5).map(float)), st.booleans())


@given(COUNTERS, FACTS, st.sampled_from([25.0, 100.0, 10**6]))
def test_lifetime_hours_never_fall_and_rise_by_the_hours_that_are_known(
    counters: list[tuple[float, bool]], facts: CounterFacts, hours_possible: float
) -> None:
    first, offset = counters[0][0], 0.0
    lifetime = [0.0 if facts.is_counting_backwards else first]
    for (before, _), (after, is_replaced) in pairwise(counters):
        step = counter_step(before, after, hours_possible=hours_possible, facts=facts, is_replaced=is_replaced)
        offset += 0.0 if step.event is None else step.event.offset_hours
        lifetime.append((first - after if facts.is_counting_backwards else after) + offset)
        rise = lifetime[-1] - lifetime[-2]
        assert rise >= -1e-6
        assert rise == pytest.approx(step.running_hours if step.running_hours is not None else rise, abs=1e-6)
        assert step.running_hours is None or step.running_hours >= 0
        assert (step.event is None) or (is_replaced or step.event.kind is not REPLACEMENT)
        assert is_replaced or step.event is None or step.event.kind is RESET or step.running_hours is not None

"""Whatever arrives in which order, the tables end the same, and as a model says that knows nothing of the product's code.

The model takes the statements of a machine, keeps the last one for each day and plant, and computes the life of the counter
from the first day to the last.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cmms_pipelines.storage.tables import counter_events, counter_facts, equipment_running_times
from tests.conftest import Database
from tests.storage.readings_world import make_world
from tests.storage.statements import PLANTS, Counter, Lived, Statement, content, lifetime, lived, tell


def model(counter: Counter, statements: Sequence[Statement]) -> tuple[list[Lived], list[float]]:
    """Return the days and the lifetime hours that statements come to, as the policy on counters says."""
    newest = {one.key: one for one in statements}
    days: list[Lived] = []
    life: list[float] = []
    before: tuple[int, float] | None = None
    for day in sorted({number for number, _ in newest}):
        told = [newest[day, plant] for plant in PLANTS if (day, plant) in newest and not newest[day, plant].is_reversed]
        if not told:
            continue
        shown, hours, covered, warnings = before, [], 1, set()
        for one in told:
            after = one.counter
            if one.is_difference and after is None and shown is not None:
                after = counted_on(counter, shown[1], one.hours or 0.0)
            span = 1 if shown is None else max(day - shown[0], 1)
            if one.hours is not None:
                hours.append(one.hours)
            else:
                warnings.add("running_hours_missing")
                ran = None if shown is None or after is None else run_between(counter, shown[1], after, span, one.is_replaced)
                if ran is not None and ran <= 24 * span + 1:
                    hours.append(ran)
                    covered = max(covered, span)
                    warnings |= {"running_hours_over_day"} if ran > 24 * span else set()
                    warnings |= {"reading_spans_days"} if span > 1 else set()
                elif ran is not None:
                    covered = max(covered, span)
                    warnings |= {"running_hours_exceed_day"} | ({"reading_spans_days"} if span > 1 else set())
            if after is not None:
                shown = (day, after)
        is_replaced = any(one.is_replaced for one in told)
        last = shown[1] if shown is not None and shown[0] == day else None
        if last is not None:
            if before is None:
                life.append(0.0 if counter.is_counting_backwards else last)
            else:
                life.append(life[-1] + lived_between(counter, before[1], last, day - before[0], is_replaced))
                went_up = last - before[1] if counter.is_counting_backwards else before[1] - last
                warnings |= {"counter_went_back"} if went_up > 0 else set()
        days.append(Lived(day, round(sum(hours), 4) if hours else None, last, covered, tuple(sorted(warnings))))
        before = before if last is None else (day, last)
    return days, life


def counted_on(counter: Counter, before: float, hours: float) -> float | None:
    after = round(before - hours if counter.is_counting_backwards else before + hours, 4)
    if counter.overflow_at is not None and after >= counter.overflow_at:
        after = round(after - counter.overflow_at, 4)
    return after if after >= 0 else None  # nobody knows where it starts again from above


def run_between(counter: Counter, before: float, after: float, days: int, is_replaced: bool) -> float | None:
    if is_replaced:
        return None
    if counter.is_counting_backwards:
        before, after = after, before
    if after >= before:
        return round(after - before, 4)
    limit = counter.overflow_at
    across = None if limit is None or max(before, after) > limit else round(limit - before + after, 4)
    return across if across is not None and across <= 24 * days + 1 else None


def lived_between(counter: Counter, before: float, after: float, days: int, is_replaced: bool) -> float:
    if is_replaced:  # a new counter started at 0 if it can have come that far
        return after if not counter.is_counting_backwards and after <= 24 * days + 1 else 0.0
    return run_between(counter, before, after, days, is_replaced=False) or 0.0


def tenths(least: int, most: int) -> st.SearchStrategy[float]:
    return st.integers(least, most).map(lambda number: number / 10)


COUNTERS = st.sampled_from([Counter(), Counter(overflow_at=200.0), Counter(is_counting_backwards=True)])
DAYS = st.integers(0, 7)
STATEMENTS = st.one_of(
    st.builds(Statement, DAYS, tenths(1000, 1500)),  # of the counter alone: jumps, gaps and decreases as they come
    st.builds(Statement, DAYS, tenths(0, 60), is_replaced=st.booleans()),
    st.builds(Statement, DAYS, tenths(1900, 2000)),
    st.builds(Statement, DAYS, st.one_of(st.none(), tenths(1000, 1500)), tenths(0, 110), st.sampled_from(PLANTS)),
    st.builds(Statement, DAYS, st.none(), tenths(0, 60), is_difference=st.just(True)),
    st.builds(Statement, DAYS, tenths(1000, 1500), tenths(0, 50), st.sampled_from(PLANTS), is_reversed=st.booleans()),
)
HISTORIES = st.lists(STATEMENTS, min_size=1, max_size=8, unique_by=lambda one: one.key)


def shuffled(data: st.DataObject, statements: Sequence[Statement]) -> list[Statement]:
    return list(data.draw(st.permutations(statements)))


def batches(data: st.DataObject, statements: Sequence[Statement]) -> list[list[Statement]]:
    """Cut statements into batches, as slices and syncs do; of one day and plant there is one in each."""
    cut: list[list[Statement]] = [[]]
    for one in statements:
        if cut[-1] and (one.key in {other.key for other in cut[-1]} or data.draw(st.booleans())):
            cut.append([])
        cut[-1].append(one)
    return cut


@pytest.fixture
def engine(database: Database) -> sa.Engine:
    make_world(database.engine)
    return database.engine


def forget(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for table in (equipment_running_times, counter_events, counter_facts):
            connection.execute(sa.delete(table))  # of a few rows it is faster than TRUNCATE, of all partitions


def after(engine: sa.Engine, data: st.DataObject, counter: Counter, statements: Sequence[Statement]) -> list[tuple[Any, ...]]:
    forget(engine)
    for batch in batches(data, statements):
        tell(engine, counter, *batch)
    return content(engine)


def in_a_database(examples: int) -> settings:
    """Examples without shrinking: each takes a third of a second."""
    phases = [Phase.explicit, Phase.generate]
    return settings(max_examples=examples, phases=phases, suppress_health_check=[HealthCheck.function_scoped_fixture])


FEW, MANY = in_a_database(10), in_a_database(300)


def end_as_the_model_says(engine: sa.Engine, data: st.DataObject, counter: Counter, history: list[Statement]) -> None:
    one_way = after(engine, data, counter, shuffled(data, history))
    days, life = model(counter, history)
    assert lived(engine) == days
    assert lifetime(engine) == pytest.approx(life, abs=1e-3)
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(life))
    assert after(engine, data, counter, shuffled(data, history)) == one_way


@FEW
@given(data=st.data(), counter=COUNTERS, history=HISTORIES)
def test_the_tables_are_the_models_whatever_the_order_of_arrival(
    engine: sa.Engine, data: st.DataObject, counter: Counter, history: list[Statement]
) -> None:
    end_as_the_model_says(engine, data, counter, history)


@pytest.mark.soak
@MANY
@given(data=st.data(), counter=COUNTERS, history=HISTORIES)
def test_the_tables_are_the_models_whatever_the_order_of_arrival_for_many_histories(
    engine: sa.Engine, data: st.DataObject, counter: Counter, history: list[Statement]
) -> None:
    end_as_the_model_says(engine, data, counter, history)


Versions = dict[tuple[int, str], list[tuple[bool, float, float | None]]]


def versions(most_readings: int, most_corrections: int) -> st.SearchStrategy[Versions]:
    """Readings of some days and plants, each told several times; each of them is a batch of its own and takes its time."""
    one = st.tuples(st.booleans(), tenths(1000, 1030), st.one_of(st.none(), tenths(0, 100)))
    told = st.lists(one, min_size=1, max_size=most_corrections)
    return st.dictionaries(st.tuples(DAYS, st.sampled_from(PLANTS)), told, min_size=1, max_size=most_readings)


def interleaved(data: st.DataObject, histories: Versions) -> list[Statement]:
    left = {key: list(versions) for key, versions in histories.items()}
    told = []
    while any(left.values()):
        day, plant = data.draw(st.sampled_from([key for key, versions in left.items() if versions]))
        is_reversed, counter, hours = left[day, plant].pop(0)
        told.append(Statement(day, counter, hours, plant, is_reversed=is_reversed))
    return told


def end_by_the_newest_statements(engine: sa.Engine, data: st.DataObject, histories: Versions) -> None:
    one, another = interleaved(data, histories), interleaved(data, histories)
    one_way = after(engine, data, Counter(), one)
    assert lived(engine) == model(Counter(), one)[0]
    assert after(engine, data, Counter(), another) == one_way


@FEW
@given(data=st.data(), histories=versions(3, 3))
def test_corrections_and_cancellations_of_a_reading_count_in_their_order_and_no_other_order_matters(
    engine: sa.Engine, data: st.DataObject, histories: Versions
) -> None:
    end_by_the_newest_statements(engine, data, histories)


@pytest.mark.soak
@MANY
@given(data=st.data(), histories=versions(5, 4))
def test_corrections_and_cancellations_count_in_their_order_in_many_histories(
    engine: sa.Engine, data: st.DataObject, histories: Versions
) -> None:
    end_by_the_newest_statements(engine, data, histories)

"""Counters across days: every decrease has its reason, and a machine's lifetime hours never fall."""

from datetime import date, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.counters import CounterChange, CounterEventKind, counter_events, explain_decrease

DAY = date(2013, 4, 20)


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


def readings(counters: dict[int, list[float | None]]) -> pd.DataFrame:
    rows = [
        (machine, DAY + timedelta(days=day), counter) for machine, line in counters.items() for day, counter in enumerate(line)
    ]
    frame = pd.DataFrame(rows, columns=["equipment_id", "date", "cumulative_hours"])
    return frame.astype({"equipment_id": "int64", "date": "datetime64[s]", "cumulative_hours": "float64"})


def test_a_counter_that_falls_twice_is_two_events_each_against_the_reading_before() -> None:
    events = counter_events(readings({1: [21789, 20720, 20743, 20666], 2: [5, 6]}))
    assert events[["equipment_id", "kind", "counter_before", "counter_after", "offset_hours"]].to_numpy().tolist() == [
        [1, "reset", 21789, 20720, 1069],
        [1, "reset", 20743, 20666, 77],
    ]
    assert [day.date() for day in events["date"]] == [DAY + timedelta(days=1), DAY + timedelta(days=3)]


def test_a_day_without_a_counter_neither_hides_nor_makes_a_decrease() -> None:
    assert counter_events(readings({1: [100, None, 90]}))["counter_before"].to_list() == [100]
    assert counter_events(readings({1: [100, None, 110]})).empty


def test_machines_are_not_compared_with_one_another() -> None:
    assert counter_events(readings({1: [100], 2: [50], 3: []})).empty


COUNTERS = st.dictionaries(
    st.integers(1, 4),
    st.lists(st.one_of(st.none(), st.integers(0, 10**7).map(lambda tenths: tenths / 10)), max_size=12),
    max_size=4,
)


@given(COUNTERS)
def test_lifetime_hours_never_fall(counters: dict[int, list[float | None]]) -> None:
    stored = readings(counters)
    events = counter_events(stored)
    for machine, of_machine in stored.dropna().groupby("equipment_id"):
        offsets = events.loc[events["equipment_id"] == machine]
        lifetime = [
            row.cumulative_hours + offsets.loc[offsets["date"] <= row.date, "offset_hours"].sum()
            for row in of_machine.itertuples()
        ]
        assert all(earlier <= later + 1e-6 for earlier, later in pairwise(lifetime))


@given(st.data(), COUNTERS)
def test_the_order_of_the_rows_does_not_matter(data: st.DataObject, counters: dict[int, list[float | None]]) -> None:
    stored = readings(counters)
    shuffled = stored.loc[data.draw(st.permutations(list(stored.index)))]
    pd.testing.assert_frame_equal(counter_events(shuffled), counter_events(stored))

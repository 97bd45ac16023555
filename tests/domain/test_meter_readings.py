"""A meter reading finds its day and its hours, in whatever order readings arrive."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.counters import CounterFacts
from cmms_pipelines.domain.event_payloads import MeterReadingPayload, Refusal
from cmms_pipelines.domain.meter_readings import EXTERNAL_API, CounterReset, DayReading, Placement, length_hours, local_day, place

ZONE = "Europe/Berlin"


def reading(
    day: int, counter: float, *, hours: float | None = None, at_hour: int = 12, month: int = 3, source: str = "webhook:a"
) -> DayReading:
    read_at = datetime(2026, month, day, at_hour, tzinfo=UTC)
    given_hours = None if hours is None else Decimal(str(hours))
    return DayReading(date(2026, month, day), Decimal(str(counter)), given_hours, 1, source, read_at)


def placed(*readings: DayReading) -> tuple[dict[date, DayReading], dict[date, CounterReset]]:
    days: dict[date, DayReading] = {}
    events: dict[date, CounterReset | None] = {}
    for one in readings:
        result = place(one, days, ZONE)
        assert isinstance(result, Placement)
        days |= {row.day: row for row in result.rows}
        events |= result.counter_events
    return days, {day: event for day, event in events.items() if event is not None}


def hours(days: dict[date, DayReading]) -> list[tuple[int, float | None, int]]:
    return [
        (day.day, None if row.running_hours is None else float(row.running_hours), row.days_covered)
        for day, row in sorted(days.items())
    ]


def test_hours_are_the_difference_over_the_days_since_the_reading_before() -> None:
    days, _ = placed(reading(2, 100), reading(3, 108.5), reading(6, 130))
    assert hours(days) == [(2, None, 1), (3, 8.5, 1), (6, 21.5, 3)]
    assert days[date(2026, 3, 6)].warnings == ("running_hours_missing", "reading_spans_days")


def test_given_hours_are_taken_as_they_are() -> None:
    days, _ = placed(reading(2, 100), reading(5, 130, hours=9))
    assert hours(days)[-1] == (5, 9.0, 1)


def test_a_lower_counter_waits_and_the_one_before_it_is_what_later_readings_are_compared_with() -> None:
    days, events = placed(reading(2, 21789), reading(3, 20720), reading(4, 21800))
    assert hours(days) == [(2, None, 1), (3, None, 1), (4, 11.0, 2)]
    waiting = days[date(2026, 3, 3)]
    assert (waiting.cumulative_hours, waiting.held) == (None, (reading(3, 20720).read_at, Decimal(20720)))
    assert events == {}


def test_a_lower_counter_waits_beside_the_reading_of_its_day_that_counts() -> None:
    days, _ = placed(reading(2, 100), reading(3, 110), reading(3, 8, at_hour=18))
    third = days[date(2026, 3, 3)]
    assert (third.cumulative_hours, third.held) == (Decimal(110), (reading(3, 8, at_hour=18).read_at, Decimal(8)))
    other_way, _ = placed(reading(2, 100), reading(3, 8, at_hour=18), reading(3, 110))
    assert other_way == days


def test_a_lower_counter_whose_limit_is_known_has_passed_it() -> None:
    before = reading(2, 9998)
    result = place(reading(3, 12), {before.day: before}, ZONE, CounterFacts(overflow_at=10_000))
    assert isinstance(result, Placement)
    assert (result.waits, result.rows[0].running_hours) == (False, Decimal(14))
    event = result.counter_events[date(2026, 3, 3)]
    assert event == CounterReset(date(2026, 3, 3), "rollover", Decimal(9998), Decimal(12), Decimal(10_000))


def test_a_backdated_reading_has_the_next_difference_computed_again() -> None:
    days, events = placed(reading(2, 100), reading(4, 120), reading(3, 112))
    assert hours(days) == [(2, None, 1), (3, 12.0, 1), (4, 8.0, 1)]
    assert not events


def test_the_last_reading_of_a_day_counts() -> None:
    days, _ = placed(reading(2, 100), reading(3, 110, at_hour=18), reading(3, 104, at_hour=8))
    assert hours(days)[-1] == (3, 10.0, 1)


def test_a_day_of_the_external_api_is_left_alone_also_as_the_next_day() -> None:
    external = {date(2026, 3, 3): reading(3, 110, hours=5, source=EXTERNAL_API)}
    same = place(reading(3, 200), external, ZONE)
    earlier = place(reading(2, 100), external, ZONE)
    assert isinstance(same, Placement)
    assert isinstance(earlier, Placement)
    assert same.rows == ()
    assert [row.day.day for row in earlier.rows] == [2]


@pytest.mark.parametrize(
    ("day", "month", "counter", "outcome"),
    [
        (3, 3, 124, None),
        (3, 3, 125, "running_hours_over_day"),
        (3, 3, 125.01, "refused"),
        (29, 3, 123.5, "running_hours_over_day"),
        (25, 10, 125, None),
    ],
)
def test_the_limit_is_the_length_of_the_local_day_and_an_hour(day: int, month: int, counter: float, outcome: str | None) -> None:
    before = reading(day - 1, 100, month=month)
    result = place(reading(day, counter, month=month), {before.day: before}, ZONE)
    if outcome == "refused":
        assert isinstance(result, Refusal)
        assert result.rule == "running_hours_exceed_day"
    else:
        assert isinstance(result, Placement)
        assert result.rows[0].warnings == ("running_hours_missing", *([outcome] if outcome else []))


def test_days_have_23_24_or_25_hours() -> None:
    assert [length_hours(day, 1, ZONE) for day in (date(2026, 3, 29), date(2026, 6, 1), date(2026, 10, 25))] == [23, 24, 25]
    assert length_hours(date(2026, 3, 30), 3, ZONE) == 71


def test_the_day_is_the_one_at_the_machine() -> None:
    late = datetime(2026, 3, 3, 3, 0, tzinfo=UTC)
    assert (local_day(late, "America/New_York"), local_day(late, "UTC")) == (date(2026, 3, 2), date(2026, 3, 3))


@pytest.mark.parametrize(("unit", "value"), [("h", 2.5), ("min", 150), ("s", 9000), ("Hours", "2.5")])
def test_units_become_hours(unit: str, value: object) -> None:
    payload = MeterReadingPayload.model_validate(
        {"equipment_number": "N1", "reading": value, "running_hours": value, "unit": unit}
    )
    assert payload.cumulative_h() == payload.running_h() == Decimal("2.5")


@given(st.data(), st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_rising_readings_of_different_days_end_the_same_in_any_order(data: st.DataObject, steps: list[int]) -> None:
    readings = [reading(2 + index, 100 + sum(steps[: index + 1])) for index in range(len(steps))]
    shuffled = data.draw(st.permutations(readings))
    assert placed(*readings) == placed(*shuffled)


@given(st.lists(st.tuples(st.integers(1, 28), st.integers(0, 30), st.integers(0, 23)), max_size=12))
def test_hours_are_never_negative_and_always_fit_their_days(values: list[tuple[int, int, int]]) -> None:
    days: dict[date, DayReading] = {}
    for day, counter, hour in values:
        result = place(reading(day, counter, at_hour=hour), days, "UTC")
        if isinstance(result, Placement):
            days |= {row.day: row for row in result.rows}
    for row in days.values():
        assert row.running_hours is None or 0 <= row.running_hours <= length_hours(row.day, row.days_covered, "UTC") + 1

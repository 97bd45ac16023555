"""What SAP's counters do, and what the tables make of it: limits, swaps, counters that count down, jumps and cancellations."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.quality import unexplained_decreases
from tests.conftest import Database
from tests.storage.readings_world import events, make_world
from tests.storage.statements import FIRST, Counter, Lived, Statement, content, lifetime, lived, tell

PLAIN = Counter()


@pytest.fixture
def engine(database: Database) -> sa.Engine:
    make_world(database.engine)
    return database.engine


def query(engine: sa.Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def kinds(engine: sa.Engine) -> list[tuple[Any, ...]]:
    return query(engine, "SELECT kind, offset_hours::float FROM cmms.counter_events ORDER BY date")


def hours(engine: sa.Engine) -> list[float | None]:
    return [day.hours for day in lived(engine)]


def test_a_counter_that_passes_its_limit_has_run_the_hours_across_it(engine: sa.Engine) -> None:
    limited = Counter(overflow_at=10_000)
    tell(engine, limited, Statement(0, 9998))
    tell(engine, limited, Statement(1, 12))
    assert hours(engine) == [None, 14]
    assert kinds(engine) == [("rollover", 10_000)]
    assert lifetime(engine) == [9998, 10_012]


def test_a_difference_that_the_source_computed_across_the_limit_is_not_believed(engine: sa.Engine) -> None:
    limited = Counter(overflow_at=10_000)
    tell(engine, limited, Statement(0, 9998))
    tell(engine, limited, Statement(1, 12, hours=-9986))
    assert hours(engine) == [None, 14]
    tell(engine, limited, Statement(0, 9990))
    assert hours(engine) == [None, 22]


def test_a_limit_that_is_learned_late_explains_what_was_taken_for_a_reset(engine: sa.Engine) -> None:
    tell(engine, PLAIN, Statement(0, 9998))
    tell(engine, PLAIN, Statement(1, 12))
    assert (hours(engine), kinds(engine)) == ([None, None], [("reset", 9986)])
    tell(engine, Counter(overflow_at=10_000), Statement(3, 40))
    assert (hours(engine), kinds(engine)) == ([None, 14, 28], [("rollover", 10_000)])


def test_what_a_source_told_of_a_counter_once_holds_for_sources_that_do_not(engine: sa.Engine) -> None:
    tell(engine, Counter(overflow_at=10_000), Statement(0, 9998))
    tell(engine, PLAIN, Statement(1, 12))
    assert kinds(engine) == [("rollover", 10_000)]


def test_a_replaced_counter_is_a_new_baseline_and_the_life_of_the_machine_goes_on(engine: sa.Engine) -> None:
    tell(engine, PLAIN, Statement(0, 5000))
    tell(engine, PLAIN, Statement(1, 0, is_replaced=True))
    tell(engine, PLAIN, Statement(2, 8))
    assert hours(engine) == [None, None, 8]
    assert kinds(engine) == [("replacement", 5000)]
    assert lifetime(engine) == [5000, 5000, 5008]
    tell(engine, PLAIN, Statement(0, 5010))
    assert lifetime(engine) == [5010, 5010, 5018]


def test_a_swap_for_a_counter_that_shows_more_is_an_event_too(engine: sa.Engine) -> None:
    tell(engine, PLAIN, Statement(0, 5000))
    tell(engine, PLAIN, Statement(1, 7000, hours=6, is_replaced=True))
    assert (hours(engine), kinds(engine), lifetime(engine)) == ([None, 6], [("replacement", -2000)], [5000, 5000])


def test_a_counter_that_counts_backwards_has_run_what_it_went_down(engine: sa.Engine) -> None:
    backwards = Counter(is_counting_backwards=True)
    tell(engine, backwards, Statement(0, 5000))
    tell(engine, backwards, Statement(1, 4990))
    tell(engine, PLAIN, Statement(2, 4985))
    assert hours(engine) == [None, 10, 5]
    assert (events(engine), lifetime(engine)) == ([], [0, 10, 15])
    tell(engine, PLAIN, Statement(3, 4995))
    assert (kinds(engine), lifetime(engine)) == ([("reset", 10)], [0, 10, 15, 15])
    assert unexplained_decreases(engine) == 0


def test_that_a_counter_counts_backwards_is_applied_to_what_is_stored_once_it_is_known(engine: sa.Engine) -> None:
    for day, counter in enumerate((5000, 4990)):
        tell(engine, PLAIN, Statement(day, counter))
    assert kinds(engine) == [("reset", 10)]
    tell(engine, Counter(is_counting_backwards=True), Statement(2, 4985))
    assert (hours(engine), kinds(engine)) == ([None, 10, 5], [])


def test_hours_that_were_entered_as_a_difference_carry_the_counter_on(engine: sa.Engine) -> None:
    tell(engine, PLAIN, Statement(0, 100))
    for day in (1, 2):
        tell(engine, PLAIN, Statement(day, None, hours=8, is_difference=True))
    tell(engine, PLAIN, Statement(3, 120))
    assert lived(engine)[1:] == [
        Lived(1, 8, 108, 1, ()),
        Lived(2, 8, 116, 1, ()),
        Lived(3, 4, 120, 1, ("running_hours_missing",)),
    ]
    tell(engine, PLAIN, Statement(0, 101))
    assert [(day.counter, day.hours) for day in lived(engine)[1:]] == [(109, 8), (117, 8), (120, 3)]


def test_an_entered_difference_is_subtracted_from_a_counter_that_counts_backwards(engine: sa.Engine) -> None:
    backwards = Counter(is_counting_backwards=True)
    tell(engine, backwards, Statement(0, 5000), Statement(1, None, hours=8, is_difference=True))
    tell(engine, backwards, Statement(1, None, hours=8, is_difference=True))
    assert [(day.counter, day.hours) for day in lived(engine)] == [(5000, None), (4992, 8)]


def test_a_cancelled_reading_leaves_its_day_and_comes_back_with_the_flag(engine: sa.Engine) -> None:
    for day, counter in enumerate((100, 150, 120)):
        tell(engine, PLAIN, Statement(day, counter, hours=5))
    before = content(engine)
    counts = tell(engine, PLAIN, Statement(1, 150, hours=5, is_reversed=True))
    assert (counts.inserted, counts.updated, counts.unchanged) == (0, 1, 0)
    assert [day.day for day in lived(engine)] == [0, 2]
    assert events(engine) == []
    again = tell(engine, PLAIN, Statement(1, 150, hours=5, is_reversed=True))
    assert (again.updated, again.unchanged) == (0, 1)
    assert tell(engine, PLAIN, Statement(1, 150, hours=5)).inserted == 1
    assert content(engine) == before


def test_a_cancellation_has_the_next_difference_computed_again(engine: sa.Engine) -> None:
    for day, counter in enumerate((100, 110, 118)):
        tell(engine, PLAIN, Statement(day, counter))
    tell(engine, PLAIN, Statement(1, 110, is_reversed=True))
    assert [(day.hours, day.days) for day in lived(engine)] == [(None, 1), (18, 2)]


def test_a_cancellation_takes_its_own_plants_part_and_no_other(engine: sa.Engine) -> None:
    one, other = Statement(0, 100, hours=5), Statement(0, 104, hours=4, plant="B6JF")
    tell(engine, PLAIN, one)
    alone = content(engine)
    tell(engine, PLAIN, other)
    assert hours(engine) == [9]
    tell(engine, PLAIN, Statement(0, 104, hours=4, plant="B6JF", is_reversed=True))
    assert content(engine) == alone
    tell(engine, PLAIN, other, Statement(0, 100, hours=5, is_reversed=True))
    assert lived(engine) == [Lived(0, 4, 104, 1, ())]


def test_an_impossible_jump_is_refused_and_its_counter_is_what_the_next_reading_is_compared_with(engine: sa.Engine) -> None:
    tell(engine, PLAIN, Statement(0, 1000, hours=5))
    counts = tell(engine, PLAIN, Statement(1, 1085, hours=85))
    assert counts.stored == 0
    assert lived(engine)[1] == Lived(1, None, 1085, 1, ("running_hours_exceed_day",))
    assert tell(engine, PLAIN, Statement(2, 1093)).inserted == 1
    assert lived(engine)[2].hours == 8
    assert tell(engine, PLAIN, Statement(1, 1010, hours=10)).updated == 1
    assert [day.hours for day in lived(engine)] == [5, 10, None]


def test_no_machine_is_refused_for_ever_after_its_counter_jumped(engine: sa.Engine) -> None:
    tell(engine, PLAIN, Statement(0, 100))
    counts = [tell(engine, PLAIN, Statement(day, 50_000 + 8 * day)).stored for day in range(1, 5)]
    assert counts == [0, 1, 1, 1]
    assert hours(engine) == [None, None, 8, 8, 8]
    assert lifetime(engine)[-1] == 50_032


def test_a_refused_reading_changes_nothing_about_an_accepted_one(engine: sa.Engine) -> None:
    tell(engine, PLAIN, Statement(0, 1000, hours=5))
    before = content(engine)
    tell(engine, PLAIN, Statement(0, 1085, hours=85))
    assert content(engine) == before


def test_counters_of_two_plants_on_one_day_count_each_hour_once_though_they_come_in_different_slices(engine: sa.Engine) -> None:
    tell(engine, PLAIN, Statement(0, 670))
    for one in (Statement(1, 680, plant="B6JF"), Statement(1, 674)):
        tell(engine, PLAIN, one)
    assert lived(engine)[1] == Lived(1, 10, 680, 1, ("running_hours_missing",))
    assert query(engine, "SELECT (readings -> 'B6LG' ->> 'running_hours')::float FROM cmms.equipment_running_times")[1] == (4.0,)


def test_a_reading_over_a_gap_that_is_filled_later_keeps_its_own_day_only(engine: sa.Engine) -> None:
    tell(engine, PLAIN, Statement(0, 1000, hours=5))
    tell(engine, PLAIN, Statement(5, 1060, hours=60))
    assert lived(engine)[1] == Lived(5, 60, 1060, 5, ("reading_spans_days",))
    tell(engine, PLAIN, Statement(4, 1050, hours=10))
    assert lived(engine)[2] == Lived(5, 10, 1060, 1, ())
    tell(engine, PLAIN, Statement(4, 1050, hours=10, is_reversed=True))
    assert lived(engine)[1] == Lived(5, 60, 1060, 5, ("reading_spans_days",))


def test_lifetime_hours_of_a_machine_are_found_by_the_indexes(engine: sa.Engine) -> None:
    for day in range(3):
        tell(engine, PLAIN, Statement(day, 100 + day))
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = connection.scalars(
            sa.text("EXPLAIN SELECT * FROM cmms.equipment_lifetime_hours WHERE equipment_id = 1 AND date = :day"),
            {"day": FIRST + timedelta(days=2)},
        )
        text = "\n".join(plan)
    assert "Seq Scan" not in text
    assert "counter_events_equipment_id_date_key" in text

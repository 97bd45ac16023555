"""Times of schedules: what is a cron expression to us is one to Dagster, and the rest is refused with what is wrong."""

import pytest
from dagster._utils.schedules import is_valid_cron_schedule, schedule_execution_time_iterator
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.schedule_times import BUILT_IN, ScheduleTime, check_cron, cron_of, is_on, known_schedules

NUMBER = st.integers(0, 62).map(str)
PART = st.one_of(
    st.just("*"),
    NUMBER,
    st.tuples(NUMBER, NUMBER).map("-".join),
    st.tuples(st.sampled_from(["*", "0-30", "1-5"]), NUMBER).map("/".join),
)
FIELD = st.lists(PART, min_size=1, max_size=3).map(",".join)


@given(st.lists(FIELD, min_size=5, max_size=5).map(" ".join))
def test_what_is_accepted_has_a_next_time_in_dagster(text: str) -> None:
    try:
        cron = check_cron(text)
    except ValueError:
        return
    assert is_valid_cron_schedule(cron)
    next(schedule_execution_time_iterator(0.0, cron, "Europe/Berlin"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 1 * *", "has 4 fields"),
        ("60 1 * * *", "minute '60' is not within 0 to 59"),
        ("0 24 * * *", "hour '24' is not within 0 to 23"),
        ("0 5-1 * * *", "hour '5-1' is not within"),
        ("*/0 * * * *", "a step of 0"),
        ("5/10 * * * *", "a step needs"),
        ("0 1 30 2 *", "never comes"),
        ("@daily", "has 1 fields"),
        ("0 1 * * mon", "cannot be read"),
        ("0 1 * * *; rm", "has 6 fields"),
    ],
)
def test_the_rest_is_refused_with_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("*", r"\*")):
        check_cron(text)


def test_a_schedule_is_as_built_in_unless_configured() -> None:
    configured = {"sync_plants_nightly": ScheduleTime(cron="5  22 * * 1-5"), "build_marts_nightly": ScheduleTime(is_on=False)}
    assert cron_of("sync_plants_nightly", configured) == "5 22 * * 1-5"
    assert cron_of("build_marts_nightly", configured) == BUILT_IN["build_marts_nightly"]
    assert [is_on(name, configured) for name in ("sync_plants_nightly", "build_marts_nightly", "clean_up_logs_weekly")] == [
        True,
        False,
        True,
    ]
    with pytest.raises(ValueError, match="did you mean sync_plants_nightly"):
        known_schedules({"sync_plant_nightly": ScheduleTime()})

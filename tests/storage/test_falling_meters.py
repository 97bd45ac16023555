"""A meter that an event has fall: both readings are kept, nothing else waits, and a person's decision has its effect."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cmms_pipelines.domain.conflict_policy import ConflictPolicy, FieldRule
from cmms_pipelines.domain.errors import PermanentError, VersionConflictError
from cmms_pipelines.storage import conflict_queue
from cmms_pipelines.storage.conflict_policies import change_policy
from cmms_pipelines.storage.conflict_queue import Choice, Resolution
from cmms_pipelines.storage.conflict_search import ConflictFilter
from tests.conftest import Database
from tests.storage.edits_world import audit, conflicts, resolve, undo
from tests.storage.inbox_world import NOON, add_machines, drain_now, inbox, query, send
from tests.storage.readings_world import make_world, reading, sync

MACHINE = "N526JB"
DAYS = """
    SELECT t.date - DATE '2026-03-02', t.running_hours::float, t.cumulative_hours::float, life.lifetime_hours::float
    FROM cmms.equipment_running_times t
    LEFT JOIN cmms.equipment_lifetime_hours life USING (equipment_id, date) ORDER BY 1
"""


def read(database: Database, day: float, hours: float | None, *, system: str = "atlas", **fields: Any) -> None:  # noqa: ANN401
    """Have a system report the machine's counter so many days after 2 March."""
    moment = NOON + timedelta(days=day)
    payload = {"equipment_number": MACHINE, "reading_at": moment.isoformat(), **fields}
    if hours is not None:
        payload["reading"] = hours
    send(database.url, "meter_reading_recorded", payload, at=moment, system=system)


def tell(database: Database, *readings: tuple[float, float]) -> None:
    for day, hours in readings:
        read(database, day, hours)
    drain_now(database.url)


def days(database: Database) -> list[tuple[Any, ...]]:
    """Return day, running hours, counter and lifetime hours of all that is stored."""
    return query(database.url, DAYS)


@pytest.fixture
def world(database: Database) -> Database:
    add_machines(database.url, MACHINE, "N2")
    return database


@pytest.fixture
def fallen(world: Database) -> int:
    """A counter that went from 500 to 20, with nobody knowing why; return the conflict."""
    tell(world, (0, 490), (1, 500), (2, 20))
    [conflict] = conflicts(world)
    return int(conflict["id"])


def test_a_fall_waits_with_both_readings_and_ours_stands(world: Database, fallen: int) -> None:
    [conflict] = conflicts(world)
    before = [{"at": (NOON + timedelta(days=1)).isoformat(), "hours": 500.0}]
    assert conflict["theirs"] == [{"at": (NOON + timedelta(days=2)).isoformat(), "hours": 20.0}]
    assert (conflict["base"], conflict["ours"], conflict["id"]) == (before, before, fallen)
    told = [conflict[name] for name in ("entity_type", "entity_key", "cmms_system_id", "field", "rule", "severity")]
    assert told == ["meter", MACHINE, "atlas", "readings", "9_counter_fell", "error"]
    assert conflict["hook_id"] == str(query(world.url, "SELECT id FROM cmms.maintenance_event_hooks ORDER BY sequence")[2][0])
    assert days(world) == [(0, None, 490, 490), (1, 10, 500, 500), (2, None, None, None)]
    assert query(world.url, "SELECT count(*) FROM cmms.counter_events") == [(0,)]
    assert query(world.url, "SELECT warnings FROM cmms.equipment_running_times ORDER BY date")[2] == (
        ["counter_went_back", "running_hours_missing"],
    )
    assert [status for status, _ in inbox(world.url)] == ["processed"] * 3
    outcome = query(world.url, "SELECT outcome -> 'waiting' ->> 'readings' FROM cmms.maintenance_event_hooks ORDER BY sequence")
    assert outcome[2] == ("9_counter_fell",)


def test_what_waits_holds_up_no_other_reading_machine_or_field(world: Database, fallen: int) -> None:
    tell(world, (3, 530))
    send(world.url, "meter_reading_recorded", {"equipment_number": "N2", "reading": 7})
    send(world.url, "asset_updated", {"equipment_number": MACHINE, "name": "A320-232"})
    read(world, 4, 25, running_hours=6)
    drain_now(world.url)
    assert days(world)[-2:] == [(3, 30, 530, 530), (4, 6, None, None)]
    assert query(world.url, "SELECT count(*) FROM cmms.equipment WHERE equipment_description = 'A320-232'") == [(1,)]
    assert [one["id"] for one in conflicts(world)] == [fallen]


def test_a_swapped_meter_is_one_conflict_and_none_of_its_readings_is_lost(world: Database, fallen: int) -> None:
    tell(world, (3, 44), (4, 60))
    [conflict] = conflicts(world)
    assert [one["hours"] for one in conflict["theirs"]] == [20, 44, 60]
    assert (conflict["id"], conflict["occurrences"]) == (fallen, 2)
    resolve(world, fallen, Choice.THEIRS)
    assert days(world)[2:] == [(2, None, 20, 500), (3, 24, 44, 524), (4, 16, 60, 540)]
    assert query(world.url, "SELECT kind, offset_hours::float FROM cmms.counter_events") == [("reset", 480)]
    assert conflicts(world) == []
    tell(world, (5, 70))
    assert days(world)[-1] == (5, 10, 70, 550)


def test_ours_means_that_the_reading_does_not_count_and_stays_so(world: Database, fallen: int) -> None:
    resolve(world, fallen, Choice.OURS)
    tell(world, (2, 20), (3, 530))
    assert days(world)[1:] == [(1, 10, 500, 500), (2, None, None, None), (3, 30, 530, 530)]
    assert (conflicts(world), query(world.url, "SELECT count(*) FROM cmms.counter_events")) == ([], [(0,)])
    tell(world, (4, 30))
    [again] = conflicts(world)
    assert [one["hours"] for one in again["theirs"]] == [30]


def test_a_value_by_hand_corrects_the_reading(world: Database, fallen: int) -> None:
    for wrong in ("many", -1, [], [{"at": "2026-03-09T12:00:00+00:00", "hours": 5}]):
        with pytest.raises(PermanentError, match="hours"):
            resolve(world, fallen, Choice.BY_HAND, wrong)
    row = resolve(world, fallen, Choice.BY_HAND, 520)
    assert [one["hours"] for one in row["resolution"]] == [520]
    assert days(world)[1:] == [(1, 10, 500, 500), (2, 20, 520, 520)]
    assert resolve(world, fallen, Choice.BY_HAND, 520)["version"] == row["version"]
    with pytest.raises(VersionConflictError):
        resolve(world, fallen, Choice.BY_HAND, 521)


@pytest.mark.parametrize(("choice", "value"), [(Choice.OURS, None), (Choice.THEIRS, None), (Choice.BY_HAND, 520)])
def test_an_undo_restores_what_waited(world: Database, fallen: int, choice: Choice, value: float | None) -> None:
    tell(world, (3, 530))
    [asked], before = conflicts(world), days(world)
    resolve(world, fallen, choice, value)
    if choice is not Choice.OURS:
        assert days(world) != before
    undone = undo(world, fallen)
    assert days(world) == before
    [again] = conflicts(world)
    assert (again["id"], again["is_reopened"]) == (undone["id"], True)
    assert (again["base"], again["ours"], again["theirs"]) == (asked["base"], asked["ours"], asked["theirs"])
    assert [entry["actor"] for entry in audit(world, "conflict.undone")] == ["Grace"]


def test_an_undo_after_the_day_has_changed_is_refused(world: Database, fallen: int) -> None:
    resolve(world, fallen, Choice.THEIRS)
    tell(world, (2.1, 21))
    with pytest.raises(VersionConflictError, match="has changed since"):
        undo(world, fallen)


def test_many_are_decided_by_filter(world: Database, fallen: int) -> None:
    by = Resolution(Choice.THEIRS, "Grace", "meters swapped in the overhaul")
    with world.engine.begin() as connection:
        rows = conflict_queue.resolve_all(connection, ConflictFilter(entity_types=["meter"]), by, now=NOON)
    assert ([row["id"] for row in rows], days(world)[2]) == ([fallen], (2, None, 20, 500))


def test_a_later_reading_of_the_day_that_rises_ends_the_conflict(world: Database, fallen: int) -> None:
    tell(world, (2.1, 515))
    assert (conflicts(world), days(world)[2]) == ([], (2, 15, 515, 515))
    assert conflicts(world, "converged")[0]["id"] == fallen
    assert [entry["after"]["conflict_id"] for entry in audit(world, "conflict.converged")] == [fallen]


def test_a_reading_of_the_day_that_counts_stands_while_a_later_one_waits(world: Database) -> None:
    tell(world, (0, 490), (1, 500), (1.1, 20))
    assert days(world)[1] == (1, 10, 500, 500)
    [conflict] = conflicts(world)
    assert [one["hours"] for one in conflict["ours"]] == [500]
    resolve(world, conflict["id"], Choice.THEIRS)
    assert days(world)[1] == (1, None, 20, 490)
    undo(world, conflict["id"])
    assert days(world)[1] == (1, 10, 500, 500)
    resolve(world, conflicts(world)[0]["id"], Choice.OURS)
    assert days(world)[1] == (1, 10, 500, 500)


def test_the_same_statement_again_changes_nothing_whatever_was_decided(world: Database, fallen: int) -> None:
    for decide in (lambda: None, lambda: resolve(world, fallen, Choice.OURS)):
        decide()
        before = (days(world), query(world.url, "SELECT status, version FROM cmms.sync_conflicts"))
        tell(world, (2, 20))
        assert (days(world), query(world.url, "SELECT status, version FROM cmms.sync_conflicts")) == before
        assert inbox(world.url)[-1][0] == "ignored"


def test_a_policy_that_gives_a_system_authority_decides_and_can_be_undone(world: Database) -> None:
    rule = FieldRule.model_validate({"strategy": "authority", "authority": "source"})
    with world.engine.begin() as connection:
        change_policy(
            connection, "atlas", ConflictPolicy(rules={"meter": {"readings": rule}}), expected_version=None, actor="Ada"
        )
    tell(world, (0, 490), (1, 500), (2, 20), (3, 44))
    [decided] = conflicts(world, "resolved")
    assert (decided["rule"], decided["decision"], decided["is_automatic"]) == ("6_authority", "theirs", True)
    assert days(world)[2:] == [(2, None, 20, 500), (3, 24, 44, 524)]
    undo(world, decided["id"])
    assert days(world)[2][:3] == (2, None, None)
    [waiting] = conflicts(world)
    assert waiting["is_reopened"]


def test_a_limit_that_an_event_tells_explains_what_waits_and_what_falls_from_then_on(world: Database) -> None:
    tell(world, (0, 9998), (1, 12))
    assert len(conflicts(world)) == 1
    read(world, 2, 20, counter_limit=10_000)
    drain_now(world.url)
    assert (conflicts(world), [one["status"] for one in conflicts(world, "converged")]) == ([], ["converged"])
    assert days(world) == [(0, None, 9998, 9998), (1, 14, 12, 10_012), (2, 8, 20, 10_020)]
    assert query(world.url, "SELECT kind FROM cmms.counter_events") == [("rollover",)]


def test_two_systems_that_read_one_meter_have_a_conflict_each(world: Database, fallen: int) -> None:
    read(world, 3, 30, system="maximo")
    drain_now(world.url)
    assert [(one["cmms_system_id"], [r["hours"] for r in one["theirs"]]) for one in conflicts(world)] == [
        ("atlas", [20]), ("maximo", [30]),
    ]  # fmt: skip
    resolve(world, fallen, Choice.THEIRS)
    assert (conflicts(world), days(world)[2:]) == ([], [(2, None, 20, 500), (3, 10, 30, 510)])


def test_the_nightly_sync_is_never_held_up_and_ends_what_waited_for_its_day(database: Database) -> None:
    make_world(database.engine)
    tell(database, (0, 490), (1, 500), (2, 20))
    assert len(conflicts(database)) == 1
    sync(database.engine, reading("B6LG", datetime(2026, 3, 4).date(), 0.5, 20))  # noqa: DTZ001 - a date alone
    assert conflicts(database) == []
    assert [one["status"] for one in conflicts(database, "converged")] == ["converged"]
    assert days(database)[2] == (2, 0.5, 20, 500)
    assert query(database.url, "SELECT kind FROM cmms.counter_events") == [("reset",)]


def test_a_backdated_reading_of_the_sync_has_an_event_wait_that_counted(database: Database) -> None:
    make_world(database.engine)
    tell(database, (2, 20))
    assert conflicts(database) == []
    sync(database.engine, reading("B6LG", datetime(2026, 3, 3).date(), 8, 500))  # noqa: DTZ001
    [conflict] = conflicts(database)
    assert ([one["hours"] for one in conflict["ours"]], days(database)[1][2]) == ([500], None)


STATED = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([20.0, 40.0, 500.0, 510.0])),
    min_size=2,
    max_size=6,
    unique_by=lambda one: one[0],
)


@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), stated=STATED)
def test_the_order_in_which_readings_arrive_does_not_matter(
    world: Database, data: st.DataObject, stated: list[tuple[int, float]]
) -> None:
    def after(order: list[tuple[int, float]]) -> tuple[Any, ...]:
        with world.engine.begin() as connection:
            for table in ("sync_conflicts", "equipment_running_times", "counter_events"):
                connection.execute(sa.text(f"DELETE FROM cmms.{table}"))  # noqa: S608 - names of this test
        for one in order:
            read(world, *one)
            if data.draw(st.booleans()):
                drain_now(world.url)
        drain_now(world.url)
        kept = [(one["theirs"], one["ours"], one["status"]) for one in conflicts(world)]
        return days(world), kept, query(world.url, "SELECT date, kind, offset_hours FROM cmms.counter_events ORDER BY date")

    assert after(list(data.draw(st.permutations(stated)))) == after(stated)

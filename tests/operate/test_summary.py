"""The demo's figures: what does not add up is named, and the events are the same for the same day."""

import datetime as dt
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from cmms_pipelines.domain.events import CanonicalEvent, parse_event
from cmms_pipelines.operate.demo_events import Machine, events_of
from cmms_pipelines.operate.summary import ConflictFigures, EventFigures, Summary, SyncFigures

DAY = dt.date(2026, 3, 1)
MACHINES = [Machine(f"N{number}", "A320", Decimal(number)) for number in range(1000, 1200)]
SYNC = SyncFigures("equipment", "success", "run", 10, 10, 8, 2, 5, 1, 1, 1, 0, {"plant_code_missing": 2})
EVENTS = EventFigures(10, 4, 1, 6, 4, 0, True, 8, 1, 1, 0, 0, 0, ("run",), 0.1, 0.2, 0.3)
CONFLICTS = ConflictFigures(3, 3, True, 1, 1, 1, 4)
RIGHT = Summary({}, (SYNC,), EVENTS, EVENTS, CONFLICTS, {"equipment": 8}, {"equipment_status": 8, "sync_performance": 1}, {}, {})


def test_figures_that_add_up_are_right() -> None:
    assert RIGHT.problems == []
    assert RIGHT.is_right
    assert RIGHT.as_json()["is_right"] is True


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"received": 11, "in_source": 11}, "received 11, but stored 8"),
        ({"in_source": 12}, "the source has 12"),
        ({"inserted": 4}, "inserted, updated, unchanged and merged are 7"),
        ({"refused_by_rule": {"plant_code_missing": 1}}, "the quarantine holds 1"),
        ({"status": "failed"}, "ended as failed"),
    ],
)
def test_a_sync_that_does_not_add_up_is_named(change: dict[str, object], named: str) -> None:
    wrong = replace(RIGHT, syncs=(replace(SYNC, **change),))  # type: ignore[arg-type]
    assert not wrong.is_right
    assert any(named in problem for problem in wrong.problems)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"accepted": 5}, "accepted 5"),
        ({"known_before": 3}, "3 were known before"),
        ({"held": 0, "ignored": 2}, "1 are about unknown machines"),
        ({"failed": 1}, "1 could not be applied"),
        ({"unfinished": 1, "applied": 7}, "still waiting"),
        ({"without_run": 1}, "applied by no run"),
        ({"unsigned_refused": False}, "a wrong signature was let in"),
        ({"runs": ()}, "no run applied them"),
    ],
)
def test_events_that_do_not_add_up_are_named(change: dict[str, object], named: str) -> None:
    wrong = replace(RIGHT, events=replace(EVENTS, **change))  # type: ignore[arg-type]
    assert any(named in problem for problem in wrong.problems)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"waiting": 2}, "4 conflicts are told of"),
        ({"edited": 0, "waiting": 0}, "2 conflicts are told of"),
        ({"waiting": 0, "decided_by_rule": 2}, "2 were decided by a rule"),
        ({"waiting": 2, "decided_by_hand": 0}, "0 were decided by hand"),
        ({"open_in_queue": 0}, "the queue has 0"),
        ({"stale_refused": False}, "nobody had seen was let in"),
    ],
)
def test_conflicts_that_do_not_add_up_are_named(change: dict[str, object], named: str) -> None:
    wrong = replace(RIGHT, conflicts=replace(CONFLICTS, **change))  # type: ignore[arg-type]
    assert any(named in problem for problem in wrong.problems)
    lost = replace(RIGHT, contradictions=replace(EVENTS, failed=1))
    assert any("contradicting events: 1 could not" in problem for problem in lost.problems)


def test_whoever_works_the_queue_of_an_earlier_demo_makes_no_figure_wrong() -> None:
    worked = replace(CONFLICTS, edited=0, waiting=0, decided_by_rule=0, decided_by_hand=3, open_in_queue=0)
    assert replace(RIGHT, conflicts=worked).is_right


def test_marts_that_differ_from_what_they_are_built_on_are_named() -> None:
    assert any("equipment_status has 7" in problem for problem in replace(RIGHT, marts={"equipment_status": 7}).problems)


def test_the_events_of_a_day_are_the_same_whenever_they_are_made_and_others_on_another_day() -> None:
    strangers = ["N1", "N2", "N3", "N4"]
    first, again = events_of(DAY, MACHINES, strangers), events_of(DAY, MACHINES, strangers)
    assert first == again
    assert len({event.event_id for event in first}) == len(first) == 300
    assert sum(event.waits for event in first) == 3
    assert {event.event_id for event in events_of(DAY + dt.timedelta(days=1), MACHINES, strangers)}.isdisjoint(
        event.event_id for event in first
    )


def test_the_events_are_canonical_and_those_of_an_order_stay_in_their_order() -> None:
    times: dict[str, list[dt.datetime]] = {}
    kinds: Counter[str] = Counter()
    for event in events_of(DAY, MACHINES, ["N1"]):
        read = parse_event(event.body)
        assert isinstance(read, CanonicalEvent)
        kinds[read.event_type] += 1
        if "work_order_number" in read.payload:
            times.setdefault(str(read.payload["work_order_number"]), []).append(read.occurred_at)
        assert orjson.loads(event.body)["event_id"] == event.event_id
    assert all(found == sorted(found) for found in times.values())
    assert kinds["work_order_created"] == kinds["work_order_updated"] == 100
    assert kinds["work_order_closed"] == 60


def test_machines_with_a_rule_that_nothing_is_told_of_are_named() -> None:
    assert replace(RIGHT, maintenance={"machines with a rule": 5, "due": 2, "ok": 3}).problems == []
    wrong = replace(RIGHT, maintenance={"machines with a rule": 5, "due": 2}).problems
    assert wrong == ["marts: maintenance_due has 2 rows, but 5 active machines have a rule"]

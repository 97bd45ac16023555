"""What is due, computed here another way: by walking along the grid instead of dividing; and machines that stand at a border."""

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.reporting.border_rows import BORDERS, Border, number_of
from tests.reporting.conftest import Built
from tests.reporting.known_rows import AS_OF, TODAY, Row

ORDER = ("ok", "unknown", "due_soon", "due", "overdue")


@pytest.mark.parametrize("border", BORDERS, ids=lambda border: border.name)
def test_a_machine_at_a_border_is_told_as_it_stands(built: Built, border: Border) -> None:
    [row] = [one for one in built.marts["maintenance_due"] if one["equipment_number"] == number_of(border)]
    for name, expected in border.says.items():
        is_hours = isinstance(expected, str) and name.endswith(("_hours", "_left", "hours_since"))
        assert row[name] == (Decimal(expected) if is_hours else expected), name


def test_rules_apply_to_active_machines_and_a_machines_own_rule_beats_its_groups(built: Built) -> None:
    found = {(row["equipment_id"], row["rule_name"]): row["rule_is_for"] for row in built.marts["maintenance_due"]}
    assert found == {key: "machine" if rule["equipment_id"] else "group" for key, (_, rule) in _applicable(built).items()}
    assert {"machine", "group"} == set(found.values())


def test_hours_and_days_agree_with_readings_completions_and_the_grid(built: Built) -> None:
    rows = {(row["equipment_id"], row["rule_name"]): row for row in built.marts["maintenance_due"]}
    for key, (machine, rule) in _applicable(built).items():
        expected = _due(built, machine, rule)
        assert {name: rows[key][name] for name in expected} == expected, (machine["equipment_number"], rule["name"])


def test_the_known_rows_reach_every_status_baseline_and_reason(built: Built) -> None:
    rows = built.marts["maintenance_due"]
    assert {row["status"] for row in rows} == set(ORDER)
    assert {row["baseline"] for row in rows} == {"completion", "stated", "first reading", "none"}
    works = [(row["baseline_work"] or "")[:7] for row in rows if row["baseline"] == "completion"]
    assert Counter(works).keys() == {"work or", "planned"}
    assert any(row["not_expected_because"] == "no hours are known of the last 30 days" for row in rows)
    assert all(row["status"] != "unknown" or row["unknown_because"] for row in rows)


def test_the_most_urgent_is_first(built: Built) -> None:
    rows = sorted(built.marts["maintenance_due"], key=lambda row: row["priority"])
    assert [row["priority"] for row in rows] == list(range(1, len(rows) + 1))
    keys = [(-ORDER.index(row["status"]), row["expected_due_on"] or date.max) for row in rows]
    assert keys == sorted(keys)


def test_the_expected_day_follows_the_hours_of_the_last_days(built: Built) -> None:
    rows = [row for row in built.marts["maintenance_due"] if row["hours_left"] is not None]
    machines = {machine["id"]: machine for machine in built.rows.equipment}
    for row in rows:
        today = _today(built, machines[row["equipment_id"]])
        recent = [
            one
            for one in built.rows.equipment_running_times
            if one["equipment_id"] == row["equipment_id"]
            and 1 <= (today - one["date"]).days <= 30
            and one["running_hours"] is not None
        ]
        days = sum(one["days_covered"] for one in recent)
        assert row["daily_hours_over_days"] == days
        if row["hours_left"] <= 0:
            assert row["expected_on_by_hours"] == row["last_reading_on"]
        elif days:
            hours, day = Decimal(0), row["last_reading_on"]
            daily = sum((one["running_hours"] for one in recent), Decimal(0)) / days
            while hours < row["hours_left"]:
                hours, day = hours + daily, day + timedelta(days=1)
            assert abs((row["expected_on_by_hours"] - day).days) <= (1 if hours - daily == row["hours_left"] else 0)
        else:
            assert (row["expected_on_by_hours"], row["not_expected_because"]) == (None, "no hours are known of the last 30 days")


def _applicable(built: Built) -> dict[tuple[int, str], tuple[Row, Row]]:
    found: dict[tuple[int, str], tuple[Row, Row]] = {}
    active = [rule for rule in built.rows.maintenance_rules if rule["is_active"]]
    for machine in built.rows.equipment:
        if not machine["is_active"]:
            continue
        group = machine["equipment_group_id"]
        for rule in active:
            if group is not None and rule["equipment_group_id"] == group:
                found[machine["id"], rule["name"]] = (machine, rule)
        for rule in active:
            if rule["equipment_id"] == machine["id"]:
                found[machine["id"], rule["name"]] = (machine, rule)
    return found


def _due(built: Built, machine: Row, rule: Row) -> Row:
    today, lives = _today(built, machine), _lifetimes(built, machine)
    done = sorted(_completions(built, machine, rule))
    stated = (rule["baseline_on"], rule["baseline_hours"])
    has_stated = stated != (None, None)
    first = (min(lives), lives[min(lives)]) if lives else (None, None)
    last_done, first_done = ((at, _at(lives, at)) for at in (done[-1], done[0])) if done else ((None, None), (None, None))
    stated_point = (stated[0], stated[1] if stated[1] is not None else _at(lives, stated[0]))
    base = last_done if done else stated_point if has_stated else first
    anchor = stated_point if has_stated else first_done if done else first
    now = lives[max(lives)] if lives else None
    hours_left = days_left = None
    if rule["interval_hours"] and None not in (now, base[1], anchor[1]) and now >= base[1]:
        hours_left = _next(rule, base[1], anchor[1], rule["interval_hours"], rule["tolerance_hours"]) - now
    if rule["interval_days"] and None not in (base[0], anchor[0]):
        since = _next(rule, (base[0] - anchor[0]).days, 0, rule["interval_days"], rule["tolerance_days"])
        days_left = (anchor[0] + timedelta(days=since) - today).days
    statuses = [
        _status(left, tolerance)
        for left, tolerance, interval in (
            (hours_left, rule["tolerance_hours"], rule["interval_hours"]),
            (days_left, rule["tolerance_days"], rule["interval_days"]),
        )
        if interval
    ]
    return (
        {
            "completions": len(done),
            "baseline_on": base[0],
            "lifetime_hours": now,
            "hours_left": hours_left,
            "hours_since": now - base[1] if hours_left is not None and now is not None else None,
            "days_left": days_left,
            "status": max(statuses, key=ORDER.index),
        }
        if rule["interval_hours"]
        else {"completions": len(done), "days_left": days_left, "status": statuses[0]}
    )


def _next(rule: Row, base: Any, anchor: Any, interval: Any, tolerance: Any) -> Any:  # noqa: ANN401 - hours or days
    if rule["scheduling"] == "floating":
        return base + interval
    point = anchor + interval
    while point <= base + tolerance:
        point += interval
    return point


def _status(left: Any, tolerance: Any) -> str:  # noqa: ANN401 - hours or days
    if left is None:
        return "unknown"
    if left > 0:
        return "ok" if left > tolerance else "due_soon"
    return "due" if -left <= tolerance else "overdue"


def _completions(built: Built, machine: Row, rule: Row) -> list[date]:
    zone = ZoneInfo(next(plant["time_zone"] for plant in built.rows.plants if plant["id"] == machine["plant_id"]))
    done: list[tuple[datetime, str | None, str | None]] = [
        (one["completed_at"] or one["closed_at"], one["work_type"], one["title"])
        for one in built.rows.work_orders
        if one["equipment_id"] == machine["id"] and one["status"] in {"completed", "closed"}
    ]
    done += [
        (one["completed_at"], None, one["task"])
        for one in built.rows.maintenance_schedule
        if one["equipment_id"] == machine["id"] and one["status"] == "completed"
    ]
    return [
        at.astimezone(zone).date()
        for at, kind, words in done
        if at is not None
        and at <= AS_OF
        and (rule["work_type"] is None or rule["work_type"].lower() == (kind or "").lower())
        and (rule["title_contains"] is None or rule["title_contains"].lower() in (words or "").lower())
    ]


def _lifetimes(built: Built, machine: Row) -> dict[date, Decimal]:
    """Hours of the machine's life by the days with a counter, up to its today."""
    events = [one for one in built.rows.counter_events if one["equipment_id"] == machine["id"]]
    return {
        one["date"]: one["cumulative_hours"] + sum(event["offset_hours"] for event in events if event["date"] <= one["date"])
        for one in built.rows.equipment_running_times
        if one["equipment_id"] == machine["id"] and one["cumulative_hours"] is not None and one["date"] <= _today(built, machine)
    }


def _at(lives: dict[date, Decimal], day: date | None) -> Decimal | None:
    known = [one for one in lives if day is not None and one <= day]
    return lives[max(known)] if known else None


def _today(built: Built, machine: Row) -> date:
    return TODAY[next(plant["plant_code"] for plant in built.rows.plants if plant["id"] == machine["plant_id"])]

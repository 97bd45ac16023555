"""Trends, utilisation, gaps, freshness, refusals and answer times, computed here another way."""

import statistics
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import dagster as dg
import numpy as np
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain import contracts
from tests.reporting.conftest import Built, read
from tests.reporting.known_rows import AS_OF, TODAY, Row

WINDOW_DAYS = 90


def test_utilisation_has_a_row_for_every_day_of_an_active_machine_since_its_first_reading(built: Built) -> None:
    expected = set()
    for machine in built.rows.equipment:
        readings = _readings(built, machine)
        if machine["is_active"] and readings:
            day = max(readings[0]["date"], _today(built, machine) - timedelta(days=WINDOW_DAYS))
            while day < _today(built, machine):
                expected.add((machine["id"], day))
                day += timedelta(days=1)
    rows = built.marts["utilisation"]
    assert {(row["equipment_id"], row["date"]) for row in rows} == expected
    assert len(rows) == len(expected)


def test_utilisation_divides_the_hours_by_those_of_the_calendar_and_shows_gaps_as_gaps(built: Built) -> None:
    machines = {machine["id"]: machine for machine in built.rows.equipment}
    readings = {(row["equipment_id"], row["date"]): row for row in built.rows.equipment_running_times}
    for row in built.marts["utilisation"]:
        reading = readings.get((row["equipment_id"], row["date"]))
        covered = reading["days_covered"] if reading else 1
        calendar = _calendar_hours(built, machines[row["equipment_id"]], row["date"], covered)
        assert row["calendar_hours"] == Decimal(calendar)
        assert row["is_gap"] == (reading is None)
        assert row["running_hours"] == (reading and reading["running_hours"])
        known = reading is not None and reading["running_hours"] is not None
        assert row["utilisation"] == (pytest.approx(float(reading["running_hours"]) / calendar) if known and reading else None)


def test_the_known_days_have_one_of_23_hours(built: Built) -> None:
    lengths = {row["calendar_hours"] / (row["days_covered"] or 1) for row in built.marts["utilisation"]}
    assert Decimal(23) in lengths


def test_a_plant_is_the_sum_of_its_machines(built: Built) -> None:
    machine_days: dict[tuple[str, date], list[Row]] = defaultdict(list)
    for row in built.marts["utilisation"]:
        machine_days[row["plant_code"], row["date"]].append(row)
    plants = {(row["plant_code"], row["date"]): row for row in built.marts["plant_utilisation"]}
    assert plants.keys() == machine_days.keys()
    for key, row in plants.items():
        mine = machine_days[key]
        known = [one for one in mine if one["running_hours"] is not None]
        assert row["machines_expected"] == len(mine)
        assert row["machines_missing"] == sum(one["is_gap"] for one in mine)
        assert row["machines_read"] == row["machines_expected"] - row["machines_missing"]
        assert row["running_hours"] == (sum(one["running_hours"] for one in known) if known else None)
        assert row["is_day_missing"] == all(one["is_gap"] for one in mine)
        if known:
            share = sum(one["running_hours"] for one in known) / sum(one["calendar_hours"] for one in known)
            assert row["utilisation"] == pytest.approx(float(share))


def test_gaps_are_the_days_without_a_reading(built: Built) -> None:
    missing: dict[int, set[date]] = {}
    for machine in built.rows.equipment:
        dates = {row["date"] for row in _readings(built, machine)}
        span = (_today(built, machine) - min(dates)).days if dates else 0
        missing[machine["id"]] = {min(dates) + timedelta(days=step) for step in range(span)} - dates if dates else set()
    found: dict[int, list[date]] = defaultdict(list)
    for row in built.marts["gap_analysis"]:
        days = [row["gap_started_on"] + timedelta(days=step) for step in range(row["days_missing"])]
        assert days[-1] == row["gap_ended_on"]
        found[row["equipment_id"]] += days
    assert {machine: sorted(days) for machine, days in missing.items() if days} == {
        machine: sorted(days) for machine, days in found.items()
    }


def test_a_gap_knows_whether_the_next_reading_covers_it_and_whether_it_is_open(built: Built) -> None:
    machines = {machine["id"]: machine for machine in built.rows.equipment}
    for row in built.marts["gap_analysis"]:
        machine = machines[row["equipment_id"]]
        later = [one for one in _readings(built, machine) if one["date"] > row["gap_ended_on"]]
        assert row["is_open"] == (not later)
        assert row["days_covered_later"] == (min(later[0]["days_covered"] - 1, row["days_missing"]) if later else 0)
        assert row["is_active"] == machine["is_active"]


def test_freshness_is_told_plant_by_plant_against_yesterday_there(built: Built) -> None:
    rows = {row["plant_code"]: row for row in built.marts["data_freshness"]}
    assert sorted(rows) == sorted(plant["plant_code"] for plant in built.rows.plants)
    for plant in built.rows.plants:
        row, yesterday = rows[plant["plant_code"]], TODAY[plant["plant_code"]] - timedelta(days=1)
        machines = [one for one in built.rows.equipment if one["plant_id"] == plant["id"]]
        newest = [readings[-1]["date"] if (readings := _readings(built, one)) else None for one in machines]
        active = [last for one, last in zip(machines, newest, strict=True) if one["is_active"]]
        known = [last for last in newest if last is not None]
        assert (row["expected_on"], row["newest_reading_on"]) == (yesterday, max(known))
        assert row["active_machines"] == len(active)
        assert row["machines_read"] == active.count(yesterday)
        assert row["machines_never_read"] == active.count(None)
        assert row["days_late"] == (yesterday - max(known)).days
        assert row["freshness"] == ("fresh" if max(known) == yesterday else "late")


def test_trends_are_the_sums_of_days_weeks_and_months(built: Built) -> None:
    sums: dict[tuple[int, str, date], list[Row]] = defaultdict(list)
    for machine in built.rows.equipment:
        for reading in _readings(built, machine):
            day = reading["date"]
            for period, start in (
                ("day", day),
                ("week", day - timedelta(days=day.weekday())),
                ("month", day.replace(day=1)),
            ):
                sums[machine["id"], period, start].append(reading)
    rows = {(row["equipment_id"], row["period"], row["period_started_on"]): row for row in built.marts["running_time_trends"]}
    assert rows.keys() == sums.keys()
    machines = {machine["id"]: machine for machine in built.rows.equipment}
    for key, row in rows.items():
        hours = [one["running_hours"] for one in sums[key] if one["running_hours"] is not None]
        assert row["running_hours"] == (sum(hours) if hours else None)
        assert row["readings"] == len(hours)
        today = _today(built, machines[key[0]])
        assert row["is_over"] == (_next(key[1], key[2]) <= today)
        assert row["days_elapsed"] == (min(_next(key[1], key[2]), today) - key[2]).days
        assert row["days_known"] <= row["days_elapsed"]


def test_refusals_are_counted_by_day_rule_and_plant_with_what_became_of_them(built: Built) -> None:
    groups: dict[tuple[date, str, str, str], list[Row]] = defaultdict(list)
    for one in built.rows.sync_rejections:
        seen = one["first_seen_at"].astimezone(UTC).date()
        for failure in (one, *(one["other_failures"] or ())):
            groups[seen, one["sync_type"], failure["rule"], one["plant_code"] or "(none)"].append(one)
    rows = {
        (row["first_seen_on"], row["sync_type"], row["rule"], row["plant_code"]): row for row in built.marts["error_analysis"]
    }
    assert rows.keys() == groups.keys()
    for key, row in rows.items():
        mine = groups[key]
        assert row["refusals"] == len(mine)
        assert row["primary_refusals"] == sum(one["rule"] == key[2] for one in mine)
        for status in ("open", "replayed", "discarded"):
            assert row[f"refusals_{status}"] == sum(one["status"] == status for one in mine)
        hours = [(one["resolved_at"] - one["first_seen_at"]).total_seconds() / 3600 for one in mine if one["resolved_at"]]
        assert row["hours_to_resolve_p50"] == (pytest.approx(statistics.median(hours)) if hours else None)


def test_every_refusing_rule_has_a_category_of_its_own_kind(built: Built) -> None:
    kinds = {"missing": "required", "invalid": "format", "too_long": "length", "unknown": "reference", "not_unique": "uniqueness"}
    for row in built.marts["error_analysis"]:
        expected = next((kind for end, kind in kinds.items() if row["rule"].endswith(f"_{end}")), "range")
        assert row["category"] == expected
    refusing = {
        checked.rule.id
        for rules in (contracts.PLANT_RULES, contracts.EQUIPMENT_RULES, contracts.RUNNING_TIME_RULES)
        for checked in rules
        if checked.rule.severity.refuses
    }
    assert {row["rule"] for row in built.marts["error_analysis"]} <= refusing | {"running_hours_exceed_day", "equipment_unknown"}


def test_answer_times_agree_with_the_calls(built: Built) -> None:
    groups: dict[tuple[date, str, str], list[Row]] = defaultdict(list)
    for call in built.rows.api_calls:
        groups[call["started_at"].date(), call["endpoint"], call["method"]].append(call)
    rows = {(row["called_on"], row["endpoint"], row["method"]): row for row in built.marts["api_response_times"]}
    assert rows.keys() == groups.keys()
    for key, row in rows.items():
        milliseconds = [call["duration_ms"] for call in groups[key]]
        assert row["calls"] == len(milliseconds)
        assert row["calls_failed"] == sum(call["error"] is not None for call in groups[key])
        for share in (50, 95, 99):
            assert row[f"p{share}_ms"] == pytest.approx(np.percentile(milliseconds, share))
        assert row["max_ms"] == pytest.approx(max(milliseconds))


def test_a_build_computes_only_the_periods_anew_in_which_something_changed(built: Built) -> None:
    machine = built.rows.equipment[0]
    late, other = (row["date"] for row in _readings(built, machine)[:2])
    with built.database.engine.begin() as connection:
        long_ago = {"at": AS_OF - timedelta(days=2), "machine": machine["id"], "late": late, "other": other}
        connection.execute(sa.text("UPDATE cmms.equipment_running_times SET updated_at = :at"), long_ago)
        corrected = "UPDATE cmms.equipment_running_times SET running_hours = 1.5, updated_at = :now"
        connection.execute(sa.text(f"{corrected} WHERE equipment_id = :machine AND date = :late"), {**long_ago, "now": AS_OF})
        marked = "UPDATE analytics.running_time_trends SET running_hours = -1 WHERE equipment_id = :machine"
        connection.execute(sa.text(f"{marked} AND period = 'day' AND period_started_on IN (:late, :other)"), long_ago)
    with dg.DagsterInstance.ephemeral() as instance:
        result = built.definitions.resolve_job_def("build_marts").execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["analytics", "running_time_trends"])], raise_on_error=False
        )
    assert result.success
    days = {
        row["period_started_on"]: row["running_hours"]
        for row in read(built.database.engine, "SELECT * FROM analytics.running_time_trends WHERE period = 'day'")
        if row["equipment_id"] == machine["id"]
    }
    assert days[late] == Decimal("1.5")
    assert days[other] == Decimal(-1)


def _today(built: Built, machine: Row) -> date:
    [plant] = [one for one in built.rows.plants if one["id"] == machine["plant_id"]]
    return TODAY[plant["plant_code"]]


def _readings(built: Built, machine: Row) -> list[Row]:
    """The machine's readings up to yesterday, in order of time."""
    today = _today(built, machine)
    mine = [row for row in built.rows.equipment_running_times if row["equipment_id"] == machine["id"] and row["date"] < today]
    return sorted(mine, key=lambda row: row["date"])


def _calendar_hours(built: Built, machine: Row, day: date, days: int) -> int:
    [plant] = [one for one in built.rows.plants if one["id"] == machine["plant_id"]]
    zone = ZoneInfo(plant["time_zone"])
    starts = [
        datetime.combine(at, time.min, zone).astimezone(UTC) for at in (day - timedelta(days=days - 1), day + timedelta(days=1))
    ]
    return round((starts[1] - starts[0]).total_seconds() / 3600)


def _next(period: str, start: date) -> date:
    if period == "month":
        return (start.replace(day=28) + timedelta(days=4)).replace(day=1)
    return start + timedelta(days=7 if period == "week" else 1)

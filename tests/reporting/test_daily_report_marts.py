"""What the daily report takes from the marts: maintenance that is due, and key figures against their limits."""

import datetime as dt
from collections import Counter
from dataclasses import replace

import pytest

from cmms_pipelines.domain.kpi_limits import KpiLimits
from cmms_pipelines.reports.daily import SHOWN, Daily, read_daily
from cmms_pipelines.reports.daily_marts import DUE_COLUMNS, key_figures, maintenance
from tests.reporting.conftest import Built
from tests.reporting.known_rows import AS_OF

DAY = dt.date(2026, 3, 10)


@pytest.fixture(scope="module")
def daily(built: Built) -> Daily:
    return read_daily(built.database.engine, DAY, AS_OF, "UTC")


def test_what_is_due_is_told_with_its_machine_and_its_rule_the_most_urgent_first(daily: Daily, built: Built) -> None:
    rows = sorted(built.marts["maintenance_due"], key=lambda row: row["priority"])
    assert daily.due_counts == dict(Counter(row["status"] for row in rows))
    urgent = [row for row in rows if row["status"] != "ok"][:SHOWN]
    assert daily.due == [{name: row[name] for name in DUE_COLUMNS} for row in urgent]
    assert {row["status"] for row in daily.due} >= {"overdue"}
    [action] = [one for one in daily.actions if "maintenance" in one.why]
    assert f"overdue ({daily.due_counts['overdue']})" in action.why
    assert action.page == "assets/analytics/needs_maintenance"
    assert not [one for one in replace(daily, due_counts={"ok": 7, "due_soon": 1}).actions if "maintenance" in one.why]


def test_key_figures_are_those_of_the_nights_day_against_the_limits_in_force(daily: Daily, built: Built) -> None:
    [row] = [one for one in built.marts["daily_kpis"] if one["date"] == dt.date(2026, 3, 9)]
    assert daily.kpi_date == row["date"], "the present day is not over"
    assert {one["name"]: one["value"] for one in daily.kpis} == {name: row[name] for name in KpiLimits.model_fields}
    for one in daily.kpis:
        assert (one["value"] is None) is (one["is_kept"] is None) is bool(one["why"]), one
    earlier = read_daily(built.database.engine, dt.date(2026, 3, 5), AS_OF, "UTC")
    assert earlier.kpi_date == dt.date(2026, 3, 4)
    known = [one for one in daily.kpis if one["value"] is not None and not one["is_least"]]
    assert known, "some figure of the day is known"
    below = {one["name"]: float(one["value"]) / 2 for one in known if one["value"] > 0 and one["name"].endswith(("_ms", "_rate"))}
    strict = read_daily(built.database.engine, DAY, AS_OF, "UTC", KpiLimits.model_validate(below))
    assert below
    assert {one["name"] for one in strict.kpis if one["is_kept"] is False} >= set(below)


def test_a_report_before_the_marts_are_built_leaves_their_parts_out(built: Built) -> None:
    with built.database.engine.connect() as connection:
        assert maintenance(connection, set(), 5) == ([], {})
        assert key_figures(connection, set(), DAY, KpiLimits()) == (None, [])
        assert key_figures(connection, {"daily_kpis"}, dt.date(2001, 1, 1), KpiLimits()) == (None, [])

"""The marts say what the operational rows say, computed here another way."""

from collections import Counter
from datetime import UTC, date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.reporting.conftest import LISTS, MARTS, Built, read
from tests.reporting.known_rows import AS_OF, TODAY, Row


def test_equipment_status_has_one_row_for_each_machine(built: Built) -> None:
    numbers = [row["equipment_number"] for row in built.marts["equipment_status"]]
    assert sorted(numbers) == [machine["equipment_number"] for machine in built.rows.equipment]


def test_equipment_status_agrees_with_the_readings(built: Built) -> None:
    plants = {plant["id"]: plant for plant in built.rows.plants}
    for machine in built.rows.equipment:
        today = TODAY[plants[machine["plant_id"]]["plant_code"]]
        readings = [
            row for row in built.rows.equipment_running_times if row["equipment_id"] == machine["id"] and row["date"] <= today
        ]
        counters = [row for row in readings if row["cumulative_hours"] is not None]
        last = max(readings, key=lambda row: row["date"], default=None)
        window = {days: [row for row in readings if 1 <= (today - row["date"]).days <= days] for days in (7, 30)}
        row = _status_of(built, machine)
        assert row["last_reading_on"] == (last and last["date"])
        assert row["last_running_hours"] == (last and last["running_hours"])
        newest = max(counters, key=lambda row: row["date"], default=None)
        assert row["last_cumulative_hours"] == (newest and newest["cumulative_hours"])
        assert row["days_since_last_reading"] == (last and (today - last["date"]).days)
        assert row["running_hours_last_7_days"] == sum((row["running_hours"] or Decimal(0)) for row in window[7])
        assert row["running_hours_last_30_days"] == sum((row["running_hours"] or Decimal(0)) for row in window[30])
        assert row["readings_last_30_days"] == len(window[30])


def test_equipment_status_agrees_with_the_master_data(built: Built) -> None:
    plants = {plant["id"]: plant for plant in built.rows.plants}
    groups = {group["id"]: group["name"] for group in built.rows.equipment_groups}
    for machine in built.rows.equipment:
        row = _status_of(built, machine)
        assert (row["plant_code"], row["plant_name"]) == (
            plants[machine["plant_id"]]["plant_code"],
            plants[machine["plant_id"]]["name"],
        )
        assert row["equipment_group_name"] == groups.get(machine["equipment_group_id"])
        assert row["equipment_description"] == machine["equipment_description"]
        assert row["is_active"] == machine["is_active"]
        assert row["is_recently_added"] == (AS_OF - machine["created_at"] < timedelta(days=7))
        assert row["built_as_of"] == AS_OF


def test_equipment_status_counts_what_waits_for_the_machine(built: Built) -> None:
    orders = Counter(row["equipment_id"] for row in built.rows.work_orders if row["status"] not in {"closed", "cancelled"})
    refused = [row for row in built.rows.sync_rejections if row["status"] == "open"]
    rejections = Counter(row["equipment_number"] for row in refused)
    grave = {row["equipment_number"] for row in refused if row["severity"] in {"critical", "error"}}
    for machine in built.rows.equipment:
        row = _status_of(built, machine)
        assert row["open_work_orders"] == orders[machine["id"]]
        assert row["open_rejections"] == rejections[machine["equipment_number"]]
        failed = sorted(_failed_syncs(built, machine))
        assert row["failed_syncs"] == (", ".join(failed) or None)
        assert row["has_open_rejections"] == (rejections[machine["equipment_number"]] > 0)
        assert row["has_sync_errors"] == (machine["equipment_number"] in grave or bool(failed))
    assert {row["failed_syncs"] for row in built.marts["equipment_status"]} >= {None, "equipment"}


def test_the_lists_and_their_counters_agree_with_the_status_of_the_machines(built: Built) -> None:
    status, due = built.marts["equipment_status"], built.marts["maintenance_due"]
    worst = {one["equipment_id"]: one["status"] for one in sorted(due, key=lambda one: -one["priority"])}
    for row in status:
        assert row["maintenance_status"] == worst.get(row["equipment_id"], "no rule")
        assert row["needs_maintenance"] == (row["maintenance_status"] in {"due", "overdue"})
    listed = {(row["equipment_number"], row["rule_name"]) for row in built.marts["needs_maintenance"]}
    assert listed == {(row["equipment_number"], row["rule_name"]) for row in due if row["status"] in {"due", "overdue"}}
    wrong = {row["equipment_number"] for row in built.marts["sync_errors"]}
    assert wrong == {row["equipment_number"] for row in status if row["has_sync_errors"]}
    flags = {"needs_maintenance": "needs_maintenance", "recently_added": "is_recently_added", "sync_errors": "has_sync_errors"}
    states = ("overdue", "due", "due_soon", "unknown")
    counts = {row["plant_code"]: row for row in built.marts["equipment_counts"]}
    assert counts.keys() == {"(all)"} | {row["plant_code"] for row in status}
    for plant, row in counts.items():
        mine = [one for one in status if plant in {"(all)", one["plant_code"]}]
        active = sum(one["is_active"] for one in mine)
        assert (row["machines"], row["active"], row["inactive"]) == (len(mine), active, len(mine) - active)
        assert {name: row[name] for name in flags} == {name: sum(one[flag] for one in mine) for name, flag in flags.items()}
        for state in states:
            assert row[f"maintenance_{state}"] == sum(one["maintenance_status"] == state for one in mine)
        assert row["active_without_rule"] == sum(one["is_active"] and one["maintenance_status"] == "no rule" for one in mine)


def test_sync_performance_agrees_with_the_sync_logs(built: Built) -> None:
    by_id = {row["sync_log_id"]: row for row in built.marts["sync_performance"]}
    assert sorted(by_id) == [log["id"] for log in built.rows.api_sync_logs]
    for log in built.rows.api_sync_logs:
        row = by_id[log["id"]]
        same = ["sync_type", "status", "scope", "dagster_run_id", "sync_started_at", "sync_completed_at"]
        same += [name for name in log if name.startswith("records_")]
        assert {name: row[name] for name in same} == {name: log[name] for name in same}
        assert row["started_on"] == log["sync_started_at"].astimezone(UTC).date()
        assert row["refusal_rate"] == (
            pytest.approx(log["records_failed"] / log["records_processed"]) if log["records_processed"] else None
        )
        if log["sync_completed_at"] is None:
            assert row["duration_s"] is None
            assert row["records_per_s"] is None
        else:
            seconds = (log["sync_completed_at"] - log["sync_started_at"]).total_seconds()
            assert row["duration_s"] == pytest.approx(seconds)
            assert row["records_per_s"] == pytest.approx(log["records_processed"] / seconds)


def test_sync_performance_agrees_with_the_api_calls(built: Built) -> None:
    for row in built.marts["sync_performance"]:
        calls = [call for call in built.rows.api_calls if call["sync_log_id"] == row["sync_log_id"]]
        milliseconds = [call["duration_ms"] for call in calls]
        assert row["api_calls"] == len(calls)
        assert row["api_calls_failed"] == sum(call["error"] is not None for call in calls)
        assert row["api_retries"] == sum(call["attempts"] - 1 for call in calls)
        assert row["api_rows"] == sum(call["rows"] for call in calls)
        assert row["bytes_received"] == sum(call["bytes_received"] for call in calls)
        assert row["api_p50_ms"] == (pytest.approx(np.percentile(milliseconds, 50)) if calls else None)
        assert row["api_p95_ms"] == (pytest.approx(np.percentile(milliseconds, 95)) if calls else None)


def test_the_known_rows_reach_every_branch(built: Built) -> None:
    status = built.marts["equipment_status"]
    assert any(row["last_reading_on"] is None for row in status)
    assert any(row["last_reading_on"] is not None and row["readings_last_30_days"] < 15 for row in status)
    assert any(row["last_running_hours"] is None and row["last_reading_on"] for row in status)
    assert {row["is_recently_added"] for row in status} == {row["has_sync_errors"] for row in status} == {True, False}
    performance = built.marts["sync_performance"]
    assert any(row["refusal_rate"] is None for row in performance)
    assert any(row["duration_s"] is None for row in performance)
    assert any(row["api_calls"] == 0 for row in performance)


def test_models_land_in_analytics_as_views_and_tables(built: Built) -> None:
    relations = read(
        built.database.engine, "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'analytics'"
    )
    kinds = {row["table_name"]: row["table_type"] for row in relations}
    assert {name for name, kind in kinds.items() if kind == "BASE TABLE"} == set(MARTS)
    views = {name for name in kinds if name.startswith("stg_cmms__")} | set(LISTS)
    assert {name for name, kind in kinds.items() if kind == "VIEW"} == views
    assert len(kinds) == len(MARTS) + len(LISTS) + 16


def test_event_analytics_agree_with_the_events_and_the_deliveries(built: Built) -> None:
    events: dict[tuple[date, str, str], list[Row]] = {}
    for row in built.rows.maintenance_event_hooks:
        events.setdefault((row["created_at"].date(), row["cmms_system_id"], row["event_type"]), []).append(row)
    duplicates: Counter[tuple[date, str, str]] = Counter()
    for row in built.rows.delivery_counts:
        if row["outcome"] == "duplicate":
            duplicates[row["minute"].date(), row["cmms_system_id"], row["event_type"]] += row["deliveries"]
    refused: dict[tuple[date, str, str], Counter[str]] = {}
    for row in built.rows.audit_log:
        if row["action"] == "hook.refused":
            key = (row["at"].date(), row["entity_key"] or "(unknown)", "(unread)")
            refused.setdefault(key, Counter())[row["reason"]] += row["after"]["count"]
    found = {(row["received_on"], row["cmms_system_id"], row["event_type"]): row for row in built.marts["event_analytics"]}
    assert found.keys() == events.keys() | duplicates.keys() | refused.keys()
    for key, row in found.items():
        mine = events.get(key, [])
        applied = [one for one in mine if one["processing_status"] in {"processed", "ignored"}]
        latencies = [(one["processed_at"] - (one["replayed_at"] or one["created_at"])).total_seconds() * 1000 for one in applied]
        assert (row["events_received"], row["duplicates"]) == (len(mine), duplicates[key])
        assert row["refused_by_reason"] == dict(refused.get(key, {}))
        assert row["refused"] == sum(row["refused_by_reason"].values())
        for column, status in (("events_processed", "processed"), ("dead_letters", "dead_letter"), ("events_held", "held")):
            assert row[column] == sum(one["processing_status"] == status for one in mine)
        assert row["retries"] == sum(one["retries_total"] for one in mine)
        assert row["events_retried_successfully"] == sum(one["retries_total"] > 0 for one in applied)
        assert row["replays"] == sum(one["replays"] for one in mine)
        for share in (50, 95, 99):
            expected = float(np.percentile(latencies, share)) if latencies else None
            assert row[f"latency_p{share}_ms"] == (pytest.approx(expected) if expected is not None else None)


def test_conflict_resolution_agrees_with_the_conflicts(built: Built) -> None:
    by_key: dict[tuple[Any, ...], list[Row]] = {}
    for one in built.rows.sync_conflicts:
        key = (one["created_at"].astimezone(UTC).date(), one["field"], one["rule"])
        by_key.setdefault(key, []).append(one)
    found = {(row["opened_on"], row["field"], row["rule"]): row for row in built.marts["conflict_resolution"]}
    assert found.keys() == by_key.keys()
    for key, row in found.items():
        mine = by_key[key]
        escalated = [one for one in mine if not one["is_automatic"]]
        waits = [AS_OF - one["created_at"] for one in mine if one["status"] == "open"]
        over = [(one["resolved_at"] - one["created_at"]).total_seconds() for one in escalated if one["resolved_at"]]
        assert (row["conflicts"], row["decided_by_rule"], row["still_open"]) == (
            len(mine),
            len(mine) - len(escalated),
            len(waits),
        )
        assert row["converged"] == sum(one["status"] == "converged" for one in mine)
        assert row["undone"] == sum(one["status"] == "undone" for one in mine)
        assert row["automatic_rate"] == pytest.approx(1 - len(escalated) / len(mine))
        days = [row["open_under_1_day"], row["open_1_to_7_days"], row["open_over_7_days"]]
        bounds = [timedelta(0), timedelta(days=1), timedelta(days=7), timedelta.max]
        assert days == [sum(low <= age < high for age in waits) for low, high in pairwise(bounds)]
        for share in (50, 95):
            expected = float(np.percentile(over, share)) if over else None
            assert row[f"time_to_resolve_p{share}_s"] == (pytest.approx(expected) if expected is not None else None)


def _status_of(built: Built, machine: Row) -> dict[str, Any]:
    return next(row for row in built.marts["equipment_status"] if row["equipment_id"] == machine["id"])


def _failed_syncs(built: Built, machine: Row) -> set[str]:
    """The kinds of syncs whose newest one that ended, asked for the machine's plant as a whole, failed."""
    [code] = [plant["plant_code"] for plant in built.rows.plants if plant["id"] == machine["plant_id"]]
    found = set()
    for kind in ("equipment", "running_times") if machine["is_active"] else ():
        ended = [
            log
            for log in built.rows.api_sync_logs
            if log["sync_type"] == kind
            and log["status"] not in {"running", "cancelled"}
            and "equipment" not in log["scope"]
            and (log["scope"]["plants"] == "all" or code in log["scope"]["plants"])
        ]
        newest = max(ended, key=lambda log: log["sync_started_at"], default=None)
        if newest and newest["status"] == "failed":
            found.add(kind)
    return found

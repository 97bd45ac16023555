"""The key figures of each day, computed here another way; their checks; and what a later build does to days that have settled."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import sqlalchemy as sa

from cmms_pipelines.defs.reporting.definitions import build
from cmms_pipelines.defs.reporting.kpi_metadata import FIGURES
from cmms_pipelines.domain.kpi_limits import KpiLimits
from cmms_pipelines.settings import Settings
from tests.reporting.conftest import Built, read
from tests.reporting.known_rows import AS_OF, Row

KEY = dg.AssetKey(["analytics", "daily_kpis"])
UNAVAILABLE = {"database_unavailable", "overloaded"}
FLOORS = {"sync_success_rate", "retry_success_rate", "automatic_conflict_rate", "receiver_availability"}


def check_of(kpi: str) -> str:
    if kpi == "freshness_worst_days_late":
        return "data_freshness_within_limit"
    return f"{kpi}_{'above' if kpi in FLOORS else 'below'}_limit"


def test_there_is_a_row_for_every_day_from_the_first_trace_to_today(built: Built) -> None:
    days = [row["date"] for row in sorted(built.marts["daily_kpis"], key=lambda row: row["date"])]
    traces = [min(_days(rows, name)) for rows, name in _dated(built)]
    assert days == [min(traces) + timedelta(days=step) for step in range((AS_OF.date() - min(traces)).days + 1)]
    assert [row["date"] for row in built.marts["daily_kpis"] if not row["is_over"]] == [AS_OF.date()]


def test_figures_of_syncs_and_the_source_agree_with_logs_and_calls(built: Built) -> None:
    for row in built.marts["daily_kpis"]:
        logs = [
            log
            for log in built.rows.api_sync_logs
            if log["sync_started_at"].date() == row["date"] and log["status"] in {"success", "partial", "failed"}
        ]
        seconds = sum((log["sync_completed_at"] - log["sync_started_at"]).total_seconds() for log in logs)
        records = sum(log["records_processed"] for log in logs)
        writes = [log for log in logs if log["stage_seconds"]]
        failed = sum(log["status"] == "failed" for log in logs)
        assert (row["syncs"], row["syncs_failed"], row["records_processed"]) == (len(logs), failed, records)
        _same(row["sync_success_rate"], logs and (len(logs) - failed) / len(logs))
        _same(row["records_per_s"], logs and records / seconds)
        _same(row["refusal_rate"], records and sum(log["records_failed"] for log in logs) / records)
        _same(row["database_write_s"], writes and len(writes) * 0.875)
        written = sum(log["records_processed"] for log in writes)
        _same(row["database_write_us_per_record"], written and len(writes) * 875_000 / written)
        calls = [call["duration_ms"] for call in built.rows.api_calls if call["started_at"].date() == row["date"]]
        assert row["api_calls"] == len(calls)
        for share in (50, 95, 99):
            _same(row[f"api_p{share}_ms"], calls and float(np.percentile(calls, share)))


def test_figures_of_events_and_conflicts_agree_with_the_inbox(built: Built) -> None:
    for row in built.marts["daily_kpis"]:
        events = [one for one in built.rows.maintenance_event_hooks if one["created_at"].date() == row["date"]]
        applied = [one for one in events if one["processing_status"] in {"processed", "ignored"}]
        dead = [one for one in events if one["processing_status"] == "dead_letter"]
        waits = [(one["processed_at"] - (one["replayed_at"] or one["created_at"])).total_seconds() * 1000 for one in applied]
        for share in (50, 95, 99):
            _same(row[f"inbox_latency_p{share}_ms"], waits and float(np.percentile(waits, share)))
        _same(row["event_error_rate"], events and len(dead) / len(events))
        recovered = sum(one["retries_total"] > 0 for one in applied)
        exhausted = sum(one["outcome"]["rule"] == "retries_exhausted" for one in dead)
        _same(row["retry_success_rate"], (recovered + exhausted) and recovered / (recovered + exhausted))
        conflicts = [one for one in built.rows.sync_conflicts if one["created_at"].date() == row["date"]]
        automatic = sum(one["is_automatic"] for one in conflicts)
        assert row["conflicts"] == len(conflicts)
        _same(row["automatic_conflict_rate"], conflicts and automatic / len(conflicts))
        _same(row["conflict_rate"], applied and len(conflicts) / len(applied))


def test_refusals_and_the_receiver_agree_with_quarantine_deliveries_and_audit(built: Built) -> None:
    by_rule: dict[date, Counter[str]] = defaultdict(Counter)
    for one in built.rows.sync_rejections:
        by_rule[one["first_seen_at"].date()][one["rule"]] += 1
    answers: dict[date, Counter[bool]] = defaultdict(Counter)
    for one in built.rows.delivery_counts:
        answers[one["minute"].date()][True] += one["deliveries"]
    for one in built.rows.audit_log:
        if one["action"] == "hook.refused":
            answers[one["at"].date()][one["reason"] not in UNAVAILABLE] += one["after"]["count"]
    for row in built.marts["daily_kpis"]:
        assert row["first_refused_by_rule"] == by_rule[row["date"]]
        mine = answers[row["date"]]
        assert row["receiver_requests"] == mine.total()
        _same(row["receiver_availability"], mine.total() and mine[True] / mine.total())


def test_freshness_is_that_of_the_day_of_the_build_and_every_null_has_a_reason(built: Built) -> None:
    late = {row["plant_code"]: row["days_late"] for row in built.marts["data_freshness"] if row["days_late"] is not None}
    for row in built.marts["daily_kpis"]:
        is_today = row["date"] == AS_OF.date()
        assert row["freshness_worst_days_late"] == (max(late.values()) if is_today else None)
        assert not is_today or late[row["freshness_worst_plant"]] == max(late.values())
        known = {name for name in row["unknown_because"] if row[name] is not None}
        assert known == set()
        assert {name for name in KpiLimits.model_fields if row[name] is None} <= row["unknown_because"].keys()


def test_the_checks_warn_exactly_where_yesterday_or_today_is_beyond_a_limit(built: Built) -> None:
    newest = [row for row in built.marts["daily_kpis"] if row["date"] >= AS_OF.date() - timedelta(days=1)]
    passed = {check.check_name: check for check in built.result.get_asset_check_evaluations() if check.asset_key == KEY}
    outcomes = set()
    for kpi, limit in KpiLimits().model_dump().items():
        check = passed[check_of(kpi)]
        beyond = [row for row in newest if row[kpi] is not None and (row[kpi] < limit if kpi in FLOORS else row[kpi] > limit)]
        assert check.passed == (not beyond), kpi
        assert check.severity == dg.AssetCheckSeverity.WARN or check.passed
        outcomes.add(check.passed)
    assert outcomes == {True, False}


def test_the_materialization_has_the_figures_of_the_newest_day_that_is_over_as_numbers(built: Built) -> None:
    [found] = [event for event in built.result.get_asset_materialization_events() if event.asset_key == KEY]
    metadata = {name: value.value for name, value in found.materialization.metadata.items()}
    busy = [row for row in built.marts["daily_kpis"] if row["syncs"] or row["events_received"] or row["receiver_requests"]]
    over = max((row for row in busy if row["is_over"]), key=lambda row: row["date"])
    assert metadata["kpi_date"] == str(over["date"])
    [today] = [row for row in built.marts["daily_kpis"] if not row["is_over"]]
    assert metadata["freshness_worst_days_late"] == today["freshness_worst_days_late"]
    for name in set(FIGURES) - {"freshness_worst_days_late"}:
        assert metadata.get(name) == (pytest.approx(over[name]) if over[name] is not None else None), name
    assert metadata["dagster/row_count"] == len(built.marts["daily_kpis"])


def test_a_later_build_with_other_limits_keeps_settled_days_and_computes_the_last_ones_again(
    built: Built, tmp_path: Path
) -> None:
    shutil.copytree(built.home / "dbt" / "target", tmp_path / "dbt" / "target")  # another moment, another parse to keep
    rows = sorted(built.marts["daily_kpis"], key=lambda row: row["date"])
    settled, fresh = rows[0]["date"], AS_OF.date()
    assert (fresh - settled).days > 8
    with _marked(built, [settled, fresh], worst=5):
        limits = KpiLimits(sync_success_rate=0, refusal_rate=1, api_p95_ms=1e9, freshness_worst_days_late=0)
        later = build(
            Settings(home=tmp_path, kpi_limits=limits), database_url=built.database.url, as_of=AS_OF + timedelta(days=1)
        )
        with dg.DagsterInstance.ephemeral() as instance:
            result = later.resolve_job_def("build_marts").execute_in_process(
                instance=instance, asset_selection=[KEY], raise_on_error=False
            )
        after = {row["date"]: row for row in read(built.database.engine, "TABLE analytics.daily_kpis")}
    assert result.success
    assert after[settled]["syncs"] == -1
    assert after[fresh]["syncs"] >= 0
    assert (after[fresh]["is_over"], after[fresh]["freshness_worst_days_late"]) == (True, 5)
    assert after[fresh + timedelta(days=1)]["is_over"] is False
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert (checks["refusal_rate_below_limit"], checks["api_p95_ms_below_limit"]) == (True, True)


@contextmanager
def _marked(built: Built, days: list[date], worst: int) -> Iterator[None]:
    """Write into rows what no build would compute, and put the mart back as it was afterwards."""
    with built.database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE public.kpis_before AS TABLE analytics.daily_kpis"))
        mark = "UPDATE analytics.daily_kpis SET syncs = -1, freshness_worst_days_late = :worst WHERE date = ANY(:days)"
        connection.execute(sa.text(mark), {"days": days, "worst": worst})
    try:
        yield
    finally:
        with built.database.engine.begin() as connection:
            connection.execute(sa.text("TRUNCATE analytics.daily_kpis"))
            connection.execute(sa.text("INSERT INTO analytics.daily_kpis TABLE public.kpis_before"))
            connection.execute(sa.text("DROP TABLE public.kpis_before"))


def _same(found: Any, expected: Any) -> None:  # noqa: ANN401 - a figure, or what is falsy where there is none
    assert found == (pytest.approx(expected) if expected or isinstance(expected, float) else None)


def _dated(built: Built) -> list[tuple[list[Row], str]]:
    rows = built.rows
    return [
        (rows.api_sync_logs, "sync_started_at"), (rows.sync_rejections, "first_seen_at"), (rows.api_calls, "started_at"),
        (rows.maintenance_event_hooks, "created_at"), (rows.delivery_counts, "minute"), (rows.sync_conflicts, "created_at"),
    ]  # fmt: skip


def _days(rows: list[Row], name: str) -> set[date]:
    return {row[name].date() for row in rows}

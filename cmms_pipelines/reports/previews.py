"""What the page of a mart says in figures: its first rows, how many rows, and counts that one follows over time.

What belongs here: which rows come first and what is counted. What does not: Dagster's metadata (`defs`) and pictures
(`reports.pictures`). A mart that nobody has named here gets what its columns suggest: newest days first, and how many rows each
truth value is true for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.storage.marts import STAGING, Column, aggregate, columns_of, day_column, first_rows

PREVIEWED = 25
ROW_COUNT = "row_count"
ALL_PLANTS = "(all)"
"""The row of `equipment_counts` over all plants."""
_HIDDEN = frozenset({"built_as_of"})
_ROWS = "count(*)"


@dataclass(frozen=True)
class View:
    """How one mart is looked at.

    Attributes:
        order: columns by which rows are sorted, each with a direction; one that the mart does not have is passed over.
        counts: aggregates in SQL by a name that stays, so that Dagster can plot them.
    """

    order: Sequence[str] = ()
    counts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """The figures of a relation."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int | float]
    """With `row_count`."""


VIEWS: Mapping[str, View] = {
    "equipment_status": View(
        order=("has_sync_errors desc", "is_active desc", "days_since_last_reading desc nulls first", "equipment_number"),
        counts={
            "machines_inactive": "count(*) filter (where not is_active)",
            "machines_with_open_work_orders": "count(*) filter (where open_work_orders > 0)",
            "open_rejections": "coalesce(sum(open_rejections), 0)",
        },
    ),
    "maintenance_due": View(
        order=("priority",),
        counts={
            "machines_that_need_maintenance": "count(distinct equipment_id) filter (where needs_maintenance)",
            "overdue": "count(*) filter (where status = 'overdue')",
            "due": "count(*) filter (where status = 'due')",
            "due_soon": "count(*) filter (where status = 'due_soon')",
            "unknown": "count(*) filter (where status = 'unknown')",
        },
    ),
    "needs_maintenance": View(
        order=("priority",),
        counts={
            "machines": "count(distinct equipment_id)",
            "overdue": "count(*) filter (where status = 'overdue')",
        },
    ),
    "sync_errors": View(
        order=("open_rejections desc", "days_since_last_reading desc nulls first", "equipment_number"),
        counts={"open_rejections": "coalesce(sum(open_rejections), 0)"},
    ),
    "equipment_counts": View(
        order=(
            f"plant_code = '{ALL_PLANTS}' desc",
            "maintenance_overdue desc",
            "needs_maintenance desc",
            "sync_errors desc",
            "plant_code",
        ),
        counts={
            "plants": f"count(*) filter (where plant_code <> '{ALL_PLANTS}')",
            **{
                f"machines_{name}": f"coalesce(max({column}) filter (where plant_code = '{ALL_PLANTS}'), 0)"
                for name, column in {
                    "active": "active",
                    "inactive": "inactive",
                    "that_need_maintenance": "needs_maintenance",
                    "recently_added": "recently_added",
                    "with_sync_errors": "sync_errors",
                    "without_rule": "active_without_rule",
                }.items()
            },
        },
    ),
    "reliability": View(
        order=("availability nulls last", "mtbf_h nulls last", "level desc", "plant_code", "equipment_number"),
        counts={
            "machines": "coalesce(sum(machines) filter (where level = 'plant'), 0)",
            "machines_known": "coalesce(sum(machines_known) filter (where level = 'plant'), 0)",
            "failures": "coalesce(sum(failures) filter (where level = 'plant'), 0)",
            "repairs": "coalesce(sum(repairs) filter (where level = 'plant'), 0)",
        },
    ),
    "daily_kpis": View(
        order=("date desc",),
        counts={
            "days_with_failed_syncs": "count(*) filter (where syncs_failed > 0)",
            "days_with_dead_letters": "count(*) filter (where dead_letters > 0)",
        },
    ),
    "gap_analysis": View(
        order=("days_missing desc", "is_open desc", "equipment_number"),
        counts={
            "days_missing": "coalesce(sum(days_missing), 0)",
            "days_missing_at_most": "coalesce(max(days_missing), 0)",
            "machines_with_gaps": "count(distinct equipment_id)",
        },
    ),
    "data_freshness": View(
        order=("is_active desc", "freshness = 'no machines'", "days_late desc nulls first", "plant_code"),
        counts={
            "plants_fresh": "count(*) filter (where freshness = 'fresh')",
            "plants_late": "count(*) filter (where freshness = 'late')",
            "plants_never_read": "count(*) filter (where freshness = 'never read')",
            "days_late_at_most": "coalesce(max(days_late) filter (where is_active), 0)",
            "machines_not_read": "coalesce(sum(active_machines - machines_read) filter (where is_active), 0)",
        },
    ),
    "error_analysis": View(
        order=("refusals_open desc", "refusals desc", "first_seen_on desc"),
        counts={
            "refusals": "coalesce(sum(refusals), 0)",
            "refusals_open": "coalesce(sum(refusals_open), 0)",
            "rules": "count(distinct rule)",
        },
    ),
    "api_response_times": View(
        order=("called_on desc", "p95_ms desc"),
        counts={
            "calls": "coalesce(sum(calls), 0)",
            "calls_failed": "coalesce(sum(calls_failed), 0)",
            "retries": "coalesce(sum(retries), 0)",
            "p95_ms_at_most": "coalesce(max(p95_ms), 0)",
        },
    ),
    "sync_performance": View(
        order=("sync_started_at desc",),
        counts={
            "syncs_failed": "count(*) filter (where status = 'failed')",
            "syncs_in_part": "count(*) filter (where status = 'partial')",
            "records_processed": "coalesce(sum(records_processed), 0)",
            "records_failed": "coalesce(sum(records_failed), 0)",
        },
    ),
    "event_analytics": View(
        order=("received_on desc", "dead_letters desc", "events_received desc"),
        counts={
            "events_received": "coalesce(sum(events_received), 0)",
            "events_processed": "coalesce(sum(events_processed), 0)",
            "events_pending": "coalesce(sum(events_pending), 0)",
            "dead_letters": "coalesce(sum(dead_letters), 0)",
        },
    ),
    "conflict_resolution": View(
        order=("still_open desc", "opened_on desc"),
        counts={"conflicts": "coalesce(sum(conflicts), 0)", "conflicts_open": "coalesce(sum(still_open), 0)"},
    ),
    "running_time_trends": View(
        order=("period_started_on desc", "running_hours desc"),
        counts={
            "machines": "count(distinct equipment_id)",
            "running_hours": "coalesce(sum(running_hours) filter (where period = 'day'), 0)",
        },
    ),
    "utilisation": View(order=("date desc", "is_gap desc", "utilisation desc nulls last")),
    "plant_utilisation": View(
        order=("date desc", "utilisation nulls first"),
        counts={
            "plants": "count(distinct plant_code)",
            "utilisation": "coalesce(sum(running_hours) / nullif(sum(calendar_hours), 0), 0)",
            "machine_days_missing": "coalesce(sum(machines_missing), 0)",
        },
    ),
}


def preview_of(connection: sa.Connection, relation: str) -> Preview:
    """Return the figures of a relation of schema `analytics`."""
    columns = columns_of(connection, relation)
    view = VIEWS.get(relation, View())
    rows = first_rows(connection, relation, _order(relation, columns, view), PREVIEWED)
    wanted = {ROW_COUNT: _ROWS, **_truths(relation, columns), **view.counts}
    counts = {name: _number(value) for name, value in aggregate(connection, relation, wanted).items()}
    return Preview([column.name for column in columns if column.name not in _HIDDEN], rows, counts)


def _order(relation: str, columns: Sequence[Column], view: View) -> list[str]:
    """Return the terms that this relation has columns for; staging views are not sorted, since they may be as large as a log."""
    if relation.startswith(STAGING):
        return []
    names = [column.name for column in columns]
    found = [term for term in view.order if term.split()[0] in names]
    if found:
        return found
    newest = day_column(columns) or next((name for name in names if name.endswith("_at") and name not in _HIDDEN), None)
    return [f'"{newest}" desc nulls last'] if newest else [f'"{names[0]}"']


def _truths(relation: str, columns: Sequence[Column]) -> dict[str, str]:
    """Return a count for each truth value of a mart: `is_open` is true for `rows_open`."""
    if relation.startswith(STAGING):
        return {}
    names = [column.name for column in columns if column.type == "boolean"]
    return {f"rows_{name.removeprefix('is_')}": f'count(*) filter (where "{name}")' for name in names}


def _number(value: object) -> int | float:
    number = float(str(value))
    return int(number) if number.is_integer() else round(number, 4)

"""How the operational tables stand, for their pages in the UI: counts under names that stay, and the rows to look at first.

What belongs here: a statement for each table. What does not: inbox, conflicts and alerts, which have looks of their own, and
how any of it is shown (`defs`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.storage.tables import api_calls, api_sync_logs, counter_events, equipment, equipment_groups, sync_rejections

PREVIEWED = 25


@dataclass(frozen=True)
class Look:
    """What is asked of one table: one row of counts, and rows in the order of what needs somebody."""

    counts: sa.TextClause
    rows: sa.TextClause


@dataclass(frozen=True)
class Figures:
    """What a look found."""

    counts: Mapping[str, int | float]
    rows: Sequence[Mapping[str, Any]]


LOOKS: Mapping[str, Look] = {
    api_sync_logs.name: Look(
        sa.text(f"""
            SELECT count(*) AS row_count, count(*) FILTER (WHERE status = 'running') AS syncs_running,
                   count(*) FILTER (WHERE is_today AND status = 'failed') AS syncs_failed_today,
                   count(*) FILTER (WHERE is_today AND status = 'partial') AS syncs_in_part_today,
                   coalesce(sum(records_processed) FILTER (WHERE is_today), 0) AS records_today,
                   coalesce(sum(records_failed) FILTER (WHERE is_today), 0) AS refused_today
            FROM (SELECT *, sync_started_at > now() - interval '1 day' AS is_today FROM {api_sync_logs.fullname}) AS log
        """),
        sa.text(f"""
            SELECT id, sync_type, status, sync_started_at, sync_completed_at, records_processed, records_success, records_failed,
                   records_inserted, records_updated, records_unchanged, error_message, dagster_run_id
            FROM {api_sync_logs.fullname} ORDER BY sync_started_at DESC, id DESC LIMIT {PREVIEWED}
        """),
    ),
    sync_rejections.name: Look(
        sa.text(f"""
            SELECT count(*) AS row_count, count(*) FILTER (WHERE status = 'open') AS records_open,
                   count(*) FILTER (WHERE status = 'replayed') AS records_replayed,
                   count(*) FILTER (WHERE status = 'discarded') AS records_discarded,
                   count(DISTINCT rule) FILTER (WHERE status = 'open') AS rules_open,
                   count(DISTINCT plant_code) FILTER (WHERE status = 'open') AS plants_open
            FROM {sync_rejections.fullname}
        """),
        sa.text(f"""
            SELECT sync_type, rule, severity, count(*) AS open_records, count(DISTINCT plant_code) AS plants,
                   min(first_seen_at) AS first_seen_at, max(last_seen_at) AS last_seen_at, min(record_key) AS example,
                   min(message) AS why
            FROM {sync_rejections.fullname} WHERE status = 'open'
            GROUP BY sync_type, rule, severity ORDER BY count(*) DESC, sync_type, rule LIMIT {PREVIEWED}
        """),
    ),
    api_calls.name: Look(
        sa.text(f"""
            SELECT count(*) AS row_count, count(*) FILTER (WHERE is_today) AS calls_today,
                   count(*) FILTER (WHERE is_today AND error IS NOT NULL) AS calls_failed_today,
                   coalesce(sum(attempts - 1) FILTER (WHERE is_today), 0) AS retries_today,
                   coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE is_today), 0) AS p50_ms,
                   coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE is_today), 0) AS p95_ms,
                   coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE is_today), 0) AS p99_ms
            FROM (SELECT *, started_at > now() - interval '1 day' AS is_today FROM {api_calls.fullname}) AS call
        """),
        sa.text(f"""
            SELECT started_at, endpoint, method, status, attempts, duration_ms, rows, bytes_received, error, sync_log_id
            FROM {api_calls.fullname} ORDER BY error IS NULL, started_at DESC LIMIT {PREVIEWED}
        """),
    ),
    counter_events.name: Look(
        sa.text(f"""
            SELECT count(*) AS row_count, count(*) FILTER (WHERE kind = 'reset') AS resets,
                   count(*) FILTER (WHERE kind = 'rollover') AS rollovers,
                   count(*) FILTER (WHERE kind = 'replacement') AS replacements,
                   count(DISTINCT equipment_id) AS machines
            FROM {counter_events.fullname}
        """),
        sa.text(f"""
            SELECT event.date, machine.equipment_number, event.kind, event.counter_before, event.counter_after, event.detected_at
            FROM {counter_events.fullname} AS event JOIN {equipment.fullname} AS machine ON machine.id = event.equipment_id
            ORDER BY event.date DESC, event.id DESC LIMIT {PREVIEWED}
        """),
    ),
    equipment_groups.name: Look(
        sa.text(
            f"SELECT count(*) AS row_count, count(*) FILTER (WHERE is_active) AS groups_active FROM {equipment_groups.fullname}"
        ),
        sa.text(f"""
            SELECT one.name, one.position, one.is_active, count(machine.id) AS machines, one.description
            FROM {equipment_groups.fullname} AS one
            LEFT JOIN {equipment.fullname} AS machine ON machine.equipment_group_id = one.id
            GROUP BY one.id ORDER BY count(machine.id) DESC, one.name LIMIT {PREVIEWED}
        """),
    ),
}


def look_at(connection: sa.Connection, table: str) -> Figures:
    """Return how a table of `LOOKS` stands now."""
    look = LOOKS[table]
    counts = connection.execute(look.counts).mappings().one()
    rows = [dict(row) for row in connection.execute(look.rows).mappings()]
    return Figures({name: _number(value) for name, value in counts.items()}, rows)


def _number(value: object) -> int | float:
    number = float(str(value))
    return int(number) if number.is_integer() else round(number, 1)

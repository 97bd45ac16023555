"""Which relation is drawn how: the rows of a picture, and the function that draws them.

What belongs here: one statement for each picture, bounded, beside its drawing. What does not: the drawing itself (`charts`).
Importing this loads matplotlib: only a run that draws, or a report, does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.charts import hours, key_figures, maintenance, operations
from cmms_pipelines.domain.kpi_limits import KpiLimits

Draw = Callable[[pd.DataFrame], bytes]


@dataclass(frozen=True)
class Picture:
    """One picture: what people who do not see it are told, its rows, and how they are drawn.

    The statement may name a limit of the key figures as a parameter, such as `:api_p95_ms`.
    """

    says: str
    rows: str
    draw: Draw

    def drawn(self, connection: sa.Connection, limits: KpiLimits | None = None) -> bytes:
        """Return the picture as a PNG, of what the database has now; `limits` are those in force, else the defaults."""
        result = connection.execute(sa.text(self.rows), (limits or KpiLimits()).model_dump())
        return self.draw(pd.DataFrame([dict(row) for row in result.mappings()], columns=list(result.keys())))


PICTURES: Mapping[str, Picture] = {
    "analytics.running_time_trends": Picture(
        "Running hours of all machines by day",
        """
        SELECT period_started_on, cast(sum(running_hours) AS double precision) AS running_hours, count(*) AS machines
        FROM analytics.running_time_trends
        WHERE period = 'day' AND period_started_on > (SELECT max(period_started_on) FROM analytics.running_time_trends) - 90
        GROUP BY period_started_on ORDER BY period_started_on
        """,
        hours.running_hour_trend,
    ),
    "analytics.plant_utilisation": Picture(
        "Utilisation by plant and day",
        """
        SELECT plant_code, date, utilisation, machines_expected FROM analytics.plant_utilisation
        WHERE date > (SELECT max(date) FROM analytics.plant_utilisation) - 60 ORDER BY plant_code, date
        """,
        hours.utilisation_heat_map,
    ),
    "analytics.gap_analysis": Picture(
        "The longest gaps in the readings",
        """
        SELECT equipment_number, plant_code, gap_started_on, gap_ended_on, days_missing, is_open FROM analytics.gap_analysis
        WHERE is_active ORDER BY is_open DESC, days_missing DESC, equipment_number LIMIT 500
        """,
        hours.gap_bars,
    ),
    "analytics.data_freshness": Picture(
        "Machines read by plant on the newest day that can be complete",
        """
        SELECT plant_code, active_machines, machines_read, days_late, freshness FROM analytics.data_freshness
        WHERE is_active ORDER BY plant_code
        """,
        hours.freshness_bars,
    ),
    "analytics.error_analysis": Picture(
        "Refused records by rule",
        """
        SELECT rule, sum(refusals_open)::bigint AS refusals_open, sum(refusals_replayed)::bigint AS refusals_replayed,
               sum(refusals_discarded)::bigint AS refusals_discarded
        FROM analytics.error_analysis GROUP BY rule ORDER BY rule
        """,
        operations.refusals_by_rule,
    ),
    "analytics.api_response_times": Picture(
        "Answer times of the external API by day",
        """
        SELECT called_on, endpoint, calls, p50_ms, p95_ms, p99_ms FROM analytics.api_response_times
        WHERE called_on > (SELECT max(called_on) FROM analytics.api_response_times) - 60 ORDER BY called_on, endpoint
        """,
        operations.response_times,
    ),
    "analytics.sync_performance": Picture(
        "Syncs by day and how they ended",
        """
        SELECT sync_type, started_on, status, records_processed FROM analytics.sync_performance
        WHERE sync_type <> 'clean_up' AND started_on > (SELECT max(started_on) FROM analytics.sync_performance) - 31
        ORDER BY sync_started_at
        """,
        operations.sync_history,
    ),
    "analytics.event_analytics": Picture(
        "Events by type, and how long they took",
        """
        SELECT received_on, event_type, events_processed, events_ignored, events_pending + events_held AS events_waiting,
               events_quarantined + dead_letters AS events_failed, latency_p50_ms, latency_p95_ms, latency_p99_ms
        FROM analytics.event_analytics
        WHERE events_received > 0 AND received_on > (SELECT max(received_on) FROM analytics.event_analytics) - 31
        ORDER BY received_on, event_type
        """,
        operations.events_and_latency,
    ),
    "analytics.maintenance_due": Picture(
        "Maintenance due by plant",
        """
        SELECT plant_code, count(*) FILTER (WHERE status = 'overdue') AS overdue, count(*) FILTER (WHERE status = 'due') AS due,
               count(*) FILTER (WHERE status = 'due_soon') AS due_soon, count(*) FILTER (WHERE status = 'unknown') AS unknown,
               count(*) FILTER (WHERE status = 'ok') AS ok
        FROM analytics.maintenance_due GROUP BY plant_code ORDER BY plant_code
        """,
        maintenance.maintenance_by_plant,
    ),
    "analytics.equipment_counts": Picture(
        "Machines by plant: active, in need of maintenance, with sync errors",
        """
        SELECT plant_code, active, needs_maintenance, sync_errors FROM analytics.equipment_counts
        WHERE plant_code <> '(all)' ORDER BY plant_code
        """,
        maintenance.counts_by_plant,
    ),
    "analytics.daily_kpis": Picture(
        "Key figures by day, with their limits",
        """
        SELECT date, sync_success_rate, refusal_rate, api_p95_ms, inbox_latency_p95_ms,
               cast(:sync_success_rate AS double precision) AS sync_success_rate_limit,
               cast(:refusal_rate AS double precision) AS refusal_rate_limit,
               cast(:api_p95_ms AS double precision) AS api_p95_ms_limit,
               cast(:inbox_latency_p95_ms AS double precision) AS inbox_latency_p95_ms_limit
        FROM analytics.daily_kpis WHERE date > (SELECT max(date) FROM analytics.daily_kpis) - 60 ORDER BY date
        """,
        key_figures.key_figures_by_day,
    ),
    "cmms.api_sync_logs": Picture(
        "Syncs by day and how they ended",
        """
        SELECT sync_type, cast(sync_started_at AS date) AS started_on, status, records_processed FROM cmms.api_sync_logs
        WHERE sync_type <> 'clean_up' AND sync_started_at > now() - interval '31 days' ORDER BY sync_started_at
        """,
        operations.sync_history,
    ),
    "cmms.sync_rejections": Picture(
        "Refused records by rule",
        """
        SELECT rule, count(*) FILTER (WHERE status = 'open') AS refusals_open,
               count(*) FILTER (WHERE status = 'replayed') AS refusals_replayed,
               count(*) FILTER (WHERE status = 'discarded') AS refusals_discarded
        FROM cmms.sync_rejections GROUP BY rule ORDER BY rule
        """,
        operations.refusals_by_rule,
    ),
    "cmms.api_calls": Picture(
        "Answer times of the external API by day",
        """
        SELECT cast(started_at AS date) AS called_on, endpoint, count(*) AS calls,
               percentile_cont(0.50) WITHIN GROUP (ORDER BY duration_ms) AS p50_ms,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95_ms,
               percentile_cont(0.99) WITHIN GROUP (ORDER BY duration_ms) AS p99_ms
        FROM cmms.api_calls WHERE started_at > now() - interval '31 days' GROUP BY 1, 2 ORDER BY 1, 2
        """,
        operations.response_times,
    ),
}

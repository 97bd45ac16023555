"""How events came and went, per source and type, over time.

What belongs here: aggregating the inbox, the counts of deliveries and the audited refusals. What does not: the same for reports,
which dbt derives (`dbt_models/models/marts/event_analytics.sql`). Time is that of arrival, in UTC.
"""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.storage.retrying import EXHAUSTED
from cmms_pipelines.storage.tables import audit_log, delivery_counts, maintenance_event_hooks


class Bucket(StrEnum):
    """The stretches of time that are counted together."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    ALL = "all"


@dataclass(frozen=True)
class AnalyticsFilter:
    """Which events, by time of arrival (`until` not included), and optionally of one source or type."""

    since: dt.datetime
    until: dt.datetime
    bucket: Bucket
    system: str | None = None
    event_type: str | None = None

    def parameters(self) -> dict[str, object]:
        return {
            "since": self.since,
            "until": self.until,
            "bucket": self.bucket.value,
            "system": self.system,
            "type": self.event_type,
        }


def _bucket_of(column: str) -> str:
    return (
        f"CASE WHEN CAST(:bucket AS text) = 'all' THEN CAST(:since AS timestamptz)"
        f" ELSE date_trunc(CAST(:bucket AS text), {column}, 'UTC') END"
    )


_IS_EXHAUSTED = f"processing_status = 'dead_letter' AND rule = '{EXHAUSTED}'"
_OF_SOURCE = "(CAST(:system AS text) IS NULL OR cmms_system_id = :system) AND (CAST(:type AS text) IS NULL OR event_type = :type)"
_EVENTS = sa.text(f"""
    WITH stored AS (
        SELECT {_bucket_of("created_at")} AS since, cmms_system_id, event_type, processing_status, retries_total, replays,
               outcome ->> 'rule' AS rule, origin,
               CASE WHEN processing_status IN ('processed', 'ignored')
                    THEN extract(epoch FROM processed_at - coalesce(replayed_at, created_at)) * 1000 END AS latency_ms
        FROM {maintenance_event_hooks.fullname}
        WHERE created_at >= :since AND created_at < :until AND {_OF_SOURCE}
    ),
    events AS (
        SELECT since, cmms_system_id, event_type, count(*) AS received,
               count(*) FILTER (WHERE processing_status = 'pending') AS pending,
               count(*) FILTER (WHERE processing_status = 'held') AS held,
               count(*) FILTER (WHERE processing_status = 'processed') AS processed,
               count(*) FILTER (WHERE processing_status = 'ignored') AS ignored,
               count(*) FILTER (WHERE processing_status = 'quarantined') AS quarantined,
               count(*) FILTER (WHERE processing_status = 'dead_letter') AS dead_letters,
               count(*) FILTER (WHERE retries_total > 0) AS retried,
               count(*) FILTER (WHERE retries_total > 0 AND processing_status IN ('processed', 'ignored'))
                   AS retried_successfully,
               count(*) FILTER (WHERE {_IS_EXHAUSTED}) AS retries_exhausted,
               count(*) FILTER (WHERE processing_status = 'dead_letter' AND rule IS DISTINCT FROM '{EXHAUSTED}') AS poison,
               count(*) FILTER (WHERE origin = 'sweep') AS found_by_sweep,
               sum(retries_total) AS retries,
               sum(replays) AS replays,
               percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms) AS latencies
        FROM stored GROUP BY 1, 2, 3
    ),
    duplicates AS (
        SELECT {_bucket_of("minute")} AS since, cmms_system_id, event_type, sum(deliveries) AS duplicates
        FROM {delivery_counts.fullname}
        WHERE minute >= :since AND minute < :until AND outcome = 'duplicate' AND {_OF_SOURCE}
        GROUP BY 1, 2, 3
    )
    SELECT since, cmms_system_id, event_type,
           coalesce(received, 0) AS received, coalesce(duplicates, 0)::bigint AS duplicates, coalesce(pending, 0) AS pending,
           coalesce(held, 0) AS held, coalesce(processed, 0) AS processed, coalesce(ignored, 0) AS ignored,
           coalesce(quarantined, 0) AS quarantined, coalesce(dead_letters, 0) AS dead_letters, coalesce(retried, 0) AS retried,
           coalesce(retried_successfully, 0) AS retried_successfully, coalesce(retries_exhausted, 0) AS retries_exhausted,
           retried_successfully::float / nullif(retried_successfully + retries_exhausted, 0) AS retry_success,
           coalesce(poison, 0) AS poison, coalesce(found_by_sweep, 0) AS found_by_sweep, coalesce(retries, 0) AS retries,
           coalesce(replays, 0) AS replays,
           latencies[1] AS latency_p50_ms, latencies[2] AS latency_p95_ms, latencies[3] AS latency_p99_ms
    FROM events FULL JOIN duplicates USING (since, cmms_system_id, event_type)
    ORDER BY since, cmms_system_id, event_type
""")
_RETRIES = sa.text(f"""
    WITH stored AS (
        SELECT processing_status, retries_total, outcome ->> 'rule' AS rule
        FROM {maintenance_event_hooks.fullname}
        WHERE (CAST(:system AS text) IS NULL OR cmms_system_id = :system)
          AND (CAST(:since AS timestamptz) IS NULL OR created_at >= :since)
    )
    SELECT count(*) FILTER (WHERE retries_total > 0 AND processing_status IN ('processed', 'ignored')) AS recovered,
           count(*) FILTER (WHERE {_IS_EXHAUSTED}) AS exhausted,
           count(*) FILTER (WHERE retries_total > 0 AND processing_status = 'pending') AS waiting,
           count(*) FILTER (WHERE processing_status = 'dead_letter' AND rule IS DISTINCT FROM '{EXHAUSTED}') AS poison
    FROM stored
""")
_REFUSALS = sa.text(f"""
    SELECT {_bucket_of("at")} AS since, entity_key AS cmms_system_id, reason,
           sum((after ->> 'count')::bigint)::bigint AS refused
    FROM {audit_log.fullname}
    WHERE action = 'hook.refused' AND at >= :since AND at < :until
      AND (CAST(:system AS text) IS NULL OR entity_key = :system)
    GROUP BY 1, 2, 3
    ORDER BY 1, 2 NULLS FIRST, 3
""")


@dataclass(frozen=True)
class RetryFigures:
    """What became of events that failed for a passing reason at least once.

    `recovered` were applied in the end, `exhausted` used up their retries, `waiting` are not decided. `poison` counts dead
    letters that no retry can help: they are no part of `success`.
    """

    recovered: int
    exhausted: int
    waiting: int
    poison: int

    @property
    def success(self) -> float | None:
        """Return the share of those decided that were applied in the end; None where none is."""
        decided = self.recovered + self.exhausted
        return self.recovered / decided if decided else None


def retry_figures(connection: sa.Connection, *, system: str | None = None, since: dt.datetime | None = None) -> RetryFigures:
    """Return what retries came to: of one source or all, of events that came since then or ever."""
    return RetryFigures(**connection.execute(_RETRIES, {"system": system, "since": since}).mappings().one())


def analyse_events(connection: sa.Connection, wanted: AnalyticsFilter) -> list[dict[str, Any]]:
    """Return one row per stretch of time, source and type; percentiles are null where nothing was applied.

    Keys: since, cmms_system_id, event_type, received, duplicates, a count for each status, retried, retried_successfully,
    retries_exhausted, retry_success (see `RetryFigures`), poison, found_by_sweep, retries, replays, latency_p50_ms,
    latency_p95_ms, latency_p99_ms (from acceptance, or the last replay, until applied).
    """
    return [dict(row) for row in connection.execute(_EVENTS, wanted.parameters()).mappings()]


def analyse_refusals(connection: sa.Connection, wanted: AnalyticsFilter) -> list[dict[str, Any]]:
    """Return refused deliveries by stretch of time, source (None where unknown) and reason; their types are not known."""
    return [dict(row) for row in connection.execute(_REFUSALS, wanted.parameters()).mappings()]

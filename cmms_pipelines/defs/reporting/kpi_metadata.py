"""The key figures of the newest day that is over as numbers on the materialization of `daily_kpis`, so that the UI plots them.

What belongs here: which figures, and putting them onto dbt's events. What does not: computing them (`daily_kpis.sql`).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

MODEL = "model.cmms.daily_kpis"
FIGURES = (
    "sync_success_rate", "records_per_s", "refusal_rate", "database_write_s", "database_write_us_per_record", "api_p50_ms",
    "api_p95_ms", "api_p99_ms", "events_received", "event_error_rate", "inbox_latency_p50_ms", "inbox_latency_p95_ms",
    "inbox_latency_p99_ms", "retry_success_rate", "conflict_rate", "automatic_conflict_rate", "receiver_availability",
    "freshness_worst_days_late",
)  # fmt: skip
_NEWEST = (
    "SELECT * FROM analytics.daily_kpis WHERE is_over AND (syncs > 0 OR events_received > 0 OR receiver_requests > 0)"
    " ORDER BY date DESC LIMIT 1"
)
_NOW = "SELECT * FROM analytics.daily_kpis ORDER BY date DESC LIMIT 1"


def with_kpis(events: Iterable[Any], address: str) -> Iterator[Any]:
    """Pass dbt's events on; the materialization of `daily_kpis` gets `kpi_date` and a number for each figure that is known.

    The day is the newest that is over and on which something happened; before there is one, the present day. Freshness is that of
    the present.
    """
    for event in events:
        if isinstance(event, dg.Output) and _is_of_kpis(event):
            yield event.with_metadata({**event.metadata, **kpi_metadata(address)})
        else:
            yield event


def kpi_metadata(address: str) -> dict[str, Any]:
    """Return the figures that are known, by name, and `kpi_date`; nothing while the mart is empty."""
    import psycopg  # noqa: PLC0415 - keeps the location's start light
    from psycopg.rows import dict_row  # noqa: PLC0415

    with psycopg.connect(address, row_factory=dict_row) as connection:
        today = connection.execute(_NOW).fetchone()
        row = connection.execute(_NEWEST).fetchone() or today
    if row is None or today is None:
        return {}
    row["freshness_worst_days_late"] = today["freshness_worst_days_late"]
    return {"kpi_date": str(row["date"])} | {name: row[name] for name in FIGURES if row[name] is not None}


def _is_of_kpis(event: dg.Output[Any]) -> bool:
    """Tell by dbt's name of the model, which dagster-dbt leaves on what it yields: an output has no asset key."""
    unique_id = event.metadata.get("unique_id")
    return unique_id is not None and str(unique_id.value) == MODEL

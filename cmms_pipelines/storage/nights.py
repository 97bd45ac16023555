"""What a night left in the tables: its syncs, what they refused, plants without readings, counters that stand still.

What belongs here: the questions of the daily report that no other module asks. What does not: what the answers mean
(`reports.daily`).
"""

import datetime as dt
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.storage.tables import (
    api_calls,
    api_sync_logs,
    equipment,
    equipment_running_times,
    maintenance_event_hooks,
    plants,
    sync_rejections,
    sync_slices,
)

NIGHTLY = ("plants", "equipment", "running_times")
STUCK_DAYS = 14
SAME_WEEKDAYS = 4
_LOGS, _READINGS, _REJECTIONS = api_sync_logs.fullname, equipment_running_times.fullname, sync_rejections.fullname

_SYNCS = sa.text(f"""
    SELECT DISTINCT ON (sync_type) sync_type, status, sync_started_at, sync_completed_at, records_processed, records_success,
           records_failed, records_inserted, records_updated, records_unchanged, error_message, dagster_run_id,
           count(*) OVER (PARTITION BY sync_type) AS attempts
    FROM {_LOGS}
    WHERE sync_type <> 'clean_up' AND NOT scope ? 'replay' AND sync_started_at >= :since AND sync_started_at < :until
    ORDER BY sync_type, sync_started_at DESC, id DESC
""")
_USUAL = sa.text(f"""
    SELECT DISTINCT sync_type FROM {_LOGS}
    WHERE sync_type <> 'clean_up' AND NOT scope ? 'replay' AND sync_started_at >= :since AND sync_started_at < :until
""")
# As for the alert on missing days: a source that was asked and had nothing is odd only on a weekday that always had some.
_MISSING = sa.text(f"""
    SELECT plant.plant_code, plant.name, machines.active AS machines, newest.day AS newest_on,
           synced.day IS NOT NULL AS was_asked,
           synced.day IS NULL OR NOT EXISTS (
               SELECT FROM generate_series(1, {SAME_WEEKDAYS}) AS weeks
               WHERE NOT EXISTS (
                   SELECT FROM {_READINGS} AS reading
                   WHERE reading.plant_id = plant.id AND reading.date = CAST(:day AS date) - 7 * weeks
               )
           ) AS is_lacking
    FROM {plants.fullname} AS plant
    CROSS JOIN LATERAL (
        SELECT count(*) AS active FROM {equipment.fullname} AS machine WHERE machine.plant_id = plant.id AND machine.is_active
    ) AS machines
    LEFT JOIN LATERAL (
        SELECT max(reading.date) AS day FROM {_READINGS} AS reading
        WHERE reading.plant_id = plant.id AND reading.date <= :day
    ) AS newest ON true
    LEFT JOIN LATERAL (
        SELECT slice.date AS day FROM {sync_slices.fullname} AS slice
        WHERE slice.sync_type = 'running_times' AND slice.date = :day AND plant.plant_code = ANY(slice.plant_codes) LIMIT 1
    ) AS synced ON true
    WHERE plant.is_active AND machines.active > 0 AND newest.day IS DISTINCT FROM CAST(:day AS date)
    ORDER BY machines.active DESC, plant.plant_code
""")
_ACTIVE_PLANTS = sa.text(f"""
    SELECT count(*) FROM {plants.fullname} AS plant
    WHERE plant.is_active AND EXISTS (SELECT FROM {equipment.fullname} AS one WHERE one.plant_id = plant.id AND one.is_active)
""")
_REFUSED = sa.text(f"""
    SELECT sync_type, rule, severity, count(*) AS records, count(*) FILTER (WHERE first_seen_at >= :since) AS new,
           count(DISTINCT plant_code) AS plants, min(message) AS example, min(record_key) AS example_key
    FROM {_REJECTIONS}
    WHERE status = 'open' AND last_seen_at >= :since AND last_seen_at < :until
    GROUP BY sync_type, rule, severity ORDER BY count(*) DESC, sync_type, rule
""")
# A counter that stands still on five readings or more although the machine ran: the sensor, not the machine, has stopped.
_STUCK = sa.text(f"""
    SELECT machine.equipment_number, machine.equipment_description, plant.plant_code, count(*) AS readings,
           max(reading.cumulative_hours) AS counter, sum(reading.running_hours) AS running_hours
    FROM {_READINGS} AS reading
    JOIN {equipment.fullname} AS machine ON machine.id = reading.equipment_id AND machine.is_active
    JOIN {plants.fullname} AS plant ON plant.id = machine.plant_id
    WHERE reading.date > CAST(:day AS date) - {STUCK_DAYS} AND reading.date <= CAST(:day AS date)
      AND reading.cumulative_hours IS NOT NULL
    GROUP BY machine.id, plant.plant_code
    HAVING count(*) >= 5 AND min(reading.cumulative_hours) = max(reading.cumulative_hours) AND sum(reading.running_hours) > 0
    ORDER BY sum(reading.running_hours) DESC, machine.equipment_number LIMIT :limit
""")
_FIGURES = sa.text(f"""
    WITH syncs AS (
        SELECT count(*) FILTER (WHERE status = 'success') AS good, count(*) FILTER (WHERE status <> 'running') AS ended,
               sum(records_failed) AS refused, sum(records_processed) AS received,
               sum(records_processed) FILTER (WHERE sync_completed_at > sync_started_at)
                   / nullif(sum(extract(epoch FROM sync_completed_at - sync_started_at))
                       FILTER (WHERE sync_completed_at > sync_started_at), 0) AS records_per_s
        FROM {_LOGS} WHERE sync_type <> 'clean_up' AND sync_started_at >= :since AND sync_started_at < :until
    ), calls AS (
        SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95_ms FROM {api_calls.fullname}
        WHERE started_at >= :since AND started_at < :until
    ), events AS (
        SELECT count(*) AS received, percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM processed_at - created_at))
                   FILTER (WHERE processing_status = 'processed' AND replayed_at IS NULL) AS p95_s
        FROM {maintenance_event_hooks.fullname} WHERE created_at >= :since AND created_at < :until
    )
    SELECT syncs.good, syncs.ended, syncs.refused, syncs.received AS records, syncs.records_per_s, calls.p95_ms AS api_p95_ms,
           events.received AS events, events.p95_s AS events_p95_s
    FROM syncs, calls, events
""")


def syncs_between(connection: sa.Connection, since: dt.datetime, until: dt.datetime) -> list[dict[str, Any]]:
    """Return the last sync of each type that began in a time, with the number of its attempts; replays are none."""
    return _rows(connection, _SYNCS, since=since, until=until)


def usual_syncs(connection: sa.Connection, since: dt.datetime, until: dt.datetime) -> set[str]:
    """Return the types of syncs that a night has: the nightly three, and what else ran in this time."""
    return {*NIGHTLY, *(row["sync_type"] for row in _rows(connection, _USUAL, since=since, until=until))}


def plants_without(connection: sa.Connection, day: dt.date) -> tuple[list[dict[str, Any]], int]:
    """Return the active plants that have no reading of a day, and how many active plants with machines there are.

    A plant `is_lacking` unless the source was asked and this weekday is one on which it has had nothing before.
    """
    return _rows(connection, _MISSING, day=day), int(connection.execute(_ACTIVE_PLANTS).scalar_one())


def refused_between(connection: sa.Connection, since: dt.datetime, until: dt.datetime) -> list[dict[str, Any]]:
    """Return what is open and was refused in a time, by sync and rule, the most first, with an example of each."""
    return _rows(connection, _REFUSED, since=since, until=until)


def stuck_counters(connection: sa.Connection, day: dt.date, limit: int) -> list[dict[str, Any]]:
    """Return machines that ran in the last days up to `day` while their counter stood still."""
    return _rows(connection, _STUCK, day=day, limit=limit)


def figures_between(connection: sa.Connection, since: dt.datetime, until: dt.datetime) -> dict[str, Any]:
    """Return sums and percentiles of syncs, requests and events of a time; what there was none of is None."""
    return _rows(connection, _FIGURES, since=since, until=until)[0]


def _rows(connection: sa.Connection, statement: sa.TextClause, **values: object) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(statement, values).mappings()]

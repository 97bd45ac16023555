"""Running hours in the database: the stored neighbours of new readings, one conditional merge, and counter events.

What belongs here: the SQL on `equipment_running_times` and `counter_events`. What does not: deciding whether a reading is
acceptable (`domain.running_times`).
"""

from collections.abc import Hashable, Mapping, Sequence
from datetime import date

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.counters import counter_events as find_counter_events
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.bulk import stage
from cmms_pipelines.storage.partitions import ensure_month_partitions
from cmms_pipelines.storage.tables import counter_events, equipment, equipment_running_times, plants

EXTERNAL_API = "external_api"

_STAGED = {
    "equipment_id": "bigint", "plant_id": "bigint", "plant_code": "text", "date": "date", "date_time": "timestamptz",
    "point": "text", "description": "text", "running_hours": "numeric(14,4)", "cumulative_hours": "numeric(14,4)",
    "days_covered": "smallint", "company_code": "text", "equipment_description": "text", "object_number": "text",
    "api_created_at": "timestamptz", "warnings": "text[]", "readings": "jsonb",
}  # fmt: skip
_VALUES = [column for column in _STAGED if column not in {"equipment_id", "date", "plant_code"}] + ["source"]
# of a day that several plants reported, the last reading gives these, and it may be the stored one ...
_OF_LAST_READING = ["point", "description", "equipment_description", "object_number", "api_created_at"]
# ... and the parts of all plants these
_OF_PARTS = ["plant_id", "date_time", "company_code", "running_hours", "cumulative_hours", "days_covered", "warnings"]
_LAST_FIRST = """(part.value ->> 'date_time')::timestamptz DESC NULLS LAST,
                        (part.value ->> 'cumulative_hours')::numeric DESC NULLS LAST, part.key COLLATE "C" DESC"""
MOST_HOURS_A_DAY = 26  # 25 where the clock changes, and an hour of jitter: what the table's constraint allows

_NEIGHBOURS = sa.text(f"""
    SELECT k.equipment_number, k.date, e.id AS equipment_id, before.date AS previous_date,
           before.cumulative_hours AS previous_cumulative_hours, others.hours AS other_plants_hours,
           others.days AS other_plants_days_covered
    FROM staged_keys k
    JOIN {equipment.fullname} e USING (equipment_number)
    LEFT JOIN LATERAL (
        SELECT r.date, r.cumulative_hours
        FROM {equipment_running_times.fullname} r
        WHERE r.equipment_id = e.id AND r.date < k.date AND r.cumulative_hours IS NOT NULL
        ORDER BY r.date DESC LIMIT 1
    ) before ON true
    LEFT JOIN LATERAL (
        SELECT sum((part.value ->> 'running_hours')::numeric) AS hours, max((part.value ->> 'days_covered')::int) AS days
        FROM {equipment_running_times.fullname} t
        JOIN {plants.fullname} p ON p.id = t.plant_id
        CROSS JOIN LATERAL jsonb_each(COALESCE(t.readings, jsonb_build_object(p.plant_code, jsonb_build_object(
            'running_hours', t.running_hours, 'days_covered', t.days_covered)))) part
        WHERE t.equipment_id = e.id AND t.date = k.date AND t.source = '{EXTERNAL_API}' AND NOT part.key = ANY(:plant_codes)
    ) others ON true
""")


_NEIGHBOUR_TYPES: Mapping[Hashable, str] = {
    "equipment_number": "str", "date": "datetime64[s]", "equipment_id": "Int64", "previous_date": "datetime64[s]",
    "previous_cumulative_hours": "float64", "other_plants_hours": "float64", "other_plants_days_covered": "float64",
}  # fmt: skip


def _part(row: str, plant_code: str) -> str:
    """Return the SQL of what one plant reported, as `domain.running_times` builds it."""
    return f"""jsonb_build_object({plant_code}, jsonb_build_object(
        'running_hours', {row}.running_hours, 'cumulative_hours', {row}.cumulative_hours, 'days_covered', {row}.days_covered,
        'date_time', {row}.date_time, 'company_code', {row}.company_code,
        'warnings', COALESCE({row}.warnings, ARRAY[]::text[])))"""


def _row(alias: str) -> str:
    return f"({', '.join(f'{alias}.{column}' for column in _VALUES)})"


# One row per machine and day. Where another plant's reading of that day is stored, this plant's part is put beside it (or in
# place of its own earlier one), hours are added up again and the last reading gives the rest. Rows that would not change are
# left out before ON CONFLICT, which is only the guard against a race: a replay writes nothing.
_MERGE = sa.text(f"""
    WITH met AS (
        SELECT s.*, t.equipment_id IS NULL AS is_new,
               CASE WHEN t.equipment_id IS NULL OR t.source <> '{EXTERNAL_API}' THEN s.readings
                    WHEN s.readings IS NULL AND t.readings IS NULL AND t.plant_id = s.plant_id THEN NULL
                    ELSE COALESCE(t.readings, {_part("t", "tp.plant_code")}) || COALESCE(s.readings, {_part("s", "s.plant_code")})
               END AS parts
        FROM staged_running_times s
        LEFT JOIN {equipment_running_times.fullname} t ON t.equipment_id = s.equipment_id AND t.date = s.date
        LEFT JOIN {plants.fullname} tp ON tp.id = t.plant_id
    ), combined AS (
        SELECT met.equipment_id, met.date, met.is_new, met.parts AS readings, '{EXTERNAL_API}'::text AS source,
               {", ".join(f"CASE WHEN kept.is_last THEN t.{name} ELSE met.{name} END AS {name}" for name in _OF_LAST_READING)},
               {", ".join(f"CASE WHEN met.parts IS NULL THEN met.{name} ELSE parts.{name} END AS {name}" for name in _OF_PARTS)}
        FROM met
        LEFT JOIN {equipment_running_times.fullname} t ON t.equipment_id = met.equipment_id AND t.date = met.date
        LEFT JOIN LATERAL (
            SELECT (array_agg(p.id ORDER BY {_LAST_FIRST}))[1] AS plant_id,
                   (array_agg(part.key ORDER BY {_LAST_FIRST}))[1] AS last_plant_code,
                   (array_agg((part.value ->> 'date_time')::timestamptz ORDER BY {_LAST_FIRST}))[1] AS date_time,
                   (array_agg(part.value ->> 'company_code' ORDER BY {_LAST_FIRST}))[1] AS company_code,
                   sum((part.value ->> 'running_hours')::numeric)::numeric(14,4) AS running_hours,
                   (array_agg((part.value ->> 'cumulative_hours')::numeric(14,4) ORDER BY {_LAST_FIRST})
                    FILTER (WHERE part.value ->> 'cumulative_hours' IS NOT NULL))[1] AS cumulative_hours,
                   max((part.value ->> 'days_covered')::smallint) AS days_covered,
                   (SELECT array_agg(DISTINCT rule #>> '{{}}' ORDER BY rule #>> '{{}}')
                    FROM jsonb_path_query(met.parts, '$.*.warnings[*]') rule) AS warnings
            FROM jsonb_each(met.parts) part
            JOIN {plants.fullname} p ON p.plant_code = part.key
        ) parts ON met.parts IS NOT NULL
        LEFT JOIN LATERAL (
            SELECT NOT met.is_new AND parts.last_plant_code <> met.plant_code
                   AND NOT COALESCE(met.readings ? parts.last_plant_code, false) AS is_last
        ) kept ON met.parts IS NOT NULL
    ), changes AS MATERIALIZED (
        SELECT c.*
        FROM combined c
        LEFT JOIN {equipment_running_times.fullname} t ON t.equipment_id = c.equipment_id AND t.date = c.date
        WHERE t.equipment_id IS NULL OR {_row("t")} IS DISTINCT FROM {_row("c")}
    ), written AS (
        INSERT INTO {equipment_running_times.fullname} AS t (equipment_id, date, {", ".join(_VALUES)})
        SELECT equipment_id, date, {", ".join(_VALUES)} FROM changes ORDER BY equipment_id, date
        ON CONFLICT (equipment_id, date) DO UPDATE
        SET {", ".join(f"{column} = excluded.{column}" for column in _VALUES)}, updated_at = now()
        WHERE {_row("t")} IS DISTINCT FROM {_row("excluded")}
    )
    SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM changes
""")

# A late reading halves the difference that the reading after it was given: that one's hours are computed again. What the
# source itself said is left alone, and so is a day of several plants, whose hours are a sum.
_REFRESH_DIFFERENCES = sa.text(f"""
    WITH judged AS (
        SELECT t.equipment_id, t.date, difference.days,
               CASE WHEN difference.hours BETWEEN 0 AND {MOST_HOURS_A_DAY} * difference.days THEN difference.hours END AS hours,
               (SELECT array_agg(rule ORDER BY rule) FROM (
                    SELECT unnest(t.warnings)
                    EXCEPT SELECT unnest(ARRAY['counter_went_back', 'reading_spans_days', 'running_hours_exceed_day'])
                    UNION SELECT 'counter_went_back' WHERE difference.hours < 0
                    UNION SELECT 'reading_spans_days' WHERE difference.days > 1
                    UNION SELECT 'running_hours_exceed_day' WHERE difference.hours > {MOST_HOURS_A_DAY} * difference.days
               ) said (rule)) AS warnings
        FROM staged_around near
        CROSS JOIN LATERAL (
            SELECT * FROM {equipment_running_times.fullname} r
            WHERE r.equipment_id = near.equipment_id AND r.date = near.date
              AND 'running_hours_missing' = ANY(r.warnings) AND r.readings IS NULL
            OFFSET 0  -- one look into the index for each row: a new month has no statistics, and plans on it go astray
        ) t
        JOIN LATERAL (
            SELECT t.cumulative_hours - r.cumulative_hours AS hours, LEAST(t.date - r.date, 32767)::smallint AS days
            FROM {equipment_running_times.fullname} r
            WHERE r.equipment_id = t.equipment_id AND r.date < t.date AND r.cumulative_hours IS NOT NULL
            ORDER BY r.date DESC LIMIT 1
        ) difference ON true
        WHERE NOT EXISTS (SELECT FROM staged_running_times s WHERE (s.equipment_id, s.date) = (t.equipment_id, t.date))
    )
    UPDATE {equipment_running_times.fullname} t
    SET running_hours = judged.hours, days_covered = judged.days, warnings = judged.warnings, updated_at = now()
    FROM judged
    WHERE (t.equipment_id, t.date) = (judged.equipment_id, judged.date)
      AND (t.running_hours, t.days_covered, t.warnings) IS DISTINCT FROM (judged.hours, judged.days, judged.warnings)
""")

# the readings before, of and after the staged days: a late reading changes what the next one is compared with
_AROUND = sa.text(f"""
    SELECT DISTINCT near.equipment_id, near.date, near.cumulative_hours
    FROM staged_running_times s
    JOIN LATERAL (
        (SELECT r.equipment_id, r.date, r.cumulative_hours FROM {equipment_running_times.fullname} r
         WHERE r.equipment_id = s.equipment_id AND r.date < s.date AND r.cumulative_hours IS NOT NULL
         ORDER BY r.date DESC LIMIT 1)
        UNION ALL
        (SELECT r.equipment_id, r.date, r.cumulative_hours FROM {equipment_running_times.fullname} r
         WHERE r.equipment_id = s.equipment_id AND r.date >= s.date AND r.cumulative_hours IS NOT NULL
         ORDER BY r.date LIMIT 2)
    ) near ON true
""")

# Two writers of one machine's day would each see the day without the other's part, and the later one would overwrite it.
_LOCK_DAY = sa.text(f"SELECT pg_advisory_xact_lock(hashtext('{equipment_running_times.fullname}'), :day - DATE '1970-01-01')")

_STAGED_EVENTS = {
    "equipment_id": "bigint", "date": "date", "kind": "text", "counter_before": "numeric(14,4)", "counter_after": "numeric(14,4)",
    "offset_hours": "numeric(14,4)",
}  # fmt: skip
_FORGET_EVENTS = sa.text(f"""
    DELETE FROM {counter_events.fullname} old USING staged_around near
    WHERE old.equipment_id = near.equipment_id AND old.date = near.date AND near.has_reading_before
      AND NOT EXISTS (SELECT FROM staged_counter_events new WHERE new.equipment_id = old.equipment_id AND new.date = old.date)
""")
_KEEP_EVENTS = sa.text(f"""
    INSERT INTO {counter_events.fullname} AS old ({", ".join(_STAGED_EVENTS)})
    SELECT {", ".join(_STAGED_EVENTS)} FROM staged_counter_events
    ON CONFLICT (equipment_id, date) DO UPDATE
    SET kind = excluded.kind, counter_before = excluded.counter_before, counter_after = excluded.counter_after,
        offset_hours = excluded.offset_hours
    WHERE (old.kind, old.counter_before, old.counter_after) IS DISTINCT FROM
          (excluded.kind, excluded.counter_before, excluded.counter_after)
""")


def read_neighbours(connection: sa.Connection, keys: pd.DataFrame, plant_codes: Sequence[str]) -> pd.DataFrame:
    """Return what is stored around machine-days that are about to be written.

    Args:
        connection: inside a transaction.
        keys: equipment_number, date, unique.
        plant_codes: whose readings of those days are about to be replaced.

    Returns:
        equipment_number, date, equipment_id, previous_date, previous_cumulative_hours, other_plants_hours (hours),
        other_plants_days_covered, for those keys whose equipment exists.
    """
    stage(connection, "staged_keys", {"equipment_number": "text", "date": "date"}, keys)
    rows = connection.execute(_NEIGHBOURS, {"plant_codes": list(plant_codes)}).all()
    return pd.DataFrame(rows, columns=list(_NEIGHBOUR_TYPES)).astype(_NEIGHBOUR_TYPES)


def write(connection: sa.Connection, rows: pd.DataFrame) -> SyncCounts:
    """Merge readings into the table and bring the counter events around them up to date.

    Args:
        connection: inside a transaction; writers of one day wait for one another, in the order of the days.
        rows: see `domain.running_times.fold`.
    """
    if rows.empty:
        return SyncCounts()
    days: list[date] = sorted(pd.Timestamp(day).date() for day in rows["date"].unique())
    for day in days:
        connection.execute(_LOCK_DAY, {"day": day})
    ensure_month_partitions(connection, days)
    stage(connection, "staged_running_times", _STAGED, rows)
    inserted, updated = (int(count) for count in connection.execute(_MERGE).one())
    if inserted or updated:
        _refresh_following(connection)
    return SyncCounts(inserted=inserted, updated=updated, unchanged=len(rows) - inserted - updated)


def _refresh_following(connection: sa.Connection) -> None:
    """Find the counter events of the staged days again, and compute those and the difference of the reading after each."""
    columns = ["equipment_id", "date", "cumulative_hours"]
    around = pd.DataFrame(connection.execute(_AROUND).all(), columns=columns)
    if around.empty:
        return
    around = around.astype({"equipment_id": "int64", "date": "datetime64[s]", "cumulative_hours": "float64"})
    events = find_counter_events(around)
    around = around.sort_values(["equipment_id", "date"])
    around["has_reading_before"] = around["equipment_id"].duplicated()
    stage(connection, "staged_around", {"equipment_id": "bigint", "date": "date", "has_reading_before": "boolean"}, around)
    stage(connection, "staged_counter_events", _STAGED_EVENTS, events)
    connection.execute(_REFRESH_DIFFERENCES)
    connection.execute(_FORGET_EVENTS)
    connection.execute(_KEEP_EVENTS)

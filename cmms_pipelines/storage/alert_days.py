"""Signs of trouble in the days of plants: a day that is not there, and more refusals than the weekday has usually.

What belongs here: the two questions, which take longer than those of `storage.alert_signs` and are asked less often.
What does not: what the answers mean (`domain.alert_findings`, `domain.alert_bands`).
"""

import datetime as dt
from collections import defaultdict

import sqlalchemy as sa

from cmms_pipelines.domain.alert_bands import usual_band
from cmms_pipelines.domain.alert_configuration import Thresholds
from cmms_pipelines.domain.alert_findings import missing_day_findings, rejection_finding
from cmms_pipelines.domain.alerts import Finding
from cmms_pipelines.storage.sync_controls import read_controls
from cmms_pipelines.storage.tables import equipment, equipment_running_times, plants, sync_rejections, sync_slices

_SLICES = sync_slices.fullname
_READINGS = equipment_running_times.fullname
_REJECTIONS = sync_rejections.fullname

# A day is there when a sync has brought it, or something else has; but not where it is empty although all of the last
# same weekdays had readings. Days before a plant was known are nobody's.
_MISSING = sa.text(f"""
    WITH expected AS (
        SELECT plant.id, plant.plant_code, day::date AS day
        FROM {plants.fullname} AS plant
        CROSS JOIN LATERAL (
            SELECT (CAST(:now AS timestamptz) AT TIME ZONE plant.time_zone - CAST(:due_at AS time))::date AS today
        ) AS local
        CROSS JOIN LATERAL generate_series(local.today - CAST(:days_back AS int), local.today - 1, interval '1 day') AS day
        WHERE plant.is_active
          AND day::date >= (plant.created_at AT TIME ZONE plant.time_zone)::date
          AND EXISTS (SELECT FROM {equipment.fullname} AS machine WHERE machine.plant_id = plant.id AND machine.is_active)
    )
    SELECT plant_code, array_agg(day ORDER BY day) AS days
    FROM expected
    WHERE NOT EXISTS (SELECT FROM {_READINGS} AS reading WHERE reading.plant_id = expected.id AND reading.date = expected.day)
      AND (
          NOT EXISTS (
              SELECT FROM {_SLICES} AS slice
              WHERE slice.sync_type = 'running_times' AND slice.date = expected.day
                AND expected.plant_code = ANY(slice.plant_codes)
          )
          OR NOT EXISTS (
              SELECT FROM generate_series(1, CAST(:least_days AS int)) AS weeks
              WHERE NOT EXISTS (
                  SELECT FROM {_READINGS} AS reading
                  WHERE reading.plant_id = expected.id AND reading.date = expected.day - 7 * weeks
              )
          )
      )
    GROUP BY plant_code
""")
_ACTIVE = sa.text(f"SELECT count(*) FROM {plants.fullname} WHERE is_active")

# Of the newest synced day of each plant only what is still open counts: a replay clears it.
_REFUSED = sa.text(f"""
    WITH synced AS (
        SELECT DISTINCT unnest(plant_codes) AS plant_code, date FROM {_SLICES}
        WHERE sync_type = 'running_times' AND date BETWEEN CAST(:first AS date) AND CAST(:today AS date)
    ), newest AS (
        SELECT plant_code, max(date) AS day FROM synced WHERE date >= CAST(:recent AS date) GROUP BY plant_code
    ), compared AS (
        SELECT plant_code, day, date FROM synced JOIN newest USING (plant_code) WHERE (day - date) % 7 = 0
    )
    SELECT compared.plant_code, compared.day, compared.date,
           count(refused.id) FILTER (WHERE compared.date < compared.day OR refused.status = 'open') AS refused
    FROM compared
    LEFT JOIN {_REJECTIONS} AS refused
      ON refused.sync_type = 'running_times'
     AND refused.plant_code = compared.plant_code AND refused.date = compared.date
    GROUP BY 1, 2, 3
""")
_STORED = sa.text(f"""
    SELECT count(*) FROM {_READINGS} AS reading JOIN {plants.fullname} AS plant ON plant.id = reading.plant_id
    WHERE plant.plant_code = :plant AND reading.date = :day
""")
_RULES = sa.text(f"""
    SELECT rule FROM {_REJECTIONS}
    WHERE sync_type = 'running_times' AND status = 'open' AND plant_code = :plant AND date = :day
    GROUP BY rule ORDER BY count(*) DESC, rule LIMIT 3
""")


def missing_days(connection: sa.Connection, now: dt.datetime, thresholds: Thresholds) -> list[Finding]:
    """Return which active plants lack days that are due by their own clock."""
    parameters = {
        "now": now,
        "due_at": thresholds.day_due_at,
        "days_back": thresholds.missing_days_back,
        "least_days": thresholds.band_least_days,
    }
    missing = {row.plant_code: row.days for row in connection.execute(_MISSING, parameters)}
    if not missing:
        return []
    pause = read_controls(connection).pause
    return missing_day_findings(
        missing,
        plants=connection.execute(_ACTIVE).scalar_one(),
        named_one_by_one=thresholds.plants_named_one_by_one,
        paused=str(pause) if pause else None,
    )


def refusals_beyond_usual(connection: sa.Connection, now: dt.datetime, thresholds: Thresholds) -> list[Finding]:
    """Return which plants have more refusals on their newest synced day than is usual on that weekday."""
    today = now.date() + dt.timedelta(days=1)  # east of UTC a day ends earlier
    recent = today - dt.timedelta(days=1 + max(3, thresholds.missing_days_back))
    first = recent - dt.timedelta(weeks=thresholds.band_weeks)
    counts: dict[str, dict[dt.date, int]] = defaultdict(dict)
    days: dict[str, dt.date] = {}
    for row in connection.execute(_REFUSED, {"first": first, "today": today, "recent": recent}):
        counts[row.plant_code][row.date] = row.refused
        days[row.plant_code] = row.day
    findings = []
    for plant, day in sorted(days.items()):
        refused = counts[plant].pop(day)
        band = usual_band(
            list(counts[plant].values()),
            least_days=thresholds.band_least_days,
            floor=thresholds.band_floor_records,
            floor_share=thresholds.band_floor_share,
        )
        if band is None or not band.is_above(refused):
            continue
        parameters = {"plant": plant, "day": day}
        stored: int = connection.execute(_STORED, parameters).scalar_one()
        rules: list[str] = list(connection.execute(_RULES, parameters).scalars())
        findings.append(rejection_finding(plant, day, band, refused=refused, stored=stored, rules=rules))
    return findings

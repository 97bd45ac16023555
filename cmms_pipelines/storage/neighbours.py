"""What is stored around machine-days: the readings before, beside and after those that are about to be written.

What belongs here: finding rows of `equipment_running_times` by machine and day, for one machine or for all of them. What does
not: what follows from neighbours (`domain.running_times`), and writing (`storage.running_times`).

For few machines each row is looked up by its key. For many, all rows of a day are read and joined by hash: they are found by
plant and day, of which there is an index, since a month has thirty times as many. A look by key takes as long as reading half a
dozen rows of a day, of which there are as many as there are machines.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from cmms_pipelines.domain.machine_days import HOURS_MISSING
from cmms_pipelines.domain.meter_readings import EXTERNAL_API
from cmms_pipelines.storage.bulk import read_columns, stage
from cmms_pipelines.storage.machine_days import lock_machines_of_plants
from cmms_pipelines.storage.tables import counter_facts, equipment, equipment_running_times, plants

BEFORE_COLUMNS = """COALESCE(day_before.date, before.date) AS previous_date,
    COALESCE(day_before.cumulative_hours, before.cumulative_hours)::float8 AS previous_cumulative_hours"""
HAS_COUNTER = "cumulative_hours IS NOT NULL"

_TIMES = equipment_running_times.fullname
_WEEK = 7
_FEWEST_IN_BULK = 1000
_ROWS_A_LOOK = 6  # that are read in the time of one look into the index
_BYTES_A_MACHINE = 300  # of the masters, by whose size machines are counted; counting them takes longer
_SET_BASED = {
    "enable_nestloop": "off", "enable_mergejoin": "off", "jit": "off", "work_mem": "'64MB'", "random_page_cost": "1",
}  # fmt: skip
_ONE_BY_ONE = {"enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}

_TYPES: Mapping[Hashable, str] = {
    "equipment_number": "str", "date": "datetime64[s]", "equipment_id": "Int64", "previous_date": "datetime64[s]",
    "previous_cumulative_hours": "float64", "other_plants_hours": "float64", "other_plants_days_covered": "float64",
    "week_ago_cumulative_hours": "float64", "known_overflow_at": "float64", "known_counting_backwards": "float64",
    "is_stored": "float64", "is_locked": "float64",
}  # fmt: skip
# what tells something around a machine-day -> what it tells, and how that is read
_TOLD_BY = {
    "before": {"previous_date": "date", "previous_cumulative_hours": "float8"},
    "week_ago": {"week_ago_cumulative_hours": "float8"},
    "of_day": {"other_plants_hours": "float8", "other_plants_days_covered": "float8", "is_stored": "float8"},
    "facts": {"known_overflow_at": "float8", "known_counting_backwards": "float8"},
}
_NOTHING_TOLD = {"is_stored": 0.0}  # of a machine-day; of anything else NaN
_IS_ANY_STORED = sa.text(f"""
    SELECT EXISTS (
        SELECT FROM {plants.fullname} p
        CROSS JOIN LATERAL (
            SELECT t.date FROM {_TIMES} t
            WHERE t.plant_id = p.id AND t.date BETWEEN CAST(:first AS date) AND CAST(:last AS date) ORDER BY t.date LIMIT 1
        ) stored
    )
""")
_MASTERS_BYTES = sa.text(f"SELECT pg_relation_size('{equipment.fullname}')")
_IS_ANY_FACT = sa.text(f"SELECT EXISTS (SELECT FROM {counter_facts.fullname})")
_IS_ANY_OLDER = sa.text(f"""
    SELECT EXISTS (
        SELECT FROM {plants.fullname} p
        CROSS JOIN LATERAL (SELECT FROM {_TIMES} t WHERE t.plant_id = p.id AND t.date < CAST(:first AS date) LIMIT 1) older
    )
""")


@dataclass(frozen=True)
class Days:
    """The days of a batch of machine-days, and how their rows are found.

    Attributes:
        first, last: all days are between them.
        plant_ids: of all plants, where many rows are read at once; None: each is looked up.
        own_plant_ids: of the plants of the batch, where nearly all readings before it are.
    """

    first: date
    last: date
    plant_ids: tuple[int, ...] | None
    own_plant_ids: tuple[int, ...] = ()

    @classmethod
    def of(cls, connection: sa.Connection, days: pd.Series, count: int, own_plants: Iterable[str]) -> "Days":
        """Return the days of `count` machine-days of some plants (their codes), found in the way that costs less."""
        found = cls(days.min().date(), days.max().date(), None)
        if count < _FEWEST_IN_BULK or count * _ROWS_A_LOOK <= found._most_rows(connection):
            return found
        known = {row.id: row.plant_code for row in connection.execute(sa.select(plants.c.id, plants.c.plant_code))}
        own = set(own_plants)
        return replace(
            found,
            plant_ids=tuple(sorted(known)),
            own_plant_ids=tuple(sorted(identifier for identifier, code in known.items() if code in own)),
        )

    def shifted(self, days: int) -> "Days":
        """Return the days so many days later."""
        return replace(self, first=self.first + timedelta(days=days), last=self.last + timedelta(days=days))

    def condition(self, alias: str, *, is_own: bool = False) -> str:
        """Return what holds for rows of these days, or for those of them at the batch's own plants."""
        between = f"{alias}.date BETWEEN DATE '{self.first}' AND DATE '{self.last}'"
        of_plants = self.own_plant_ids if is_own else self.plant_ids
        return between if not self.plant_ids else f"{between} AND {alias}.plant_id = ANY(ARRAY{list(of_plants or ())}::bigint[])"

    def row(self, alias: str, identifier: str, day: str, condition: str = HAS_COUNTER, *, is_own: bool = False) -> str:
        """Return the join of a machine's row of one of these days; of the batch's own plants only, if many are read at once."""
        at_key = f"r.equipment_id = {identifier} AND r.date = {day}"
        if self.plant_ids is None:
            return f"LEFT JOIN LATERAL (SELECT * FROM {_TIMES} r WHERE {at_key} AND {condition} OFFSET 0) {alias} ON true"
        return f"""LEFT JOIN (
            SELECT * FROM {_TIMES} stored WHERE {self.condition("stored", is_own=is_own)} AND {condition}
        ) {alias} ON {at_key.replace("r.", f"{alias}.")}"""

    def is_any_stored(self, connection: sa.Connection) -> bool:
        """Tell whether anything is stored of these days, or of days between them."""
        return bool(connection.scalar(_IS_ANY_STORED, {"first": self.first, "last": self.last}))

    def is_any_older(self, connection: sa.Connection) -> bool:
        """Tell whether anything is stored before these days, where many are looked up; for few the answer costs more."""
        return self.plant_ids is None or bool(connection.scalar(_IS_ANY_OLDER, {"first": self.first}))

    def row_before(self, identifier: str, day: str, *, is_any_older: bool = True) -> str:
        """Return the joins of the last counter before a day: of the day before, which is the rule, else the newest one before.

        A machine that was at another plant on the day before is looked up by its key. What they bring: see BEFORE_COLUMNS.
        Of one single day, before which nothing is stored, they look for nothing.
        """
        is_first_day = self.first == self.last and not is_any_older
        older = (
            "false" if is_first_day else f"day_before.equipment_id IS NULL AND r.equipment_id = {identifier} AND r.date < {day}"
        )
        return f"""{self.shifted(-1).row("day_before", identifier, f"{day} - 1", is_own=True)}
            LEFT JOIN LATERAL (
                SELECT r.date, r.cumulative_hours FROM {_TIMES} r WHERE {older} AND {HAS_COUNTER} ORDER BY r.date DESC LIMIT 1
            ) before ON true"""

    @contextmanager
    def planned(self, connection: sa.Connection) -> Iterator[None]:
        """Have joins with what is stored done in the way that these days are found, while the body runs.

        The planner goes astray on a month without statistics.
        """
        options = _SET_BASED if self.plant_ids is not None else _ONE_BY_ONE
        for option, value in options.items():
            connection.execute(sa.text(f"SET LOCAL {option} = {value}"))
        yield
        for option in options:
            connection.execute(sa.text(f"SET LOCAL {option} TO DEFAULT"))

    def _most_rows(self, connection: sa.Connection) -> int:
        """Return about how many rows these days can have: one of each machine."""
        machines = int(connection.scalar(_MASTERS_BYTES) or 0) // _BYTES_A_MACHINE
        return machines * ((self.last - self.first).days + 1)


def read_neighbours(
    connection: sa.Connection, keys: pd.DataFrame, plant_codes: Sequence[str], *, own_plants: Iterable[str] | None = None
) -> pd.DataFrame:
    """Return what is stored around machine-days that are about to be written.

    Args:
        connection: inside a transaction.
        keys: equipment_number, date, unique.
        plant_codes: whose readings of those days are about to be replaced.
        own_plants: where most of the readings before are, to find them faster; by default the same.

    Returns:
        equipment_number, date, equipment_id, previous_date, previous_cumulative_hours, other_plants_hours (hours that other
        plants stated), other_plants_days_covered, week_ago_cumulative_hours, known_overflow_at, known_counting_backwards,
        is_stored and is_locked (1.0 where it is so), for those keys whose equipment exists.
    """
    if keys.empty:
        return pd.DataFrame({name: pd.Series(dtype=str(kind)) for name, kind in _TYPES.items()})
    numbered = keys.loc[:, ["equipment_number", "date"]].assign(position=np.arange(len(keys)))
    stage(connection, "staged_keys", {"position": "integer", "equipment_number": "text", "date": "date"}, numbered)
    days = Days.of(connection, keys["date"], len(keys), plant_codes if own_plants is None else own_plants)
    machines = sql.SQL(
        f"""SELECT k.position, e.id, k.date FROM staged_keys k JOIN {equipment.fullname} e USING (equipment_number)"""
    )
    found = _read_around(connection, days, plant_codes, machines, {"position": "bigint"})
    position = found.pop("position")
    asked = keys.take(position).reset_index(drop=True)
    keys_asked = {name: asked[name] for name in ("equipment_number", "date")}
    return _frame_of({**keys_asked, **found, "is_locked": np.full(len(asked), np.nan)})


def lock_and_read_plants(connection: sa.Connection, day: date, plant_codes: Sequence[str], most: int) -> pd.DataFrame | None:
    """Lock all machines of some plants; return what is stored around one day of them, which is to be replaced.

    Args:
        connection: inside the transaction that is going to write.
        day: that is about to be written.
        plant_codes: of the machines, as their masters have it.
        most: of machines; None is returned, and none is locked, if there are more.

    Returns:
        The columns of `read_neighbours`. What is said of a machine that is locked stays true until the transaction ends.
    """
    ids: list[int] = list(connection.scalars(sa.select(plants.c.id).where(plants.c.plant_code.in_(plant_codes))))
    of_plants = sa.select(sa.func.count()).where(equipment.c.plant_id.in_(ids))
    count = int(connection.scalar(of_plants) or 0)
    if count > most:
        return None
    locked = lock_machines_of_plants(connection, ids)
    days = Days.of(connection, pd.Series([pd.Timestamp(day)]), count, plant_codes)
    machines = sql.SQL(
        f"SELECT id, {{day}} AS date, equipment_number FROM {equipment.fullname} WHERE plant_id = ANY({{ids}})"
    ).format(day=sql.Literal(day), ids=sql.Literal(ids))
    found = _read_around(connection, days, plant_codes, machines, {"equipment_number": "text"})
    machine = found["equipment_id"]
    days_asked = np.full(len(machine), np.datetime64(day, "s"))
    return _frame_of({**found, "date": days_asked, "is_locked": np.isin(machine, locked)})


def _frame_of(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return columns as a frame, without a copy of those that have their types already."""
    arrays = {name: pd.array(columns[str(name)], dtype=kind, copy=False) for name, kind in _TYPES.items()}
    return pd.DataFrame(arrays, copy=False)


def _read_around(
    connection: sa.Connection, days: Days, plant_codes: Sequence[str], machines: sql.Composable, own_kinds: Mapping[str, str]
) -> dict[str, Any]:
    """Return what is around machine-days, column by column: their machine's id, columns of their own, and what is told of them.

    Where nothing at all is stored of a day, as of each new one, nothing is joined with it: that is a third of a look's time.

    Args:
        connection: inside a transaction.
        days: of the machine-days.
        plant_codes: see `read_neighbours`.
        machines: the query of the machine-days: id, date, and columns of their own.
        own_kinds: the kinds of those, see `bulk.read_columns`.
    """
    can_tell = {
        "before": True,
        "week_ago": days.plant_ids is None or days.shifted(-_WEEK).is_any_stored(connection),
        "of_day": days.plant_ids is None or days.is_any_stored(connection),
        "facts": bool(connection.scalar(_IS_ANY_FACT)),
    }
    told = {name: kind for teller, kinds in _TOLD_BY.items() if can_tell[teller] for name, kind in kinds.items()}
    with days.planned(connection):
        query = _neighbours(connection, days, plant_codes, machines, {teller for teller, can in can_tell.items() if can})
        found = read_columns(connection, query, {**own_kinds, "equipment_id": "bigint", **told})
    count = len(found["equipment_id"])
    missing = {name for kinds in _TOLD_BY.values() for name in kinds} - told.keys()
    return found | {name: np.full(count, _NOTHING_TOLD.get(name, np.nan)) for name in missing}


def _neighbours(
    connection: sa.Connection, days: Days, plant_codes: Sequence[str], machines: sql.Composable, tellers: Collection[str]
) -> sql.Composed:
    """Return the query of `machines` with what `tellers` tell of them, and equipment_id."""
    # hours that are known of a day with several parts are asked for where there are such parts, and nowhere else
    of_parts = "FROM jsonb_each(of_day.readings) part WHERE NOT part.key = ANY({codes})"
    is_of_others = f"of_day.source = '{EXTERNAL_API}' AND NOT of_day.plant_id = ANY({{own}})"
    columns = {
        "before": BEFORE_COLUMNS,
        "week_ago": "week_ago.cumulative_hours::float8 AS week_ago_cumulative_hours",
        "of_day": f"""
            CASE WHEN of_day.source <> '{EXTERNAL_API}' THEN NULL
                 WHEN of_day.readings IS NOT NULL THEN (
                     SELECT sum(COALESCE(part.value ->> 'stated_hours', part.value ->> 'running_hours')::float8) FILTER (
                                WHERE NOT COALESCE(part.value -> 'warnings' ? '{HOURS_MISSING}', false)) {of_parts})
                 WHEN {is_of_others} AND NOT '{HOURS_MISSING}' = ANY(COALESCE(of_day.warnings, ARRAY[]::text[]))
                 THEN of_day.running_hours
            END::float8 AS other_plants_hours,
            CASE WHEN of_day.source <> '{EXTERNAL_API}' THEN NULL
                 WHEN of_day.readings IS NOT NULL THEN (SELECT max((part.value ->> 'days_covered')::int) {of_parts})
                 WHEN {is_of_others} THEN of_day.days_covered END AS other_plants_days_covered,
            (of_day.equipment_id IS NOT NULL)::int AS is_stored""",
        "facts": "facts.overflow_at::float8 AS known_overflow_at, facts.is_counting_backwards::int AS known_counting_backwards",
    }
    joins = {
        "before": days.row_before("k.id", "k.date", is_any_older=days.is_any_older(connection)),
        "week_ago": days.shifted(-_WEEK).row("week_ago", "k.id", f"k.date - {_WEEK}"),
        "of_day": days.row("of_day", "k.id", "k.date", "true"),
        "facts": f"LEFT JOIN {counter_facts.fullname} facts ON facts.equipment_id = k.id",
    }
    own: list[int] = list(connection.scalars(sa.select(plants.c.id).where(plants.c.plant_code.in_(plant_codes))))
    return sql.SQL(
        f"""
        SELECT k.*, k.id AS equipment_id, {", ".join(text for teller, text in columns.items() if teller in tellers)}
        FROM ({{machines}}) k
        {" ".join(text for teller, text in joins.items() if teller in tellers)}
        """
    ).format(codes=sql.Literal(list(plant_codes)), own=sql.Literal(own), machines=machines)

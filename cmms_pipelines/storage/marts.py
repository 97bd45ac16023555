"""The marts of schema `analytics`, read by name: which there are, their columns, their first rows, a stream of all rows.

What belongs here: SQL over relations that dbt has made, whose names and columns are asked of the catalogue and never taken on
trust. What does not: which rows of which mart come first, and what is drawn of them (`reports`).
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError

SCHEMA = "analytics"
STAGING = "stg_"
ROWS_AT_ONCE = 5_000
_DAY_COLUMNS = (
    "date", "period_started_on", "started_on", "called_on", "received_on", "first_seen_on", "opened_on", "gap_started_on",
)  # fmt: skip

_RELATIONS = sa.text("""
    SELECT relname FROM pg_catalog.pg_class
    WHERE relnamespace = to_regnamespace(:schema) AND relkind IN ('r', 'p', 'v', 'm') ORDER BY relname
""")
_COLUMNS = sa.text("""
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_catalog.pg_attribute
    WHERE attrelid = to_regclass(:relation) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
""")


@dataclass(frozen=True)
class Column:
    """A column as the catalogue has it: `type` is PostgreSQL's own word, such as `numeric(18,4)`."""

    name: str
    type: str


@dataclass(frozen=True)
class RowFilter:
    """Which rows; what is empty does not restrict. Days are those of the mart's own day column, both ends included."""

    plants: Sequence[str] = ()
    equipment: Sequence[str] = ()
    first_day: dt.date | None = None
    last_day: dt.date | None = None


def mart_names(connection: sa.Connection) -> list[str]:
    """Return the names of the marts: what schema `analytics` has besides the staging views."""
    found: list[str] = list(connection.execute(_RELATIONS, {"schema": SCHEMA}).scalars())
    return [name for name in found if not name.startswith(STAGING)]


def columns_of(connection: sa.Connection, relation: str) -> list[Column]:
    """Return the columns of a relation of schema `analytics`, in their order; none if there is no such relation."""
    rows = connection.execute(_COLUMNS, {"relation": _full_name(relation)})
    return [Column(row.name, row.type) for row in rows]


def known_mart(connection: sa.Connection, mart: str) -> list[Column]:
    """Return the columns of a mart.

    Raises:
        PermanentError: there is no such mart; the message names those there are.
    """
    names = mart_names(connection)
    if mart in names:
        return columns_of(connection, mart)
    if not names:
        raise PermanentError("There are no marts yet: the job build_marts makes them.")
    raise PermanentError(f"There is no mart {mart}; there are {', '.join(names)}.")


def day_column(columns: Sequence[Column]) -> str | None:
    """Return the column that says which day a row is about."""
    days = [column.name for column in columns if column.type == "date"]
    return next((name for name in _DAY_COLUMNS if name in days), days[0] if days else None)


def aggregate(connection: sa.Connection, relation: str, expressions: Mapping[str, str]) -> dict[str, Any]:
    """Return one row of aggregates over a relation, by name; the expressions are SQL of our own."""
    if not expressions:
        return {}
    chosen = ", ".join(f"{expression} AS {_quoted(name)}" for name, expression in expressions.items())
    return dict(connection.execute(sa.text(f"SELECT {chosen} FROM {_full_name(relation)}")).mappings().one())


def first_rows(connection: sa.Connection, relation: str, order: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """Return the first rows of a relation; `order` holds terms of an ORDER BY, SQL of our own."""
    ordered = f"ORDER BY {', '.join(order)}" if order else ""
    statement = sa.text(f"SELECT * FROM {_full_name(relation)} {ordered} LIMIT :limit")
    return [dict(row) for row in connection.execute(statement, {"limit": limit}).mappings()]


def stream_rows(
    connection: sa.Connection, mart: str, columns: Sequence[Column], chosen: RowFilter
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield all rows in batches, through a cursor of the server: memory does not grow with the mart.

    Raises:
        PermanentError: the filter asks for what the mart does not have.
    """
    conditions, values = _conditions(mart, columns, chosen)
    names = ", ".join(_quoted(column.name) for column in columns)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = sa.text(f"SELECT {names} FROM {_full_name(mart)}{where} ORDER BY {_stable_order(columns)}")
    streamed = connection.execution_options(stream_results=True, max_row_buffer=ROWS_AT_ONCE)
    for rows in streamed.execute(statement, values).partitions(ROWS_AT_ONCE):
        yield [tuple(row) for row in rows]


def _conditions(mart: str, columns: Sequence[Column], chosen: RowFilter) -> tuple[list[str], dict[str, Any]]:
    names, day = {column.name for column in columns}, day_column(columns)
    wanted = {
        "plants": ("plant_code" if "plant_code" in names else None, "= ANY(:plants)", list(chosen.plants) or None),
        "equipment": (
            "equipment_number" if "equipment_number" in names else None, "= ANY(:equipment)", list(chosen.equipment) or None,
        ),
        "first_day": (day, ">= :first_day", chosen.first_day),
        "last_day": (day, "<= :last_day", chosen.last_day),
    }  # fmt: skip
    asked = {name: found for name, found in wanted.items() if found[2] is not None}
    for name, (column, _, _) in asked.items():
        if column is None:
            what = {"plants": "plants", "equipment": "machines"}.get(name, "days")
            raise PermanentError(f"{mart} has no column of {what} to choose by: leave out {name.replace('_', ' ')}.")
    conditions = [f"{_quoted(str(column))} {test}" for column, test, _ in asked.values()]
    return conditions, {name: value for name, (_, _, value) in asked.items()}


def _stable_order(columns: Sequence[Column]) -> str:
    """Sort by day, then by what comes first, so that two exports of the same rows are the same file."""
    day = day_column(columns)
    sortable = [column.name for column in columns if not column.type.startswith(("json", "xml", "point"))]
    chosen = dict.fromkeys([*([day] if day else []), *sortable])
    return ", ".join(_quoted(name) for name in chosen)


def _full_name(relation: str) -> str:
    return f"{SCHEMA}.{_quoted(relation)}"


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'

"""Bulk writes: a frame into a temporary table by COPY, as fast as PostgreSQL takes it.

pyarrow's CSV writer through psycopg's COPY is several times as fast as pandas' `to_csv`, if it is spared what is slow in it:
time stamps with a zone cost twenty times as much as those without.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import RawIOBase
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from psycopg import Connection, Copy, Cursor, Error, sql
from pyarrow import csv
from sqlalchemy.exc import DBAPIError

_SENT_TOGETHER = 5000  # rows
_FEWEST_ANALYZED = 1000
_SECONDS = "seconds_copying"
_NUL_ESCAPE = re.compile(r"((?:^|[^\\])(?:\\\\)*)\\u0000")


def stage(connection: sa.Connection, name: str, columns: Mapping[str, str], frame: pd.DataFrame) -> None:
    """Make the temporary table `name` and fill it from `frame`; it is gone at the end of the transaction.

    Args:
        connection: inside a transaction.
        name: of the temporary table; an earlier one of this name in the same transaction is replaced.
        columns: column -> SQL type, all of them in `frame`; a dict becomes jsonb, a list of identifiers text[].
        frame: the rows, missing values as NULL; NUL characters are left out, which PostgreSQL holds in `json` only.
    """
    started = time.perf_counter()
    table = sql.Identifier(name)
    definitions = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(_known_type(kind))) for column, kind in columns.items()
    )
    with _cursor(connection) as cursor:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS pg_temp.{}").format(table))
        cursor.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(table, definitions))
        _copy(cursor, table, columns, frame)
        if len(frame) >= _FEWEST_ANALYZED:
            known = sql.SQL(", ").join(sql.Identifier(column) for column in _joined_on(columns))
            cursor.execute(sql.SQL("ANALYZE {} ({})").format(table, known))
    connection.info[_SECONDS] = seconds_copying(connection) + time.perf_counter() - started


def copy_into(connection: sa.Connection, table: sa.Table, columns: Mapping[str, str], frame: pd.DataFrame) -> None:
    """Add `frame` to a table of ours; the other columns get their defaults.

    Raises:
        sqlalchemy.exc.IntegrityError: a row breaks a constraint; the transaction, or its savepoint, is to be rolled back.
    """
    with checking_keys_by_index(connection), _cursor(connection) as cursor:
        _copy(cursor, sql.Identifier(table.schema or "public", table.name), columns, frame)


@contextmanager
def checking_keys_by_index(connection: sa.Connection) -> Iterator[None]:
    """Have foreign keys checked by an index while the body writes rows, those to small tables too.

    PostgreSQL plans such a check once a session. It takes reading a table of one page for cheaper than a look into its index, and
    then looks through all plants for each row: a fifth of what a row costs.
    """
    connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
    yield
    connection.execute(sa.text("SET LOCAL enable_seqscan TO DEFAULT"))


def _copy(cursor: "Cursor[tuple[Any, ...]]", table: sql.Identifier, columns: Mapping[str, str], frame: pd.DataFrame) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, names)) as copy:
        if len(frame):  # for an empty chunk pyarrow writes a buffer of NULs, hence one chunk of all rows
            rows = pa.table({column: _as_array(frame[column], kind) for column, kind in columns.items()}).combine_chunks()
            csv.write_csv(rows, _Sending(copy), csv.WriteOptions(include_header=False, batch_size=_SENT_TOGETHER))


class _Sending(RawIOBase):
    """A file that is never kept: what is written to it goes to PostgreSQL while the rest is still being made."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        sent = bytes(data)
        self._copy.write(sent)
        return len(sent)


def seconds_copying(connection: sa.Connection) -> float:
    """Return how long `stage` has worked on this connection since it was opened, for whoever compares before with after."""
    return float(connection.info.get(_SECONDS, 0.0))


def read_columns(connection: sa.Connection, query: sql.Composable, kinds: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """Return all rows of a query at once, column by column, each column as one value.

    A row costs psycopg several microseconds, by `COPY` as well as by `SELECT`; here only columns do.

    Args:
        connection: inside a transaction.
        query: a SELECT with the columns of `kinds`.
        kinds: column -> bigint (never NULL; int64), float8 (NULL is NaN), date (NULL is NaT; datetime64[D]), text (never
            NULL; objects).
    """
    packed = sql.SQL(", ").join(
        sql.SQL(_PACKED[kind].sql).format(column=sql.Identifier("q", column)) for column, kind in kinds.items()
    )
    with _cursor(connection, binary=True) as cursor:
        row = cursor.execute(sql.SQL("SELECT {} FROM ({}) q").format(packed, query)).fetchone() or ()
    return {column: _unpacked(value or b"", kind) for (column, kind), value in zip(kinds.items(), row, strict=True)}


def _unpacked(value: bytes, kind: str) -> npt.NDArray[Any]:
    packing = _PACKED[kind]
    if kind == "text":
        return np.array(value.decode().split("\0")[:-1], dtype=packing.dtype)
    return np.frombuffer(value, dtype=packing.wire).astype(packing.dtype)


class _Packing(NamedTuple):
    """How PostgreSQL sends a column, and how numpy reads it."""

    sql: str
    wire: str
    dtype: str


_PACKED: Mapping[str, _Packing] = {
    "bigint": _Packing("string_agg(int8send({column}::int8), '')", ">i8", "int64"),
    "float8": _Packing("string_agg(float8send(COALESCE({column}::float8, 'NaN')), '')", ">f8", "float64"),
    # numpy's NaT is the smallest integer
    "date": _Packing(
        "string_agg(int8send(COALESCE(({column} - DATE '1970-01-01')::int8, -9223372036854775808)), '')",
        ">i8",
        "datetime64[D]",
    ),
    # no text of PostgreSQL has a NUL
    "text": _Packing("string_agg(textsend({column}) || '\\x00'::bytea, '')", "", "object"),
}

_SQL_TYPES = frozenset(
    {"bigint", "integer", "smallint", "boolean", "text", "text[]", "date", "timestamptz", "numeric(14,4)", "jsonb", "json"}
)


def _joined_on(columns: Mapping[str, str]) -> list[str]:
    """Return the columns that joins are made on, by the looks of them: statistics of all would cost more than the COPY."""
    first = next(iter(columns))
    return [column for column, kind in columns.items() if column == first or kind in {"bigint", "date"}]


def _known_type(kind: str) -> str:
    if kind not in _SQL_TYPES:
        raise ValueError(f"{kind!r} is not a type that is staged")
    return kind


def _as_array(values: pd.Series, kind: str) -> pa.Array:
    if kind in {"jsonb", "json", "text[]"}:
        return _as_texts(values, kind)
    array = pa.Array.from_pandas(values)
    if kind == "text":
        return _without_nul(array, values)
    if kind == "timestamptz":
        # written without a zone, which our sessions read as UTC (see `storage.engine`)
        return array.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    if kind == "date":
        return array.cast(pa.timestamp("s")).cast(pa.date32())
    return array.cast(pa.int64()) if kind in {"bigint", "integer", "smallint"} else array


def _as_texts(values: pd.Series, kind: str) -> pa.Array:
    if values.isna().all():
        return pa.nulls(len(values), pa.string())
    if kind == "text[]":
        return pa.array([None if _is_missing(value) else _array_literal(value) for value in values], pa.string())
    texts = [None if _is_missing(value) else orjson.dumps(value, default=str).decode() for value in values]
    return pa.array(texts if kind == "json" else [text and _without_nul_escape(text) for text in texts], pa.string())


def _without_nul(array: pa.Array, values: pd.Series) -> pa.Array:
    """Leave out NUL characters, looking at the bytes of all texts at once."""
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    buffers = [chunk.buffers()[-1] for chunk in chunks]
    if all(buffer is None or np.frombuffer(buffer, dtype="uint8").all() for buffer in buffers):
        return array
    return pa.Array.from_pandas(values.str.replace("\0", "", regex=False))


def _without_nul_escape(text: str) -> str:
    """Take out what PostgreSQL's jsonb and text cannot hold; a backslash that is itself escaped stays."""
    return _NUL_ESCAPE.sub(r"\1", text) if "\\u0000" in text else text


def _array_literal(values: Sequence[str]) -> str:
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and pd.isna(value))


@contextmanager
def _cursor(connection: sa.Connection, *, binary: bool = False) -> "Iterator[Cursor[tuple[Any, ...]]]":
    """Give a cursor of the driver whose errors are SQLAlchemy's, so that callers know one kind only."""
    try:
        with _driver_connection(connection).cursor(binary=binary) as cursor:
            yield cursor
    except Error as error:
        raise DBAPIError.instance(None, None, error, Error, dialect=connection.dialect) from error


def _driver_connection(connection: sa.Connection) -> "Connection[tuple[object, ...]]":
    raw = connection.connection.driver_connection
    if not isinstance(raw, Connection):
        raise TypeError(f"bulk writes need psycopg 3, not {type(raw).__name__}: name the driver postgresql+psycopg")
    return raw

"""Frames reach PostgreSQL cell for cell, whatever text they hold."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy.exc import DataError, ProgrammingError

from cmms_pipelines.storage.bulk import read_columns, seconds_copying, stage
from tests.conftest import Database

AWKWARD = [
    'a "quoted" word',
    "two\nlines",
    "carriage\r\nreturn",
    "back\\slash \\N \\. \\n",
    "comma, and ; and\ttab",
    "",
    None,
    " blanks ",
    "MÆRSK 日本 🛩",
    "\\.",
    "NULL",
]


def staged(engine: sa.Engine, columns: dict[str, str], frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    with engine.begin() as connection:
        stage(connection, "staged", columns, frame)
        return [tuple(row) for row in connection.execute(sa.text("SELECT * FROM staged"))]


def test_awkward_text_arrives_as_it_is_and_an_empty_one_is_not_null(database: Database) -> None:
    frame = pd.DataFrame({"value": pd.Series(AWKWARD, dtype="str")})
    assert [row[0] for row in staged(database.engine, {"value": "text"}, frame)] == AWKWARD


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))), max_size=6))
def test_any_text_arrives_as_it_is(database: Database, texts: list[str | None]) -> None:
    frame = pd.DataFrame(
        {"value": pd.Series(texts, dtype="str"), "list": pd.Series([[text or ""] for text in texts], dtype=object)}
    )
    assert staged(database.engine, {"value": "text", "list": "text[]"}, frame) == [(text, [text or ""]) for text in texts]


def test_every_type_arrives_with_its_value_and_its_nulls(database: Database) -> None:
    columns = {
        "a": "bigint", "b": "smallint", "c": "boolean", "d": "date", "e": "timestamptz", "f": "numeric(14,4)", "g": "text[]",
        "h": "jsonb",
    }  # fmt: skip
    moment = datetime(2013, 10, 29, 0, 0, 0, 123456, tzinfo=UTC)
    frame = pd.DataFrame(
        {
            "a": pd.Series([2**60, None], dtype="Int64"),
            "b": pd.Series([7.0, None], dtype="float64"),
            "c": [True, False],
            "d": pd.Series([pd.Timestamp("9999-12-31"), None], dtype="datetime64[s]"),
            "e": pd.Series([moment, None], dtype="datetime64[us, UTC]"),
            "f": [5.06666, None],
            "g": [['a "b" \\c', "", "{x,y}"], None],
            "h": [{"a": ['"\\', 1.5, None]}, None],
        }
    )
    rows = staged(database.engine, columns, frame)
    assert rows[0][:5] == (2**60, 7, True, date(9999, 12, 31), moment)
    assert (float(rows[0][5]), rows[0][6:]) == (5.0667, (['a "b" \\c', "", "{x,y}"], {"a": ['"\\', 1.5, None]}))
    assert rows[1] == (None, None, False, None, None, None, None, None)


def test_a_nul_is_left_out_where_postgresql_cannot_hold_it_and_kept_in_json(database: Database) -> None:
    payload = {"EQKTU": "a\0b", "\\u0000": "\\\0", "n": ["\0"]}
    frame = pd.DataFrame({"text": pd.Series(["a\0b"], dtype="str"), "jsonb": [payload], "json": [payload]})
    with database.engine.begin() as connection:
        stage(connection, "staged", {"text": "text", "jsonb": "jsonb", "json": "json"}, frame)
        row = connection.execute(sa.text("SELECT text, jsonb, json FROM staged")).one()
    assert row.text == "ab"
    assert row.jsonb == {"EQKTU": "ab", "\\u0000": "\\", "n": [""]}
    assert row.json == payload


@pytest.mark.parametrize("parts", [[0, 2], [2, 0, 0], [0], [1, 1500]])
def test_a_frame_put_together_from_parts_some_of_them_empty_arrives_whole(database: Database, parts: list[int]) -> None:
    """For an empty chunk pyarrow's CSV writer sends NULs."""
    frames = [pd.DataFrame({"value": pd.Series([f"{size}-{row}" for row in range(size)], dtype="str")}) for size in parts]
    frame = pd.concat(frames, ignore_index=True)
    assert [row[0] for row in staged(database.engine, {"value": "text"}, frame)] == frame["value"].to_list()


def test_a_second_frame_of_the_same_name_replaces_the_first_and_neither_outlives_the_transaction(database: Database) -> None:
    with database.engine.connect() as connection:
        with connection.begin():
            stage(connection, "staged", {"a": "text"}, pd.DataFrame({"a": ["x"]}, dtype="str"))
            stage(connection, "staged", {"b": "bigint"}, pd.DataFrame({"b": [1, 2]}))
            assert connection.scalar(sa.text("SELECT sum(b) FROM staged")) == 3
        assert connection.scalar(sa.text("SELECT to_regclass('staged')")) is None


def test_a_type_that_is_not_known_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="not a type"):
        staged(database.engine, {"a": "text); DROP TABLE cmms.plants; --"}, pd.DataFrame({"a": ["x"]}))


def test_columns_are_read_at_once_with_their_nulls(database: Database) -> None:
    query = sql.SQL(
        "SELECT n AS number, CASE WHEN n <> 2 THEN n / 4.0 END AS hours, CASE WHEN n <> 3 THEN DATE '2013-10-27' + n END AS day "
        "FROM generate_series(1, 3) n ORDER BY n"
    )
    with database.engine.begin() as connection:
        columns = read_columns(connection, query, {"number": "bigint", "hours": "float8", "day": "date"})
    assert columns["number"].tolist() == [1, 2, 3]
    assert [None if np.isnan(hours) else hours for hours in columns["hours"]] == [0.25, None, 0.75]
    assert columns["day"].tolist() == [date(2013, 10, 28), date(2013, 10, 29), None]


def test_no_rows_are_columns_of_their_types_without_values(database: Database) -> None:
    query = sql.SQL("SELECT 1 AS number, DATE '2013-10-27' AS day WHERE false")
    with database.engine.begin() as connection:
        columns = read_columns(connection, query, {"number": "bigint", "day": "date"})
    assert {name: (len(values), str(values.dtype)) for name, values in columns.items()} == {
        "number": (0, "int64"),
        "day": (0, "datetime64[D]"),
    }


@pytest.mark.parametrize("rows", [1, 1500])
def test_the_time_that_staging_takes_is_known_afterwards(database: Database, rows: int) -> None:
    frame = pd.DataFrame({"a": pd.Series(["x"] * rows, dtype="str")})
    with database.engine.begin() as connection:
        before = seconds_copying(connection)
        stage(connection, "staged", {"a": "text"}, frame)
        assert seconds_copying(connection) > before


def test_what_the_driver_refuses_is_an_error_of_sqlalchemy(database: Database) -> None:
    too_long = pd.DataFrame({"a": [2**40]})
    with database.engine.connect() as connection:
        with connection.begin(), pytest.raises(DataError, match="out of range"):
            stage(connection, "staged", {"a": "smallint"}, too_long)
        with connection.begin(), pytest.raises(ProgrammingError, match="no_such_table"):
            read_columns(connection, sql.SQL("SELECT a FROM no_such_table"), {"a": "bigint"})

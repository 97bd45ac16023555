"""A schema `analytics` with one mart of every type that marts have, and strings that mean harm."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from cmms_pipelines.storage.engine import make_engine
from tests.conftest import TEMPLATE, Database, new_database

HOSTILE = (
    '=HYPERLINK("http://evil.example")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\tcmd",
    "\uff1d1",
    "<script>alert(1)</script>",
    "plain",
)
ROWS = 40
_MART = """
    CREATE SCHEMA IF NOT EXISTS analytics;
    CREATE VIEW analytics.stg_cmms__things AS SELECT 1 AS one;
    CREATE TABLE analytics.every_type AS
    SELECT n AS id, 'P' || n % 3 AS plant_code, cast('EQ-' || n AS varchar(50)) AS equipment_number,
           9007199254740993 + n AS large, cast(n * 1.2345 AS numeric(18, 4)) AS hours, n / 7.0::double precision AS share,
           cast(12345678901234.5678 AS numeric(18, 4)) AS many_digits, n % 2 = 0 AS is_even,
           CASE WHEN n % 5 = 0 THEN NULL ELSE (cast(:hostile AS text[]))[1 + n % 8] END AS remark,
           jsonb_build_object('n', n) AS details, date '2026-03-01' + n AS date,
           timestamptz '2026-03-29 01:30:00.125+01' + n * interval '1 hour' AS built_as_of
    FROM generate_series(1, :rows) AS n
"""


@pytest.fixture(scope="module")
def marts(server_url: str) -> Iterator[Database]:
    with contextmanager(new_database)(server_url, template=TEMPLATE) as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            for statement in _MART.split(";"):
                values = {"hostile": list(HOSTILE), "rows": ROWS} if ":hostile" in statement else {}
                connection.execute(sa.text(statement), values)
        yield Database(url, engine)
        engine.dispose()

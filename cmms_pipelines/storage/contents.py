"""What a database holds, table by table, so that a copy of it can be compared: rows, a digest of all of them, and sequences.

What belongs here: reading that of any database of ours, Dagster's too. What does not: making copies (`storage.dumps`).
"""

import psycopg
from psycopg import sql
from pydantic import BaseModel, ConfigDict

OF_USERS = "namespace.nspname !~ '^pg_' AND namespace.nspname <> 'information_schema'"
# As text, so that it is the same on another server: times in UTC, numbers in full.
_STEADY = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex'"
_TABLES = f"""
    SELECT namespace.nspname, class.relname
    FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.relkind IN ('r', 'm') AND {OF_USERS}
    ORDER BY 1, 2
"""
_SEQUENCES = "SELECT schemaname || '.' || sequencename, coalesce(last_value, 0) FROM pg_sequences ORDER BY 1"
_VIEWS = "SELECT schemaname || '.' || viewname FROM pg_views WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema'"
# A sum does not mind in which order rows come; fifteen digits of each hash, so that it stays a number of 64 bits.
_ROWS = """
    SELECT count(*), coalesce(sum(('x' || substr(md5((whole_row.*)::text), 1, 15))::bit(60)::bigint), 0)::text
    FROM ONLY {} AS whole_row
"""


class TableContents(BaseModel):
    """All rows of one table: how many, and a digest that any other value in any of them would change."""

    model_config = ConfigDict(frozen=True)

    rows: int
    digest: str


class Contents(BaseModel):
    """What a database holds: tables (partitions one by one) and sequences by `schema.name`, and its views."""

    model_config = ConfigDict(frozen=True)

    tables: dict[str, TableContents]
    sequences: dict[str, int]
    views: list[str]

    @property
    def rows(self) -> int:
        """Return the rows of all tables."""
        return sum(table.rows for table in self.tables.values())

    def unlike(self, copy: "Contents") -> list[str]:
        """Return the names of what `copy` does not have, or has otherwise; a sequence may have gone on."""
        tables = {name for name in self.tables.keys() | copy.tables.keys() if self.tables.get(name) != copy.tables.get(name)}
        behind = {name for name, value in self.sequences.items() if copy.sequences.get(name, -1) < value}
        return sorted(tables | behind | (set(self.views) ^ set(copy.views)))


def read_contents(connection: psycopg.Connection) -> Contents:
    """Read every row of every table, in the transaction of `connection`: a second or two for each million."""
    connection.execute(_STEADY)
    sequences = {str(name): int(value) for name, value in connection.execute(_SEQUENCES).fetchall()}
    found = connection.execute(_TABLES.encode()).fetchall()
    tables = {f"{schema}.{name}": _table(connection, schema, name) for schema, name in found}
    views = [str(row[0]) for row in connection.execute(_VIEWS).fetchall()]
    return Contents(tables=tables, sequences=sequences, views=sorted(views))


def _table(connection: psycopg.Connection, schema: str, name: str) -> TableContents:
    row = connection.execute(sql.SQL(_ROWS).format(sql.Identifier(schema, name))).fetchone()
    count, digest = row if row is not None else (0, "0")
    return TableContents(rows=count, digest=digest)

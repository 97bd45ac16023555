"""Which columns of other relations the columns of a query are made of.

What belongs here: reading SQL. What does not: where the SQL comes from, and how Dagster shows lineage (`defs.reporting`).
dagster-dbt can tell the same, but reads and qualifies the whole query anew for each of its columns: for our marts that took
longer than building and testing them.
"""

from collections.abc import Iterator, Mapping

from sqlglot import exp
from sqlglot.lineage import Node, lineage

DIALECT = "postgres"
Relation = tuple[str, str]
"""Schema and name."""


def columns_read(
    sql: str, columns_of: Mapping[Relation, Mapping[str, str]], database: str
) -> dict[str, set[tuple[Relation, str]]]:
    """Return, for each column of a query, the columns of stored relations that it is computed from.

    Args:
        sql: one SELECT, in PostgreSQL's dialect.
        columns_of: columns and their types of the relations that it reads.
        database: the name that relations have in front of their schema.
    """
    schema: dict[str, dict[str, Mapping[str, str]]] = {}
    for (name, relation), columns in columns_of.items():
        schema.setdefault(name, {})[relation] = columns
    found = lineage(None, sql, {database: schema}, dialect=DIALECT)
    return {name.lower(): set(_stored(node)) for name, node in found.items()}


def _stored(top: Node) -> Iterator[tuple[Relation, str]]:
    """Yield the columns of tables at the ends of a column's graph, each way once."""
    waiting, seen = [top], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        waiting += node.downstream
        table = None if node.downstream else node.expression.find(exp.Table)
        if table is not None:
            yield (table.db, table.name), exp.to_column(node.name).name.lower()

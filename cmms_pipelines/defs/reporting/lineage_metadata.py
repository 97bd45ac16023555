"""Of which columns a model's columns are made, on its materialization.

What belongs here: finding a model's compiled SQL and the relations that it reads, and hanging their lineage on dbt's events. What
does not: reading SQL (`reports.lineage`).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import sqlalchemy as sa

COLUMN_LINEAGE = "dagster/column_lineage"


def with_lineage(
    events: Iterable[Any], manifest: Mapping[str, Any], target: Path, engine: "sa.Engine", log: "dg.DagsterLogManager"
) -> Iterator[Any]:
    """Yield dbt's events; materializations carry the lineage of their columns.

    A query that cannot be read has none, and a warning: the model is built all the same.
    """
    for event in events:
        if isinstance(event, dg.Output | dg.AssetMaterialization):
            node = manifest["nodes"][str(event.metadata["unique_id"].value)]
            yield event.with_metadata({**event.metadata, **_lineage(node, manifest, target, engine, log)})
        else:
            yield event


def _lineage(
    node: Mapping[str, Any], manifest: Mapping[str, Any], target: Path, engine: "sa.Engine", log: "dg.DagsterLogManager"
) -> dict[str, Any]:
    from sqlglot.errors import SqlglotError  # noqa: PLC0415 - keeps the location's start light

    from cmms_pipelines.reports.lineage import columns_read  # noqa: PLC0415

    sql = (target / "compiled" / node["package_name"] / node["original_file_path"]).read_text(encoding="utf-8")
    read = [_relation({**manifest["nodes"], **manifest["sources"]}[parent]) for parent in node["depends_on"]["nodes"]]
    try:
        found = columns_read(sql, _columns(engine, [*read, _relation(node)]), node["database"])
    except SqlglotError as error:
        log.warning("The lineage of %s is not known: %s", node["name"], error)
        return {}
    known = set(read)
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey(list(relation)), name) for relation, name in sorted(sources) if relation in known]
        for column, sources in found.items()
    }
    return {COLUMN_LINEAGE: dg.MetadataValue.column_lineage(dg.TableColumnLineage(deps))}


def _relation(node: Mapping[str, Any]) -> tuple[str, str]:
    return node["schema"], node.get("alias") or node.get("identifier") or node["name"]


def _columns(engine: "sa.Engine", relations: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    import sqlalchemy as sa  # noqa: PLC0415

    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        return {
            (schema, name): {column["name"]: str(column["type"]) for column in inspector.get_columns(name, schema=schema)}
            for schema, name in relations
        }

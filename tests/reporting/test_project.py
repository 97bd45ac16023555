"""The dbt project on disk: its manifest, its connection, and its agreement with the tables."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from cmms_pipelines.defs.reporting.project import PASSWORD_VARIABLE, PROJECT_DIR, connection_environment, prepare_manifest
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.kpi_limits import KpiLimits
from cmms_pipelines.storage import tables
from tests.reporting.conftest import Built, read

VIEWS = {"equipment_lifetime_hours"}
COLUMNS = """
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
    WHERE attrelid = to_regclass('cmms.{}') AND attnum > 0 AND NOT attisdropped
"""


@pytest.fixture(scope="session")
def manifest(built: Built) -> dict[str, Any]:
    """The manifest that the build used."""
    [path] = (built.home / "dbt" / "target").glob("manifest-*.json")
    parsed: dict[str, Any] = json.loads(path.read_text())
    return parsed


def test_two_processes_at_once_get_one_manifest_and_a_change_makes_a_new_one(tmp_path: Path) -> None:
    project, target = tmp_path / "project", tmp_path / "target"
    shutil.copytree(PROJECT_DIR / "macros", project / "macros")
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(PROJECT_DIR / name, project / name)
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: prepare_manifest(project, target, "reports"), range(2))
    assert first == second
    assert len(list(target.glob("manifest-*.json"))) == 1
    before = first.stat().st_mtime_ns
    assert prepare_manifest(project, target, "reports") == first
    assert first.stat().st_mtime_ns == before
    (project / "macros" / "as_of.sql").write_text("{% macro as_of() %} now() {% endmacro %}")
    assert prepare_manifest(project, target, "reports") != first


def test_a_project_that_does_not_parse_is_refused_with_the_words_of_dbt(tmp_path: Path) -> None:
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(PROJECT_DIR / name, tmp_path / name)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.sql").write_text("select * from {{ ref('nothing') }}")
    with pytest.raises(PermanentError, match="nothing"):
        prepare_manifest(tmp_path, tmp_path / "target", "cmms")


def test_a_missing_project_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no dbt project"):
        prepare_manifest(tmp_path / "nowhere", tmp_path / "target", "cmms")


def test_the_connection_comes_from_the_url_with_its_escapes_and_its_options() -> None:
    assert connection_environment(
        "postgresql://us%40er:p%2Fw%23@db.example:6543/cm%20ms?sslmode=verify-full&sslrootcert=/ca.pem"
    ) == {
        "CMMS_DBT_HOST": "db.example",
        "CMMS_DBT_PORT": "6543",
        "CMMS_DBT_USER": "us@er",
        PASSWORD_VARIABLE: "p/w#",
        "CMMS_DBT_DBNAME": "cm ms",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/ca.pem",
    }


def test_a_url_without_password_and_port_still_gives_dbt_what_it_wants() -> None:
    environment = connection_environment("postgresql://reader@/cmms?host=/run/postgresql")
    assert environment["CMMS_DBT_HOST"] == "/run/postgresql"
    assert environment["CMMS_DBT_PORT"] == "5432"
    assert environment[PASSWORD_VARIABLE]


def test_what_is_no_url_is_refused_without_showing_it() -> None:
    with pytest.raises(PermanentError) as refusal:
        connection_environment("postgresql://user:geheim@host:5432:1/x?nonsense=1")
    assert "geheim" not in str(refusal.value)


def test_sources_have_the_columns_and_types_of_the_tables(manifest: dict[str, Any]) -> None:
    of_tables = [source for source in manifest["sources"].values() if source["name"] not in VIEWS]
    for source in of_tables:
        table = tables.metadata.tables[f"cmms.{source['name']}"]
        described = {name: column["data_type"] for name, column in source["columns"].items()}
        assert described == {column.name: column.type.compile(dialect=postgresql.dialect()).lower() for column in table.columns}


def test_sources_that_are_views_have_the_columns_and_types_that_the_database_gives_them(
    manifest: dict[str, Any], built: Built
) -> None:
    found = {source["name"]: source["columns"] for source in manifest["sources"].values() if source["name"] in VIEWS}
    assert found.keys() == VIEWS
    for name, columns in found.items():
        described = {column: spec["data_type"].replace(", ", ",") for column, spec in columns.items()}
        assert described == {row["name"]: row["type"] for row in read(built.database.engine, COLUMNS.format(name))}


def test_the_limits_that_the_project_begins_with_are_those_of_the_settings() -> None:
    [block] = re.findall(r"^  kpi_limits:\n((?:    \w+: .+\n)+)", (PROJECT_DIR / "dbt_project.yml").read_text(), re.MULTILINE)
    named = (line.split(":") for line in block.splitlines())
    assert {name.strip(): float(limit) for name, limit in named} == KpiLimits().model_dump()


def test_every_column_of_sources_and_models_is_described(manifest: dict[str, Any]) -> None:
    nodes = [*manifest["sources"].values(), *(node for node in manifest["nodes"].values() if node["resource_type"] == "model")]
    assert len(nodes) > 30
    for node in nodes:
        assert node["description"], node["name"]
        assert all(column["description"] for column in node["columns"].values()), node["name"]


def test_models_are_under_contract_so_that_their_columns_are_those_described(manifest: dict[str, Any]) -> None:
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    assert all(model["config"]["contract"]["enforced"] for model in models)


def test_accepted_values_are_those_that_the_database_accepts(manifest: dict[str, Any]) -> None:
    allowed = {
        ("stg_cmms__api_sync_logs", "sync_type"): tables.SYNC_TYPES,
        ("stg_cmms__api_sync_logs", "status"): tables.SYNC_STATUSES,
        ("stg_cmms__sync_rejections", "sync_type"): tables.SYNC_TYPES,
        ("stg_cmms__sync_rejections", "severity"): tables.SEVERITIES,
        ("stg_cmms__sync_rejections", "status"): ("open", "replayed", "discarded"),
        ("stg_cmms__work_orders", "status"): _constraint_values("work_orders"),
        ("stg_cmms__maintenance_event_hooks", "processing_status"): tables.HOOK_STATUSES,
        ("stg_cmms__sync_conflicts", "status"): ("open", "resolved", "converged", "undone"),
        ("stg_cmms__delivery_counts", "outcome"): ("accepted", "duplicate", "quarantined"),
        ("stg_cmms__maintenance_rules", "scheduling"): ("floating", "fixed"),
        ("stg_cmms__maintenance_schedule", "status"): _constraint_values("maintenance_schedule"),
        ("stg_cmms__failures", "status"): _constraint_values("failures"),
    }
    words_of_marts = {
        ("data_freshness", "freshness"), ("running_time_trends", "period"), ("error_analysis", "category"),
        ("maintenance_due", "status"), ("maintenance_due", "baseline"), ("maintenance_due", "rule_is_for"),
        ("reliability", "level"),
    }  # fmt: skip
    tests = [node for node in manifest["nodes"].values() if (node.get("test_metadata") or {}).get("name") == "accepted_values"]
    found = {
        (test["attached_node"].split(".")[-1], test["column_name"]): tuple(test["test_metadata"]["kwargs"]["values"])
        for test in tests
    }
    assert found.keys() == allowed.keys() | words_of_marts
    assert {key: found[key] for key in allowed} == allowed


def test_the_data_model_page_names_every_table_and_every_column() -> None:
    page = (PROJECT_DIR.parent / "docs" / "data_model.md").read_text()
    for table in tables.metadata.tables.values():
        section = page.split(f"### `{table.name}`\n")[1].split("\n### ")[0].split("\n## ")[0]
        named = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert named == [column.name for column in table.columns], table.name


def _constraint_values(table: str) -> tuple[str, ...]:
    [text] = [
        str(constraint.sqltext)
        for constraint in tables.metadata.tables[f"cmms.{table}"].constraints
        if str(constraint.name).endswith("status_known") or str(constraint.name).endswith("status_known_check")
    ]
    return tuple(text.split("'")[1::2])

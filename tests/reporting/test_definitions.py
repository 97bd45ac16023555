"""How the dbt project looks in Dagster: keys, lineage, checks, metadata, job and schedule."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from cmms_pipelines.defs.reporting.definitions import build
from cmms_pipelines.settings import Settings
from tests.reporting.conftest import Built

STAGING = {
    "stg_cmms__plants": "plants",
    "stg_cmms__equipment": "equipment",
    "stg_cmms__equipment_groups": "equipment_groups",
    "stg_cmms__running_times": "equipment_running_times",
    "stg_cmms__api_sync_logs": "api_sync_logs",
    "stg_cmms__sync_rejections": "sync_rejections",
    "stg_cmms__api_calls": "api_calls",
    "stg_cmms__work_orders": "work_orders",
    "stg_cmms__maintenance_event_hooks": "maintenance_event_hooks",
    "stg_cmms__delivery_counts": "delivery_counts",
    "stg_cmms__hook_refusals": "audit_log",
    "stg_cmms__sync_conflicts": "sync_conflicts",
    "stg_cmms__maintenance_rules": "maintenance_rules",
    "stg_cmms__maintenance_schedule": "maintenance_schedule",
    "stg_cmms__failures": "failures",
}
LIFETIME = {"stg_cmms__lifetime_hours": {"equipment_lifetime_hours", "equipment_running_times"}}
MARTS = {
    "reliability": ["plants", "equipment", "running_times", "failures", "work_orders"],
    "maintenance_due": [
        "plants",
        "equipment",
        "running_times",
        "lifetime_hours",
        "maintenance_rules",
        "maintenance_schedule",
        "work_orders",
    ],
    "sync_performance": ["api_sync_logs", "api_calls"],
    "conflict_resolution": ["sync_conflicts"],
    "running_time_trends": ["plants", "equipment", "running_times"],
    "utilisation": ["plants", "equipment", "running_times"],
    "gap_analysis": ["plants", "equipment", "running_times"],
    "data_freshness": ["plants", "equipment", "running_times"],
    "error_analysis": ["sync_rejections"],
    "api_response_times": ["api_calls"],
    "event_analytics": ["maintenance_event_hooks", "delivery_counts", "hook_refusals"],
}
MARTS_OF_MARTS = {
    "plant_utilisation": ["utilisation"],
    "needs_maintenance": ["maintenance_due"],
    "sync_errors": ["equipment_status"],
    "equipment_counts": ["equipment_status"],
    "equipment_status": [
        "maintenance_due",
        *(
            f"stg_cmms__{name}"
            for name in (
                "plants", "equipment", "equipment_groups", "running_times", "sync_rejections", "work_orders", "api_sync_logs",
            )
        ),
    ],
    "daily_kpis": [
        "data_freshness",
        *(
            f"stg_cmms__{name}"
            for name in (
                "api_sync_logs", "sync_rejections", "api_calls", "maintenance_event_hooks", "delivery_counts", "hook_refusals",
                "sync_conflicts",
            )
        ),
    ],
}  # fmt: skip
INCREMENTAL, LISTS = {"running_time_trends", "daily_kpis"}, {"needs_maintenance", "sync_errors"}
A_WRONG_LOG = "INSERT INTO cmms.api_sync_logs (id, sync_type, records_processed) VALUES (999, 'equipment', 5)"


def test_asset_keys_are_schema_and_table_and_meet_those_of_the_python_assets(built: Built) -> None:
    deps = {tuple(spec.key.path): {tuple(dep.asset_key.path) for dep in spec.deps} for spec in _specs(built)}
    staging = {("analytics", model): {("cmms", table)} for model, table in STAGING.items()}
    marts = {("analytics", mart): {("analytics", f"stg_cmms__{name}") for name in names} for mart, names in MARTS.items()}
    marts |= {("analytics", mart): {("analytics", other) for other in others} for mart, others in MARTS_OF_MARTS.items()}
    lifetime = {("analytics", model): {("cmms", table) for table in of} for model, of in LIFETIME.items()}
    assert deps == staging | lifetime | marts


def test_every_model_says_whose_it_is_and_what_kind(built: Built) -> None:
    for spec in _specs(built):
        assert spec.group_name == "reporting"
        assert spec.owners == ["team:data-engineering"]
        name = spec.key.path[-1]
        is_view = name in {*STAGING, *LIFETIME, *LISTS}
        relation = "view" if is_view else "incremental" if name in INCREMENTAL else "table"
        assert spec.kinds == {"dbt", "postgres", relation}
        assert spec.description


def test_a_build_succeeds_and_every_dbt_test_is_a_check_that_passed(built: Built) -> None:
    assert built.result.success
    evaluations = built.result.get_asset_check_evaluations()
    assert len(evaluations) > 40
    assert [one.check_name for one in evaluations if not one.passed and not one.check_name.endswith("_limit")] == []


def test_checks_that_would_let_wrong_data_flow_on_are_errors_and_block_limits_only_warn(built: Built) -> None:
    blocking = {spec.name: spec.blocking for spec in _checks(built)}
    assert {name for name, blocks in blocking.items() if not blocks} == {name for name in blocking if name.endswith("_limit")}
    assert blocking["lifetime_hours_never_fall"]


def test_what_the_lists_are_called_is_in_keys_and_tags_where_the_ui_looks_for_words(built: Built) -> None:
    specs = {spec.key.path[-1]: spec for spec in _specs(built)}
    for words in ("needs maintenance", "sync errors", "data freshness"):
        assert words.replace(" ", "_") in specs
        tag = words.replace(" ", "-")
        tagged = {name for name, spec in specs.items() if tag in spec.tags}
        assert len(tagged) >= 2
        assert words.replace(" ", "_") in tagged


def test_materializations_carry_row_counts_columns_and_their_lineage_and_definitions_describe_them(built: Built) -> None:
    found = {
        event.materialization.asset_key.path[-1]: event.materialization.metadata
        for event in built.result.get_asset_materialization_events()
    }
    assert set(found) == {*STAGING, *LIFETIME, *MARTS, *MARTS_OF_MARTS}
    assert found["equipment_status"]["dagster/row_count"].value == len(built.rows.equipment)
    assert found["sync_performance"]["dagster/row_count"].value == len(built.rows.api_sync_logs)
    for spec in _specs(built):
        described = {column.name: column.description for column in spec.metadata["dagster/column_schema"].columns}
        metadata = found[spec.key.path[-1]]
        assert all(described.values())
        assert set(described) == {column.name for column in metadata["dagster/column_schema"].value.columns}
        assert "dagster/column_lineage" in metadata
    lineage = found["equipment_status"]["dagster/column_lineage"].value.deps_by_column
    assert [dep.column_name for dep in lineage["equipment_number"]] == ["equipment_number"]


def test_a_wrong_sync_log_makes_its_check_fail_and_the_run_with_it(built: Built) -> None:
    constraint = "api_sync_logs_every_record_accounted_for_check"
    with built.database.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE cmms.api_sync_logs DROP CONSTRAINT {constraint}"))
        connection.execute(sa.text(A_WRONG_LOG))
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            result = built.definitions.resolve_job_def("build_marts").execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(["analytics", "stg_cmms__api_sync_logs"])],
                raise_on_error=False,
            )
    finally:
        with built.database.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM cmms.api_sync_logs WHERE id = 999"))
            rule = "CHECK (records_processed = records_success + records_failed)"
            connection.execute(sa.text(f"ALTER TABLE cmms.api_sync_logs ADD CONSTRAINT {constraint} {rule}"))
    assert not result.success
    failed = [evaluation for evaluation in result.get_asset_check_evaluations() if not evaluation.passed]
    assert [evaluation.check_name for evaluation in failed] == ["every_sync_log_accounts_for_every_record"]
    assert failed[0].severity == dg.AssetCheckSeverity.ERROR
    assert failed[0].metadata["dagster_dbt/failed_row_count"].value == 1
    log = (built.home / "dbt" / "runs" / result.run_id / "dbt.log").read_text()
    assert '"MainReportVersion"' in log
    assert '"UnableToPartialParse"' not in log  # the build before left what it had parsed


def test_checks_are_described_and_sit_on_the_model_they_speak_of(built: Built) -> None:
    checks = {spec.name: spec for spec in _checks(built)}
    assert all(spec.description for spec in checks.values())
    assert checks["equipment_status_has_one_row_per_equipment"].asset_key.path == ["analytics", "equipment_status"]
    assert checks["sync_performance_has_one_row_per_sync_log"].asset_key.path == ["analytics", "sync_performance"]
    ran = {evaluation.check_name for evaluation in built.result.get_asset_check_evaluations()}
    assert ran == set(checks)


def test_the_nightly_build_follows_the_time_zone_of_the_settings(built: Built) -> None:
    definitions = build(Settings(home=built.home, time_zone="Europe/Berlin"), database_url=built.database.url)
    schedule = definitions.resolve_schedule_def("build_marts_nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone, schedule.job_name) == (
        "0 3 * * *",
        "Europe/Berlin",
        "build_marts",
    )
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_a_build_leaves_no_connection_behind_in_the_environment(built: Built) -> None:
    assert not [name for name in os.environ if name.startswith(("CMMS_DBT_", "DBT_ENV_SECRET"))]


def test_a_build_writes_nothing_into_the_project(built: Built) -> None:
    written = {path.name for path in (built.home / "dbt" / "runs").rglob("*")}
    assert {"run_results.json", "dbt.log"} <= written
    password = sa.make_url(built.database.url).password
    assert password
    for path in (built.home / "dbt").rglob("*"):
        assert not path.is_file() or password.encode() not in path.read_bytes(), path


def test_the_code_location_loads_without_a_database(built: Built, tmp_path: Path) -> None:
    address = sa.make_url(built.database.url).set(port=1).render_as_string(hide_password=False)
    environment = {**os.environ, "CMMS_HOME": str(built.home), "CMMS_DATABASE_URL": address}
    finished = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "cmms_pipelines.definitions_reporting"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def _specs(built: Built) -> list[dg.AssetSpec]:
    return [spec for spec in built.definitions.resolve_all_asset_specs() if spec.key.path[0] == "analytics"]


def _checks(built: Built) -> list[dg.AssetCheckSpec]:
    [assets] = [item for item in built.definitions.assets or [] if isinstance(item, dg.AssetsDefinition) and item.check_specs]
    return list(assets.check_specs)

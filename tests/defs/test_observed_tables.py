"""The pages of the operational tables after a look, and what the main code location does not load for them."""

import datetime as dt
import os
import subprocess
import sys

import dagster as dg
import pytest
import sqlalchemy as sa

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.operations import assets
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.operational_figures import LOOKS
from tests.conftest import Database

_ROWS = """
    INSERT INTO cmms.api_sync_logs (sync_type, status, sync_started_at, sync_completed_at, records_processed, records_success,
                                    records_failed, records_inserted)
    SELECT 'equipment', CASE n WHEN 1 THEN 'failed' ELSE 'success' END, now() - n * interval '1 hour', now(), 10, 9, 1, 9
    FROM generate_series(1, 30) AS n;
    INSERT INTO cmms.sync_rejections (sync_type, record_key, rule, severity, message, payload, status, resolved_at)
    SELECT 'equipment', 'EQ-' || n, CASE WHEN n < 8 THEN 'plant_unknown' ELSE 'equipment_number_missing' END, 'error',
           'why', '{}',
           CASE WHEN n = 1 THEN 'replayed' ELSE 'open' END, CASE WHEN n = 1 THEN now() END
    FROM generate_series(1, 10) AS n;
    INSERT INTO cmms.api_calls (endpoint, method, status, attempts, duration_ms, bytes_received, rows, started_at)
    SELECT '/equipments', 'GET', 200, 1 + n % 2, n, 100, 5, now() - interval '1 minute' FROM generate_series(1, 100) AS n
"""


Pages = dict[str, dict[str, dg.MetadataValue]]


def look(database: Database, instance: dg.DagsterInstance, *, schedule: str | None = None) -> Pages:
    """Run the job as a person or a schedule does; return what the pages show afterwards."""
    defs = build_defs(Settings(), {"warehouse": Warehouse(database_url=database.url)})
    tags = {"dagster/schedule_name": schedule} if schedule else {}
    result = defs.resolve_job_def("observe_operations").execute_in_process(instance=instance, tags=tags)
    observed = [event.asset_observation_data.asset_observation for event in result.all_events if event.is_asset_observation]
    return {one.asset_key.path[-1]: dict(one.metadata) for one in observed}


@pytest.fixture
def pages(database: Database) -> Pages:
    with database.engine.begin() as connection:
        for statement in _ROWS.split(";"):
            connection.execute(sa.text(statement))
    with dg.DagsterInstance.ephemeral() as instance:
        return look(database, instance)


def test_every_operational_table_shows_its_rows_and_figures(pages: Pages) -> None:
    assert set(pages) == set(LOOKS)
    for page in pages.values():
        assert isinstance(page["dagster/row_count"], dg.IntMetadataValue)
        assert isinstance(page["preview"], dg.TableMetadataValue)
    logs, refused, calls = pages["api_sync_logs"], pages["sync_rejections"], pages["api_calls"]
    figures = {name: logs[name].value for name in ("dagster/row_count", "syncs_failed_today", "records_today", "refused_today")}
    assert figures == {"dagster/row_count": 30, "syncs_failed_today": 1, "records_today": 230, "refused_today": 23}
    assert (refused["records_open"].value, refused["records_replayed"].value, refused["rules_open"].value) == (9, 1, 2)
    preview = refused["preview"]
    assert isinstance(preview, dg.TableMetadataValue)
    assert [(row.data["rule"], row.data["open_records"]) for row in preview.records] == [
        ("plant_unknown", 6),
        ("equipment_number_missing", 3),
    ]
    assert (calls["calls_today"].value, calls["retries_today"].value, calls["p50_ms"].value) == (100, 50, 50.5)


def test_syncs_refusals_and_answer_times_have_pictures(pages: Pages) -> None:
    assert {name for name, page in pages.items() if "picture" in page} == {"api_sync_logs", "sync_rejections", "api_calls"}
    assert all(len(str(page["picture"].value)) > 5000 for page in pages.values() if "picture" in page)


def test_the_schedule_draws_once_a_day_and_a_person_always(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(pages: Pages) -> set[str]:
        assert set(pages) == set(LOOKS)
        assert all({"dagster/row_count", "preview"} <= set(page) for page in pages.values()), "each look has counts and rows"
        return {name for name, page in pages.items() if "picture" in page}

    every, hourly = {"api_sync_logs", "sync_rejections", "api_calls"}, "observe_operations_hourly"
    with dg.DagsterInstance.ephemeral() as instance:
        assert drawn(look(database, instance, schedule=hourly)) == every
        assert drawn(look(database, instance, schedule=hourly)) == set()
        assert drawn(look(database, instance)) == every
        monkeypatch.setattr(assets, "A_DAY", dt.timedelta(0))
        assert drawn(look(database, instance, schedule=hourly)) == every, "the newest picture is a day old"


def test_loading_the_main_code_location_loads_nothing_that_only_draws_or_writes_files() -> None:
    asked = "import sys, cmms_pipelines.definitions as found; found.definitions(); print(*sorted(sys.modules))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CMMS_", "DAGSTER_"))}
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", asked], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    heavy = {"matplotlib", "PIL", "xlsxwriter", "pyarrow", "pandas", "dbt", "apprise", "cmms_pipelines.reports.pictures"}
    assert heavy & set(loaded.stdout.split()) == set()


def test_the_code_location_of_the_reports_loads_no_drawing_at_its_start() -> None:
    asked = (
        "import sys, cmms_pipelines.definitions_reporting, cmms_pipelines.defs.reporting.definitions; print(*sorted(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", asked], capture_output=True, text=True, check=True, timeout=120
    )
    assert {"matplotlib", "PIL", "xlsxwriter"} & set(loaded.stdout.split()) == set()

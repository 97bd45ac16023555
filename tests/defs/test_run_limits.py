"""Every run has a time limit and a place in the queue, whichever way it is started: on an instance as `dagster.yaml` has it."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test, create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster_graphql.client.query import LAUNCH_PARTITION_BACKFILL_MUTATION, LAUNCH_PIPELINE_EXECUTION_MUTATION
from dagster_graphql.schema import create_schema

from cmms_pipelines.defs.limits import OF_ANY_OTHER, limits_of
from tests.conftest import Database

LOG = logging.getLogger(__name__)
REPOSITORY = {"repositoryLocationName": "cmms", "repositoryName": "__repository__"}
PLANTS, EQUIPMENT, HOURS = (dg.AssetKey(["cmms", name]) for name in ("plants", "equipment", "equipment_running_times"))


@pytest.fixture
def workspace(
    configured_instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkspaceProcessContext]:
    """What web server and daemon have: the code location in a server of its own."""
    monkeypatch.setenv("CMMS_DATABASE_URL", database.url)
    target = ModuleTarget("cmms_pipelines.definitions", attribute=None, working_directory=None, location_name="cmms")
    configured_instance.add_dynamic_partitions("plants", ["B6JF", "B6LG"])
    with create_test_daemon_workspace_context(target, configured_instance) as found:
        yield found


def ask(workspace: WorkspaceProcessContext, mutation: str, variables: Mapping[str, Any]) -> str:
    """Send the web server's own request; return what kind of answer came."""
    context = workspace.create_request_context()
    result = asyncio.run(create_schema().execute_async(mutation, context_value=context, variable_values=variables))
    assert not result.errors
    (answer,) = result.data.values()
    return str(answer["__typename"])


def materialize(workspace: WorkspaceProcessContext, *keys: dg.AssetKey, tags: Mapping[str, str] | None = None) -> None:
    """Press the button on the page of an asset."""
    selector = {**REPOSITORY, "pipelineName": "__ASSET_JOB", "assetSelection": [{"path": key.path} for key in keys]}
    metadata = {"tags": [{"key": name, "value": value} for name, value in (tags or {}).items()]}
    params = {"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": metadata}
    assert ask(workspace, LAUNCH_PIPELINE_EXECUTION_MUTATION, {"executionParams": params}) == "LaunchRunSuccess"


def limits(run: dg.DagsterRun) -> tuple[str | None, str | None]:
    return run.tags.get("dagster/max_runtime"), run.tags.get("dagster/priority")


def test_what_is_materialized_on_an_assets_page_or_by_a_backfill_has_the_limits_of_its_sync(
    workspace: WorkspaceProcessContext, configured_instance: dg.DagsterInstance
) -> None:
    materialize(workspace, PLANTS)
    materialize(workspace, PLANTS, tags={"dagster/max_runtime": "60"})
    backfill = {"selector": None, "assetSelection": [{"path": EQUIPMENT.path}], "partitionNames": ["B6JF", "B6LG"]}
    days = {"selector": None, "assetSelection": [{"path": HOURS.path}], "partitionNames": ["2026-01-30", "2026-01-31"]}
    for one in (backfill, days):
        assert ask(workspace, LAUNCH_PARTITION_BACKFILL_MUTATION, {"backfillParams": one}) == "LaunchBackfillSuccess"
    assert not [error for error in execute_backfill_iteration(workspace, LOG) if error]
    runs = configured_instance.get_runs(ascending=True)
    assert {(run.job_name, run.status) for run in runs} == {("__ASSET_JOB", dg.DagsterRunStatus.QUEUED)}
    found = sorted((*(key.path[-1] for key in run.asset_selection or ()), *limits(run)) for run in runs)
    assert found == [
        ("equipment", "1800", "10"),
        ("equipment_running_times", "3600", "10"),
        ("plants", "60", "20"),
        ("plants", "600", "20"),
    ]


def test_a_run_without_a_limit_of_its_own_is_ended_after_an_hour(
    workspace: WorkspaceProcessContext, configured_instance: dg.DagsterInstance
) -> None:
    begun = datetime.now(UTC)
    ids = {}
    for name, tags in (("untagged", {}), ("longer", {"dagster/max_runtime": "7200"})):
        run = create_run_for_test(configured_instance, job_name=name, tags=tags, status=dg.DagsterRunStatus.STARTING)
        configured_instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=name), run_id=run.run_id
        )
        ids[name] = run.run_id
    for after, untagged in ((59, dg.DagsterRunStatus.STARTED), (61, dg.DagsterRunStatus.FAILURE)):
        with freeze_time(begun + timedelta(minutes=after)):
            assert not [error for error in execute_run_monitoring_iteration(workspace, LOG) if error]
        status = {name: run.status for name, id_ in ids.items() if (run := configured_instance.get_run_by_id(id_))}
        assert status == {"untagged": untagged, "longer": dg.DagsterRunStatus.STARTED}


def test_assets_together_have_the_time_of_all_and_are_as_urgent_as_the_least_urgent() -> None:
    other = dg.AssetKey(["analytics", "daily_kpis"])
    assert limits_of([PLANTS, EQUIPMENT, HOURS]) == (6000, 10)
    assert limits_of([PLANTS, other, dg.AssetKey("another")]) == (600 + 3600, 0)
    assert limits_of([other]) == limits_of([]) == OF_ANY_OTHER == (3600, 0)


def test_the_hour_of_dagsters_configuration_is_the_one_of_assets_without_their_own(
    configured_instance: dg.DagsterInstance,
) -> None:
    assert configured_instance.run_monitoring_max_runtime_seconds == OF_ANY_OTHER.max_runtime_s

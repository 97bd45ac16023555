"""A drain of the inbox does not wait in the queue; everything else does."""

from typing import cast

import dagster as dg
from dagster._core.instance.config import PoolGranularity
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import BaseWorkspaceRequestContext

from cmms_pipelines.defs.coordinator import PromptRunCoordinator
from cmms_pipelines.defs.maintenance.jobs import process_maintenance_events
from cmms_pipelines.defs.maintenance.replay import replay_events
from cmms_pipelines.defs.running import EXTERNAL_API_POOL
from tests.defs.recording_launcher import RecordingLauncher

NO_WORKSPACE = cast("BaseWorkspaceRequestContext", None)
LOCATION = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name="cmms")


def origin(job: str) -> RemoteJobOrigin:
    return RemoteJobOrigin(RemoteRepositoryOrigin(LOCATION, "__repository__"), job)


def launched(instance: dg.DagsterInstance) -> list[str]:
    assert isinstance(instance.run_launcher, RecordingLauncher)
    return instance.run_launcher.launched


def submit(instance: dg.DagsterInstance, run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.run_coordinator.submit_run(SubmitRunContext(run, NO_WORKSPACE))


def test_the_coordinator_is_dagsters_queue_with_all_its_settings(configured_instance: dg.DagsterInstance) -> None:
    assert isinstance(configured_instance.run_coordinator, PromptRunCoordinator)
    assert configured_instance.run_coordinator.dequeue_interval_seconds == 1
    queue = configured_instance.get_concurrency_config().run_queue_config
    assert queue is not None


def test_of_the_runs_of_a_pool_one_at_a_time_leaves_the_queue(configured_instance: dg.DagsterInstance) -> None:
    pools = configured_instance.get_concurrency_config().pool_config
    assert (pools.pool_granularity, pools.default_pool_limit) == (PoolGranularity.RUN, 1)
    storage = configured_instance.event_log_storage
    assert storage.initialize_concurrency_limit_to_default(EXTERNAL_API_POOL)
    assert storage.get_concurrency_info(EXTERNAL_API_POOL).limit == 1


def test_a_drain_starts_at_once_and_another_job_is_queued(configured_instance: dg.DagsterInstance) -> None:
    drain = create_run_for_test(configured_instance, job_name="a", tags=dict(process_maintenance_events.tags or {}))
    queued = {"tags": dict(replay_events.tags), "remote_job_origin": origin("b")}
    other = create_run_for_test(configured_instance, job_name="b", **queued)  # type: ignore[arg-type]
    for run in (drain, other):
        submit(configured_instance, run.run_id)
    assert launched(configured_instance) == [drain.run_id]
    statuses = [found.status for run in (drain, other) if (found := configured_instance.get_run_by_id(run.run_id))]
    assert statuses == [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.QUEUED]


def test_a_drain_that_was_started_already_is_not_started_again(configured_instance: dg.DagsterInstance) -> None:
    drain = create_run_for_test(configured_instance, tags=dict(process_maintenance_events.tags or {}))
    for _ in range(2):
        submit(configured_instance, drain.run_id)
    assert launched(configured_instance) == [drain.run_id]

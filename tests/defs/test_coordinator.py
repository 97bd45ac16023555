"""A drain of the inbox does not wait in the queue; everything else does."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import BaseWorkspaceRequestContext

from cmms_pipelines.defs.coordinator import PromptRunCoordinator
from cmms_pipelines.defs.maintenance.jobs import process_maintenance_events
from cmms_pipelines.defs.maintenance.replay import replay_events
from cmms_pipelines.operate.services import PROJECT
from tests.defs.recording_launcher import RecordingLauncher

NO_WORKSPACE = cast("BaseWorkspaceRequestContext", None)
LOCATION = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name="cmms")


def origin(job: str) -> RemoteJobOrigin:
    return RemoteJobOrigin(RemoteRepositoryOrigin(LOCATION, "__repository__"), job)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with the coordinator of `dagster.yaml`, as it is configured there."""
    configured = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    launcher = {"module": RecordingLauncher.__module__, "class": RecordingLauncher.__name__}
    config = {"run_coordinator": configured["run_coordinator"], "run_launcher": launcher, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(tmp_path)) as found:
        yield found


def launched(instance: dg.DagsterInstance) -> list[str]:
    assert isinstance(instance.run_launcher, RecordingLauncher)
    return instance.run_launcher.launched


def submit(instance: dg.DagsterInstance, run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.run_coordinator.submit_run(SubmitRunContext(run, NO_WORKSPACE))


def test_the_coordinator_is_dagsters_queue_with_all_its_settings(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, PromptRunCoordinator)
    assert instance.run_coordinator.dequeue_interval_seconds == 1
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None


def test_a_drain_starts_at_once_and_another_job_is_queued(instance: dg.DagsterInstance) -> None:
    drain = create_run_for_test(instance, job_name="a", tags=dict(process_maintenance_events.tags or {}))
    queued = {"tags": dict(replay_events.tags), "remote_job_origin": origin("b")}
    other = create_run_for_test(instance, job_name="b", **queued)  # type: ignore[arg-type]
    for run in (drain, other):
        submit(instance, run.run_id)
    assert launched(instance) == [drain.run_id]
    statuses = [found.status for run in (drain, other) if (found := instance.get_run_by_id(run.run_id))]
    assert statuses == [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.QUEUED]


def test_a_drain_that_was_started_already_is_not_started_again(instance: dg.DagsterInstance) -> None:
    drain = create_run_for_test(instance, tags=dict(process_maintenance_events.tags or {}))
    for _ in range(2):
        submit(instance, drain.run_id)
    assert launched(instance) == [drain.run_id]

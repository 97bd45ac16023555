"""Runs that a killed start of the services, or a killed command, left as started: the next start takes their place in the pool.

Those of a command that still works keep it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import httpx
import pytest
import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from cmms_pipelines.defs.running import EXTERNAL_API_POOL
from cmms_pipelines.operate import ports, runs
from cmms_pipelines.operate.dagster_api import DagsterApi
from cmms_pipelines.operate.services import PROJECT
from tests.dagster_instances import instance_on

LOCATION = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name="cmms")
ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(LOCATION, "__repository__"), "syncing")


@dg.op(pool=EXTERNAL_API_POOL)
def ask_the_source() -> None:
    """Nothing."""


@dg.op
def rest() -> None:
    """Nothing."""


@dg.job
def syncing() -> None:
    ask_the_source()


@dg.job
def resting() -> None:
    rest()


@pytest.fixture
def instance(dagster_database: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with queue and pools as `dagster.yaml` has them."""
    configured = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    queue = yaml.safe_dump({name: configured[name] for name in ("run_coordinator", "concurrency")})
    with instance_on(dagster_database, tmp_path, queue) as found:
        found.event_log_storage.initialize_concurrency_limit_to_default(EXTERNAL_API_POOL)
        yield found


@pytest.fixture
def dagster(instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[DagsterApi]:
    """A web server of the instance, without code."""
    port = ports.free_port()
    server = [str(Path(sys.executable).with_name("dagster-webserver")), "--empty-workspace", "--port", str(port)]
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    with (tmp_path / "server.log").open("w") as log, subprocess.Popen(server, env=environment, stdout=log, stderr=log) as process:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process)
            with DagsterApi(f"http://127.0.0.1:{port}") as api:
                yield api
        finally:
            process.kill()


def wait_until_ready(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/server_info", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the web server did not become ready")


@contextmanager
def command() -> Iterator[Mapping[str, str]]:
    """A process at a command line, with the tags of its runs; killed at the end of the block."""
    says_its_tags = "import json, cmms_pipelines.command_line_runs as run; print(json.dumps(run.process_tags())); input()"
    words = [sys.executable, "-c", says_its_tags]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def created(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    status: dg.DagsterRunStatus,
    tags: Mapping[str, str] | None = None,
    *,
    is_of_services: bool = False,
) -> str:
    origin = ORIGIN if is_of_services or status is dg.DagsterRunStatus.QUEUED else None
    return instance.create_run_for_job(job, status=status, tags=tags, remote_job_origin=origin).run_id


def may_start(instance: dg.DagsterInstance) -> list[str]:
    """The queued runs that Dagster's own queue would start now."""
    queue = QueuedRunCoordinatorDaemon(interval_seconds=1)
    found = queue._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
    return [run.run_id for run in found]


def test_what_an_earlier_start_left_unfinished_is_canceled_and_gives_up_its_place_in_the_pool(
    instance: dg.DagsterInstance, dagster: DagsterApi
) -> None:
    in_flight = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
    orphans = {created(instance, syncing, status) for status in in_flight}
    queued = created(instance, syncing, dg.DagsterRunStatus.QUEUED)
    started_at_s = time.time()
    time.sleep(0.01)
    of_this_start = created(instance, resting, dg.DagsterRunStatus.STARTED)
    assert may_start(instance) == []
    said: list[str] = []
    runs.cancel_orphans(dagster, started_at_s, said.append)
    assert may_start(instance) == [queued]
    assert {run.run_id: run.status for run in instance.get_runs()} == {
        **dict.fromkeys(orphans, dg.DagsterRunStatus.CANCELED),
        queued: dg.DagsterRunStatus.QUEUED,
        of_this_start: dg.DagsterRunStatus.STARTED,
    }
    assert set(said) == {
        f"canceled run {run_id[:8]} of syncing, which an earlier start had left unfinished" for run_id in orphans
    }


def test_a_command_that_works_keeps_its_run_and_its_place_and_one_that_was_killed_does_not(
    instance: dg.DagsterInstance, dagster: DagsterApi
) -> None:
    with command() as of_killed:
        killed = created(instance, syncing, dg.DagsterRunStatus.STARTED, of_killed)
        elsewhere = created(instance, resting, dg.DagsterRunStatus.STARTED, {**of_killed, "cmms/host": "another-host"})
    with command() as of_living:
        living = created(instance, syncing, dg.DagsterRunStatus.STARTED, of_living)
        queued = created(instance, syncing, dg.DagsterRunStatus.QUEUED)
        said: list[str] = []
        runs.cancel_orphans(dagster, time.time(), said.append)
        assert {run.run_id: run.status for run in instance.get_runs()} == {
            killed: dg.DagsterRunStatus.CANCELED,
            elsewhere: dg.DagsterRunStatus.STARTED,
            living: dg.DagsterRunStatus.STARTED,
            queued: dg.DagsterRunStatus.QUEUED,
        }
        assert may_start(instance) == []
    assert said == [f"canceled run {killed[:8]} of syncing, whose process was killed"]
    runs.cancel_orphans(dagster, time.time(), said.append)
    assert said[1:] == [f"canceled run {living[:8]} of syncing, whose process was killed"]
    assert may_start(instance) == [queued]


def test_a_run_of_a_command_that_the_services_executed_again_is_one_of_theirs(
    instance: dg.DagsterInstance, dagster: DagsterApi
) -> None:
    with command() as inherited:
        again = created(instance, syncing, dg.DagsterRunStatus.STARTED, inherited, is_of_services=True)
        said: list[str] = []
        runs.cancel_orphans(dagster, time.time(), said.append)
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]
    assert said == [f"canceled run {again[:8]} of syncing, which an earlier start had left unfinished"]

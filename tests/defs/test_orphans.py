"""Runs of the command line whose process was killed: closed by the next command, and no others."""

import os
import subprocess
import sys

import dagster as dg
import psutil
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from cmms_pipelines.command_line_runs import process_tags
from cmms_pipelines.defs.orphans import close_orphans

LOCATION = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name="cmms")
ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(LOCATION, "__repository__"), "resting")


@dg.op
def rest() -> None:
    """Nothing."""


@dg.job
def resting() -> None:
    rest()


def started(instance: dg.DagsterInstance, origin: RemoteJobOrigin | None = None, **changes: str) -> str:
    """A run that says it runs, with some of this process's tags changed."""
    tags = {**process_tags(), **{f"cmms/{name}": value for name, value in changes.items()}}
    run = instance.create_run_for_job(resting, tags=tags, status=dg.DagsterRunStatus.STARTED, remote_job_origin=origin)
    return run.run_id


def process_that_is_gone() -> str:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        started_at = psutil.Process(process.pid).create_time()
        process.kill()
    return f"{process.pid} {started_at:.2f}"


def test_only_runs_of_this_hosts_command_line_whose_process_is_gone_are_closed(instance: dg.DagsterInstance) -> None:
    gone = process_that_is_gone()
    runs = {
        "killed": started(instance, process=gone),
        "its number was used again": started(instance, process=f"{os.getpid()} 1000000000.00"),
        "alive": started(instance),
        "elsewhere": started(instance, process=gone, host="another-host"),
        "of the services": started(instance, process=gone, started_by="daemon"),
        "executed again by the services": started(instance, ORIGIN, process=gone),
    }
    closed = {run.run_id for run in close_orphans(instance)}
    assert closed == {runs["killed"], runs["its number was used again"]}
    status = {name: run.status for name, run_id in runs.items() if (run := instance.get_run_by_id(run_id))}
    canceled = {name for name, found in status.items() if found is dg.DagsterRunStatus.CANCELED}
    assert canceled == {"killed", "its number was used again"}
    assert close_orphans(instance) == []

"""How every run behaves: retries, time limits, priorities, and errors that an operator can read.

Limits and retries are the specification's "Job Scheduling Strategy".
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from cmms_pipelines.domain.errors import PermanentError, TransientError

if TYPE_CHECKING:
    import sqlalchemy as sa

EXTERNAL_API_POOL = "external_api"
SYNC_RETRIES = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
CLEAN_UP_RETRIES = dg.RetryPolicy(max_retries=1, delay=30)

_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def run_tags(*, max_runtime_s: int, priority: int) -> Mapping[str, str]:
    """Return the tags of a job: its time limit, after which the run is stopped, and its place in the queue (higher first)."""
    return {"dagster/max_runtime": str(max_runtime_s), "dagster/priority": str(priority)}


def sync_key(context: dg.AssetExecutionContext, sync_type: str) -> str:
    """Return what the attempts of one sync share: retries of a step and re-executions of a run have the same root run."""
    return f"{sync_type}:{context.run.root_run_id or context.run.run_id}"


@contextmanager
def operator_errors() -> Iterator[None]:
    """Turn our errors into step failures whose message is the operator's text; a permanent one is not retried."""
    try:
        yield
    except PermanentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except TransientError as error:
        raise dg.Failure(description=str(error)) from error


def close_abandoned_logs(context: dg.AssetExecutionContext, engine: "sa.Engine") -> None:
    """Close the logs of runs that were killed, so that none says `running` for ever."""
    from cmms_pipelines.storage.sync_log import close_abandoned  # noqa: PLC0415 - keeps start-up light

    live = {run.run_id for run in context.instance.get_runs(dg.RunsFilter(statuses=_IN_FLIGHT))}
    closed = close_abandoned(engine, live | {context.run.run_id})
    if closed:
        context.log.warning("Closed %d sync logs of runs that were killed", closed)


def runs_in_flight(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Tell whether a run of the job is queued or going on."""
    return bool(instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=_IN_FLIGHT), limit=1))

"""How every run behaves: retries, time limits, priorities, its place among the attempts of one sync, and errors one can read.

Limits and retries are the specification's "Job Scheduling Strategy".
"""

from collections.abc import Mapping
from types import TracebackType

import dagster as dg

from cmms_pipelines.command_line_runs import is_of_command_line
from cmms_pipelines.defs.limits import Limits
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.domain.errors import PermanentError, TransientError

EXTERNAL_API_POOL = "external_api"
SYNC_RETRIES = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
CLEAN_UP_RETRIES = dg.RetryPolicy(max_retries=1, delay=30)
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_CANCELLED = "Cancelled: finished slices are kept."
_RETRY_NUMBER = "dagster/retry_number"
_RETRY_ALSO_AFTER_FAILED_STEPS = "dagster/retry_on_asset_or_op_failure"


def run_tags(*, max_runtime_s: int, priority: int) -> Mapping[str, str]:
    """Return the tags of a job: its time limit, after which the run is stopped, and its place in the queue (higher first)."""
    return Limits(max_runtime_s, priority).tags()


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags that make one run of all partitions from `first` to `last`, in the order in which Dagster keeps them."""
    return {RANGE_START: first, RANGE_END: last}


def sync_key(context: dg.AssetExecutionContext | dg.OpExecutionContext, sync_type: str, *, is_full_refresh: bool = False) -> str:
    """Return what the attempts of one sync share, so that each does only what the ones before have not done.

    Retries of a step and re-executions of a run have the same root run. A full refresh that an operator executes again is
    a sync of its own; only Dagster's automatic retries take up where it stopped.
    """
    run = context.run
    if not is_full_refresh:
        return f"{sync_type}:{run.root_run_id or run.run_id}"
    while _RETRY_NUMBER in run.tags and run.parent_run_id is not None:
        parent = context.instance.get_run_by_id(run.parent_run_id)
        if parent is None:
            break
        run = parent
    return f"{sync_type}:{run.run_id}"


def replay_key(context: dg.AssetExecutionContext | dg.OpExecutionContext, key: str) -> str:
    """Return the key of what is replayed after the sync `key`; each attempt has its own, since it may bring other machines."""
    return f"{key}:replay:{context.run.run_id}:{context.retry_number}"


def operator_errors(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> "_OperatorErrors":
    """Turn our errors, and those of a database that fails us, into step failures whose message an operator can read.

    A permanent one is not retried.

    An interruption ends the step at once: Dagster would retry it in the very run that is being cancelled. Unless somebody
    wanted it, the run is started again by the daemon. The whole body of a step belongs inside, its imports included; where an
    interruption hits Dagster's own code before that, the retry ends here.
    """
    return _OperatorErrors(context)


class _OperatorErrors:
    def __init__(self, context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        if self._context.retry_number and _is_wanted(self._context):
            raise dg.Failure(description=_CANCELLED, allow_retries=False)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, PermanentError):
            raise dg.Failure(description=str(error), allow_retries=False) from error
        if isinstance(error, TransientError):
            raise dg.Failure(description=str(error)) from error
        if error is not None and type(error).__module__ == "sqlalchemy.exc":
            _raise_if_of_database(error)
        if isinstance(error, KeyboardInterrupt | dg.DagsterExecutionInterruptedError):
            raise dg.Failure(description=_note_interruption(self._context), allow_retries=False) from error


def _raise_if_of_database(error: BaseException) -> None:
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - loaded already where one of its errors is at hand

    from cmms_pipelines.storage.refusals import is_permanent, reason_of  # noqa: PLC0415

    if isinstance(error, DBAPIError):
        description = f"The database failed us: {reason_of(error)}"
        raise dg.Failure(description=description, allow_retries=not is_permanent(error)) from error


def skip_while_paused(warehouse: Warehouse) -> dg.SkipReason | None:
    """Return why nothing may start now, if an operator has paused all syncs."""
    from cmms_pipelines.storage.sync_controls import read_controls  # noqa: PLC0415 - keeps start-up light

    with warehouse.engine().connect() as connection:
        pause = read_controls(connection).pause
    return (
        dg.SkipReason(f"Syncs are paused {pause}. The job resume_syncs or `cmms sync resume` lets them go on.") if pause else None
    )


def runs_in_flight(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Tell whether a run of the job is queued or going on."""
    return bool(instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=IN_FLIGHT), limit=1))


def _is_wanted(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> bool:
    """Tell whether somebody asked Dagster for this run's end."""
    run = context.instance.get_run_by_id(context.run.run_id)
    return run is None or run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def _note_interruption(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> str:
    """Tell Dagster what an interruption means where it cannot know; return what the operator is told."""
    if _is_wanted(context):
        return _CANCELLED
    if is_of_command_line(context.run.tags):  # Ctrl-C at the terminal
        context.instance.report_run_canceling(context.run)
        return _CANCELLED
    context.instance.add_run_tags(context.run.run_id, {_RETRY_ALSO_AFTER_FAILED_STEPS: "true"})
    return "The process was told to end; Dagster starts the run again."

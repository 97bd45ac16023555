"""Executing a job here and now, on the real Dagster instance, so that the UI shows the run.

What belongs here: finding the instance, one run, and its failure as one sentence. What does not: which job and what is printed.
"""

import getpass
import os
import signal
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cmms_pipelines.command_line_runs import process_tags
from cmms_pipelines.commands.output import tell
from cmms_pipelines.settings import read_settings

if TYPE_CHECKING:
    import dagster as dg

PARTITION = "dagster/partition"


@dataclass(frozen=True)
class Ended:
    """A run that has ended: its failure as one sentence, if it failed, and its result."""

    run_id: str
    failure: str | None
    result: "dg.ExecuteInProcessResult"


class JobRunner:
    """Executes jobs in this process."""

    def __init__(self, instance: "dg.DagsterInstance", database_url: str) -> None:
        self.instance = instance
        self.database_url = database_url

    def run(self, job_name: str, *, tags: Mapping[str, str] | None = None, run_config: Mapping[str, Any] | None = None) -> Ended:
        """Execute a job once."""
        from cmms_pipelines.definitions import definitions  # noqa: PLC0415 - Dagster takes a second
        from cmms_pipelines.defs.console import COMMAND_LINE_LOGGER  # noqa: PLC0415

        given = {**process_tags(), **(tags or {})}
        result = (
            definitions()
            .resolve_job_def(job_name)
            .execute_in_process(
                run_config={"loggers": {COMMAND_LINE_LOGGER: {}}, **(run_config or {})},
                instance=self.instance,
                partition_key=given.get(PARTITION),
                tags=given,
                raise_on_error=False,
            )
        )
        return Ended(result.run_id, None if result.success else _failure(result), result)


@contextmanager
def job_runner() -> Iterator[JobRunner]:
    """Hand out a runner on the instance of the settings; a SIGTERM ends its runs as Ctrl-C does.

    Runs of earlier commands whose process was killed are closed first.
    """
    from cmms_pipelines.operate.services import dagster_environment  # noqa: PLC0415
    from cmms_pipelines.operate.stack import prepare_databases  # noqa: PLC0415

    settings = read_settings()
    databases = prepare_databases(settings, tell)
    os.environ.update(dagster_environment(settings, databases))  # Dagster finds its instance through the environment alone
    import dagster as dg  # noqa: PLC0415 - takes a second

    warnings.simplefilter("ignore", dg.BetaWarning)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from cmms_pipelines.defs.orphans import close_orphans  # noqa: PLC0415

    with dg.DagsterInstance.get() as instance:
        for run in close_orphans(instance):
            tell(f"canceled run {run.run_id[:8]} of {run.job_name}, whose process was killed")
        yield JobRunner(instance, databases.cmms)


def operator() -> str:
    """Return who types, for the audit log."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _failure(result: "dg.ExecuteInProcessResult") -> str:
    said = [event.event_specific_data for event in result.all_events if event.is_step_failure]
    texts = [getattr(getattr(data, "user_failure_data", None), "description", None) for data in said]
    return next(filter(None, texts), f"run {result.run_id} failed; the Dagster UI shows why")

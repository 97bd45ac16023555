"""Runs that would outlive their process: those of an earlier start that was killed, and those going on when we stop.

What belongs here: bringing Dagster's records in line with what still runs. What does not: ending processes (`operate.supervise`).
"""

import time
from typing import Any

from cmms_pipelines.command_line_runs import is_killed, is_of_command_line
from cmms_pipelines.domain.errors import CmmsError
from cmms_pipelines.operate.dagster_api import IN_FLIGHT, DagsterApi
from cmms_pipelines.operate.supervise import Progress

END_TIMEOUT_S = 10.0


def cancel_orphans(dagster: DagsterApi, started_at_s: float, progress: Progress) -> None:
    """Cancel the runs that say they run, but whose processes are gone.

    Those are the runs of services that have not moved since this start, and those of this host's command line whose process
    was killed. They would hold their place in the pool of the external API for ever.
    """
    unmoved = dagster.runs(statuses=[status.value for status in IN_FLIGHT], updatedBefore=started_at_s)
    orphans = [run for run in unmoved if is_killed(run.tags) or not is_of_command_line(run.tags)]
    dagster.terminate([run.run_id for run in orphans], at_once=True)
    for run in orphans:
        what = "whose process was killed" if is_of_command_line(run.tags) else "which an earlier start had left unfinished"
        progress(f"canceled run {run.run_id[:8]} of {run.job_name}, {what}")


def end_in_flight(dagster: DagsterApi, job_name: str | None, progress: Progress) -> None:
    """Ask the runs in flight (of one job, or all) to end and give them a moment; a web server that is gone has none to ask."""
    filters: dict[str, Any] = {"pipelineName": job_name} if job_name else {}
    deadline = time.monotonic() + END_TIMEOUT_S
    try:
        found = dagster.runs(statuses=[status.value for status in IN_FLIGHT], **filters)
        if found:
            progress(f"stopping {', '.join(sorted({run.job_name for run in found}))}")
        dagster.terminate([run.run_id for run in found])
        while found and time.monotonic() < deadline:
            time.sleep(0.3)
            found = dagster.runs(statuses=[status.value for status in IN_FLIGHT], **filters)
    except CmmsError as error:
        progress(f"runs were not stopped in order: {error}")

"""Runs of the command line that say they run, although their process is gone.

What belongs here: closing them. What does not: what they are known by (`command_line_runs`), runs of the services, which
`operate.runs` closes, and the log of the sync, which the next sync closes (`storage.sync_claims`).
"""

import dagster as dg

from cmms_pipelines.command_line_runs import COMMAND_LINE, STARTED_BY, is_killed
from cmms_pipelines.defs.running import IN_FLIGHT


def close_orphans(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Mark the runs of this host's command line as canceled whose process was killed; return them.

    They would count as running, and hold their place in their pool, until their time limit.
    """
    filters = dg.RunsFilter(statuses=IN_FLIGHT, tags={STARTED_BY: COMMAND_LINE})
    orphans = [run for run in instance.get_runs(filters) if is_killed(run.tags)]
    for run in orphans:
        instance.report_run_canceled(
            run, "The process of `cmms` was killed; the next command closed its run. Finished slices are kept."
        )
    return orphans

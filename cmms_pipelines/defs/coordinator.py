"""Which runs wait in the queue and which start at once; `dagster.yaml` names it.

What belongs here: that decision. What does not: limits, priorities and pools, which are the queue's own. Every process of Dagster
imports this module with its instance: it must cost nothing.
"""

from dagster import DagsterRun, DagsterRunStatus, QueuedRunCoordinator
from dagster._core.run_coordinator import SubmitRunContext

STARTS_AT_ONCE = "cmms/starts_at_once"
"""The tag of jobs that pass the queue by."""


class PromptRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue, but for runs that somebody waits for and that no limit is meant for.

    The queue is looked at once a second, and full while as many runs work as may: a drain of the inbox would begin that much
    later. Its own locks see to it that there is one at a time.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Launch a run that starts at once; queue every other."""
        run = context.dagster_run
        if run.tags.get(STARTS_AT_ONCE) != "true" or run.status is not DagsterRunStatus.NOT_STARTED:
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, context.workspace)

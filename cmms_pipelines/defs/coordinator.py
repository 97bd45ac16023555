"""Which runs wait in the queue and which start at once, and the limits of those that no job gave any; `dagster.yaml` names it.

What belongs here: those decisions. What does not: the figures (`defs.limits`), and the queue's own limits and pools. Every
process of Dagster imports this module with its instance: it must cost nothing.
"""

from dagster import DagsterRun, DagsterRunStatus, QueuedRunCoordinator
from dagster._core.run_coordinator import SubmitRunContext

from cmms_pipelines.defs.limits import limits_of

STARTS_AT_ONCE = "cmms/starts_at_once"
"""The tag of jobs that pass the queue by."""


class PromptRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue, but for runs that somebody waits for and that no limit is meant for.

    The queue is looked at once a second, and full while as many runs work as may: a drain of the inbox would begin that much
    later. Its own locks see to it that there is one at a time.

    *Materialize* on the page of an asset, and backfills of assets, run a job that Dagster makes by itself and that has no tags:
    such a run gets the limits of its assets here.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Launch a run that starts at once; queue every other, within its limits."""
        run = context.dagster_run
        self._limit(run)
        if run.tags.get(STARTS_AT_ONCE) != "true" or run.status is not DagsterRunStatus.NOT_STARTED:
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, context.workspace)

    def _limit(self, run: DagsterRun) -> None:
        if run.status is not DagsterRunStatus.NOT_STARTED or not run.asset_selection:
            return
        missing = {name: value for name, value in limits_of(run.asset_selection).tags().items() if name not in run.tags}
        if missing:
            self._instance.add_run_tags(run.run_id, missing)

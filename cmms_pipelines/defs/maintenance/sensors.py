"""The sensor that watches the inbox: it waits for a notification within its tick, and starts a drain where one is needed."""

import time

import dagster as dg

from cmms_pipelines.defs.maintenance.decisions import Decision, DrainRuns, decide, needs_runs
from cmms_pipelines.defs.maintenance.jobs import PROCESS_MAINTENANCE_EVENTS, process_maintenance_events
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.storage.drain_turns import CHANNEL as DRAIN_CHANNEL
from cmms_pipelines.storage.drain_turns import DrainState
from cmms_pipelines.storage.inbox_peek import INBOX_CHANNEL, InboxState, InboxWatch, shared_watch

WAIT_S = 24.0
"""The daemon looks at its sensors every 5 s, and nobody listens from the end of a tick to its next look: long ticks are deaf more
rarely, and cost less. One that ended just after a look would be deaf for 5 s: a second is kept free for what a tick costs."""
LOOK_AGAIN_S = 1.0
"""Nobody tells that a retry has become due."""
UNSETTLED_WAIT_S = 0.25

_WAITING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)


@dg.sensor(
    job=process_maintenance_events,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks whether events are due and nobody is at them, and starts a drain. It only looks; the run claims.",
)
def maintenance_inbox_sensor(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SensorResult | dg.SkipReason:
    decision, inbox = watch_inbox(shared_watch(warehouse.address()), context.instance, WAIT_S)
    if not decision.start:
        return dg.SkipReason(decision.reason)
    counter = max(int(context.cursor or 0) + 1, time.time_ns() // 1_000_000)  # never reused, not even after a reset of the cursor
    run_key = f"inbox-{inbox.newest_sequence}-{counter}"
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key)], cursor=str(counter))


def watch_inbox(watch: InboxWatch, instance: dg.DagsterInstance, wait_s: float) -> tuple[Decision, InboxState]:
    """Look, and look again at each notification, until a drain has to be started or `wait_s` seconds have passed.

    It ends at once when watchers are told to stop: a service that ends waits for its ticks.
    """
    deadline = time.monotonic() + wait_s
    while True:
        inbox = watch.look()
        runs = drain_runs(instance) if needs_runs(inbox.has_due, inbox.drain) else DrainRuns(0, ())
        decision = decide(inbox.has_due, inbox.drain, runs)
        left = deadline - time.monotonic()
        if decision.start or left <= 0:
            return decision, inbox
        # while a drain works, the events are its business: only its own end wakes the sensor
        channels = (INBOX_CHANNEL, DRAIN_CHANNEL) if inbox.drain is DrainState.ABSENT else (DRAIN_CHANNEL,)
        if decision.is_settled:
            has_to_stop = watch.wait(min(left, LOOK_AGAIN_S), channels)
        else:
            has_to_stop = watch.wait(min(left, UNSETTLED_WAIT_S), (DRAIN_CHANNEL,))
        if has_to_stop:
            return decision, inbox


def drain_runs(instance: dg.DagsterInstance) -> DrainRuns:
    """Return the runs of the drain job that are not over."""
    statuses = [*_WAITING, dg.DagsterRunStatus.STARTED]
    records = instance.get_run_records(dg.RunsFilter(job_name=PROCESS_MAINTENANCE_EVENTS, statuses=statuses), limit=20)
    now = time.time()
    return DrainRuns(
        waiting=sum(record.dagster_run.status in _WAITING for record in records),
        started_ago_s=[
            now - (record.start_time or now) for record in records if record.dagster_run.status is dg.DagsterRunStatus.STARTED
        ],
    )

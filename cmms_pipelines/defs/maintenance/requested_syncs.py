"""From the syncs that events have asked for to runs: one run for all requests of a scope.

What belongs here: what a run of a scope is called in Dagster, and how a request follows its run. What does not: the requests'
table (`storage.sync_requests`), what a sync does.

A request is put under its lead before a run is asked for, and the run's key is the lead's id: a tick that is lost between the two
asks again, and Dagster makes no second run of a key.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg

from cmms_pipelines.defs.equipment.assets import EQUIPMENT_JOB, PLANTS
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.running import range_tags, skip_while_paused
from cmms_pipelines.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.target import ExecutableDefinition

    from cmms_pipelines.domain.scoped_syncs import SyncScope
    from cmms_pipelines.storage.sync_requests import OpenRequest

RUNNING_TIMES_JOB = "sync_running_times"
SYNC_REQUEST = "cmms/sync_request"
EVERY_S = 5
_ENDS = {
    dg.DagsterRunStatus.SUCCESS: "success",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "cancelled",
}


@dataclass(frozen=True)
class Reach:
    """What runs can be about: the partitions of equipment, and the first and last day of running hours."""

    plants: Sequence[str]
    first_day: dt.date
    last_day: dt.date


def run_request(lead_id: int, scope: "SyncScope", reach: Reach) -> dg.RunRequest | str:
    """Return the run of a scope, or why there can be none."""
    name = f"sync-request-{lead_id}"
    tags = {SYNC_REQUEST: str(lead_id)}
    if scope.sync_type == "equipment":
        unknown = sorted(set(scope.plants) - set(reach.plants))
        if unknown or not reach.plants:
            return f"there is no partition of equipment for {', '.join(unknown) or 'any plant'}: run sync_plants"
        plants = sorted(scope.plants) or sorted(reach.plants)
        config = {"equipment": list(scope.equipment)} if scope.equipment else {}
        run_config = {"ops": {"cmms__equipment": {"config": config}}}
        if len(plants) == 1:
            return dg.RunRequest(run_key=name, job_name=EQUIPMENT_JOB, partition_key=plants[0], run_config=run_config, tags=tags)
        known = list(reach.plants)
        return dg.RunRequest(
            run_key=name, job_name=EQUIPMENT_JOB, run_config=run_config, tags={**tags, **range_tags(known[0], known[-1])}
        )
    if scope.first_day is None or scope.last_day is None:
        return "it names no days"
    if scope.first_day < reach.first_day or scope.last_day > reach.last_day:
        return f"running hours are there from {reach.first_day} to {reach.last_day}"
    run_config = {
        "ops": {"cmms__equipment_running_times": {"config": {"plants": list(scope.plants), "equipment": list(scope.equipment)}}}
    }
    days = range_tags(scope.first_day.isoformat(), scope.last_day.isoformat())
    return dg.RunRequest(run_key=name, job_name=RUNNING_TIMES_JOB, run_config=run_config, tags={**tags, **days})


def build(settings: Settings, jobs: "Sequence[ExecutableDefinition]") -> dg.SensorDefinition:
    """Return the sensor; `jobs` are the syncs of equipment and running hours, whose days are those of `settings`."""

    @dg.sensor(
        name="requested_syncs_sensor",
        jobs=jobs,
        minimum_interval_seconds=EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts the syncs that events have asked for, one run for all requests of a scope, and notes how they end.",
    )
    def requested_syncs_sensor(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SensorResult | dg.SkipReason:
        yesterday = dt.datetime.now(ZoneInfo(settings.time_zone)).date() - dt.timedelta(days=1)
        plants = context.instance.get_dynamic_partitions(str(PLANTS.name))
        return follow_requests(warehouse, context.instance, Reach(plants, settings.first_day, yesterday))

    return requested_syncs_sensor


def follow_requests(warehouse: Warehouse, instance: dg.DagsterInstance, reach: Reach) -> dg.SensorResult | dg.SkipReason:
    """Note what became of the runs that were asked for, and ask for those that are wanted."""
    from cmms_pipelines.storage import sync_requests  # noqa: PLC0415 - keeps start-up light

    engine = warehouse.engine()
    with engine.begin() as connection:
        if not sync_requests.has_open(connection):
            return dg.SkipReason("No event has asked for a sync.")
        paused = skip_while_paused(warehouse)
        if paused is None:
            sync_requests.group_waiting(connection)
        found = sync_requests.open_requests(connection)
    wanted: list[dg.RunRequest] = []
    for request in found:
        run = _run_of(instance, request)
        if run is None and paused is None:
            asked = run_request(request.lead_id, request.scope, reach)
            if isinstance(asked, dg.RunRequest):
                wanted.append(asked)
                continue
            with engine.begin() as connection:
                sync_requests.note_end(connection, request.lead_id, "failed", asked)
        elif run is not None:
            with engine.begin() as connection:
                if request.run_id is None:
                    sync_requests.note_run(connection, request.lead_id, run.run_id)
                if run.status in _ENDS:
                    sync_requests.note_end(connection, request.lead_id, _ENDS[run.status])
    if paused is not None:
        return paused
    return dg.SensorResult(run_requests=wanted) if wanted else dg.SkipReason("The syncs that events have asked for are going on.")


def _run_of(instance: dg.DagsterInstance, request: "OpenRequest") -> dg.DagsterRun | None:
    """Return the run of a request: the one known, or the one that carries its tag."""
    if request.run_id is not None:
        return instance.get_run_by_id(request.run_id)
    runs = instance.get_runs(dg.RunsFilter(tags={SYNC_REQUEST: str(request.lead_id)}), limit=1)
    return runs[0] if runs else None

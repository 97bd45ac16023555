"""When schedules run, as it is configured: their times when the code location loads, whether they run at each tick.

What belongs here: putting configured times in place of those that are built in, and the gate. What does not: which times there
are (`domain.schedule_times`), where they are kept (`storage.settings_in_force`), and what a schedule starts.

Dagster reads a schedule's cron expression and zone when it loads the code location: a changed time holds from the next load, and
until then the old one does, so that no night is left out. Whether a schedule is on is asked at every tick.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from cmms_pipelines.domain.schedule_times import cron_of, is_on
from cmms_pipelines.settings import Settings, read_settings

if TYPE_CHECKING:
    from cmms_pipelines.defs.resources import Warehouse

WAREHOUSE = "warehouse"


def timed(schedules: Iterable[Any], settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the schedules at their configured times; each skips while it is configured off."""
    return [_timed(schedule, settings) for schedule in schedules]


def _timed(schedule: dg.ScheduleDefinition, settings: Settings) -> dg.ScheduleDefinition:
    cron = cron_of(schedule.name, settings.schedules)
    return dg.ScheduleDefinition(
        name=schedule.name,
        job=schedule.job,
        cron_schedule=cron,
        execution_timezone=settings.time_zone,
        execution_fn=_gated(schedule, cron, settings.time_zone),
        required_resource_keys={*schedule.required_resource_keys, WAREHOUSE},
        default_status=schedule.default_status,
        description=f"{schedule.description}{_configured(schedule, cron)}",
    )


def _configured(schedule: dg.ScheduleDefinition, cron: str) -> str:
    return "" if cron == schedule.cron_schedule else f" Configured: {cron} (`cmms config show schedules`)."


def _gated(
    schedule: dg.ScheduleDefinition, cron: str, time_zone: str
) -> Callable[[dg.ScheduleEvaluationContext], Iterator[dg.RunRequest | dg.SkipReason]]:
    def evaluate(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now = _settings_now(context)
        if not is_on(schedule.name, now.schedules):
            yield dg.SkipReason("It is configured off: `cmms config history schedules` says by whom and since when.")
            return
        if (wanted := cron_of(schedule.name, now.schedules), now.time_zone) != (cron, time_zone):
            context.log.warning(
                "%s in %s is configured; %s in %s holds until the location is loaded again",
                wanted,
                now.time_zone,
                cron,
                time_zone,
            )
        asked = schedule.evaluate_tick(context)
        if not asked.run_requests:
            yield dg.SkipReason(asked.skip_message)
        yield from asked.run_requests or ()

    return evaluate


def _settings_now(context: dg.ScheduleEvaluationContext) -> Settings:
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - only a tick needs it

    from cmms_pipelines.domain.errors import CmmsError  # noqa: PLC0415
    from cmms_pipelines.storage.settings_in_force import SCHEDULES, settings_in_force  # noqa: PLC0415

    warehouse: Warehouse = getattr(context.resources, WAREHOUSE)
    environment = read_settings()
    try:
        return settings_in_force(warehouse.engine(), environment, context.log.warning, (SCHEDULES,), wait_s=0.0)
    except (CmmsError, DBAPIError) as error:
        context.log.warning("Whether the schedule is configured off is not known, it runs: %s", error)
        return environment

"""All definitions of the main code location, joined; the one seam where tests put other resources in."""

from collections.abc import Mapping

import dagster as dg

from cmms_pipelines.defs.console import COMMAND_LINE_LOGGER, command_line_logger
from cmms_pipelines.defs.equipment import definitions as equipment
from cmms_pipelines.defs.maintenance import definitions as maintenance
from cmms_pipelines.defs.maintenance import reconciliation, requested_syncs
from cmms_pipelines.defs.operations import api_check
from cmms_pipelines.defs.operations import definitions as operations
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running_hours import definitions as running_hours
from cmms_pipelines.defs.timing import timed
from cmms_pipelines.settings import Settings


def build_defs(settings: Settings, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """Return every definition but the dbt models, which have a code location of their own (`definitions_reporting`).

    Args:
        settings: time zone and times of schedules, first day of running hours, how far back each night looks.
        resource_overrides: by name, `warehouse` and `source_system`.
    """
    machines, hours = equipment.build(settings.time_zone), running_hours.build(settings)
    requestable = [*(machines.jobs or ()), *(hours.jobs or ())]
    parts = dg.Definitions.merge(
        machines,
        hours,
        maintenance.build(settings.time_zone),
        operations.build(settings.time_zone),
        api_check.build(),
        dg.Definitions(schedules=[reconciliation.build(settings)], sensors=[requested_syncs.build(settings, requestable)]),
    )
    return dg.Definitions(
        assets=parts.assets,
        asset_checks=parts.asset_checks,
        jobs=parts.jobs,
        schedules=timed(parts.schedules or (), settings),
        sensors=parts.sensors,
        resources={"warehouse": Warehouse(), "source_system": SourceSystem(), **(resource_overrides or {})},
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, COMMAND_LINE_LOGGER: command_line_logger},
    )

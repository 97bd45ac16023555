"""Setting rules of maintenance as a job, for those who have the UI and no shell."""

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import preview_table
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.running import operator_errors, run_tags

SET_MAINTENANCE_RULE = "set_maintenance_rule"
_COLUMNS = (
    "id", "version", "name", "equipment_group", "equipment_number", "interval_hours", "interval_days", "tolerance_hours",
    "tolerance_days", "scheduling", "is_active",
)  # fmt: skip


class MaintenanceRuleConfig(dg.Config):
    """One rule; it takes the place of the one of this name for the same group or machine. 0 and empty: not given."""

    name: str = Field(description="The rule's name, such as 250 h inspection.")
    equipment_group: str = Field(default="", description="For all machines of this group; either this or one machine.")
    equipment_number: str = Field(default="", description="For this machine alone; takes the place of its group's rule.")
    task: str = Field(default="", description="What is to be done.")
    interval_hours: float = Field(default=0.0, description="Running hours from one time to the next.")
    interval_days: int = Field(default=0, description="Days from one time to the next.")
    tolerance_hours: float = Field(default=0.0, description="Hours before and after the point where it is due.")
    tolerance_days: int = Field(default=0, description="Days before and after.")
    scheduling: str = Field(default="floating", description="floating (from the completion) or fixed (stays on the grid).")
    work_type: str = Field(default="", description="Only work orders of this kind complete it.")
    title_contains: str = Field(default="", description="Only work whose title or task has these words completes it.")
    baseline_hours: float = Field(default=-1.0, description="Lifetime hours to count from at first; -1: not given.")
    baseline_on: str = Field(default="", description="Day to count from at first, as 2026-01-31.")
    is_active: bool = Field(default=True, description="An inactive rule counts as not there.")
    by: str = Field(default="Dagster UI", description="Who you are.")


@dg.op(description="Create or replace one rule of maintenance, and show all that are set.")
def set_rule(context: dg.OpExecutionContext, config: MaintenanceRuleConfig, warehouse: Warehouse) -> int:
    from cmms_pipelines.domain.maintenance_rules import read_rule  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.storage.maintenance_rules import find_rules, put_rules  # noqa: PLC0415

    with operator_errors(context):
        given = config.model_dump(exclude={"by", "baseline_hours"})
        given |= {"interval_hours": config.interval_hours or None, "interval_days": config.interval_days or None}
        given["baseline_hours"] = config.baseline_hours if config.baseline_hours >= 0 else None
        with warehouse.engine().begin() as connection:
            [(change, stored)] = put_rules(connection, [read_rule(given)], actor=config.by)
            rows = [one.as_row() for one in find_rules(connection)]
    context.add_output_metadata({"change": change.value, "version": stored.version, "rules": preview_table(rows, _COLUMNS)})
    context.log.info("%r for %s: %s", stored.rule.name, stored.rule.subject, change.value)
    return stored.id


@dg.job(
    name=SET_MAINTENANCE_RULE,
    tags=run_tags(max_runtime_s=120, priority=5),
    executor_def=dg.in_process_executor,
    description="Say what is to be done to a group of machines or to one after how many running hours or days.",
)
def set_maintenance_rule() -> None:
    set_rule()

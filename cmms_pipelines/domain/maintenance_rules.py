"""Rules of maintenance: what is to be done after how many running hours or days, to a group of machines or to one.

What belongs here: what makes a rule usable, and reading many of them from a file's records. What does not: where rules are kept
(`storage.maintenance_rules`) and what is due by them (`dbt_models/models/marts/maintenance_due.sql`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.payload_base import MAX_HOURS

LONGEST_INTERVAL_DAYS = 36_500


class Scheduling(StrEnum):
    """Where the next due point lies: counted from the completion, or on the grid that began at the first baseline."""

    FLOATING = "floating"
    FIXED = "fixed"


_Hours = Annotated[Decimal, Field(ge=0, le=MAX_HOURS, decimal_places=4, allow_inf_nan=False)]
_Days = Annotated[int, Field(ge=0, le=LONGEST_INTERVAL_DAYS)]


class MaintenanceRule(BaseModel):
    """One rule. A machine's takes the place of its group's of the same name; an inactive one counts as not there.

    The tolerance lies on both sides of the point where the work is due: within it before, the work is due soon (and may be done
    already), within it after, it is due and not overdue yet.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=100, examples=["250 h inspection"])
    task: Annotated[str, Field(max_length=255)] | None = Field(default=None, description="what is to be done")
    equipment_group: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="for all machines of this group; either this or `equipment_number`"
    )
    equipment_number: Annotated[str, Field(min_length=1, max_length=50)] | None = Field(
        default=None, description="for this machine alone"
    )
    interval_hours: Annotated[_Hours, Field(gt=0)] | None = Field(
        default=None, description="running hours from one time to the next; this, `interval_days` or both"
    )
    interval_days: Annotated[_Days, Field(gt=0)] | None = Field(default=None, description="days from one time to the next")
    tolerance_hours: _Hours = Field(default=Decimal(0), description="hours before and after; less than the interval")
    tolerance_days: _Days = Field(default=0, description="days before and after; less than the interval")
    scheduling: Scheduling = Field(
        default=Scheduling.FLOATING,
        description="floating: the next time counts from the completion; fixed: it stays on the grid from the first baseline",
    )
    work_type: Annotated[str, Field(min_length=1, max_length=50)] | None = Field(
        default=None, description="only work orders of this kind complete it, whatever the case", examples=["preventive"]
    )
    title_contains: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        default=None, description="only work whose title or task has these words completes it, whatever the case"
    )
    baseline_hours: _Hours | None = Field(
        default=None, description="lifetime hours to count from while no work of the rule was completed"
    )
    baseline_on: dt.date | None = Field(default=None, description="the day to count from while no work was completed")
    is_active: bool = True

    @model_validator(mode="after")
    def _fits(self) -> "MaintenanceRule":
        if (self.equipment_group is None) == (self.equipment_number is None):
            raise ValueError("name either an equipment_group or an equipment_number")
        if self.interval_hours is None and self.interval_days is None:
            raise ValueError("give interval_hours, interval_days or both")
        if self.tolerance_hours and self.tolerance_hours >= (self.interval_hours or 0):
            raise ValueError("tolerance_hours must be less than interval_hours")
        if self.tolerance_days and self.tolerance_days >= (self.interval_days or 0):
            raise ValueError("tolerance_days must be less than interval_days")
        if self.baseline_hours is not None and self.interval_hours is None:
            raise ValueError("baseline_hours means nothing without interval_hours")
        return self

    @property
    def subject(self) -> str:
        """Return whom the rule is for, as an operator names it."""
        return f"group {self.equipment_group!r}" if self.equipment_group else f"machine {self.equipment_number!r}"


def read_rule(record: Mapping[str, Any], *, where: str = "The rule") -> MaintenanceRule:
    """Read a rule from a record of a file or a form; empty texts count as not given.

    Raises:
        PermanentError: it is not usable; the message says where, and names the fields.
    """
    given = {name: value for name, value in record.items() if value is not None and value != ""}
    try:
        return MaintenanceRule.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" if problem["loc"] else problem["msg"]
            for problem in error.errors(include_input=False)
        )
        raise PermanentError(f"{where} is not usable: {problems}.") from error


def read_rules(records: Sequence[Mapping[str, Any]]) -> list[MaintenanceRule]:
    """Read all rules of a file, none of them twice.

    Raises:
        PermanentError: one is not usable or stands there twice; the message names the record, counted from 1.
    """
    rules: list[MaintenanceRule] = []
    seen: dict[tuple[str, str], int] = {}
    for number, record in enumerate(records, start=1):
        rule = read_rule(record, where=f"Rule {number}")
        first = seen.setdefault((rule.name, rule.subject), number)
        if first != number:
            raise PermanentError(f"Rules {first} and {number} are both named {rule.name!r} for {rule.subject}.")
        rules.append(rule)
    return rules

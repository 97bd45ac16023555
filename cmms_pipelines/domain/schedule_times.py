"""When schedules run: their names and times as they are built in, and what may be configured instead.

What belongs here: cron expressions of five fields, time zones, and which schedules there are. What does not: what a schedule
starts (`defs`), and where times are kept (`storage.settings_in_force`).
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "sync_plants_nightly": "50 23 * * *",
        "sync_equipment_nightly": "0 0 * * *",
        "sync_running_times_daily": "0 1 * * *",
        "sync_work_orders_nightly": "30 1 * * *",
        "build_marts_nightly": "0 3 * * *",
        "find_missed_events_daily": "30 3 * * *",
        "daily_report_morning": "15 6 * * *",
        "clean_up_logs_weekly": "0 4 * * 0",
        "observe_inbox_quarter_hourly": "*/15 * * * *",
        "observe_conflicts_hourly": "20 * * * *",
        "observe_operations_hourly": "40 * * * *",
        "check_alerts_hourly": "7 * * * *",
    }
)
"""Cron expression by schedule."""

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_LONGEST_MONTH = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_PART = re.compile(r"(\*|\d{1,2}(?:-\d{1,2})?)(?:/(\d{1,2}))?")


def check_cron(text: str) -> str:
    """Return a cron expression with single spaces.

    Raises:
        ValueError: it is none of five fields of numbers, or it never comes.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"{text!r} has {len(fields)} fields: cron takes five, minute hour day month weekday, such as '30 1 * * *'"
        )
    values = [_values(field, *of) for field, of in zip(fields, _FIELDS, strict=True)]
    days, months = values[2], values[3]
    if fields[4] == "*" and not any(min(days) <= _LONGEST_MONTH.get(month, 31) for month in months):
        raise ValueError(f"{text!r} never comes: those months have no such day")
    return " ".join(fields)


def known_time_zone(value: str) -> str:
    """Return the name of a time zone.

    Raises:
        ValueError: the IANA database does not have it.
    """
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone of the IANA database (example: Europe/Berlin)") from error
    return value


class ScheduleTime(BaseModel):
    """When one schedule runs, and whether it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: Annotated[str, Field(max_length=100), AfterValidator(check_cron)] | None = Field(
        default=None, description="minute hour day month weekday, in the time zone; left out: as built in"
    )
    is_on: bool = Field(default=True, description="false: each tick is skipped, with this as the reason")


def known_schedules(given: Mapping[str, ScheduleTime]) -> Mapping[str, ScheduleTime]:
    """Return the times of schedules.

    Raises:
        ValueError: there is no such schedule; the message has the nearest name.
    """
    for name in given:
        if name not in BUILT_IN:
            near = get_close_matches(name, BUILT_IN, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(BUILT_IN)}"
            raise ValueError(f"{name}: there is no such schedule; {hint}")
    return given


def cron_of(name: str, given: Mapping[str, ScheduleTime]) -> str:
    """Return when a schedule runs: as configured, else as built in."""
    configured = given.get(name)
    return (configured.cron if configured else None) or BUILT_IN[name]


def is_on(name: str, given: Mapping[str, ScheduleTime]) -> bool:
    """Tell whether a schedule starts anything."""
    return name not in given or given[name].is_on


def _values(field: str, name: str, lowest: int, highest: int) -> list[int]:
    found: list[int] = []
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{name} {field!r} cannot be read: take numbers, '*', ranges (1-5), steps (*/15) and lists (1,15)")
        span, step = match.groups()
        first, _, last = span.partition("-")
        start = lowest if span == "*" else int(first)
        end = highest if span == "*" else int(last or first)
        if not lowest <= start <= end <= highest:
            raise ValueError(f"{name} {field!r} is not within {lowest} to {highest}")
        if step is not None and (span != "*" and not last):
            raise ValueError(f"{name} {field!r}: a step needs '*' or a range before it")
        if step is not None and int(step) == 0:
            raise ValueError(f"{name} {field!r}: a step of 0 goes nowhere")
        found += range(start, end + 1, int(step or 1))
    return found

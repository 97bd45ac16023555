"""The value types of event payloads: how keys, instants, money, statuses and priorities of any sender become ours.

What belongs here: reading one value, with its accepted spellings. What does not: which event carries which value
(`domain.event_payloads`). Pandas stays out: the run that applies an event must start fast.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from cmms_pipelines.domain.events import canonical_number


class WorkOrderStatus(StrEnum):
    """Where a work order stands; `STATUS_RANK` orders them."""

    REQUESTED = "requested"
    OPEN = "open"
    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    ON_HOLD = "on_hold"
    COMPLETED = "completed"
    CLOSED = "closed"
    CANCELLED = "cancelled"


STATUS_RANK = {status: rank for rank, status in enumerate(WorkOrderStatus)}

_STATUS_SPELLINGS = {
    WorkOrderStatus.REQUESTED: ("new", "draft", "pending", "submitted", "crtd"),
    WorkOrderStatus.OPEN: ("opened", "approved", "released", "rel", "reopened", "assigned"),
    WorkOrderStatus.SCHEDULED: ("planned",),
    WorkOrderStatus.IN_PROGRESS: ("inprogress", "started", "active", "work_in_progress", "wip"),
    WorkOrderStatus.ON_HOLD: ("onhold", "paused", "waiting", "blocked", "waiting_for_parts"),
    WorkOrderStatus.COMPLETED: ("complete", "done", "finished", "teco", "resolved"),
    WorkOrderStatus.CLOSED: ("close", "clsd", "archived"),
    WorkOrderStatus.CANCELLED: ("canceled", "rejected", "declined", "void"),
}
_STATUSES = {spelling: status for status, spellings in _STATUS_SPELLINGS.items() for spelling in (status.value, *spellings)}

_PRIORITY_SPELLINGS = {
    "critical": ("1", "very_high", "urgent", "emergency", "highest"),
    "high": ("2",),
    "medium": ("3", "normal", "standard"),
    "low": ("4", "lowest", "minor"),
    "none": ("0",),
}
_PRIORITIES = {spelling: name for name, spellings in _PRIORITY_SPELLINGS.items() for spelling in (name, *spellings)}


class Result(StrEnum):
    """How an inspection ended."""

    PASSED = "passed"
    CONDITIONAL = "conditional"
    FAILED = "failed"


_SEVERITY_SPELLINGS = {
    "critical": ("1", "very_high", "severe", "emergency", "blocker", "fatal"),
    "high": ("2", "major", "serious"),
    "medium": ("3", "moderate", "normal", "average"),
    "low": ("4", "minor", "trivial", "negligible"),
}
_SEVERITIES = {spelling: name for name, spellings in _SEVERITY_SPELLINGS.items() for spelling in (name, *spellings)}

_RESULT_SPELLINGS = {
    Result.PASSED: ("pass", "ok", "accepted", "good", "compliant", "a", "true"),
    Result.CONDITIONAL: ("passed_with_remarks", "partial", "conditionally_passed", "limited"),
    Result.FAILED: ("fail", "nok", "not_ok", "rejected", "bad", "non_compliant", "r", "false"),
}
_RESULTS = {spelling: result for result, spellings in _RESULT_SPELLINGS.items() for spelling in (result.value, *spellings)}

_DATE_ONLY = re.compile(r"\d{4}-\d{2}-\d{2}|\d{8}")
_LAST_SECOND = time(23, 59, 59, tzinfo=UTC)
_MILLISECONDS_FROM = 100_000_000_000  # as seconds this is the year 5138, as milliseconds 1973


def _read_key(value: object) -> object:
    return canonical_number(value) or value


def _spelling(value: object) -> str:
    return re.sub(r"[\s-]+", "_", str(value).strip().lower())


def _read_status(value: object) -> object:
    return value if value is None else _STATUSES.get(_spelling(value), value)


def _read_priority(value: object) -> object:
    return value if value is None else _PRIORITIES.get(_spelling(value), _spelling(value))


def _read_severity(value: object) -> object:
    return value if value is None else _SEVERITIES.get(_spelling(value), _spelling(value))


def _read_result(value: object) -> object:
    return value if value is None else _RESULTS.get(_spelling(value), value)


def _read_instant(value: object) -> object:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        if isinstance(value, str):
            text = value.strip()
            if _DATE_ONLY.fullmatch(text):
                return datetime.combine(date.fromisoformat(text), time(tzinfo=UTC))
            value = datetime.fromisoformat(text) if text else None
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time outside the years 1 to 9999") from error
    return value


def _read_deadline(value: object) -> object:
    if isinstance(value, str) and _DATE_ONLY.fullmatch(value.strip()):
        return datetime.combine(date.fromisoformat(value.strip()), _LAST_SECOND)
    return _read_instant(value)


def _read_money(value: object) -> object:
    if value is None or isinstance(value, bool):
        return value
    amount = Decimal(str(value).strip().replace(",", "")) if isinstance(value, str | int | float | Decimal) else None
    if amount is None or not amount.is_finite() or abs(amount) >= 10**12:
        raise ValueError("an amount of money is a number below 10^12")
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def _read_money_or_refuse(value: object) -> object:
    try:
        return _read_money(value)
    except ArithmeticError as error:
        raise ValueError("an amount of money is a number below 10^12") from error


EntityNumber = Annotated[str, BeforeValidator(_read_key), Field(min_length=1)]
"""A key under SAP's ALPHA rule: `000010020570` is `10020570`, `N355NB` stays; numbers are taken as text (quirk 1)."""

Instant = Annotated[datetime, BeforeValidator(_read_instant)]
"""A time in UTC: ISO 8601, or seconds or milliseconds since 1970; without a zone it is taken as UTC."""

Deadline = Annotated[datetime, BeforeValidator(_read_deadline)]
"""Like `Instant`, but a date alone means its last second: work due on a day is not late on that day."""

Money = Annotated[Decimal, BeforeValidator(_read_money_or_refuse), Field(ge=0)]
"""An amount rounded to cents; a comma groups thousands."""

Status = Annotated[WorkOrderStatus, BeforeValidator(_read_status)]
"""A status in our words or in a known sender's (`TECO`, `DONE`, `IN PROGRESS`)."""

Priority = Annotated[str, BeforeValidator(_read_priority), Field(min_length=1, max_length=20)]
"""`critical`, `high`, `medium`, `low` or `none`; SAP's 1 to 4 are read so; a word nobody knows is kept in lower case."""

Severity = Annotated[str, BeforeValidator(_read_severity), Field(min_length=1, max_length=20)]
"""`critical`, `high`, `medium` or `low`; 1 to 4 are read so; a word nobody knows is kept in lower case."""

InspectionResult = Annotated[Result, BeforeValidator(_read_result)]
"""`passed`, `conditional` or `failed`, in our words or in a known sender's (`ok`, `NOK`; SAP's A and R)."""

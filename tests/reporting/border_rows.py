"""Machines made by hand, each with one rule that stands exactly at a border, and what the mart must say of it.

All of them run in plant UTC (today is 10 March 2026) but those that say otherwise.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
FIRST_ID = 101
UTC_PLANT, LAX_PLANT = 2, 4


@dataclass(frozen=True)
class Border:
    """One machine: counters by day of March (before: February), its rule, completed work, counter events, what is expected."""

    name: str
    counters: dict[date, str]
    rule: Row
    says: Row
    completed_at: datetime | None = None
    resets: tuple[tuple[date, str], ...] = ()
    plant_id: int = UTC_PLANT


def _march(*counters: tuple[int, str]) -> dict[date, str]:
    return {date(2026, 3, day): counter for day, counter in counters}


FROM_ZERO = {"interval_hours": 100, "tolerance_hours": 10, "stated_hours": 0, "stated_on": date(2026, 2, 1)}
GRID = {"interval_hours": 250, "tolerance_hours": 10, "stated_hours": 0, "scheduling": "fixed"}
BORDERS = (
    Border("ok", _march((9, "89.9999")), FROM_ZERO, {"status": "ok", "hours_left": "10.0001"}),
    Border("edge-of-tolerance", _march((9, "90")), FROM_ZERO, {"status": "due_soon", "hours_left": "10"}),
    Border("exactly", _march((9, "100")), FROM_ZERO, {"status": "due", "hours_left": "0", "expected_due_on": date(2026, 3, 9)}),
    Border("within-after", _march((9, "110")), FROM_ZERO, {"status": "due", "hours_left": "-10"}),
    Border("over", _march((9, "110.0001")), FROM_ZERO, {"status": "overdue", "hours_left": "-10.0001"}),
    Border(
        "one-hour-over",
        _march((9, "101")),
        {"interval_hours": 100, "stated_hours": 0},
        {"status": "overdue", "hours_left": "-1", "hours_since": "101", "baseline": "stated", "baseline_on": None},
    ),
    Border(
        "no-tolerance-before",
        _march((9, "99.9999")),
        {"interval_hours": 100, "stated_hours": 0},
        {"status": "ok", "hours_left": "0.0001"},
    ),
    Border(
        "counter-began-again",
        _march((5, "50"), (6, "80"), (7, "5"), (8, "25")),
        {"interval_hours": 50},
        {"status": "overdue", "lifetime_hours": "105", "hours_since": "55", "hours_left": "-5", "baseline": "first reading"},
        resets=((date(2026, 3, 7), "80"),),
    ),
    Border(
        "floating",
        _march((1, "240"), (9, "480")),
        {**GRID, "scheduling": "floating"},
        {"status": "due_soon", "due_at_lifetime_hours": "490", "hours_left": "10", "baseline": "completion"},
        completed_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    ),
    Border(
        "fixed-done-within-tolerance",
        _march((1, "240"), (9, "480")),
        GRID,
        {"status": "ok", "due_at_lifetime_hours": "500", "hours_left": "20"},
        completed_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    ),
    Border(
        "fixed-done-too-early",
        _march((1, "239.9999"), (9, "255")),
        GRID,
        {"status": "due", "due_at_lifetime_hours": "250", "hours_left": "-5"},
        completed_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    ),
    Border(
        "fixed-done-late",
        _march((1, "270"), (9, "480")),
        GRID,
        {"status": "ok", "due_at_lifetime_hours": "500", "hours_left": "20"},
        completed_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    ),
    Border("no-reading", {}, FROM_ZERO, {"status": "unknown", "unknown_because": "no counter was read", "hours_left": None}),
    Border(
        "nothing-at-all", {}, {"interval_days": 30}, {"status": "unknown", "unknown_because": "nothing was completed or read"}
    ),
    Border(
        "done-before-the-first-reading",
        _march((9, "500")),
        {"interval_hours": 100},
        {"status": "unknown", "unknown_because": "no counter was read on or before the day of the baseline"},
        completed_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    ),
    Border(
        "baseline-beyond",
        _march((9, "500")),
        {"interval_hours": 100, "stated_hours": 600},
        {"status": "unknown", "unknown_because": "the baseline is beyond the newest counter", "hours_since": None},
    ),
    Border(
        "stated-without-a-day",
        _march((9, "50")),
        {"interval_hours": 100, "interval_days": 30, "stated_hours": 0},
        {"status": "unknown", "hours_status": "ok", "unknown_because": "the stated baseline has no day", "hours_left": "50"},
    ),
    Border(
        "calendar-today",
        _march((9, "5")),
        {"interval_days": 30},
        {"status": "due", "days_left": 0, "due_on": date(2026, 3, 10), "hours_left": None, "hours_status": None},
        completed_at=datetime(2026, 2, 8, 23, 59, tzinfo=UTC),
    ),
    Border(
        "calendar-where-it-is-still-the-day-before",
        _march((8, "5")),
        {"interval_days": 30},
        {"status": "overdue", "baseline_on": date(2026, 2, 6), "due_on": date(2026, 3, 8), "days_left": -1},
        completed_at=datetime(2026, 2, 7, 7, 59, tzinfo=UTC),
        plant_id=LAX_PLANT,
    ),
    Border(
        "calendar-over-the-change-of-clocks",
        _march((8, "5")),
        {"interval_days": 2, "tolerance_days": 1},
        {"status": "ok", "baseline_on": date(2026, 3, 9), "due_on": date(2026, 3, 11), "days_left": 2},
        completed_at=datetime(2026, 3, 9, 7, 30, tzinfo=UTC),  # half past midnight there; by yesterday's clock the day before
        plant_id=LAX_PLANT,
    ),
    Border(
        "the-worse-of-both",
        _march((9, "5")),
        {"interval_hours": 100, "interval_days": 10, "stated_hours": 0, "stated_on": date(2026, 2, 1)},
        {"status": "overdue", "hours_status": "ok", "calendar_status": "overdue", "days_left": -27},
    ),
    Border(
        "not-read-lately",
        {date(2026, 1, 20): "50"},
        {"interval_hours": 100, "stated_hours": 0},
        {
            "status": "ok",
            "hours_left": "50",
            "daily_running_hours": None,
            "expected_due_on": None,
            "not_expected_because": "no hours are known of the last 30 days",
        },
    ),
    Border(
        "done-tomorrow",
        _march((9, "120")),
        {"interval_hours": 100, "stated_hours": 0},
        {"status": "overdue", "baseline": "stated"},
        completed_at=datetime(2026, 3, 11, 12, tzinfo=UTC),
    ),
)


def number_of(border: Border) -> str:
    """Return the equipment number of a border's machine."""
    return f"X-{FIRST_ID + BORDERS.index(border)}-{border.name}"


def machines(created_at: datetime) -> list[Row]:
    """Return the machines' rows."""
    return [
        {
            "id": FIRST_ID + index,
            "equipment_number": number_of(border),
            "equipment_description": border.name,
            "plant_id": border.plant_id,
            "equipment_group_id": None,
            "is_active": True,
            "created_at": created_at,
        }
        for index, border in enumerate(BORDERS)
    ]


def readings() -> list[Row]:
    """Return their readings; each ran one hour on its day."""
    return [
        {
            "equipment_id": FIRST_ID + index,
            "plant_id": border.plant_id,
            "date": day,
            "running_hours": Decimal(1),
            "cumulative_hours": Decimal(counter),
            "days_covered": 1,
        }
        for index, border in enumerate(BORDERS)
        for day, counter in border.counters.items()
    ]


def rules() -> list[Row]:
    """Return their rules, one for each machine."""
    return [
        {
            "name": "border",
            "equipment_group_id": None,
            "equipment_id": FIRST_ID + index,
            "interval_hours": border.rule.get("interval_hours"),
            "interval_days": border.rule.get("interval_days"),
            "tolerance_hours": border.rule.get("tolerance_hours", 0),
            "tolerance_days": border.rule.get("tolerance_days", 0),
            "scheduling": border.rule.get("scheduling", "floating"),
            "work_type": None,
            "title_contains": None,
            "baseline_hours": border.rule.get("stated_hours"),
            "baseline_on": border.rule.get("stated_on"),
            "is_active": True,
        }
        for index, border in enumerate(BORDERS)
    ]


def work_orders() -> list[Row]:
    """Return the work that was completed on them."""
    return [
        {
            "cmms_system_id": "cmms-1",
            "work_order_number": f"WO-{border.name}",
            "status": "closed",
            "equipment_id": FIRST_ID + index,
            "title": "border",
            "work_type": "preventive",
            "completed_at": border.completed_at,
            "closed_at": border.completed_at,
        }
        for index, border in enumerate(BORDERS)
        if border.completed_at is not None
    ]


def counter_events() -> list[Row]:
    """Return the resets of their counters."""
    return [
        {
            "equipment_id": FIRST_ID + index,
            "date": day,
            "kind": "reset",
            "counter_before": Decimal(offset),
            "counter_after": Decimal(0),
            "offset_hours": Decimal(offset),
        }
        for index, border in enumerate(BORDERS)
        for day, offset in border.resets
    ]

"""MTBF, MTTR and availability, computed here another way: minute by minute where failures overlap."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.reporting.conftest import Built
from tests.reporting.known_rows import AS_OF, TODAY, Row

WINDOW = timedelta(days=365)
NOBODY = "no failure and no work order of it is known"


def test_machines_have_figures_only_where_failures_and_work_orders_are_known(built: Built) -> None:
    rows = {row["equipment_number"]: row for row in built.marts["reliability"] if row["level"] == "machine"}
    assert rows.keys() == {machine["equipment_number"] for machine in built.rows.equipment}
    reasons = set()
    for machine in built.rows.equipment:
        row, expected = rows[machine["equipment_number"]], _machine(built, machine)
        reasons.add(row["availability_unknown_because"])
        if isinstance(expected, str):
            assert row["availability_unknown_because"] == row["mtbf_unknown_because"] == row["mttr_unknown_because"] == expected
            assert [row[name] for name in ("mtbf_h", "mttr_h", "availability", "failures")] == [None] * 4
            continue
        for name, value in expected.items():
            assert row[name] == (pytest.approx(value, abs=0.02) if value is not None else None), (machine["id"], name)
        assert (row["mtbf_h"] is None) == (row["mtbf_unknown_because"] is not None)
        assert (row["mttr_h"] is None) == (row["mttr_unknown_because"] is not None)
    assert reasons >= {None, NOBODY, "no failure of it is known", "no work order of it is known", "a failure has no time"}


def test_a_plant_is_the_sum_of_its_known_machines(built: Built) -> None:
    plants = {plant["id"]: plant["plant_code"] for plant in built.rows.plants}
    rows = {row["plant_code"]: row for row in built.marts["reliability"] if row["level"] == "plant"}
    assert rows.keys() == {plants[machine["plant_id"]] for machine in built.rows.equipment}
    for code, row in rows.items():
        mine = [_machine(built, machine) for machine in built.rows.equipment if plants[machine["plant_id"]] == code]
        known = [one for one in mine if not isinstance(one, str)]
        assert (row["machines"], row["machines_known"]) == (len(mine), len(known))
        failures = sum(one["failures"] for one in known)
        if failures:
            assert row["mtbf_h"] == pytest.approx(sum(one["running_hours"] or 0 for one in known) / failures)
        down, seen = (sum(one[name] for one in known) for name in ("downtime_hours", "observed_hours"))
        assert row["availability"] == (pytest.approx(1 - down / seen, abs=1e-4) if known else None)


def _machine(built: Built, machine: Row) -> dict[str, Any] | str:
    """The machine's figures, or why there are none."""
    plant = next(plant for plant in built.rows.plants if plant["id"] == machine["plant_id"])
    zone, today = ZoneInfo(plant["time_zone"]), TODAY[plant["plant_code"]]
    told = [
        ((one["failed_at"] or one["detected_at"]), one["repaired_at"])
        for one in built.rows.failures
        if one["equipment_id"] == machine["id"] and (one["failed_at"] or one["detected_at"] or AS_OF) <= AS_OF
    ]
    orders = sum(one["equipment_id"] == machine["id"] for one in built.rows.work_orders)
    if not told and not orders:
        return NOBODY
    if not told or not orders:
        return "no failure of it is known" if not told else "no work order of it is known"
    if any(failed is None for failed, _ in told):
        return "a failure has no time"
    readings = [one for one in built.rows.equipment_running_times if one["equipment_id"] == machine["id"]]
    starts = [failed for failed, _ in told] + [_midnight(min(one["date"] for one in readings), zone)] * bool(readings)
    since = max(min(starts), _midnight(today - WINDOW, zone))
    inside = [(failed, repaired) for failed, repaired in told if failed >= since]
    repairs = [repaired - failed for failed, repaired in inside if repaired and failed <= repaired <= AS_OF]
    first_day = since.astimezone(zone).date()
    hours = [one["running_hours"] or 0 for one in readings if first_day <= one["date"] < today]
    known_hours = [one for one in readings if first_day <= one["date"] < today and one["running_hours"] is not None]
    running = float(sum(hours, Decimal(0))) if known_hours else None
    return {
        "failures": len(inside),
        "repairs": len(repairs),
        "running_hours": running,
        "observed_hours": (AS_OF - since).total_seconds() / 3600,
        "downtime_hours": _downtime_hours(told, since),
        "mtbf_h": running / len(inside) if inside and running is not None else None,
        "mttr_h": sum(repairs, timedelta()).total_seconds() / 3600 / len(repairs) if repairs else None,
    }


def _downtime_hours(told: list[tuple[datetime, datetime | None]], since: datetime) -> float:
    down: set[int] = set()
    for failed, repaired in told:
        start, end = max(failed, since), min(repaired or AS_OF, AS_OF)
        down.update(range(int(start.timestamp() // 60), int(end.timestamp() // 60)))
    return len(down) / 60


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, zone).astimezone(UTC)

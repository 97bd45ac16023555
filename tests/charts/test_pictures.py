"""Pictures are valid, small, of the data they are given, and show what is missing as missing."""

import io
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmms_pipelines.charts import hours, key_figures, maintenance, operations
from cmms_pipelines.charts.canvas import BLUE, CARD, RED, short, shortened

LARGEST = 60_000
TODAY = date(2026, 3, 9)
HATCHED = (180, 187, 193)


def days(count: int) -> list[date]:
    return [TODAY - timedelta(days=back) for back in reversed(range(count))]


def trend(*, without: int | None = None, factor: float = 1.0) -> pd.DataFrame:
    rows = [
        {"period_started_on": day, "running_hours": factor * (100 + 10 * (place % 5)), "machines": 9}
        for place, day in enumerate(days(30))
        if place != without
    ]
    return pd.DataFrame(rows)


def heat(*, gap: float | None = 0.5) -> pd.DataFrame:
    rows = [
        {"plant_code": plant, "date": day, "utilisation": 0.02 * (place % 40) + 0.1, "machines_expected": 5}
        for plant in ("P1", "P2", "P3")
        for place, day in enumerate(days(40))
    ]
    frame = pd.DataFrame(rows)
    frame.loc[(frame["plant_code"] == "P2") & (frame["date"] > TODAY - timedelta(days=10)), "utilisation"] = gap
    return frame


def gaps(count: int) -> pd.DataFrame:
    rows = [
        {
            "equipment_number": f"EQ-{number}",
            "plant_code": "P1",
            "gap_started_on": TODAY - timedelta(days=number + 3),
            "gap_ended_on": TODAY,
            "days_missing": number + 4,
            "is_open": number % 2 == 0,
        }
        for number in range(count)
    ]
    return pd.DataFrame(rows)


def freshness(late: int) -> pd.DataFrame:
    rows = [
        {
            "plant_code": f"P{number}",
            "active_machines": 10,
            "machines_read": 0 if number < late else 9,
            "days_late": (None if number == 0 else 2) if number < late else 0,
            "freshness": "late" if number < late else "fresh",
        }
        for number in range(8)
    ]
    return pd.DataFrame(rows)


def syncs(*, status: str = "success", without: int | None = None) -> pd.DataFrame:
    rows = [
        {"sync_type": kind, "started_on": day, "status": status if place == 5 else "success", "records_processed": 10_500}
        for kind in ("equipment", "running_times")
        for place, day in enumerate(days(10))
        if place != without
    ]
    return pd.DataFrame(rows)


def rules(opened: int) -> pd.DataFrame:
    names = ("plant_unknown", "equipment_unknown", "a rule of $5 and $6")
    return pd.DataFrame(
        [{"rule": name, "refusals_open": opened, "refusals_replayed": 3, "refusals_discarded": 1} for name in names]
    )


def calls(slow: float, *, without: int | None = None) -> pd.DataFrame:
    rows = [
        {"called_on": day, "endpoint": endpoint, "calls": 10, "p50_ms": 100.0, "p95_ms": 200.0, "p99_ms": slow}
        for endpoint in ("/equipments", "/plants")
        for place, day in enumerate(days(9))
        if place != without
    ]
    return pd.DataFrame(rows)


def events(failed: int) -> pd.DataFrame:
    rows = [
        {
            "received_on": day,
            "event_type": kind,
            "events_processed": 20,
            "events_ignored": 2,
            "events_waiting": 1,
            "events_failed": failed,
            "latency_p50_ms": 200.0,
            "latency_p95_ms": None if failed else 400.0,
            "latency_p99_ms": 500.0,
        }
        for kind in ("work_order.created", "meter.reading")
        for day in days(6)
    ]
    return pd.DataFrame(rows)


def due(overdue: int, *, plants: int = 6) -> pd.DataFrame:
    rows = [
        {"plant_code": f"P{number}", "overdue": overdue * number, "due": 2, "due_soon": 4, "unknown": number % 2, "ok": 90}
        for number in range(plants)
    ]
    return pd.DataFrame(rows)


def counts(errors: int, *, plants: int = 6) -> pd.DataFrame:
    rows = [
        {"plant_code": f"P{number}", "active": 100 + number, "needs_maintenance": number, "sync_errors": errors}
        for number in range(plants)
    ]
    return pd.DataFrame(rows)


def key_figures_of(latency: float | None, *, limit: float = 5000.0) -> pd.DataFrame:
    rows = [
        {
            "date": day,
            "sync_success_rate": 1.0,
            "refusal_rate": 0.02 + 0.001 * place,
            "api_p95_ms": 900.0 + 10 * place,
            "inbox_latency_p95_ms": latency if 10 <= place < 15 else 300.0,
            "sync_success_rate_limit": 0.95,
            "refusal_rate_limit": 0.10,
            "api_p95_ms_limit": 5000.0,
            "inbox_latency_p95_ms_limit": limit,
        }
        for place, day in enumerate(days(30))
    ]
    return pd.DataFrame(rows)


Draw = Callable[[pd.DataFrame], bytes]
PAIRS: list[tuple[Draw, pd.DataFrame, pd.DataFrame]] = [
    (hours.running_hour_trend, trend(), trend(factor=0.5)),
    (hours.utilisation_heat_map, heat(), heat(gap=0.9)),
    (hours.gap_bars, gaps(5), gaps(30)),
    (hours.freshness_bars, freshness(0), freshness(3)),
    (operations.sync_history, syncs(), syncs(status="failed")),
    (operations.refusals_by_rule, rules(5), rules(500)),
    (operations.response_times, calls(300), calls(3000)),
    (operations.events_and_latency, events(0), events(7)),
    (maintenance.maintenance_by_plant, due(0), due(3)),
    (maintenance.counts_by_plant, counts(0), counts(5)),
    (key_figures.key_figures_by_day, key_figures_of(300), key_figures_of(9000)),
]


def pixels(png: bytes) -> "np.ndarray[Any, Any]":
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def hatched(png: bytes) -> int:
    """Return how many pixels have the colour of what stands for "nothing is known"."""
    return int((abs(pixels(png) - np.array(HATCHED)).sum(axis=2) < 24).sum())


@pytest.mark.parametrize(("draw", "one", "other"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_picture_is_a_small_png_on_a_light_card_and_follows_the_data(
    draw: Draw, one: pd.DataFrame, other: pd.DataFrame
) -> None:
    first, second = draw(one), draw(other)
    assert first == draw(one), "the same rows make the same picture"
    assert first != second
    for png in (first, second):
        assert len(png) < LARGEST
        drawn = pixels(png)
        assert drawn.shape[1] > 900
        assert tuple(drawn[2, 2]) == pytest.approx(tuple(bytes.fromhex(CARD[1:])), abs=3)
        assert (drawn < 100).all(axis=2).any(), "there is dark ink on the card"


@pytest.mark.parametrize(("draw", "frame", "_other"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_where_there_is_nothing_the_picture_says_so(draw: Draw, frame: pd.DataFrame, _other: pd.DataFrame) -> None:
    empty = draw(frame.iloc[:0])
    assert pixels(empty).shape[0] < 300
    assert (pixels(empty) < 200).any()


def test_a_day_without_readings_is_hatched_and_not_a_day_of_zero_hours() -> None:
    zero = trend()
    zero.loc[zero["period_started_on"] == days(30)[12], "running_hours"] = 0.0
    whole, missing = hours.running_hour_trend(trend()), hours.running_hour_trend(trend(without=12))
    assert hatched(missing) > hatched(whole) + 100
    assert hatched(missing) > hatched(hours.running_hour_trend(zero)) + 100


def test_a_plant_without_readings_is_hatched_in_the_heat_map() -> None:
    assert hatched(hours.utilisation_heat_map(heat(gap=None))) > hatched(hours.utilisation_heat_map(heat(gap=0.0))) + 300


def test_a_heat_map_of_nothing_but_gaps_is_drawn() -> None:
    frame = heat()
    frame["utilisation"] = None
    assert hatched(hours.utilisation_heat_map(frame)) > 3000


def test_a_night_without_a_sync_is_hatched_in_the_history() -> None:
    assert hatched(operations.sync_history(syncs(without=4))) > hatched(operations.sync_history(syncs())) + 300


def coloured(png: bytes, colour: str) -> int:
    """Return how many pixels have about this colour."""
    return int((abs(pixels(png) - np.array(tuple(bytes.fromhex(colour[1:])))).sum(axis=2) < 40).sum())


def test_a_day_whose_figure_is_not_known_breaks_its_line_and_is_no_zero() -> None:
    whole, zero, gap = (key_figures.key_figures_by_day(key_figures_of(latency)) for latency in (300.0, 0.0, None))
    assert coloured(gap, BLUE) < coloured(whole, BLUE) - 50
    assert coloured(gap, BLUE) < coloured(zero, BLUE) - 50


def test_what_is_beyond_its_limit_is_crossed_in_red_and_the_limit_is_the_one_in_force() -> None:
    lax, strict = (key_figures.key_figures_by_day(key_figures_of(4000, limit=limit)) for limit in (5000.0, 1000.0))
    assert coloured(strict, RED) > coloured(lax, RED) + 100


def test_key_figures_that_nobody_knows_yet_say_so() -> None:
    frame = key_figures_of(None)
    frame[["sync_success_rate", "refusal_rate", "api_p95_ms", "inbox_latency_p95_ms"]] = None
    assert pixels(key_figures.key_figures_by_day(frame)).shape[0] < 300


def test_plants_without_anything_due_have_no_bar_and_nothing_due_at_all_is_said() -> None:
    fine = due(0).assign(due=0, due_soon=0, unknown=0)
    assert pixels(maintenance.maintenance_by_plant(fine)).shape[0] < 300
    mixed = pd.concat([due(2), fine.assign(plant_code="FINE")])
    only = maintenance.maintenance_by_plant(due(2))
    assert pixels(maintenance.maintenance_by_plant(mixed)).shape == pixels(only).shape


@pytest.mark.parametrize(
    ("draw", "frame"),
    [(maintenance.maintenance_by_plant, due(3, plants=400)), (maintenance.counts_by_plant, counts(5, plants=400))],
)
def test_hundreds_of_plants_stay_one_small_picture(draw: Draw, frame: pd.DataFrame) -> None:
    drawn = draw(frame)
    assert len(drawn) < LARGEST
    assert pixels(drawn).shape[0] < 1200


def test_many_plants_stay_one_picture_of_the_largest() -> None:
    rows = [
        {"plant_code": f"P{plant:03}", "date": day, "utilisation": (plant % 50) / 60, "machines_expected": plant}
        for plant in range(150)
        for day in days(60)
    ]
    drawn = hours.utilisation_heat_map(pd.DataFrame(rows))
    assert len(drawn) < LARGEST
    assert pixels(drawn).shape[0] < 1100


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7.25, "7.25"),
        (950, "950"),
        (1250, "1,250"),
        (12_340, "12.3k"),
        (5.2e6, "5.2M"),
        (3e9, "3G"),
        (float("nan"), ""),
    ],
)
def test_numbers_are_written_as_people_read_them(value: float, text: str) -> None:
    assert short(value) == text


def test_labels_are_cut_and_dollar_signs_are_no_formula() -> None:
    assert shortened("x" * 50, 10) == "x" * 9 + "…"
    assert shortened("$a$") == r"\$a\$"

"""Pictures are valid, small, of the data they are given, and show what is missing as missing."""

import io
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmms_pipelines.charts import hours, operations
from cmms_pipelines.charts.canvas import CARD, short, shortened

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

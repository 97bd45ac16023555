"""The picture of the daily key figures: one small plot for each, with its limit.

It takes a frame and returns the bytes of a PNG. A day on which a figure is not known breaks its line.
"""

import numpy as np
import pandas as pd
from matplotlib.dates import date2num

from cmms_pipelines.charts.canvas import (
    BLUE,
    INK,
    RED,
    Chart,
    all_days,
    as_png,
    canvas,
    date_axis,
    nothing_to_draw,
    short,
    thousands,
)

_HALF_A_DAY = 0.5
_FIGURES = {
    "sync_success_rate": ("syncs without failure", "%", True),
    "refusal_rate": ("records refused", "%", False),
    "api_p95_ms": ("external API, p95", "ms", False),
    "inbox_latency_p95_ms": ("events until applied, p95", "ms", False),
}
"""By name: what it says, its unit, and whether its limit is the least (or else the most) that is wanted."""


def key_figures_by_day(frame: pd.DataFrame) -> bytes:
    """Draw the key figures over the days, each with its limit as a broken line and what is beyond it as red crosses.

    Args:
        frame: `date`, `sync_success_rate`, `refusal_rate` (0 to 1), `api_p95_ms`, `inbox_latency_p95_ms` (missing where they are
            not known), and for each `<name>_limit`; a row for each day.
    """
    title = "Key figures by day"
    known = frame[list(_FIGURES)].notna().any(axis=1) if len(frame) else pd.Series(dtype=bool)
    if not known.any():
        return nothing_to_draw(title, "No figure is known yet: nothing was synced and no event came.")
    days = all_days(frame["date"])
    by_day = frame.set_index("date").reindex(days)
    said = f"{days[0]:%d %b} to {days[-1]:%d %b %Y}; broken line: limit; red cross: beyond it; no line: not known"
    figure, found = canvas(4.9, title=title, subtitle=said, columns=2, rows=2)
    for axes, (name, (label, unit, is_least)) in zip(found, _FIGURES.items(), strict=True):
        scale = 100 if unit == "%" else 1
        values, limit = by_day[name].astype(float) * scale, float(frame[f"{name}_limit"].iloc[0]) * scale
        _figure(axes, values, limit, is_least=is_least)
        newest = values.dropna()
        told = f"{short(round(float(newest.iloc[-1]), 3))} {unit}" if len(newest) else "not known"
        wanted = f"{'at least' if is_least else 'at most'} {short(limit)} {unit}"
        axes.set_title(f"{label}: {told} (wanted: {wanted})", fontsize=8.5, color=INK, loc="left")
    return as_png(figure)


def _figure(axes: Chart, values: "pd.Series[float]", limit: float, *, is_least: bool) -> None:
    days = list(values.index)
    axes.plot(days, values, color=BLUE, marker="o", markersize=3, linewidth=1.5)
    beyond = values[(values < limit) if is_least else (values > limit)]
    axes.plot(list(beyond.index), beyond, color=RED, marker="x", markersize=7, markeredgewidth=2, linestyle="none")
    axes.axhline(limit, color=RED, linestyle=(0, (4, 3)), linewidth=1.2)
    lowest, highest = float(np.nanmin([limit, *values])), float(np.nanmax([limit, *values]))
    lowest = lowest if is_least else min(lowest, 0.0)
    room = 0.08 * max(highest - lowest, highest / 10, 1e-6)  # so that a point at the edge is whole
    axes.set_ylim(lowest - room, highest + room)
    axes.set_xlim(date2num(days[0]) - _HALF_A_DAY, date2num(days[-1]) + _HALF_A_DAY)  # type: ignore[no-untyped-call]
    thousands(axes)
    if len(days) <= 3:
        axes.set_xticks(days, [f"{day:%d %b}" for day in days])
    else:
        date_axis(axes)

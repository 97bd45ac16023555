"""Pictures of how the platform works: syncs, refusals, answer times of the external API, events.

Every function takes a frame and returns the bytes of a PNG. A day on which nothing ran is drawn as a gap, never as zero.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd
from matplotlib.patches import Patch, Rectangle

from cmms_pipelines.charts.canvas import (
    AMBER,
    BLUE,
    CARD,
    EMPTY,
    GREEN,
    HATCH,
    HATCH_INK,
    INK,
    MUTED,
    RED,
    SKY,
    Chart,
    all_days,
    as_png,
    canvas,
    date_axis,
    day_labels,
    legend,
    nothing_to_draw,
    short,
    shortened,
    stacked_bars,
    thousands,
)

RULES_SHOWN = 14
ENDPOINTS_SHOWN = 3
DAYS_WITH_FIGURES = 14
STATUSES = {
    "failed": (RED, "failed"),
    "partial": (AMBER, "in part"),
    "cancelled": (MUTED, "cancelled"),
    "running": (SKY, "running"),
    "success": (GREEN, "complete"),
}
"""The worst first: a day shows the worst of its syncs."""
_SIGN = {"failed": "✗", "partial": "!", "cancelled": "-", "running": "…", "success": ""}
_PERCENTILES = {"p50_ms": (BLUE, "o", "p50"), "p95_ms": (AMBER, "s", "p95"), "p99_ms": (RED, "^", "p99")}
_REFUSALS = {
    "refusals_open": (RED, None, "open"),
    "refusals_replayed": (GREEN, "..", "replayed"),
    "refusals_discarded": (MUTED, HATCH, "discarded"),
}
_EVENTS = {
    "events_processed": (GREEN, None, "applied"),
    "events_ignored": (SKY, "..", "ignored"),
    "events_waiting": (AMBER, HATCH, "waiting"),
    "events_failed": (RED, "xx", "not applied"),
}


def sync_history(frame: pd.DataFrame) -> bytes:
    """Draw a calendar of syncs: a row for each type, a column for each day, the worst of the day's last attempts in each.

    Args:
        frame: `sync_type`, `started_on` (date), `status`, `records_processed` (int), a row for each sync.
    """
    title = "Syncs by day"
    if frame.empty:
        return nothing_to_draw(title, "Nothing was synced yet.")
    days, types = all_days(frame["started_on"]), sorted(frame["sync_type"].unique())
    said = f"{days[0]:%d %b} to {days[-1]:%d %b %Y}; the worst sync of the day" + (
        "; figures: records" if len(days) <= DAYS_WITH_FIGURES else ""
    )
    figure, (axes,) = canvas(1.35 + 0.36 * max(len(types), 2), title=title, subtitle=said)
    axes.set_facecolor(CARD)
    by_cell = dict(list(frame.groupby(["sync_type", "started_on"])))
    for row, name in enumerate(types):
        for column, day in enumerate(days):
            _sync_cell(axes, column, row, by_cell.get((name, day)), with_figures=len(days) <= DAYS_WITH_FIGURES)
    axes.set_xlim(-0.5, len(days) - 0.5)
    axes.set_ylim(len(types) - 0.5, -0.5)
    axes.set_yticks(range(len(types)), [shortened(name) for name in types])
    axes.grid(visible=False)
    day_labels(axes, days)
    seen = [status for status in STATUSES if status in set(frame["status"])]
    kinds = [Patch(facecolor=STATUSES[status][0], label=f"{_SIGN[status]} {STATUSES[status][1]}".strip()) for status in seen]
    legend(axes, handles=[*kinds, Patch(facecolor=EMPTY, edgecolor=HATCH_INK, hatch=HATCH, label="none")], columns=6)
    return as_png(figure)


def refusals_by_rule(frame: pd.DataFrame) -> bytes:
    """Draw how many records each rule has refused, the most first, and what became of them.

    Args:
        frame: `rule`, `refusals_open`, `refusals_replayed`, `refusals_discarded` (int).
    """
    title = "Refused records by rule"
    if frame.empty:
        return nothing_to_draw(title, "No record was refused.")
    parts = list(_REFUSALS)
    by_rule = frame.groupby("rule")[parts].sum()
    by_rule = by_rule.assign(total=by_rule.sum(axis=1)).sort_values(["total"], ascending=False, kind="stable")
    shown = by_rule.head(RULES_SHOWN)
    refused, still_open = (short(float(by_rule[name].sum())) for name in ("total", "refusals_open"))
    said = f"{refused} refusals by {len(by_rule)} rules, {still_open} open"
    figure, (axes,) = canvas(1.5 + 0.27 * max(len(shown), 2), title=title, subtitle=said)
    stacked_bars(axes, shown, _REFUSALS)
    axes.set_xlabel("records")
    return as_png(figure)


def response_times(frame: pd.DataFrame) -> bytes:
    """Draw how long the external API took by day: p50, p95 and p99 of the endpoints that are asked most, side by side.

    Args:
        frame: `called_on` (date), `endpoint`, `calls` (int), `p50_ms`, `p95_ms`, `p99_ms` (float).
    """
    title = "Answer times of the external API"
    if frame.empty:
        return nothing_to_draw(title, "Nothing was asked of the external API yet.")
    busiest = list(
        frame.groupby("endpoint")["calls"].sum().sort_values(ascending=False, kind="stable").head(ENDPOINTS_SHOWN).index
    )
    days = all_days(frame["called_on"])
    said = f"milliseconds, {int(frame['calls'].sum()):,} requests, {days[0]:%d %b} to {days[-1]:%d %b %Y}"
    figure, found = canvas(3.2, title=title, subtitle=said, columns=len(busiest))
    for axes, endpoint in zip(found, busiest, strict=True):
        _latencies(axes, frame[frame["endpoint"] == endpoint].groupby("called_on")[list(_PERCENTILES)].max(), days)
        axes.set_title(shortened(endpoint, 30), fontsize=9, color=INK, loc="left", pad=22 if endpoint == busiest[0] else 6)
    legend(found[0], columns=3, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    return as_png(figure)


def events_and_latency(frame: pd.DataFrame) -> bytes:
    """Draw what became of the events of each type, and how long they took by day from acceptance to being applied.

    Args:
        frame: `received_on` (date), `event_type`, `events_processed`, `events_ignored`, `events_waiting`, `events_failed` (int),
            `latency_p50_ms`, `latency_p95_ms`, `latency_p99_ms` (float, missing where none was applied).
    """
    title = "Events by type, and how long they took"
    if frame.empty:
        return nothing_to_draw(title, "No event has come yet.")
    by_type = frame.groupby("event_type")[list(_EVENTS)].sum()
    by_type = by_type.assign(total=by_type.sum(axis=1)).sort_values("total", ascending=False, kind="stable").head(RULES_SHOWN)
    days = all_days(frame["received_on"])
    when = f"{days[0]:%d %b} to {days[-1]:%d %b %Y}"
    said = f"{int(by_type['total'].sum()):,} events, {when}; times: the slowest type of the day, in ms"
    figure, (left, right) = canvas(max(3.0, 1.6 + 0.27 * len(by_type)), title=title, subtitle=said, columns=2, widths=[3, 2])
    stacked_bars(left, by_type, _EVENTS)
    renamed = frame.rename(columns={f"latency_{name}": name for name in _PERCENTILES})
    _latencies(right, renamed.groupby("received_on")[list(_PERCENTILES)].max(), days)
    legend(right, columns=3)
    return as_png(figure)


def _sync_cell(axes: Chart, column: int, row: int, syncs: "pd.DataFrame | None", *, with_figures: bool) -> None:
    place, size = (column - 0.47, row - 0.42), (0.94, 0.84)
    if syncs is None:
        axes.add_patch(Rectangle(place, *size, facecolor=EMPTY, edgecolor=HATCH_INK, hatch=HATCH, linewidth=0))
        return
    worst = next((status for status in STATUSES if status in set(syncs["status"])), "running")
    axes.add_patch(Rectangle(place, *size, facecolor=STATUSES[worst][0], linewidth=0))
    figures = short(float(syncs["records_processed"].sum())) if with_figures else ""
    said = f"{_SIGN[worst]} {figures}".strip()
    axes.text(
        column,
        row,
        said,
        ha="center",
        va="center",
        fontsize=8,
        fontweight="bold",
        color=INK if worst in ("partial", "running") else "white",
    )


def _latencies(axes: Chart, by_day: pd.DataFrame, days: Sequence[date]) -> None:
    """Draw percentiles by day; a day without any breaks the line."""
    found = by_day.reindex(list(days)).astype(float)
    for name, (colour, marker, label) in _PERCENTILES.items():
        axes.plot(days, found[name], color=colour, marker=marker, markersize=4, linewidth=1.6, label=label)
    highest = float(np.nanmax(found.to_numpy(), initial=0.0))
    axes.set_ylim(0, 1.08 * highest if highest > 0 else 1)
    axes.margins(x=0.08)
    thousands(axes)
    if len(days) <= 3:
        axes.set_xticks(list(days), [f"{day:%d %b}" for day in days])
    else:
        date_axis(axes)

"""Pictures of running hours: how they go on, how much the plants use their machines, and what is missing.

Every function takes a frame and returns the bytes of a PNG. A day of which nothing is known is drawn as a gap, never as zero.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.patches import Patch

from cmms_pipelines.charts.canvas import (
    AMBER,
    BLUE,
    CARD,
    EMPTY,
    GREEN,
    GRID,
    HATCH,
    HATCH_INK,
    INK,
    MUTED,
    RED,
    SHADES,
    Chart,
    all_days,
    as_png,
    canvas,
    date_axis,
    day_labels,
    legend,
    nothing_to_draw,
    rows_of,
    short,
    shortened,
    thousands,
)

PLANTS_SHOWN = 40
GAPS_SHOWN = 25
_MEAN_OF_DAYS = 7


def running_hour_trend(frame: pd.DataFrame) -> bytes:
    """Draw the hours of all machines by day, their mean over seven days, and days without any reading.

    Args:
        frame: `period_started_on` (date), `running_hours` (float), `machines` (int), a row for each day that has readings.
    """
    title = "Running hours by day"
    if frame.empty:
        return nothing_to_draw(title, "No day has readings yet.")
    days = all_days(frame["period_started_on"])
    by_day = frame.set_index("period_started_on").reindex(days)
    hours = by_day["running_hours"].astype(float)
    missing = [day for day in days if pd.isna(hours[day])]
    known = f"{len(days)} days to {days[-1]:%d %b %Y}, {short(float(hours.sum()))} h in all"
    figure, (axes,) = canvas(3.3, title=title, subtitle=f"{known}, {len(missing) or 'no'} days without readings")
    axes.bar(days, hours.fillna(0), width=0.82, color=BLUE, label="hours of all machines")
    mean = hours.rolling(_MEAN_OF_DAYS, min_periods=_MEAN_OF_DAYS).mean()
    if mean.notna().any():
        axes.plot(days, mean, color=AMBER, linewidth=2.2, label="mean of seven days")
    _mark_missing(axes, missing, float(hours.max()))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("hours")
    thousands(axes)
    date_axis(axes)
    legend(axes)
    return as_png(figure)


def utilisation_heat_map(frame: pd.DataFrame) -> bytes:
    """Draw which share of the calendar time the machines of each plant ran, by day; hatched where no machine was read.

    Args:
        frame: `plant_code`, `date`, `utilisation` (0 to 1, missing where nothing was read), `machines_expected` (int).
    """
    title = "Utilisation by plant and day"
    if frame.empty:
        return nothing_to_draw(title, "No plant has readings yet.")
    days = all_days(frame["date"])
    plants, all_plants = _largest(frame)
    share = frame.pivot_table(index="plant_code", columns="date", values="utilisation", aggfunc="first", dropna=False)
    share = share.reindex(index=plants, columns=days).astype(float) * 100
    said = f"share of calendar time in %, {days[0]:%d %b} to {days[-1]:%d %b %Y}; hatched: no reading"
    if len(plants) < all_plants:
        said += f"; the {len(plants)} largest of {all_plants} plants"
    figure, (axes,) = canvas(1.5 + 0.165 * max(len(plants), 4), title=title, subtitle=said)
    highest = float(np.nanmax(share.to_numpy())) if share.notna().any(axis=None) else 1.0
    axes.set_facecolor(EMPTY)
    axes.patch.set(hatch=HATCH, edgecolor=HATCH_INK, linewidth=0)
    image = axes.imshow(
        np.ma.masked_invalid(share.to_numpy()),
        aspect="auto",
        cmap="cividis",
        norm=Normalize(0, max(highest, 1e-6)),
        interpolation="nearest",
    )
    axes.grid(visible=False)
    axes.set_yticks(range(len(plants)), [shortened(code, 14) for code in plants])
    axes.tick_params(axis="y", labelsize=7.5)
    day_labels(axes, days)
    bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.012)
    bar.outline.set_edgecolor(GRID)
    bar.ax.tick_params(labelsize=8, colors=MUTED, labelcolor=INK)
    return as_png(figure, SHADES)


def gap_bars(frame: pd.DataFrame) -> bytes:
    """Draw the longest gaps in the readings as bars from their first to their last day; those that last are solid.

    Args:
        frame: `equipment_number`, `plant_code`, `gap_started_on`, `gap_ended_on` (dates), `days_missing`, `is_open`.
    """
    title = "Longest gaps in the readings"
    if frame.empty:
        return nothing_to_draw(title, "No machine has a gap.")
    longest = frame.sort_values(["is_open", "days_missing", "equipment_number"], ascending=[False, False, True]).head(GAPS_SHOWN)
    said = f"{len(longest)} of {len(frame)} gaps, those that still last first"
    figure, (axes,) = canvas(1.5 + 0.19 * max(len(longest), 3), title=title, subtitle=said)
    for place, row in enumerate(rows_of(longest)):
        length = (row.gap_ended_on - row.gap_started_on).days + 1
        colour = RED if row.is_open else CARD
        edge = RED if row.is_open else MUTED
        axes.barh(
            place, length, left=row.gap_started_on, height=0.7, color=colour, edgecolor=edge, hatch=None if row.is_open else HATCH
        )
        axes.text(row.gap_ended_on + timedelta(days=1), place, f" {row.days_missing} d", va="center", fontsize=7.5, color=INK)
    names = [shortened(f"{row.equipment_number} ({row.plant_code})", 26) for row in rows_of(longest)]
    axes.set_yticks(range(len(longest)), names)
    axes.tick_params(axis="y", labelsize=7.5)
    axes.invert_yaxis()
    axes.margins(x=0.06)
    axes.grid(visible=True, axis="x", color=GRID)
    axes.grid(visible=False, axis="y")
    date_axis(axes)
    kinds = [Patch(facecolor=RED, label="lasts"), Patch(facecolor=CARD, edgecolor=MUTED, hatch=HATCH, label="over")]
    legend(axes, handles=kinds)
    return as_png(figure)


def freshness_bars(frame: pd.DataFrame) -> bytes:
    """Draw how many active machines of each plant were read on the newest day that can be complete, the worst plants first.

    Args:
        frame: `plant_code`, `active_machines`, `machines_read`, `days_late` (missing where nothing was ever read), `freshness`.
    """
    title = "Machines read on the newest day that can be complete"
    shown = frame[frame["active_machines"] > 0] if len(frame) else frame
    if shown.empty:
        return nothing_to_draw(title, "No plant has active machines.")
    shown = shown.assign(lacking=shown["active_machines"] - shown["machines_read"])
    is_late = shown["freshness"].isin(["late", "never read"])
    worst = shown.assign(is_late=is_late).sort_values(["is_late", "lacking", "plant_code"], ascending=[False, False, True])
    worst = worst.head(PLANTS_SHOWN)
    said = f"{len(worst)} of {len(shown)} plants, {int(is_late.sum()) or 'none'} of them late"
    figure, (axes,) = canvas(1.5 + 0.165 * max(len(worst), 4), title=title, subtitle=said)
    places = range(len(worst))
    axes.barh(places, worst["machines_read"], height=0.72, color=GREEN, label="read")
    left = worst["machines_read"]
    axes.barh(places, worst["lacking"], left=left, height=0.72, color=CARD, edgecolor=RED, hatch=HATCH, label="not read")
    for place, row in zip(places, rows_of(worst), strict=True):
        if row.is_late:
            late = "never read" if pd.isna(row.days_late) else f"{int(row.days_late)} days late"
            axes.annotate(
                late, (row.active_machines, place), (4, 0), textcoords="offset points", va="center", fontsize=7.5, color=RED
            )
    axes.set_yticks(places, [shortened(code, 14) for code in worst["plant_code"]])
    axes.tick_params(axis="y", labelsize=7.5)
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", color=GRID)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.1)
    axes.set_xlabel("active machines")
    thousands(axes, "x")
    legend(axes)
    return as_png(figure)


def _largest(frame: pd.DataFrame) -> tuple[list[str], int]:
    """Return the plants with most machines in alphabetical order, and how many plants there are."""
    machines = frame.groupby("plant_code")["machines_expected"].max().sort_values(ascending=False, kind="stable")
    return sorted(machines.head(PLANTS_SHOWN).index), len(machines)


def _mark_missing(axes: Chart, missing: Sequence[date], height: float) -> None:
    if missing:
        tall = height if np.isfinite(height) and height > 0 else 1.0
        axes.bar(
            missing,
            [tall] * len(missing),
            width=0.98,
            color=EMPTY,
            edgecolor=HATCH_INK,
            hatch=HATCH,
            linewidth=0,
            label="no reading",
        )

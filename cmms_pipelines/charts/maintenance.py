"""Pictures of the machines: what maintenance is due, and how the plants stand.

Every function takes a frame and returns the bytes of a PNG.
"""

import pandas as pd

from cmms_pipelines.charts.canvas import (
    AMBER,
    BLUE,
    GRID,
    HATCH,
    INK,
    MUTED,
    RED,
    SKY,
    as_png,
    canvas,
    nothing_to_draw,
    short,
    shortened,
    stacked_bars,
    thousands,
)

PLANTS_SHOWN = 40
_STATUSES = {
    "overdue": (RED, "xx", "overdue"),
    "due": (AMBER, HATCH, "due"),
    "due_soon": (SKY, "..", "due soon"),
    "unknown": (MUTED, None, "a number is missing"),
}
_COUNTS = {
    "active": (BLUE, "active machines"),
    "needs_maintenance": (AMBER, "need maintenance"),
    "sync_errors": (RED, "have sync errors"),
}


def maintenance_by_plant(frame: pd.DataFrame) -> bytes:
    """Draw how much maintenance is overdue, due, due soon or cannot be told, by plant, the most urgent plants first.

    What is all right is a number in the subtitle and no bar: it would make the rest invisible.

    Args:
        frame: `plant_code`, `overdue`, `due`, `due_soon`, `unknown`, `ok` (int), a row for each plant.
    """
    title = "Maintenance due by plant"
    if frame.empty:
        return nothing_to_draw(title, "No maintenance rule is for any active machine.")
    parts = list(_STATUSES)
    urgent = frame.sort_values([*parts, "plant_code"], ascending=[False] * len(parts) + [True])
    urgent = urgent[urgent[parts].sum(axis=1) > 0].set_index("plant_code")
    fine = short(float(frame["ok"].sum()))
    if urgent.empty:
        return nothing_to_draw(title, f"Nothing is due: all {fine} are all right.")
    shown = urgent.head(PLANTS_SHOWN)
    sums = [f"{short(float(frame[name].sum()))} {_STATUSES[name][2]}" for name in ("overdue", "due", "due_soon")]
    said = f"machines and their rules: {', '.join(sums)}; {fine} are all right"
    if len(shown) < len(urgent):
        said += f"; the {len(shown)} most urgent of {len(urgent)} plants"
    figure, (axes,) = canvas(1.5 + 0.2 * max(len(shown), 3), title=title, subtitle=said)
    stacked_bars(axes, shown, _STATUSES)
    axes.set_xlabel("machines and rules")
    return as_png(figure)


def counts_by_plant(frame: pd.DataFrame) -> bytes:
    """Draw how many machines of each plant are active, need maintenance and have sync errors, side by side.

    Each has a scale of its own; plants where most needs somebody are on top.

    Args:
        frame: `plant_code`, `active`, `needs_maintenance`, `sync_errors` (int), a row for each plant.
    """
    title = "Machines by plant"
    if frame.empty:
        return nothing_to_draw(title, "No plant has machines yet.")
    needing = frame["needs_maintenance"] + frame["sync_errors"]
    ordered = frame.assign(needing=needing).sort_values(["needing", "active", "plant_code"], ascending=[False, False, True])
    shown = ordered.head(PLANTS_SHOWN)
    said = f"{len(shown)} of {len(frame)} plants, those where most machines need somebody first; each part has its own scale"
    figure, found = canvas(1.75 + 0.165 * max(len(shown), 4), title=title, subtitle=said, columns=len(_COUNTS))
    for axes, (name, (colour, label)) in zip(found, _COUNTS.items(), strict=True):
        places = range(len(shown))
        axes.barh(places, shown[name], height=0.72, color=colour)
        for place, count in zip(places, shown[name], strict=True):
            told = short(float(count)) if count else ""
            axes.annotate(told, (count, place), (3, 0), textcoords="offset points", va="center", fontsize=7.5, color=INK)
        names = [shortened(code, 14) for code in shown["plant_code"]] if axes is found[0] else [""] * len(shown)
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", labelsize=7.5)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, max(1.0, 1.16 * float(shown[name].max())))
        axes.grid(visible=True, axis="x", color=GRID)
        axes.grid(visible=False, axis="y")
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=4)
        thousands(axes, "x")
        axes.set_title(f"{short(float(frame[name].sum()))} {label}", fontsize=9, color=INK, loc="left")
    return as_png(figure)

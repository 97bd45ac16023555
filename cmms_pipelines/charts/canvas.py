"""The one look of all pictures: a light card with dark ink, which reads in the light and the dark theme of the UI, and in print.

What belongs here: size, colours, fonts, axes, and turning a figure into the bytes of a PNG. What does not: what is drawn.
Colours are those of Okabe and Ito, which people with any kind of colour blindness tell apart; what a colour says, a shape, a
hatching or a word says as well.
"""

import io
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter
from PIL import Image

CARD, INK, MUTED, GRID, EMPTY = "#fbfbfa", "#1f2933", "#5f6b76", "#dfe3e6", "#eceeef"
BLUE, SKY, GREEN, AMBER, RED, PURPLE = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"
Chart = Any
"""Axes of matplotlib, whose types know no dates."""
WIDTH_IN, DPI, COLOURS, SHADES = 8.8, 110, 96, 255
HATCH, HATCH_INK = "////", "#b4bbc1"


def canvas(
    height_in: float, *, title: str, subtitle: str = "", columns: int = 1, rows: int = 1, widths: Sequence[float] | None = None
) -> Any:  # noqa: ANN401 - the axes are matplotlib's, whose types know no dates
    """Return a figure with its axes, titled; `columns` of them side by side, in `rows`, from left to right and down."""
    engine = ConstrainedLayoutEngine(rect=(0.005, 0.01, 0.985, 1 - 0.62 / height_in))
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor=CARD, layout=engine)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=widths).ravel()
    for one in axes:
        _plain(one)
    figure.text(0.014, 1 - 0.12 / height_in, title, va="top", fontsize=11.5, fontweight="bold", color=INK)
    figure.text(0.014, 1 - 0.36 / height_in, subtitle, va="top", fontsize=8.5, color=MUTED)
    return figure, axes


def nothing_to_draw(title: str, why: str) -> bytes:
    """Return a picture that says that there is nothing, and why."""
    figure, (axes,) = canvas(1.6, title=title)
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", color=MUTED, fontsize=10, transform=axes.transAxes)
    return as_png(figure)


def as_png(figure: Figure, colours: int = COLOURS) -> bytes:
    """Return a figure as a PNG with a palette: a third of the size of one in full colour, and it looks the same."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor=CARD)
    with Image.open(drawn) as picture:
        reduced = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    reduced.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """Return the rows of a frame as named tuples."""
    return list(frame.itertuples())


def all_days(days: "pd.Series[Any]") -> list[date]:
    """Return every day from the first to the last of `days`, those included on which nothing was."""
    first, last = min(days), max(days)
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def date_axis(axes: Chart) -> None:
    """Give a horizontal axis few, short dates."""
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set(size=8, color=MUTED)


def day_labels(axes: Chart, days: Sequence[date]) -> None:
    """Name columns by their days: all of them while they fit, the first of each week beyond."""
    shown = [place for place, day in enumerate(days) if len(days) <= 14 or day.weekday() == 0]
    axes.set_xticks(shown, [f"{days[place]:%d %b}" for place in shown])


def legend(axes: Chart, *, columns: int = 4, **options: Any) -> None:  # noqa: ANN401 - matplotlib's own options
    """Put the legend above the axes, where it covers nothing."""
    where = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": columns, **options}
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, handlelength=1.4, columnspacing=1.2, borderaxespad=0.2, **where)


def thousands(axes: Chart, which: str = "y") -> None:
    """Write numbers of an axis as people read them: 1,250 or 12k."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _place: short(value)))


def short(value: float) -> str:
    """Return a number in few characters."""
    if not np.isfinite(value):
        return ""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if name == 'k' else size):,.3g}{name}"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def shortened(text: object, longest: int = 34) -> str:
    """Return a label that does not push the picture aside; dollar signs are text here and no formula."""
    found = str(text)
    cut = found if len(found) <= longest else f"{found[: longest - 1]}…"
    return cut.replace("$", r"\$")


def stacked_bars(axes: Chart, frame: pd.DataFrame, parts: Mapping[str, tuple[str, str | None, str]]) -> None:
    """Draw one bar for each row of `frame`, the first on top, with its sum behind it; `parts`: colour, hatching, name."""
    left = pd.Series(0.0, index=frame.index)
    places = range(len(frame))
    for name, (colour, hatch, label) in parts.items():
        if frame[name].sum() == 0:
            continue
        axes.barh(
            places, frame[name], left=left, height=0.7, color=colour, hatch=hatch, edgecolor=CARD, linewidth=0.6, label=label
        )
        left = left + frame[name]
    for place, total in zip(places, left, strict=True):
        axes.annotate(short(float(total)), (total, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
    axes.set_yticks(places, [shortened(name) for name in frame.index])
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", color=GRID)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.1)
    thousands(axes, "x")
    if left.sum():
        legend(axes)


def _plain(axes: Chart) -> None:
    axes.set_facecolor(CARD)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(GRID)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=8.5, length=3)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    axes.xaxis.label.set_size(8.5)
    axes.yaxis.label.set_size(8.5)

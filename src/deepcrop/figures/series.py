"""Draw one time series with its smoothed curve and dates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepcrop.figures.page import INK, Page, spread
from deepcrop.figures.style import (
    DARK_GREY,
    GRID,
    INSET,
    SERIES_COLOURS,
    STAGE_COLOURS,
    date_axis,
    date_label,
    known_days,
    stage_label,
)
from deepcrop.stages import to_dates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike


def series_figure(
    days: ArrayLike,
    values: ArrayLike,
    kept: ArrayLike,
    smooth_days: ArrayLike,
    smooth_values: ArrayLike,
    stage_days: Mapping[str, float],
    *,
    year: int,
    title: str,
    simulated: bool,
    label: str = "NDVI",
) -> Figure:
    """Draw observations, the smoothed curve and its dates.

    Parameters
    ----------
    days, values : array_like, 1-D
        Day numbers and values of all observations; NaN values are left out.
    kept : array_like of bool, 1-D
        Which observations the curve was fitted to; the others are drawn hollow.
    smooth_days, smooth_values : array_like, 1-D
        The smoothed curve.
    stage_days : mapping
        Day number of each stage by name, for example ``{"sos20": 95.0}``. NaN or 32767: no date.
    year : int
        Year the day numbers refer to.
    title : str
        Heading of the figure.
    simulated : bool
        Whether the observations were simulated; the figure then says so.
    label : str
        Name of the values, on the axis.
    """
    days, values = np.asarray(days, float), np.asarray(values, float)
    use = np.asarray(kept, bool)
    found = {name: float(day) for name, day in stage_days.items() if np.isfinite(known_days(day))}
    dates = to_dates(list(found.values()), year)
    marks = [
        (found[name], name.partition("_")[0], f"{stage_label(name)}\n{date_label(date, year)}")
        for name, date in sorted(zip(found, dates, strict=True), key=lambda pair: found[pair[0]])
    ]
    curve_days = np.asarray(smooth_days, float)
    everything = np.concatenate([days, curve_days, [day for day, _, _ in marks]])
    first, last = (everything.min() - 5, everything.max() + 5) if everything.size else (0.0, 365.0)
    width, height, left, labels_height = 6.4, 2.7, 0.55, 0.55 if marks else 0.1
    page = Page(left + width + INSET, height + labels_height, 0.7, title, "", simulated)
    plot_top = page.top - labels_height
    axes = page.figure.add_axes(page.place(page.left + left, plot_top - height, width, height))
    axes.set_xlim(first, last)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.plot(
        days[~use],
        values[~use],
        "o",
        mfc="white",
        mec=DARK_GREY,
        ms=4,
        mew=0.9,
        label="not used",
        zorder=2,
    )
    axes.plot(
        days[use], values[use], "o", color=SERIES_COLOURS["optical"], ms=4, label="used", zorder=4
    )
    axes.plot(
        curve_days, smooth_values, color=SERIES_COLOURS["curve"], lw=1.6, label="smoothed", zorder=3
    )
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    for day, stage, _ in marks:
        axes.plot([day, day], [low, high], color=STAGE_COLOURS[stage], lw=1.4, zorder=1)
    lines = [page.left + left + (day - first) / (last - first) * width for day, _, _ in marks]
    centres = spread(lines, 0.62, page.left + left, page.left + left + width)
    for line, centre, (_, _, text) in zip(lines, centres, marks, strict=True):
        page.line([line, line, centre], [plot_top, plot_top + 0.05, plot_top + 0.16])
        page.text(centre, plot_top + 0.18, text, size=7.5, ha="center", va="bottom")
    date_axis(axes, first, last, year)
    axes.tick_params(labelsize=8, color=INK, labelcolor=INK)
    axes.set_ylabel(label, fontsize=9)
    missing = [stage_label(name) for name in stage_days if name not in found]
    foot = page.bottom + 0.1
    if missing:
        page.text(page.left + left, foot, f"no date: {', '.join(missing)}", size=8)
    right = page.left + left + width
    page.figure.legend(
        handles=axes.get_legend_handles_labels()[0],
        loc="lower right",
        bbox_to_anchor=(right / page.width, (foot - 0.09) / page.height),
        ncols=3,
        fontsize=8,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        columnspacing=1.5,
        handletextpad=0.5,
    )
    return page.figure

"""One time series and the dates read off it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from deepcrop.figures.page import INK, Sheet, spread
from deepcrop.figures.style import INSET, date_axis, date_label, known_days, stage_label
from deepcrop.stages import to_dates


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
    """One time series: observations, the smoothed curve, and the dates read from it.

    Parameters
    ----------
    days, values : array_like, 1-D
        Day numbers and values of all observations; NaN values are left out.
    kept : array_like of bool, 1-D
        Which of them the curve was drawn through; the others are shown hollow.
    smooth_days, smooth_values : array_like, 1-D
        The smoothed curve.
    stage_days : mapping
        Day number of each stage by name, for example ``{"sos20": 95.0}``. NaN or 32767: no date.
    year : int
        Year the day numbers refer to.
    title : str
        What is shown.
    simulated : bool
        Whether the observations were simulated; the picture then says so.
    label : str
        Name of the values.
    """
    days, values = np.asarray(days, float), np.asarray(values, float)
    use = np.asarray(kept, bool)
    found = {name: float(day) for name, day in stage_days.items() if np.isfinite(known_days(day))}
    dates = to_dates(list(found.values()), year)
    marks = [
        (found[name], f"{stage_label(name)}\n{date_label(date, year)}")
        for name, date in sorted(zip(found, dates, strict=True), key=lambda pair: found[pair[0]])
    ]
    curve_days = np.asarray(smooth_days, float)
    everything = np.concatenate([days, curve_days, [day for day, _ in marks]])
    first, last = (everything.min() - 5, everything.max() + 5) if everything.size else (0.0, 365.0)
    width, height, left, labels_height = 6.4, 2.7, 0.55, 0.55 if marks else 0.1
    sheet = Sheet(left + width + INSET, height + labels_height, 0.7, title, "", simulated)
    plot_top = sheet.top - labels_height
    axes = sheet.figure.add_axes(sheet.place(sheet.left + left, plot_top - height, width, height))
    axes.set_xlim(first, last)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.plot(
        days[~use],
        values[~use],
        "o",
        mfc="white",
        mec="#999999",
        ms=4,
        mew=0.9,
        label="not used",
        zorder=2,
    )
    axes.plot(days[use], values[use], "o", color="#0072b2", ms=4, label="used", zorder=4)
    axes.plot(curve_days, smooth_values, color="#d55e00", lw=1.6, label="smoothed", zorder=3)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    for day, _ in marks:
        axes.plot([day, day], [low, high], color=INK, lw=0.9, ls=(0, (4, 2)), zorder=1)
    lines = [sheet.left + left + (day - first) / (last - first) * width for day, _ in marks]
    centres = spread(lines, 0.62, sheet.left + left, sheet.left + left + width)
    for line, centre, (_, text) in zip(lines, centres, marks, strict=True):
        sheet.line([line, line, centre], [plot_top, plot_top + 0.05, plot_top + 0.16])
        sheet.text(centre, plot_top + 0.18, text, size=7.5, ha="center", va="bottom")
    date_axis(axes, first, last, year)
    axes.tick_params(labelsize=8, color=INK, labelcolor=INK)
    axes.set_ylabel(label, fontsize=9)
    missing = [stage_label(name) for name in stage_days if name not in found]
    foot = sheet.bottom + 0.1
    if missing:
        sheet.text(sheet.left + left, foot, f"no date: {', '.join(missing)}", size=8)
    right = sheet.left + left + width
    sheet.figure.legend(
        handles=axes.get_legend_handles_labels()[0],
        loc="lower right",
        bbox_to_anchor=(right / sheet.width, (foot - 0.09) / sheet.height),
        ncols=3,
        fontsize=8,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        columnspacing=1.5,
        handletextpad=0.5,
    )
    return sheet.figure

"""Pictures for papers and reports: maps of dates, maps of counts, truth against map, one series.

Every function returns a :class:`matplotlib.figure.Figure` that belongs to no window and no global
state; write it with `save`. Pages are laid out in inches around the map, so that regions of any
shape keep square pixels and nothing covers the data. Colours can be told apart by colour-blind
readers, and whatever was simulated says so in the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import ArrayLike, NDArray

from deepcrop.layers import TITLES
from deepcrop.sheet import DPI, INK, MONTHS, Sheet, spread
from deepcrop.stages import NO_DAY, to_dates

LONG_SIDE = 1400
"""Pixels on the long side of a map that are worth handing over: one per pixel of the picture."""

_MAP = LONG_SIDE / DPI  # inches on the long side of a map
_COLUMN = 1.75  # inches: the legend's column beside a tall map
_WIDE = 1.25  # a map this much wider than tall has its legend below
_INSET = 0.25  # inches: room for the labels at the ends of a colour bar
_THIN = 0.1  # inches: even the thinnest map can be seen

_GREY = "#d9d9d9"
_DARK_GREY = "#a6a6a6"  # missing differences: no difference is nearly white


def save(figure: Figure, path: Path) -> None:
    """Write a picture as PNG."""
    figure.savefig(path, dpi=DPI, format="png", facecolor="white")


def stage_map(
    days: NDArray,
    *,
    year: int,
    stage: str,
    resolution: float,
    simulated: bool,
    title: str,
    season: int = 1,
) -> Figure:
    """Map of the dates of one stage, with a scale bar and a legend that counts pixels by date.

    Parameters
    ----------
    days : ndarray, 2-D
        Day numbers; NaN (float) or 32767 (int16) where there is no date.
    year : int
        Year the day numbers refer to.
    stage : str
        One of ``layers.TITLES``.
    resolution : float
        Side of a pixel of ``days`` in metres, after any decimation.
    simulated : bool
        Whether the observations were simulated; the picture then says so.
    title : str
        Name of the region and whatever else the reader should know.
    season : int
        1 for the first season of the year, 2 for the second.
    """
    values = _known(days)
    heading = TITLES[stage]
    heading = f"{heading[0].upper()}{heading[1:]} ({stage.upper()}), {year}"
    if season > 1:
        heading += ", second season"
    dated = values[np.isfinite(values)]
    page = _Page(values.shape, heading, title, simulated, 1.25 if dated.size else 0.0)
    cmap = _date_colours(stage)
    missing = 1 - dated.size / values.size
    page.keys([(_GREY, f"no date ({_percent(missing)})")] if missing else [])
    page.scale(resolution)
    if not dated.size:
        _show(page.map, values, cmap, Normalize(0, 1))
        page.map.text(
            0.5,
            0.5,
            "no season found",
            transform=page.map.transAxes,
            ha="center",
            va="center",
            fontsize=11,
            color=INK,
        )
        return page.figure
    first, last = date_range(dated, year)
    norm = Normalize(first, last)
    _show(page.map, values, cmap, norm)
    box = page.legend
    if page.wide:
        left, width = box.left + _INSET, box.width - 2 * _INSET
        bins = page.axes(left, box.bottom + 0.62, width, 0.5)
        strip = page.axes(left, box.bottom + 0.42, width, 0.16)
    else:
        bins = page.axes(box.left, box.bottom, 0.5, box.height)
        strip = page.axes(box.left + 0.55, box.bottom, 0.16, box.height)
    span = _histogram(bins, dated, first, last, cmap, norm, upright=page.wide)
    _date_strip(strip, dated, first, last, year, cmap, upright=page.wide)
    note = f"pixels per {span} days" if span > 1 else "pixels per day"
    if page.wide:
        page.text(box.left + _INSET, box.bottom + 1.17, note, size=7)
    else:
        page.text(box.left, box.bottom + box.height + 0.2, note, size=7)
    return page.figure


def count_map(
    counts: NDArray,
    *,
    heading: str,
    resolution: float,
    simulated: bool,
    title: str,
    nodata: int | None = None,
    top: int | None = None,
) -> Figure:
    """Map of small numbers (seasons, observations, percent) in at most eight classes; 0 is grey.

    Parameters
    ----------
    counts : ndarray of int, 2-D
        The numbers.
    heading : str
        What is counted.
    resolution, simulated, title
        As for `stage_map`.
    nodata : int, optional
        Stands for "nothing known".
    top : int, optional
        Largest number there can be, as 100 for percent.
    """
    counts = np.asarray(counts)
    known = counts != nodata if nodata is not None else np.ones(counts.shape, bool)
    lowest, highest = (
        (int(counts[known].min()), int(counts[known].max())) if known.any() else (0, 0)
    )
    edges, labels = count_classes(lowest, highest)
    if edges[-1] == top:
        labels[-1] = str(top)
    index = np.digitize(counts, edges[1:])
    page = _Page(counts.shape, heading, title, simulated, 0.62)
    if not known.all():
        page.keys([(_DARK_GREY, f"no data ({_percent(1 - known.mean())})")])
    shades = matplotlib.colormaps["YlGnBu"](np.linspace(0.25, 1.0, max(len(labels), 2)))
    colours = [matplotlib.colors.to_hex(shade) for shade in shades[-len(labels) :]]
    if labels[0] == "0":
        colours[0] = _GREY
    cmap = matplotlib.colors.ListedColormap(colours).with_extremes(bad=_DARK_GREY)
    shown = np.where(known, index, np.nan)
    _show(page.map, shown, cmap, Normalize(-0.5, len(labels) - 0.5))
    page.scale(resolution)
    shares = np.bincount(index[known], minlength=len(labels)) / counts.size
    box = page.legend
    for i, (label, share) in enumerate(zip(labels, shares, strict=True)):
        if page.wide:
            width = min(box.width / len(labels), 1.2)
            left = box.left + i * width
            page.patch(left, box.bottom + 0.42, width, 0.18, colours[i])
            page.text(left + width / 2, box.bottom + 0.28, label, ha="center")
            page.text(left + width / 2, box.bottom + 0.1, _percent(share), ha="center", size=7)
        else:
            bottom = box.bottom + box.height - (i + 1) * 0.28
            page.patch(box.left, bottom, 0.25, 0.28, colours[i])
            page.text(box.left + 0.35, bottom + 0.14, f"{label}  ({_percent(share)})")
    return page.figure


def truth_comparison(
    truth_days: NDArray,
    mapped_days: NDArray,
    *,
    year: int,
    stage: str,
    resolution: float,
    title: str,
    simulated: bool = True,
) -> Figure:
    """Known dates, mapped dates and their difference, with mean absolute error and bias.

    Parameters
    ----------
    truth_days, mapped_days : ndarray, 2-D
        Day numbers of one grid; NaN or 32767 where there is no date.
    year, stage, resolution, title, simulated
        As for `stage_map`. A known truth is nearly always a simulated one.
    """
    truth, mapped = _known(truth_days), _known(mapped_days)
    if truth.shape != mapped.shape:
        raise ValueError(f"Truth is {truth.shape} pixels, the map {mapped.shape}.")
    error = mapped - truth
    both = error[np.isfinite(error)]
    rows, cols = truth.shape
    # Panels go side by side, or one below the other where the region is a wide strip.
    stacked = cols > 2.5 * rows
    gap, caption = 0.2, 0.27
    if stacked:
        width = _MAP
        height = max(width * rows / cols, _THIN)
    else:
        width = min(3.2, 4.5 * cols / rows)
        height = max(width * rows / cols, _THIN)
        width = max(width, 1.6)
    across = width if stacked else 3 * width + 2 * gap
    step = height + caption + 0.1
    down = 3 * step - 0.1 if stacked else height + caption
    heading = TITLES[stage]
    heading = f"{heading[0].upper()}{heading[1:]} ({stage.upper()}), {year}: truth and map"
    sheet = Sheet(across, down + 0.45, 0.75, heading, title, simulated)
    dated = np.concatenate([values[np.isfinite(values)] for values in (truth, mapped)])
    cmap = _date_colours(stage)
    first, last = date_range(dated, year) if dated.size else (0, 1)
    limit = 30
    diverging = matplotlib.colormaps["RdBu_r"].with_extremes(bad=_DARK_GREY)
    panels = (
        ("truth", truth, cmap, Normalize(first, last)),
        ("map", mapped, cmap, Normalize(first, last)),
        ("map − truth", error, diverging, Normalize(-limit, limit)),
    )
    for i, (name, values, colours, norm) in enumerate(panels):
        left = sheet.left if stacked else sheet.left + i * (width + gap)
        top = sheet.top - (i * step if stacked else 0)
        sheet.text(left, top - 0.11, f"{'abc'[i]}  {name}", size=9, weight="bold")
        _show(sheet.axes(left, top - caption - height, width, height), values, colours, norm)
    below = sheet.top - down
    sheet.scale_bar(sheet.left, below - 0.36, resolution * cols / width, 1.4)
    lost = np.isfinite(truth) & ~np.isfinite(mapped)
    extra = np.isfinite(mapped) & ~np.isfinite(truth)
    if both.size:
        score = (
            f"MAE {np.abs(both).mean():.1f} d,  bias {_signed(both.mean())} d,  "
            f"{both.size:,} pixels with both dates".replace(",", "\u2009").replace("\u2009 ", ", ")
        )
    else:
        score = "no pixel has both dates"
    right = sheet.left + across
    sheet.text(right, below - 0.16, score, ha="right", size=8.5, weight="bold")
    sheet.text(
        right,
        below - 0.36,
        f"grey: no date (truth only {_percent(lost.mean())}, map only {_percent(extra.mean())})",
        ha="right",
        size=8,
    )
    split = across * 2 / 3
    if dated.size:
        strip = sheet.axes(sheet.left + _INSET, sheet.bottom + 0.42, split - 2 * _INSET - 0.1, 0.16)
        _date_strip(strip, dated, first, last, year, cmap, upright=True)
    strip = sheet.axes(
        sheet.left + split + _INSET, sheet.bottom + 0.42, across - split - 2 * _INSET, 0.16
    )
    _strip(strip, both, -limit, limit, diverging, upright=True)
    strip.set_xticks([-30, -15, 0, 15, 30], ["−30", "−15", "0", "+15", "+30 d"])
    return sheet.figure


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
    found = {name: float(day) for name, day in stage_days.items() if np.isfinite(_known(day))}
    dates = to_dates(list(found.values()), year)
    marks = [
        (found[name], f"{_stage_label(name)}\n{_date_label(date, year)}")
        for name, date in sorted(zip(found, dates, strict=True), key=lambda pair: found[pair[0]])
    ]
    curve_days = np.asarray(smooth_days, float)
    everything = np.concatenate([days, curve_days, [day for day, _ in marks]])
    first, last = (everything.min() - 5, everything.max() + 5) if everything.size else (0.0, 365.0)
    width, height, left, labels_height = 6.4, 2.7, 0.55, 0.55 if marks else 0.1
    sheet = Sheet(left + width + _INSET, height + labels_height, 0.7, title, "", simulated)
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
    _date_axis(axes, first, last, year)
    axes.tick_params(labelsize=8, color=INK, labelcolor=INK)
    axes.set_ylabel(label, fontsize=9)
    missing = [_stage_label(name) for name in stage_days if name not in found]
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


def date_range(days: NDArray, year: int) -> tuple[int, int]:
    """Day numbers of the half-months that enclose the 2nd to 98th percentile of ``days``."""
    low, high = np.percentile(days, (2, 98))
    halves = _half_months(low, high, year)
    first = int(halves[halves <= low].max())
    last = int(halves[(halves >= high) & (halves > first)].min())
    return first, last


def date_ticks(first: float, last: float, year: int, most: int) -> tuple[NDArray, list[str]]:
    """At most ``most`` day numbers in a range to label, and the labels.

    They are the 1st and 16th of months, or the 1st of every month, second month and so on. The
    year is written where it is not ``year``.
    """
    halves = _half_months(first, last, year)
    halves = halves[(halves >= first) & (halves <= last)]
    dates = to_dates(halves, year)
    months = dates.astype("datetime64[M]")
    month_number = months.astype(int) % 12
    is_first = dates == months.astype("datetime64[D]")
    chosen = np.ones(halves.size, bool)
    for step in (1, 2, 3, 4, 6, 12):
        if chosen.sum() <= most:
            break
        chosen = is_first & (month_number % step == 0)
    return halves[chosen], [_date_label(date, year) for date in dates[chosen]]


def count_classes(low: int, high: int) -> tuple[list[int], list[str]]:
    """Lower edges and labels of at most eight classes of whole numbers from ``low`` to ``high``."""
    sizes = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    size = next(size for size in sizes if high // size - low // size < 8)
    edges = list(range(low // size * size, high + 1, size))
    if size == 1:
        return edges, [str(edge) for edge in edges]
    return edges, [f"{edge}–{edge + size - 1}" for edge in edges]


@dataclass(frozen=True)
class _Box:
    """A rectangle on the paper, inches."""

    left: float
    bottom: float
    width: float
    height: float


class _Page(Sheet):
    """A sheet with one map; scale bar and legend below a wide map, beside a tall one.

    Attributes
    ----------
    map : Axes
        Where the map goes.
    wide : bool
        Whether the legend lies below.
    legend : _Box
        Room for the legend.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        heading: str,
        title: str,
        simulated: bool,
        legend_height: float,
    ) -> None:
        rows, cols = shape
        self.wide = cols >= _WIDE * rows
        self._columns = cols
        row = 0.4  # scale bar and keys
        if self.wide:
            width, height = _MAP, max(_MAP * rows / cols, _THIN)
            super().__init__(width, height, row + legend_height, heading, title, simulated)
            self.legend = _Box(self.left, self.bottom, width, legend_height)
            map_bottom = self.bottom + row + legend_height
            self._bar = self.left, map_bottom - 0.3
            self._key = self.left + width, map_bottom - 0.22
        else:
            width, height = max(_MAP * cols / rows, _THIN), _MAP
            gap = 0.25
            super().__init__(width + gap + _COLUMN, height, 0, heading, title, simulated)
            map_bottom = self.bottom
            left = self.left + width + gap
            self.legend = _Box(left, self.bottom + 1.0, _COLUMN, height - 1.3)
            self._bar = left, self.bottom + 0.02
            self._key = left, self.bottom + 0.6
        self._map_width = width
        self.map = self.axes(self.left, map_bottom, width, height)

    def scale(self, resolution: float) -> None:
        """Draw the scale bar of a map with this resolution, metres per pixel."""
        left, bottom = self._bar
        self.scale_bar(left, bottom, resolution * self._columns / self._map_width, 1.35)

    def keys(self, entries: Sequence[tuple[str, str]]) -> None:
        """Coloured squares with a word each, right of the scale bar or above it."""
        x, y = self._key
        for colour, words in entries:
            if self.wide:
                self.text(x, y, words, ha="right")
                x -= 0.058 * len(words) + 0.3
                self.patch(x, y - 0.07, 0.2, 0.14, colour)
                x -= 0.3
            else:
                self.patch(x, y - 0.07, 0.2, 0.14, colour)
                self.text(x + 0.3, y, words)
                y += 0.25


def _show(axes: Axes, values: NDArray, cmap: Colormap, norm: Normalize) -> None:
    axes.imshow(np.ma.masked_invalid(values), cmap=cmap, norm=norm, interpolation="nearest")


def _histogram(
    axes: Axes,
    days: NDArray,
    first: int,
    last: int,
    cmap: Colormap,
    norm: Normalize,
    upright: bool,
) -> int:
    """Bars in the colours of the map, along the legend; returns the days in one bar."""
    span = math.ceil((last - first) / 100)
    edges = np.arange(first, last + span, span) - 0.5
    counts, _ = np.histogram(days, edges)
    centres = edges[:-1] + span / 2
    colours = cmap(norm(centres))
    if upright:
        axes.bar(centres, counts, width=span, color=colours)
        axes.set_xlim(first, last)
        axes.set_ylim(bottom=0)
    else:
        axes.barh(centres, counts, height=span, color=colours)
        axes.set_ylim(first, last)
        axes.set_xlim(left=0)
        axes.invert_xaxis()
    axes.set_axis_off()
    return span


def _date_strip(
    axes: Axes,
    days: NDArray,
    first: int,
    last: int,
    year: int,
    cmap: Colormap,
    upright: bool,
) -> None:
    """Colour bar of dates."""
    _strip(axes, days, first, last, cmap, upright)
    if upright:
        _date_axis(axes, first, last, year)
    else:
        axes.set_yticks(*date_ticks(first, last, year, most=13))


def _date_axis(axes: Axes, first: float, last: float, year: int) -> None:
    """Label a horizontal axis, the year below the day so that labels stay narrow."""
    width = axes.bbox.width / DPI
    ticks, labels = date_ticks(first, last, year, most=max(int(width / 0.62), 2))
    axes.set_xticks(ticks, ["\n".join(label.rsplit(" ", label.count(" ") - 1)) for label in labels])


def _strip(
    axes: Axes, values: NDArray, first: float, last: float, cmap: Colormap, upright: bool
) -> None:
    """Colour bar, pointed at the ends beyond which there are values."""
    ramp = np.linspace(first, last, 256)[np.newaxis]
    axes.imshow(
        ramp if upright else ramp.T,
        extent=(first, last, 0, 1) if upright else (0, 1, first, last),
        cmap=cmap,
        aspect="auto",
        origin="lower",
    )
    length = (axes.bbox.width if upright else axes.bbox.height) / DPI
    tip = (last - first) * 0.1 / length
    for end, point, beyond in (
        (first, first - tip, (values < first).any()),
        (last, last + tip, (values > last).any()),
    ):
        if beyond:
            corners = [(end, 0), (point, 0.5), (end, 1)]
            colour = cmap(0.0) if point < end else cmap(1.0)
            axes.add_patch(
                Polygon(
                    corners if upright else [(across, along) for along, across in corners],
                    facecolor=colour,
                    edgecolor=INK,
                    linewidth=0.6,
                    clip_on=False,
                )
            )
    if upright:
        axes.set_xlim(first, last)
        axes.tick_params(axis="x", labelsize=8, color=INK, labelcolor=INK, width=0.6)
    else:
        axes.set_ylim(first, last)
        axes.yaxis.tick_right()
        axes.tick_params(axis="y", labelsize=8, color=INK, labelcolor=INK, width=0.6)


def _known(days: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(days, dtype=np.float64)
    return np.where(values == NO_DAY, np.nan, values)


def _date_colours(stage: str) -> Colormap:
    """Start and end of season look different; both maps run evenly from dark to light."""
    name = "viridis" if stage.startswith("sos") else "plasma"
    return matplotlib.colormaps[name].with_extremes(bad=_GREY)


def _half_months(low: float, high: float, year: int) -> NDArray[np.int64]:
    """Day numbers of all 1sts and 16ths from before ``low`` to after ``high``."""
    start = np.datetime64(f"{year:04d}-01-01", "D")
    ends = to_dates([low, high], year).astype("datetime64[M]")
    months = np.arange(ends[0] - 1, ends[1] + 3).astype("datetime64[D]")
    return np.sort(np.concatenate([months, months + 15]) - start).astype(np.int64)


def _date_label(date: np.datetime64, year: int) -> str:
    text = str(date)
    words = f"{int(text[-2:])} {MONTHS[int(text[-5:-3]) - 1]}"
    return words if int(text[:-6]) == year else f"{words} {int(text[:-6])}"


def _stage_label(name: str) -> str:
    """``sos20_season2`` becomes ``SOS20 (2)``."""
    stage, _, season = name.partition("_season")
    return stage.upper() + (f" ({season})" if season else "")


def _percent(share: float) -> str:
    """Whole percent that never hides a few pixels nor claims all."""
    if 0 < share < 0.01:
        return "<1 %"
    if 0.99 < share < 1:
        return ">99 %"
    return f"{share:.0%}".replace("%", " %")


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")

"""Draw one map on a page: dates of a stage, counts.

Pages are laid out in inches around the map, so that regions of any shape keep square pixels and
nothing covers the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize

from deepcrop.figures.page import INK, Page
from deepcrop.figures.style import (
    DARK_GREY,
    GREY,
    INSET,
    MAP,
    STRIPED,
    THIN,
    date_colours,
    date_range,
    date_strip,
    known_days,
    layer_colours,
    percent,
    show,
    stripe,
)
from deepcrop.stages import season_name, stage_title

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_LEGEND_WIDTH = 1.75  # inches: legend beside a tall map
_WIDE = 1.25  # width by height from which the legend is below the map


def stage_map(
    days: NDArray[Any],
    *,
    year: int,
    stage: str,
    resolution: float,
    simulated: bool,
    title: str,
    season: int = 1,
    left_out: float = 0.0,
    limits: tuple[int, int] | None = None,
    until: datetime.date | None = None,
    forecast: NDArray[np.bool_] | None = None,
) -> Figure:
    """Draw the dates of one stage, with a scale bar and a histogram as legend.

    Parameters
    ----------
    days : ndarray, 2-D
        Day numbers; NaN (float) or 32767 (int16) where there is no date.
    year : int
        Year the day numbers refer to.
    stage : str
        One of ``deepcrop.stages.CALENDAR``, or of another share of the amplitude.
    resolution : float
        Side of a pixel of ``days``, metres; after decimation if there was any.
    simulated : bool
        Whether the observations were simulated; the figure then says so.
    title : str
        Name of the region, and any text for the line below the heading.
    season : int
        1 for the main season of the year, 2 for the second.
    left_out : float
        Share of the pixels that were not mapped (mask, parcels); they have no date either.
    limits : tuple of int, optional
        First and last day of the colours; by default those of `date_range`. Equal limits make
        equal colours equal dates in several maps.
    until : date, optional
        Last day of which observations were read, of a map in season.
    forecast : ndarray of bool, 2-D, optional
        Dates that are forecasts: they are striped.
    """
    values = known_days(days)
    heading = stage_title(stage)
    heading = f"{heading[0].upper()}{heading[1:]} ({stage.upper()}), {year}"
    if season > 1:
        heading += f", {season_name(season)}"
    if until is not None:
        title += f" · as known on {until.day} {until:%B %Y}"
    dated = values[np.isfinite(values)]
    page = MapPage(values.shape, heading, title, simulated, 1.25 if dated.size else 0.0)
    cmap = date_colours(stage)
    missing = 1 - dated.size / values.size
    key = "no date" if until is None else "not yet known, or no event"
    key += f" ({percent(max(missing - left_out, 0))})"
    key += f", not mapped ({percent(left_out)})" if left_out else ""
    keys = [(GREY, key)] if missing else []
    if forecast is not None and forecast.any():
        keys.append((STRIPED, f"striped: forecast ({percent(forecast.mean())})"))
    page.keys(keys)
    page.scale(resolution)
    if not dated.size:
        show(page.map, values, cmap, Normalize(0, 1))
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
    first, last = limits or date_range(dated, year)
    norm = Normalize(first, last)
    show(page.map, values, cmap, norm)
    if forecast is not None:
        stripe(page.map, forecast)
    box = page.legend
    if page.wide:
        left, width = box.left + INSET, box.width - 2 * INSET
        bins = page.axes(left, box.bottom + 0.62, width, 0.5)
        strip = page.axes(left, box.bottom + 0.42, width, 0.16)
    else:
        bins = page.axes(box.left, box.bottom, 0.5, box.height)
        strip = page.axes(box.left + 0.55, box.bottom, 0.16, box.height)
    span = _histogram(bins, dated, first, last, cmap, norm, upright=page.wide)
    date_strip(strip, dated, first, last, year, cmap, upright=page.wide)
    note = f"pixels per {span} days" if span > 1 else "pixels per day"
    if page.wide:
        page.text(box.left + INSET, box.bottom + 1.17, note, size=7)
    else:
        page.text(box.left, box.bottom + box.height + 0.2, note, size=7)
    return page.figure


def count_map(
    counts: NDArray[Any],
    *,
    heading: str,
    resolution: float,
    simulated: bool,
    title: str,
    nodata: int | None = None,
    top: int | None = None,
) -> Figure:
    """Draw counts (seasons, observations, percent) in at most eight classes; 0 is grey.

    Parameters
    ----------
    counts : ndarray of int, 2-D
        The counts.
    heading : str
        Name of what is counted.
    resolution, simulated, title
        As for `stage_map`.
    nodata : int, optional
        Value of pixels without data.
    top : int, optional
        Largest possible value, for example 100 for percent.
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
    page = MapPage(counts.shape, heading, title, simulated, 0.62)
    if not known.all():
        page.keys([(DARK_GREY, f"no data ({percent(1 - known.mean())})")])
    shades = layer_colours("count")(np.linspace(0.25, 1.0, max(len(labels), 2)))
    colours = [matplotlib.colors.to_hex(shade) for shade in shades[-len(labels) :]]
    if labels[0] == "0":
        colours[0] = GREY
    cmap = matplotlib.colors.ListedColormap(colours).with_extremes(bad=DARK_GREY)
    shown = np.where(known, index, np.nan)
    show(page.map, shown, cmap, Normalize(-0.5, len(labels) - 0.5))
    page.scale(resolution)
    shares = np.bincount(index[known], minlength=len(labels)) / counts.size
    box = page.legend
    for i, (label, share) in enumerate(zip(labels, shares, strict=True)):
        if page.wide:
            width = min(box.width / len(labels), 1.2)
            left = box.left + i * width
            page.patch(left, box.bottom + 0.42, width, 0.18, colours[i])
            page.text(left + width / 2, box.bottom + 0.28, label, ha="center")
            page.text(left + width / 2, box.bottom + 0.1, percent(share), ha="center", size=7)
        else:
            bottom = box.bottom + box.height - (i + 1) * 0.28
            page.patch(box.left, bottom, 0.25, 0.28, colours[i])
            page.text(box.left + 0.35, bottom + 0.14, f"{label}  ({percent(share)})")
    return page.figure


def count_classes(low: int, high: int) -> tuple[list[int], list[str]]:
    """Return lower edges and labels of at most eight classes of integers from low to high."""
    sizes = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    size = next(size for size in sizes if high // size - low // size < 8)
    edges = list(range(low // size * size, high + 1, size))
    if size == 1:
        return edges, [str(edge) for edge in edges]
    return edges, [f"{edge}–{edge + size - 1}" for edge in edges]


@dataclass(frozen=True)
class _Box:
    """A rectangle on the page, inches."""

    left: float
    bottom: float
    width: float
    height: float


class MapPage(Page):
    """A page with one map; scale bar and legend are below a wide map, beside a tall one.

    Attributes
    ----------
    map : Axes
        Axes of the map.
    wide : bool
        Whether the legend is below the map.
    legend : _Box
        Space of the legend.
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
            width, height = MAP, max(MAP * rows / cols, THIN)
            super().__init__(width, height, row + legend_height, heading, title, simulated)
            self.legend = _Box(self.left, self.bottom, width, legend_height)
            map_bottom = self.bottom + row + legend_height
            self._bar = self.left, map_bottom - 0.3
            self._key = self.left + width, map_bottom - 0.22
        else:
            width, height = max(MAP * cols / rows, THIN), MAP
            gap = 0.25
            super().__init__(width + gap + _LEGEND_WIDTH, height, 0, heading, title, simulated)
            map_bottom = self.bottom
            left = self.left + width + gap
            self.legend = _Box(left, self.bottom + 1.0, _LEGEND_WIDTH, height - 1.3)
            self._bar = left, self.bottom + 0.02
            self._key = left, self.bottom + 0.6
        self._map_width = width
        self.map = self.axes(self.left, map_bottom, width, height)

    def scale(self, resolution: float) -> None:
        """Draw the scale bar of a map with this resolution, metres per pixel."""
        left, bottom = self._bar
        self.scale_bar(left, bottom, resolution * self._columns / self._map_width, 1.35)

    def keys(self, entries: Sequence[tuple[str, str]]) -> None:
        """Draw coloured squares with labels, right of the scale bar or above it."""
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


def _histogram(
    axes: Axes,
    days: NDArray[Any],
    first: int,
    last: int,
    cmap: Colormap,
    norm: Normalize,
    upright: bool,
) -> int:
    """Draw a histogram in the colours of the map; return the days per bar."""
    span = math.ceil((last - first) / 100)
    edges = np.arange(first, last + span, span) - 0.5
    counts, _ = np.histogram(days, edges)
    centres = edges[:-1] + span / 2
    colours = cmap(norm(centres))
    # All bars in one collection: as artists of their own they take a quarter of a picture's time.
    start, end, zero = centres - span / 2, centres + span / 2, np.zeros(counts.size)
    corners = np.stack(
        [np.stack([start, start, end, end], 1), np.stack([zero, counts, counts, zero], 1)], 2
    )
    bars = corners if upright else corners[..., ::-1]
    collection = PolyCollection(list(bars), facecolors=colours, linewidths=0)
    axes.add_collection(collection, autolim=False)
    top = max(float(counts.max()), 1) * 1.05
    if upright:
        axes.set_xlim(first, last)
        axes.set_ylim(0, top)
    else:
        axes.set_ylim(first, last)
        axes.set_xlim(top, 0)
    axes.set_axis_off()
    return span

"""Draw how a forecast moved from issue to issue of a map."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import Normalize

from deepcrop.figures.page import INK, Page
from deepcrop.figures.style import (
    GREY,
    STATUS_COLOURS,
    date_axis,
    date_colours,
    date_label,
    date_range,
    date_strip,
    date_ticks,
    show,
    stage_colour,
    stripe,
)
from deepcrop.products.layers import FORECAST
from deepcrop.report.map_figures import METHODS, read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from deepcrop.products.results import Result
    from deepcrop.report.issue_numbers import IssueNumbers

_WIDTH = 7.4  # inches of a page
_ROW = 1.35  # inches of a chart
_STEP = 1.95  # inches from chart to chart
_MARGIN = 0.55  # inches left of a chart, for its dates
FRAMES = 10
"""Issues of the strip of pictures."""


def issue_days(results: Sequence[Result]) -> list[float]:
    """Days of the issues, as day numbers of the target year."""
    return [_day(result.until, result.year) for result in results]


def _day(day: date | None, year: int) -> float:
    start = np.datetime64(f"{year:04d}-01-01", "D")
    return float((np.datetime64(day, "D") - start).astype(int))


def forecasts(
    results: Sequence[Result], method: str, numbers: Mapping[str, Sequence[IssueNumbers]]
) -> Figure:
    """Draw the median date of the region with its interval, and the shares, issue by issue."""
    last, days = results[-1], issue_days(results)
    page = Page(
        _WIDTH,
        len(numbers) * _STEP,
        0.25,
        f"The forecast from issue to issue, {METHODS[method]}",
        f"{last.title} · medians of the dated pixels; bars: median 90 % interval",
        last.simulated,
    )
    width = (_WIDTH - 2 * _MARGIN - 0.3) / 2
    for k, (stage, found) in enumerate(numbers.items()):
        bottom = page.top - k * _STEP - 0.3 - _ROW
        left = page.left + _MARGIN
        page.text(left, bottom + _ROW + 0.12, stage.upper(), size=9, weight="bold")
        _dates(page.chart(left, bottom, width, _ROW), days, found, stage, last.year)
        shares = page.chart(left + width + 0.3 + _MARGIN, bottom, width, _ROW)
        _shares(shares, days, found, last.year)
    x = page.left + _MARGIN
    for words, colour in STATUS_COLOURS.items():
        page.patch(x, page.bottom - 0.03, 0.2, 0.14, colour)
        page.text(x + 0.28, page.bottom + 0.04, words, size=7.5)
        x += 1.35
    return page.figure


def groups(
    results: Sequence[Result],
    heading: str,
    words: str,
    numbers: Mapping[str, Mapping[str, Sequence[IssueNumbers]]],
) -> Figure:
    """Draw the same for several groups of pixels: a row for each, a column for each stage."""
    last, days = results[-1], issue_days(results)
    page = Page(_WIDTH, len(numbers) * _STEP, 0, heading, f"{last.title} · {words}", last.simulated)
    columns = max(len(of_group) for of_group in numbers.values())
    width = (_WIDTH - columns * _MARGIN - 0.3 * (columns - 1)) / columns
    for k, (name, of_group) in enumerate(numbers.items()):
        bottom = page.top - k * _STEP - 0.3 - _ROW
        for j, (stage, found) in enumerate(of_group.items()):
            left = page.left + _MARGIN + j * (width + 0.3 + _MARGIN)
            title = f"{name}, {stage.upper()}"
            page.text(left, bottom + _ROW + 0.12, title, size=9, weight="bold")
            _dates(page.chart(left, bottom, width, _ROW), days, found, stage, last.year)
    return page.figure


def _dates(
    axes: Axes, days: Sequence[float], found: Sequence[IssueNumbers], stage: str, year: int
) -> None:
    """Draw dates with their intervals over the days of the issues; a forecast is an open circle."""
    colour = stage_colour(stage)
    known = [(x, one) for x, one in zip(days, found, strict=True) if not math.isnan(one.day)]
    _issue_axis(axes, days, year)
    if not known:
        axes.set_yticks([])
        axes.text(
            0.5, 0.5, "no date yet", transform=axes.transAxes, ha="center", va="center",
            fontsize=8, color=INK,
        )  # fmt: skip
        return
    xs = [x for x, _ in known]
    axes.vlines(xs, [one.low for _, one in known], [one.high for _, one in known], color=colour,
                lw=1.4)  # fmt: skip
    axes.plot(xs, [one.day for _, one in known], color=colour, lw=0.7)
    for x, one in known:
        fill = colour if one.observed else "white"
        axes.plot(x, one.day, "o", ms=5, mfc=fill, mec=colour, mew=1.2)
    bounds = [value for _, one in known for value in (one.low, one.day, one.high)]
    middle = (np.nanmin(bounds) + np.nanmax(bounds)) / 2
    reach = max((np.nanmax(bounds) - np.nanmin(bounds)) / 2 + 5, 25)  # days; labels need room
    low, high = middle - reach, middle + reach
    axes.set_ylim(low, high)
    axes.axline((low, low), slope=1, color=GREY, lw=1, zorder=0)  # the day of the issue itself
    axes.set_yticks(*date_ticks(low, high, year, most=6))


def _shares(axes: Axes, days: Sequence[float], found: Sequence[IssueNumbers], year: int) -> None:
    """Draw the shares of each status as stacked bars."""
    gap = min([*np.diff(days), 14.0])
    bottom = np.zeros(len(days))
    for words in ("observed", "forecast", "not yet known", "no event"):
        height = np.array([one.shares.get(words, 0.0) for one in found])
        axes.bar(days, height, 0.7 * gap, bottom, color=STATUS_COLOURS[words])
        bottom += height
    _issue_axis(axes, days, year)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])


def _issue_axis(axes: Axes, days: Sequence[float], year: int) -> None:
    axes.set_xlim(days[0] - 8, days[-1] + 8)
    date_axis(axes, days[0] - 8, days[-1] + 8, year)


def film(results: Sequence[Result], method: str, stage: str) -> Figure:
    """Draw the map of a stage of each issue side by side, in equal colours."""
    chosen = np.unique(np.linspace(0, len(results) - 1, min(len(results), FRAMES)).round())
    frames = [results[int(k)] for k in chosen]
    last = results[-1]
    maps = []
    for result in frames:
        layers = {
            layer.kind: read(layer, result)
            for layer in result.find(method=method, stage=stage, season=1)
            if layer.part in (None, "status")
        }
        maps.append(layers)
    dated = np.concatenate([one["day"][np.isfinite(one["day"])] for one in maps])
    first, end = date_range(dated, last.year) if dated.size else (0, 365)
    across = min(len(frames), 5)
    width = (_WIDTH - 0.12 * (across - 1)) / across
    height = min(width * last.grid.shape[0] / last.grid.shape[1], 2 * width)
    down = -(-len(frames) // across)
    page = Page(
        _WIDTH,
        down * (height + 0.3),
        0.6,
        f"{stage.upper()} as each issue knew it, {METHODS[method]}",
        f"{last.title} · striped: forecast; grey: not yet known, or no event",
        last.simulated,
    )
    cmap = date_colours(stage)
    for k, (result, layers) in enumerate(zip(frames, maps, strict=True)):
        left = page.left + (k % across) * (width + 0.12)
        bottom = page.top - (k // across + 1) * (height + 0.3) + 0.05
        axes = page.axes(left, bottom, width, height)
        show(axes, layers["day"], cmap, Normalize(first, end))
        stripe(axes, layers["status"] == FORECAST)
        axes.set_aspect("auto")
        words = date_label(np.datetime64(result.until, "D"), last.year)
        page.text(left, bottom + height + 0.1, words, size=8, weight="bold")
    strip = page.axes(page.left + 0.25, page.bottom + 0.3, _WIDTH - 0.5, 0.12)
    date_strip(strip, dated, first, end, last.year, cmap, True)
    return page.figure

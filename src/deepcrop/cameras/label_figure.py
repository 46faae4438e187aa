"""The picture of a camera's labels: every observation, the curve, and the dates read off it.

Years run in lines of two, as in the paper's Fig. 6, so that twelve years stay readable.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from deepcrop.cameras.labels import CameraLabels, Screening, Season, SiteYear
from deepcrop.figures.page import INK, MONTHS, Page, spread
from deepcrop.figures.style import BAD, GOOD, GRID, SERIES_COLOURS, STAGE_COLOURS
from deepcrop.sources.phenocam.summary_files import CITATION
from deepcrop.stages import STAGES, YEAR_START, TargetYear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

YEARS_A_LINE = 2
_YEAR = 4.75  # inches
_LINE = 1.25  # inches: the plot of a line of years
_HEAD = 0.47  # inches above it, for verdicts and dates
_FOOT = 0.3  # inches below it, for months
_AXIS = 0.5  # inches left of it

_SNOW = "#56b4e9"
_GAP = "#ececec"


def camera_figure(labels: CameraLabels) -> Figure:
    """Draw all years of one camera.

    Observations that were used are filled, those left out hollow (flagged as outlier) or stars
    (snow). Grey: times without an observation longer than the screening allows around a date.
    Each date is a line with its 90 % interval as a band, faint for seasons beyond the two main ones
    of a year, which alone have their dates written above.

    Parameters
    ----------
    labels : CameraLabels
        From `deepcrop.cameras.labels.label_series`.
    """
    camera = labels.camera
    lines = [labels.years[k : k + YEARS_A_LINE] for k in range(0, len(labels.years), YEARS_A_LINE)]
    columns = max(len(line) for line in lines)
    pitch = _HEAD + _LINE + _FOOT
    width = _AXIS + _YEAR * columns
    citation = textwrap.wrap(CITATION, int(width * 19))
    accepted = sum(year.accepted for year in labels.years)
    sheet = Page(
        width,
        pitch * len(lines),
        0.4 + 0.14 * len(citation),
        f"{camera.site}, {camera.veg_type} {camera.roi}",
        f"{labels.column}, {camera.period}-day, {abs(camera.latitude):.2f}° "
        f"{'N' if camera.latitude >= 0 else 'S'}, {abs(camera.longitude):.2f}° "
        f"{'E' if camera.longitude >= 0 else 'W'}; "
        f"{accepted} of {len(labels.years)} years accepted",
        False,
    )
    low, high = _limits(labels)
    for k, line in enumerate(lines):
        bottom = sheet.top - pitch * (k + 1) + _FOOT
        _draw_line(sheet, labels, line, bottom, low, high)
    _legend(sheet, 0.22 + 0.14 * len(citation))
    for k, words in enumerate(reversed(citation)):
        sheet.text(sheet.left, sheet.bottom + 0.14 * k, words, size=6.5)
    return sheet.figure


def _draw_line(
    sheet: Page,
    labels: CameraLabels,
    years: Sequence[SiteYear],
    bottom: float,
    low: float,
    high: float,
) -> None:
    """Draw a line of years: their plot, verdicts and dates."""
    camera = labels.camera
    first, last = _start(labels, years[0].year), _start(labels, years[-1].year + 1)
    left, width = sheet.left + _AXIS, _YEAR * len(years)
    axes = sheet.figure.add_axes(sheet.place(left, bottom, width, _LINE))
    axes.set_xlim(first, last)
    axes.set_ylim(low, high)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7, color=INK, labelcolor=INK, width=0.6)
    axes.set_ylabel(labels.column, fontsize=8, color=INK)
    _months(axes, labels, years)
    gap = Screening().max_gap
    used = labels.weights > 0
    days = (camera.date - camera.date[0]).astype(float)
    for begin, end in _gaps(days[used], gap, first, last):
        axes.axvspan(begin, end, color=_GAP, lw=0, zorder=0)
    values = camera.greenness[labels.column]
    flagged = np.isfinite(values) & ~used
    snow = flagged & camera.snow
    axes.plot(
        days[used],
        values[used],
        "o",
        ms=2.3,
        color=SERIES_COLOURS["optical"],
        alpha=0.7,
        mew=0,
        zorder=3,
    )
    axes.plot(
        days[flagged & ~snow], values[flagged & ~snow], "o", ms=3.2, mfc="none", mec=BAD,
        mew=0.8, zorder=3,
    )  # fmt: skip
    axes.plot(days[snow], values[snow], "*", ms=4, mfc="none", mec=_SNOW, mew=0.7, zorder=3)
    axes.plot(
        labels.curve_days,
        _broken(labels, days[used], gap),
        color=SERIES_COLOURS["curve"],
        lw=1,
        zorder=4,
    )
    for site_year in years:
        start = _start(labels, site_year.year)
        x = left + (start - first) / (last - first) * width
        if start > first:
            axes.axvline(start, color=INK, lw=0.6)
        _verdict(sheet, site_year, labels.year_start, x, bottom + _LINE + _HEAD)
    marks = []
    for site_year in labels.years:  # a season may begin or end in another year's plot
        start = _january(labels, site_year.year)
        for season in site_year.seasons:
            _draw_season(axes, season, start)
            if season.slot:
                marks += [(start + season.events[name].day, name) for name in STAGES]
    marks = sorted(mark for mark in marks if first <= mark[0] < last)
    _write_dates(sheet, labels, marks, first, last, left, width, bottom + _LINE)


def _draw_season(axes: Axes, season: Season, start: float) -> None:
    """Dates of a season as lines with their intervals; fainter outside the two slots."""
    alpha = 1.0 if season.slot else 0.4
    for name in STAGES:
        event, colour = season.events[name], STAGE_COLOURS[name]
        if math.isfinite(event.day):
            axes.axvline(start + event.day, color=colour, lw=1.1, alpha=alpha, zorder=2)
            axes.axvspan(
                start + event.low,
                start + event.high,
                color=colour,
                alpha=0.3 * alpha,
                lw=0,
                zorder=1,
            )


def _verdict(sheet: Page, site_year: SiteYear, year_start: str, left: float, top: float) -> None:
    """Year, crop and verdict above a year's plot."""
    year = f"{site_year.year}" + (f" (from {year_start})" if year_start != YEAR_START else "")
    sheet.text(left, top - 0.06, year, size=8.5, weight="bold")
    words = f"{site_year.crop}, {site_year.verdict}" if site_year.crop else site_year.verdict
    said = f"{words}: {site_year.why}" if site_year.why else words
    colour = GOOD if site_year.accepted else BAD
    said = textwrap.shorten(said, 88, placeholder=" …")
    sheet.text(left + 0.4, top - 0.06, said, size=6.5, colour=colour)


def _write_dates(
    sheet: Page,
    labels: CameraLabels,
    marks: Sequence[tuple[float, str]],
    first: float,
    last: float,
    left: float,
    width: float,
    bottom: float,
) -> None:
    """Dates of the main seasons, each above its line, moved apart where they would touch."""
    places = [left + (day - first) / (last - first) * width for day, _ in marks]
    centres = spread(places, 0.37, left + 0.17, left + width - 0.17)
    for (day, name), place, centre in zip(marks, places, centres, strict=True):
        date = str(labels.camera.date[0] + math.floor(day + 0.5))
        words = f"{int(date[8:])} {MONTHS[int(date[5:7]) - 1]}"
        sheet.line([place, centre], [bottom + 0.01, bottom + 0.11], STAGE_COLOURS[name])
        sheet.text(centre, bottom + 0.17, words, size=6.5, ha="center")


def _months(axes: Axes, labels: CameraLabels, years: Sequence[SiteYear]) -> None:
    """Ticks on the first of each month, their names between them."""
    ticks, middles, names = [], [], []
    for site_year in years:
        first, last = TargetYear(site_year.year, labels.year_start).dates
        # The month of a first day other than the 1st has its name in the year before.
        begin = first.astype("datetime64[M]") + (str(first)[8:] != "01")
        for month in np.arange(begin, last.astype("datetime64[M]") + 1):
            days = [
                float((edge.astype("datetime64[D]") - labels.camera.date[0]).astype(int))
                for edge in (month, month + 1)
            ]
            ticks.append(days[0])
            middles.append(sum(days) / 2)
            names.append(MONTHS[int(str(month)[5:]) - 1])
    axes.set_xticks(ticks, [""] * len(ticks))
    axes.set_xticks(middles, names, minor=True)
    axes.tick_params(axis="x", which="minor", length=0, labelsize=7, labelcolor=INK)


def _legend(sheet: Page, bottom: float) -> None:
    """Say what the marks mean."""
    handles = [
        Line2D(
            [],
            [],
            ls="none",
            marker="o",
            ms=3,
            color=SERIES_COLOURS["optical"],
            mew=0,
            label="used",
        ),
        Line2D(
            [],
            [],
            ls="none",
            marker="o",
            ms=3.5,
            mfc="none",
            mec=BAD,
            mew=0.8,
            label="outlier",
        ),
        Line2D([], [], ls="none", marker="*", ms=4.5, mfc="none", mec=_SNOW, label="snow"),
        Line2D([], [], color=SERIES_COLOURS["curve"], lw=1, label="smoothed"),
        *(
            Line2D([], [], color=STAGE_COLOURS[stage], lw=1.4, label=stage.upper())
            for stage in STAGES
        ),
        Patch(facecolor=SERIES_COLOURS["camera"], alpha=0.4, label="90 % interval"),
        Patch(facecolor=_GAP, label=f"no observation for over {Screening().max_gap:.0f} days"),
    ]
    legend = sheet.figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(sheet.left / sheet.width, (sheet.bottom + bottom) / sheet.height),
        ncols=5 if sheet.width < 7 else len(handles),
        fontsize=7,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        columnspacing=1.2,
        handletextpad=0.4,
        handlelength=1.2,
    )
    for text in legend.get_texts():
        text.set_color(INK)


def _limits(labels: CameraLabels) -> tuple[float, float]:
    """Greenness axis common to all years; a few outliers may lie outside."""
    values = labels.camera.greenness[labels.column]
    values = values[labels.weights > 0]
    if not values.size:
        return 0.3, 0.5
    low, high = np.percentile(values, (0.2, 99.8))
    room = 0.08 * (high - low) + 1e-4
    return float(low - room), float(high + room)


def _gaps(
    used: NDArray[np.floating], longest: float, first: float, last: float
) -> list[tuple[float, float]]:
    """Stretches without an observation, the time before the first and after the last included."""
    ends = np.concatenate([[first - 2 * longest], used, [last + 2 * longest]])
    return [
        (max(a, first), min(b, last))
        for a, b in itertools.pairwise(ends)
        if b - a > longest and b > first and a < last
    ]


def _broken(labels: CameraLabels, used: NDArray[np.floating], gap: float) -> NDArray[np.floating]:
    """Leave the curve out where nothing was observed for long."""
    after = np.searchsorted(used, labels.curve_days, side="right").clip(1, max(used.size - 1, 1))
    if used.size < 2:
        return labels.curve
    return np.where(used[after] - used[after - 1] > gap, np.nan, labels.curve)


def _start(labels: CameraLabels, year: int) -> float:
    """First day of a target year, in days since the first date of the series."""
    return _january(labels, year) + TargetYear(year, labels.year_start).first


def _january(labels: CameraLabels, year: int) -> float:
    """1 January of a year, in days since the first date of the series."""
    return float((np.datetime64(f"{year:04d}-01-01", "D") - labels.camera.date[0]).astype(int))

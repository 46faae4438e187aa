"""Colours (the only palette of the package), calendar dates on axes, text for numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.patches import Polygon

from deepcrop.figures.page import DPI, INK, MONTHS, WARNING
from deepcrop.stages import NO_DAY, to_dates

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

LONG_SIDE = 1400
"""Pixels of a figure on the long side of a map; more pixels of the raster are not visible."""

MAP = LONG_SIDE / DPI  # inches on the long side of a map
INSET = 0.25  # inches: space for the labels at the ends of a colour bar
THIN = 0.1  # inches: smallest width or height of a map

GREY = "#d9d9d9"
DARK_GREY = "#a6a6a6"  # missing differences: a difference of 0 is nearly white
GRID = "#e6e6e6"
GOOD, BAD = "#00694d", WARNING
"""Accepted and rejected."""

# The palette. No other file of the package holds a colour of a stage, a method or a series; the
# viewer's page gets them from its server. Colour-blind readers can tell the colours of a group
# apart: in a simulation of deuteranopia and protanopia any two stages differ by 25 units of CIE
# L*a*b* or more.

STAGE_COLOURS = {
    "sos20": "#66c2a5",
    "sos50": "#00795a",
    "peak": "#8073ac",
    "eos50": "#b35806",
    "eos20": "#f1a340",
}
"""Dates as lines and marks: starts are green, ends brown, light at 20 % and dark at 50 %."""

_SHADES = {
    "sos": (STAGE_COLOURS["sos20"], STAGE_COLOURS["sos50"], "#003326"),
    "eos": (STAGE_COLOURS["eos20"], STAGE_COLOURS["eos50"], "#5a2c03"),
}
"""Colours at 20, 50 and 100 % of the amplitude."""

METHOD_COLOURS = {
    "curve": "#0072b2",
    "deepcrop": "#d55e00",
    "deepcrop without radar": "#cc79a7",
    "trained without radar": "#009e73",
}
"""Methods, by the names that results use, and the network with less input."""

COMPARED_COLOURS = (INK, *METHOD_COLOURS.values(), "#e69f00", "#56b4e9", "#8c8c8c")
"""Any number of compared methods, in the order in which they are given."""

SERIES_COLOURS = {
    "optical": "#0072b2",
    "curve": INK,
    "camera": "#8c8c8c",
    "vv": "#5e4fa2",
    "vh": "#cc79a7",
}
"""Observations of one pixel over time, and the curve smoothed through them."""

CLASS_COLOURS = (
    "#cc6677",
    "#332288",
    "#ddcc77",
    "#117733",
    "#88ccee",
    "#882255",
    "#44aa99",
    "#999933",
    "#aa4499",
)
"""Crop types and flags, the commonest first (the scheme "muted" of Paul Tol)."""

OTHER_CLASS = "#bbbbbb"

STATUS_COLOURS = {
    "no event": "#999999",
    "observed": "#117733",
    "forecast": "#ddaa33",
    "not yet known": "#e6e6e6",
}
"""What a date of a map in season is."""

STRIPED = "#f7f7f7"
"""Stands for the white stripes over forecasts in the key of a map."""

REASON_COLOURS = ("#e6e6e6", *CLASS_COLOURS)
"""Why dates are missing, from "found" on."""

COLORMAPS = {
    "sos": "viridis",
    "peak": "plasma",
    "eos": "plasma",
    "width": "cividis",
    "length": "cividis",
    "measure": "YlGn",
    "percent": "YlGnBu",
    "count": "YlGnBu",
    "difference": "RdBu_r",
}
"""Matplotlib's colour map for the dates of each sort of stage and for each other kind of layer."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    # The usual level 6 of compression takes three times as long for 7 % fewer bytes.
    figure.savefig(path, dpi=DPI, format="png", facecolor="white", pil_kwargs={"compress_level": 2})


def date_range(days: NDArray[Any], year: int) -> tuple[int, int]:
    """Return the half-months that enclose the 2nd to 98th percentile of ``days``, as days."""
    low, high = np.percentile(days, (2, 98))
    halves = _half_months(low, high, year)
    first = int(halves[halves <= low].max())
    last = int(halves[(halves >= high) & (halves > first)].min())
    return first, last


def date_ticks(first: float, last: float, year: int, most: int) -> tuple[NDArray[Any], list[str]]:
    """Return at most ``most`` day numbers of a range as ticks, and their labels.

    Ticks are the 1st and 16th of months, or the 1st of every month, every second month and so on.
    A label has the year if it is not ``year``.
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
    return halves[chosen], [date_label(date, year) for date in dates[chosen]]


def date_strip(
    axes: Axes,
    days: NDArray[Any],
    first: int,
    last: int,
    year: int,
    cmap: Colormap,
    upright: bool,
) -> None:
    """Draw a colour bar of dates."""
    value_strip(axes, days, first, last, cmap, upright)
    if upright:
        date_axis(axes, first, last, year)
    else:
        axes.set_yticks(*date_ticks(first, last, year, most=13))


def date_axis(axes: Axes, first: float, last: float, year: int) -> None:
    """Label a horizontal axis with dates; the year is below the day, to keep labels narrow."""
    width = axes.bbox.width / DPI
    ticks, labels = date_ticks(first, last, year, most=max(int(width / 0.62), 2))
    axes.set_xticks(ticks, ["\n".join(label.rsplit(" ", label.count(" ") - 1)) for label in labels])


def value_strip(
    axes: Axes, values: NDArray[Any], first: float, last: float, cmap: Colormap, upright: bool
) -> None:
    """Draw a colour bar; an end is pointed if there are values beyond it."""
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


def show(axes: Axes, values: NDArray[Any], cmap: Colormap, norm: Normalize) -> None:
    """Draw a map; NaN has the colour for missing values."""
    axes.imshow(np.ma.masked_invalid(values), cmap=cmap, norm=norm, interpolation="nearest")


def stripe(axes: Axes, where: NDArray[np.bool_]) -> None:
    """Cover part of a map with white stripes, which show on every colour."""
    rows, cols = np.indices(where.shape)
    width = max(max(where.shape) // 150, 1)
    white = np.ones((*where.shape, 4), np.float32)
    white[..., 3] = np.where(where & ((rows + cols) // width % 3 == 0), 0.85, 0)
    axes.imshow(white, interpolation="nearest")


def known_days(days: ArrayLike) -> NDArray[np.float64]:
    """Return day numbers as float, NaN where there is no date."""
    values = np.asarray(days, dtype=np.float64)
    return np.where(values == NO_DAY, np.nan, values)


def stage_colour(stage: str) -> str:
    """Return the colour of a stage as line or mark, of any share of the amplitude."""
    if stage in STAGE_COLOURS:
        return STAGE_COLOURS[stage]
    ramp = LinearSegmentedColormap.from_list(stage, _SHADES[stage[:3]])
    return to_hex(ramp(float(np.interp(int(stage[3:]), (20, 50, 100), (0, 0.5, 1)))))


def date_colours(stage: str) -> Colormap:
    """Return the colour map for dates of a stage; missing dates are grey.

    Starts and ends of season have different maps; both run evenly from dark to light.
    """
    return matplotlib.colormaps[COLORMAPS[stage.rstrip("0123456789")]].with_extremes(bad=GREY)


def layer_colours(kind: str) -> Colormap:
    """Return the colour map for a kind of layer other than dates; missing values are grey."""
    missing = DARK_GREY if kind == "difference" else GREY
    return matplotlib.colormaps[COLORMAPS[kind]].with_extremes(bad=missing)


def _half_months(low: float, high: float, year: int) -> NDArray[np.int64]:
    """Return the day numbers of all 1sts and 16ths from before ``low`` to after ``high``."""
    start = np.datetime64(f"{year:04d}-01-01", "D")
    ends = to_dates([low, high], year).astype("datetime64[M]")
    months = np.arange(ends[0] - 1, ends[1] + 3).astype("datetime64[D]")
    return np.sort(np.concatenate([months, months + 15]) - start).astype(np.int64)


def date_label(date: np.datetime64, year: int) -> str:
    """Return day and month, with the year if it is not the target year."""
    text = str(date)
    words = f"{int(text[-2:])} {MONTHS[int(text[-5:-3]) - 1]}"
    return words if int(text[:-6]) == year else f"{words} {int(text[:-6])}"


def stage_label(name: str) -> str:
    """Return ``SOS20 (2)`` for ``sos20_season2``."""
    stage, _, season = name.partition("_season")
    return stage.upper() + (f" ({season})" if season else "")


def percent(share: float) -> str:
    """Return whole percent; small shares are "<1 %", nearly complete ones ">99 %"."""
    if 0 < share < 0.01:
        return "<1 %"
    if 0.99 < share < 1:
        return ">99 %"
    return f"{share:.0%}".replace("%", " %")


def signed(value: float) -> str:
    """Return one decimal with its sign (U+2212 for minus)."""
    return f"{value:+.1f}".replace("-", "−")

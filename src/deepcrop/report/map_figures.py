"""Draw the figures of a map: scenes, stages by method, differences, histograms, crops, quality.

Numbers in brackets are the figures of the paper that each function follows. Rasters are read from
their overviews, at most `LONG_SIDE` pixels on the long side of the region; numbers written in a
figure are of all pixels, from the summary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.ticker
import numpy as np
import rasterio
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from deepcrop.figures.page import INK, Page
from deepcrop.figures.style import (
    CLASS_COLOURS,
    DARK_GREY,
    GREY,
    GRID,
    INSET,
    LONG_SIDE,
    METHOD_COLOURS,
    SERIES_COLOURS,
    date_axis,
    date_colours,
    date_label,
    date_range,
    date_strip,
    layer_colours,
    percent,
    show,
    stripe,
    value_strip,
)
from deepcrop.products.layers import FORECAST
from deepcrop.stages import STAGES, season_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from deepcrop.products.results import Result, ResultLayer

METHODS = {"curve": "greenness curve", "deepcrop": "Deep-CroP"}
"""Names of the methods in figures."""


def order(result: Result) -> tuple[str, ...]:
    """Return the thresholds of a map in the order of panels: in time."""
    stages = {str(layer.stage) for layer in result.find(kind="day", season=1)} - {"peak"}
    return tuple(
        sorted(stages, key=lambda name: (name[:3] != "sos", float(name[3:]) * _SENSE[name[:3]]))
    )


_SENSE = {"sos": 1, "eos": -1}
"""Starts follow each other from low to high shares of the amplitude, ends from high to low."""


def central(result: Result) -> tuple[str, str]:
    """Return the start and the end that stand for a season: at 50 %, or nearest to it."""
    near = sorted(order(result), key=lambda stage: (abs(int(stage[3:]) - 50), stage[:3] != "sos"))
    return near[0], near[1]


_WIDTH = 7.4  # inches of a page
_GAP = 0.3  # inches between panels
_CAPTION = 0.24  # inches above a panel
_LEGEND = 0.56  # inches below a panel
_LIMIT = 30  # days: larger differences have the end colour
_MAX_CROPS = 8
_MIN_SHARE = 0.005  # of the pixels that have a crop: rarer crops are not drawn


# Reading -----------------------------------------------------------------------------------------


def read(layer: ResultLayer, result: Result) -> NDArray[np.float64]:
    """Read a layer at the size of a figure, NaN where there is no data."""
    values = _raw(layer, result).astype(np.float64)
    if layer.nodata is not None:
        values = np.where(values == layer.nodata, np.nan, values)
    return values * layer.scale


def _raw(layer: ResultLayer, result: Result) -> NDArray[Any]:
    shrink = max(1.0, max(result.grid.shape) / LONG_SIDE)
    shape = tuple(max(round(side / shrink), 1) for side in result.grid.shape)
    with rasterio.open(layer.path) as file:
        # Nearest neighbour: dates of different fields are never averaged.
        values: NDArray[Any] = file.read(1, out_shape=shape)
    return values


def _layer(
    result: Result, method: str, kind: str, stage: str, season: int, part: str | None = None
) -> ResultLayer | None:
    found = [
        layer
        for layer in result.find(method=method, kind=kind, stage=stage, season=season)
        if part is None or layer.part == part
    ]
    return found[0] if found else None


def _crops(result: Result) -> ResultLayer | None:
    found = result.find(kind="class")
    return found[0] if found else None


# Pages of panels ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Panel:
    """Place of a map on a page, and width of its column, inches."""

    left: float
    bottom: float
    width: float
    height: float
    room: float


def _panel_page(
    result: Result, number: int, heading: str, words: str = ""
) -> tuple[Page, list[_Panel]]:
    """Make a page with a scale bar and room for ``number`` maps of the region."""
    rows, cols = result.grid.shape
    across = 1 if cols > 2.2 * rows else min(2, number)
    room = (_WIDTH - (across - 1) * _GAP) / across
    width = room
    height = width * rows / cols
    if height > 5:  # a tall region
        height, width = 5.0, 5.0 * cols / rows
    down = -(-number // across)
    step = _CAPTION + height + _LEGEND
    title = f"{result.title}{f' · {words}' if words else ''}"
    page = Page(_WIDTH, down * step, 0.3, heading, title, result.simulated)
    panels = [
        _Panel(
            page.left + (k % across) * ((_WIDTH + _GAP) / across),
            page.top - (k // across) * step - _CAPTION - height,
            width,
            height,
            room,
        )
        for k in range(number)
    ]
    metres = float(result.grid.resolution.x) * cols / width
    page.scale_bar(page.left, page.bottom, metres, 1.4)
    return page, panels


def _caption(page: Page, panel: _Panel, number: int | None, name: str, right: str = "") -> None:
    """Write letter and name of a panel above it, and a short text at the right."""
    y = panel.bottom + panel.height + 0.11
    words = name if number is None else f"{_letter(number)}  {name}"
    page.text(panel.left, y, words, size=9, weight="bold")
    page.text(panel.left + panel.room, y, right, size=7.5, ha="right")


def _draw(page: Page, panel: _Panel, values: NDArray[Any], cmap: Colormap, norm: Normalize) -> Axes:
    axes = page.axes(panel.left, panel.bottom, panel.width, panel.height)
    show(axes, values, cmap, norm)
    axes.set_aspect("auto")
    return axes


def _bar(page: Page, panel: _Panel) -> Axes:
    """Create the axes of a panel's colour bar."""
    return page.axes(panel.left + INSET, panel.bottom - 0.2, panel.room - 2 * INSET, 0.12)


def _number_bar(
    page: Page,
    panel: _Panel,
    values: NDArray[Any],
    first: float,
    last: float,
    cmap: Colormap,
    unit: str,
) -> None:
    axes = _bar(page, panel)
    value_strip(axes, values[np.isfinite(values)], first, last, cmap, upright=True)
    locator = matplotlib.ticker.MaxNLocator(4, steps=[1, 1.5, 2, 2.5, 5, 10])
    ticks = np.asarray(locator.tick_values(first, last))
    ticks = ticks[(ticks >= first) & (ticks <= last)]
    labels = [f"{tick:g}".replace("-", "−") for tick in ticks]
    axes.set_xticks(ticks, [*labels[:-1], f"{labels[-1]} {unit}".strip()])
    axes.tick_params(axis="x", labelsize=7)


def _missing(page: Page, words: str, colour: str = GREY) -> None:
    """Write the meaning of grey at the foot of the page."""
    right = page.left + _WIDTH
    page.text(right, page.bottom + 0.06, words, ha="right", size=7.5)
    page.patch(right - 0.056 * len(words) - 0.32, page.bottom - 0.01, 0.2, 0.14, colour)


# Scenes over time (4) ----------------------------------------------------------------------------


def scenes(result: Result, shares: Mapping[str, Sequence[tuple[np.datetime64, float]]]) -> Figure:
    """Draw the date of each scene, and the share of the region with clear pixels (Fig. 4).

    Parameters
    ----------
    result : Result
    shares : mapping
        For "optical" and "sar" the date of each scene and its share of pixels with data.
    """
    names = {"optical": "optical (Sentinel-2)", "sar": "radar (Sentinel-1)"}
    colours = {"optical": SERIES_COLOURS["optical"], "sar": SERIES_COLOURS["vv"]}
    height, gap = 0.75, 0.68
    page = Page(
        _WIDTH,
        len(shares) * (height + gap) - 0.05,
        0,
        f"Scenes read for {result.target}",
        f"{result.title} · height: share of the area with clear pixels",
        result.simulated,
    )
    start = np.datetime64(f"{result.year:04d}-01-01", "D")
    days = {
        name: np.array([(date.astype("datetime64[D]") - start).astype(int) for date, _ in scenes])
        for name, scenes in shares.items()
    }
    all_days = np.concatenate(list(days.values()))
    first, last = float(all_days.min()) - 6, float(all_days.max()) + 6
    for k, (name, scenes) in enumerate(shares.items()):
        bottom = page.top - (k + 1) * (height + gap) + gap - 0.27
        axes = page.axes(page.left + 0.4, bottom, _WIDTH - 0.6, height)
        _plain(axes)
        share = np.array([share for _, share in scenes])
        axes.set_xlim(first, last)
        axes.set_ylim(0, 1.05)
        axes.vlines(days[name], 0, share, color=colours[name], lw=1.6)
        axes.plot(days[name], share, "o", ms=2.6, color=colours[name], mew=0)
        year = result.target
        axes.axvspan(year.first, year.first + year.length, color="#f3f3f3", lw=0, zorder=-2)
        date_axis(axes, first, last, result.year)
        axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
        axes.tick_params(labelsize=7.5, color=INK, labelcolor=INK)
        page.text(page.left + 0.4, bottom + height + 0.1, f"{'ab'[k]}  {names[name]}", size=9,
                   weight="bold")  # fmt: skip
        seen = "clear pixels" if name == "optical" else "data"
        page.text(
            page.left + _WIDTH - 0.2,
            bottom + height + 0.1,
            f"{int((share > 0).sum())} of {len(scenes)} scenes have {seen}",
            size=7.5,
            ha="right",
        )
    return page.figure


# Stages by method (12, 13, 15, 16) ---------------------------------------------------------------


def stage_maps(result: Result, method: str, season: int = 1) -> Figure:
    """Draw the stages by one method (Figs. 12, 13, 15, 16).

    Equal colours of a stage are equal dates in the figures of both methods.
    """
    title = f"Dates by {METHODS[method]}, {_season(result, season)}"
    stages = order(result)
    page, panels = _panel_page(result, len(stages), title)
    for k, (stage, panel) in enumerate(zip(stages, panels, strict=True)):
        layer = _layer(result, method, "day", stage, season)
        if layer is None:
            continue
        days, cmap = read(layer, result), date_colours(stage)
        first, last = _common_range(result, stage, season)
        axes = _draw(page, panel, days, cmap, Normalize(first, last))
        status = _layer(result, method, "status", stage, season)
        if status is not None:
            stripe(axes, read(status, result) == FORECAST)
            axes.set_aspect("auto")
        date_strip(_bar(page, panel), days[np.isfinite(days)], first, last, result.year, cmap, True)
        numbers = result.summary_of(method)["layers"][_name(layer)]
        words = f"{percent(numbers['detected_share'])} dated"
        if numbers["median_day"] is not None:
            median = date_label(np.datetime64(numbers["median_date"]), result.year)
            words = f"median {median}, {words}"
        _caption(page, panel, k, stage.upper(), words)
    in_season = result.until is not None
    _missing(page, "not yet known, or no event; striped: forecast" if in_season else "no date")
    return page.figure


def _common_range(result: Result, stage: str, season: int) -> tuple[int, int]:
    """Return the range of dates of the colours of a stage, the same for both methods."""
    found = [
        read(layer, result)
        for method in result.methods
        if (layer := _layer(result, method, "day", stage, season)) is not None
    ]
    dated = np.concatenate([days[np.isfinite(days)] for days in found])
    return date_range(dated, result.year) if dated.size else (0, 365)


# Differences (14, 17) ----------------------------------------------------------------------------


def difference_maps(result: Result, season: int = 1) -> Figure:
    """Draw Deep-CroP minus curve for the four stages, and crop types if known (Figs. 14, 17)."""
    crops = _crops(result)
    title = f"Deep-CroP minus greenness curve, days, {_season(result, season)}"
    page, panels = _panel_page(
        result, len(STAGES) + (crops is not None), title, "negative: Deep-CroP is earlier"
    )
    cmap = layer_colours("difference")
    for k, (stage, panel) in enumerate(zip(STAGES, panels, strict=False)):
        layer = _layer(result, "difference", "difference", stage, season)
        if layer is None:
            continue
        days = read(layer, result)
        _draw(page, panel, days, cmap, Normalize(-_LIMIT, _LIMIT))
        known = days[np.isfinite(days)]
        _number_bar(page, panel, days, -_LIMIT, _LIMIT, cmap, "d")
        words = f"both dated {percent(known.size / days.size)}"
        if known.size:
            words = f"median {np.median(known):+.0f} d, {words}".replace("-", "−")
        _caption(page, panel, k, stage.upper(), words)
    if crops is not None:
        _crop_panel(page, panels[-1], len(STAGES), crops, result)
    _missing(page, "no date by one of the methods", DARK_GREY)
    return page.figure


def _crop_panel(
    page: Page, panel: _Panel, number: int | None, layer: ResultLayer, result: Result
) -> None:
    codes = _raw(layer, result)
    kept = main_crops(result)
    names = [name for name, _, _ in kept]
    index = np.full(codes.shape, np.nan)
    for k, (_, values, _) in enumerate(kept):
        index[np.isin(codes, values)] = k
    colours = [colour for _, _, colour in kept]
    cmap = ListedColormap(colours or [GREY]).with_extremes(bad=GREY)
    norm = BoundaryNorm(np.arange(-0.5, max(len(names), 1) + 0.5), max(len(names), 1))
    _draw(page, panel, index, cmap, norm)
    _caption(page, panel, number, "crop type", "grey: other or unknown")
    # The legend is beside the map on a page of two columns, else below it.
    beside = panel.room < 0.6 * _WIDTH
    x, y = (
        (panel.left + panel.room + _GAP, panel.bottom + panel.height)
        if beside
        else (panel.left, panel.bottom - 0.05)
    )
    page.figure.legend(
        handles=[
            Patch(facecolor=colour, edgecolor=INK, linewidth=0.4, label=name)
            for name, colour in zip(names, colours, strict=True)
        ],
        loc="upper left",
        bbox_to_anchor=(x / page.width, y / page.height),
        ncols=1 if beside else int(panel.room / 1.15),
        fontsize=8 if beside else 7,
        frameon=False,
        borderpad=0,
        borderaxespad=0.1,
        columnspacing=1.0,
        handlelength=1.2,
        labelcolor=INK,
    )


def crop_map(result: Result) -> Figure | None:
    """Draw the main crops; None if the map has no crop types."""
    layer = _crops(result)
    if layer is None:
        return None
    page, panels = _panel_page(result, 1, "Crop types")
    _crop_panel(page, panels[0], None, layer, result)
    return page.figure


def main_crops(result: Result) -> list[tuple[str, list[int], str]]:
    """Return name, codes and colour of the main crops, the largest first.

    At most eight, each with more than half a percent of the pixels that have a crop.
    """
    layer = _crops(result)
    if layer is None:
        return []
    codes = _raw(layer, result)
    values, counts = np.unique(codes[codes != (layer.nodata or 0)], return_counts=True)
    pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
    codes_of: dict[str, list[int]] = {}  # several codes may share a name
    colour_of: dict[str, str] = {}
    for crop in layer.classes:
        if pixels.get(crop.value, 0):
            name = crop.name.replace("_", " ")
            codes_of.setdefault(name, []).append(crop.value)
            colour_of.setdefault(name, crop.colour)
    total = max(sum(pixels.values()), 1)
    sizes = {name: sum(pixels[code] for code in codes) for name, codes in codes_of.items()}
    names = sorted(codes_of, key=lambda name: -sizes[name])
    names = [name for name in names if sizes[name] > _MIN_SHARE * total][:_MAX_CROPS]
    return [
        (name, codes_of[name], colour_of[name] or CLASS_COLOURS[k]) for k, name in enumerate(names)
    ]


# Histograms --------------------------------------------------------------------------------------


def histograms(result: Result, season: int = 1) -> Figure:
    """Draw the share of pixels by date, for the stages and all methods."""
    span, height, gap = 5, 1.25, 0.72
    width = (_WIDTH - 0.55 - 0.55) / 2
    stages = order(result)
    page = Page(
        _WIDTH,
        len(stages) // 2 * (height + gap),
        0.1,
        f"Dates of all pixels, {_season(result, season)}",
        f"{result.title} · share of all pixels per {span} days",
        result.simulated,
    )
    for k, stage in enumerate(stages):
        left = page.left + 0.45 + (k % 2) * (width + 0.55)
        bottom = page.top - (k // 2 + 1) * (height + gap) + gap - 0.2
        axes = page.axes(left, bottom, width, height)
        _plain(axes)
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        first, last = _common_range(result, stage, season)
        edges = np.arange(first - 15, last + 15 + span, span)
        for method in result.methods:
            layer = _layer(result, method, "day", stage, season)
            if layer is None:
                continue
            days = read(layer, result)
            share = np.histogram(days[np.isfinite(days)], edges)[0] / days.size
            axes.stairs(
                100 * share, edges, color=METHOD_COLOURS[method], fill=True, alpha=0.25, lw=0
            )
            axes.stairs(100 * share, edges, color=METHOD_COLOURS[method], lw=1.3)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0)
        date_axis(axes, edges[0], edges[-1], result.year)
        axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
        axes.tick_params(labelsize=7.5, color=INK, labelcolor=INK)
        page.text(left, bottom + height + 0.1, f"{_letter(k)}  {stage.upper()}", size=9,
                   weight="bold")  # fmt: skip
        axes.set_ylabel("%", fontsize=7.5, color=INK, labelpad=1)
    _method_legend(page, result)
    return page.figure


def _method_legend(page: Page, result: Result) -> None:
    page.figure.legend(
        handles=[
            Line2D([], [], color=METHOD_COLOURS[method], lw=4, alpha=0.8, label=METHODS[method])
            for method in result.methods
        ],
        loc="lower right",
        bbox_to_anchor=((page.left + _WIDTH) / page.width, 0.08 / page.height),
        ncols=len(result.methods),
        fontsize=8,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        labelcolor=INK,
    )


# By crop (22) ------------------------------------------------------------------------------------


def by_crop(result: Result, season: int = 1) -> Figure | None:
    """Draw the dates by main crop and method, of pixels dated by all methods (Fig. 22).

    Boxes reach from the first to the third quartile, whiskers from the 5th to the 95th percentile.

    Returns
    -------
    Figure or None
        None if the map has no crop types.
    """
    layer, kept = _crops(result), main_crops(result)
    if layer is None or not kept:
        return None
    codes = _raw(layer, result)
    row, gap = 0.2 * len(result.methods) + 0.12, 0.7
    height = row * len(kept)
    stages = order(result)
    name_room = 0.35 + 0.065 * max(len(name) for name, _, _ in kept)
    width = (_WIDTH - name_room - 0.35) / 2
    page = Page(
        _WIDTH,
        len(stages) // 2 * (height + gap),
        0.12,
        f"Dates by crop, {_season(result, season)}",
        f"{result.title} · box: quartiles, whiskers: 5–95 %",
        result.simulated,
    )
    for k, stage in enumerate(stages):
        left = page.left + name_room + (k % 2) * (width + 0.35)
        bottom = page.top - (k // 2 + 1) * (height + gap) + gap - 0.2
        axes = page.axes(left, bottom, width, height)
        _plain(axes)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        days = {
            method: read(found, result)
            for method in result.methods
            if (found := _layer(result, method, "day", stage, season)) is not None
        }
        dated = np.all([np.isfinite(values) for values in days.values()], axis=0)
        ends: list[float] = []
        for place, (name, values, _) in enumerate(kept):
            here = dated & np.isin(codes, values)
            for number, (method, dates) in enumerate(days.items()):
                y = place + (number - (len(days) - 1) / 2) * 0.36
                if here.sum() >= 20:  # fewer pixels make no quartiles
                    ends += _box(axes, dates[here], y, METHOD_COLOURS[method])
            if not k % 2:
                y_name = bottom + height * (len(kept) - place - 0.5) / len(kept)
                page.text(left - 0.12, y_name, name, size=7.5, ha="right")
        axes.set_ylim(len(kept) - 0.5, -0.5)
        first, last = (min(ends) - 8, max(ends) + 8) if ends else (0, 365)
        axes.set_xlim(first, last)
        date_axis(axes, first, last, result.year)
        axes.tick_params(labelsize=7.5, color=INK, labelcolor=INK)
        page.text(left, bottom + height + 0.1, f"{_letter(k)}  {stage.upper()}", size=9,
                   weight="bold")  # fmt: skip
    _method_legend(page, result)
    return page.figure


def _box(axes: Axes, days: NDArray[Any], y: float, colour: str) -> tuple[float, float]:
    """Draw a box of quartiles, and return the ends of its whiskers."""
    low, first, middle, third, high = np.percentile(days, (5, 25, 50, 75, 95))
    axes.plot([low, high], [y, y], color=colour, lw=1)
    axes.barh(y, third - first, 0.28, first, color=colour, alpha=0.45, edgecolor=colour, lw=0.8)
    axes.plot([middle, middle], [y - 0.14, y + 0.14], color=INK, lw=1.2)
    return float(low), float(high)


# Measures ----------------------------------------------------------------------------------------


def measure_maps(result: Result, method: str, season: int = 1) -> Figure:
    """Draw the measures of a season: base, amplitude, integrals, rates."""
    layers = result.find(method=method, kind="measure", season=season)
    title = f"Measures by {METHODS[method]}, {_season(result, season)}"
    page, panels = _panel_page(result, len(layers), title)
    cmap = layer_colours("measure")
    for k, (layer, panel) in enumerate(zip(layers, panels, strict=True)):
        values = read(layer, result)
        known = values[np.isfinite(values)]
        first, last = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
        last = last if last > first else first + layer.scale
        _draw(page, panel, values, cmap, Normalize(first, last))
        unit = "" if layer.unit == "1" else layer.unit
        _number_bar(page, panel, values, first, last, cmap, unit)
        words = f"median {np.median(known):.3g} {unit}".strip() if known.size else ""
        name = layer.title.removesuffix(f", season {season}").partition(",")[0]
        _caption(page, panel, k, name, words)
    _missing(page, "no season")
    return page.figure


# Quality -----------------------------------------------------------------------------------------


def quality_maps(result: Result, method: str, season: int = 1) -> Figure | None:
    """Draw quality layers: observations, width of the 90 % interval, probability.

    Returns
    -------
    Figure or None
        None if the method has no quality layers.
    """
    drawn: list[tuple[str, NDArray[Any], float, str, str]] = []
    for layer in result.find(method=method, kind="count"):
        if _name(layer).startswith("n_obs"):
            drawn.append((layer.title, read(layer, result), 0, "", "count"))
    for stage in central(result):
        low, high = (_layer(result, method, "bound", stage, season, p) for p in ("low", "high"))
        if low is not None and high is not None:
            width = read(high, result) - read(low, result)
            drawn.append((f"{stage.upper()}: width of the 90 % interval", width, 60, "d", "width"))
    for stage in central(result):
        probability = _layer(result, method, "percent", stage, season)
        if probability is not None:
            drawn.append(
                (f"{stage.upper()}: probability", read(probability, result), 100, "%", "percent")
            )
    if not drawn:
        return None
    title = f"Quality of the dates by {METHODS[method]}, {_season(result, season)}"
    page, panels = _panel_page(result, len(drawn), title)
    for k, ((name, values, top, unit, kind), panel) in enumerate(zip(drawn, panels, strict=True)):
        cmap = layer_colours(kind)
        known = values[np.isfinite(values)]
        last = top or 4 * max(math.ceil((np.max(known) if known.size else 1) / 4), 1)
        _draw(page, panel, values, cmap, Normalize(0, last))
        _number_bar(page, panel, values, 0, last, cmap, unit)
        words = f"median {np.median(known):.0f}{f' {unit}' if unit else ''}" if known.size else ""
        _caption(page, panel, k, name, words)
    _missing(page, "no data")
    return page.figure


# Helpers -----------------------------------------------------------------------------------------


def _plain(axes: Axes) -> None:
    """Remove the box of axes."""
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _name(layer: ResultLayer) -> str:
    """Return the name of a layer without the folder of its method."""
    return layer.key.rsplit("/", 1)[-1]


def _letter(number: int) -> str:
    """Return the letter of a panel."""
    return ascii_lowercase[number % 26]


def _season(result: Result, season: int) -> str:
    return f"{season_name(season)} of {result.target}"

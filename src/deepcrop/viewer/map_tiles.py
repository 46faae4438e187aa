"""Read the values of a view: as a map tile, at one pixel, and as statistics for its legend.

Tiles contain values, not colours. The page colours them, so that its date filter sends no requests
and the value under the pointer is known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window
from rio_tiler.io import Reader

from deepcrop.errors import DeepCropError
from deepcrop.figures.style import date_range
from deepcrop.products.layers import STATUS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.products.results import ResultLayer
    from deepcrop.viewer.views import View

NO_VALUE = -(2**31)
"""Value of pixels without data in tiles."""

TILE_SIZE = 512
"""Pixels on the side of a tile; twice the usual 256 sends a quarter of the requests."""

MAX_ZOOM = 24

_LEGEND_PIXELS = 700
"""Pixels on the long side of the overview that a legend counts."""

_BINS = 48

_MAX_DIFFERENCE = 60
"""Days at which the colours of a difference end at the latest.

Methods that take different seasons for the main one differ by far more.
"""


def read_tile(view: View, x: int, y: int, z: int) -> NDArray[np.int32]:
    """Read a tile of the Web Mercator grid: values (`TILE_SIZE`, `TILE_SIZE`) of nearest pixels.

    Raises
    ------
    TileOutsideBounds
        If the tile lies outside the map.
    DeepCropError
        If the tile does not exist, or the file of the layer is gone.
    """
    if not (z <= MAX_ZOOM and max(x, y) < 2**z):
        raise DeepCropError(f"There is no tile {z}/{x}/{y}.")
    layers = []
    for layer in view.layers:
        with _open(layer) as file, Reader(None, dataset=file) as reader:
            layers.append(
                reader.tile(x, y, z, tilesize=TILE_SIZE, resampling_method="nearest").array[0]
            )
    return _view_values(view, layers)


def read_pixel(layer: ResultLayer, row: int, col: int) -> int | None:
    """Read one pixel of a layer; None where there is no data."""
    value = read_window(layer, slice(row, row + 1), slice(col, col + 1))[0, 0]
    return None if value is np.ma.masked else int(value)


def read_window(layer: ResultLayer, rows: slice, cols: slice) -> np.ma.MaskedArray:
    """Read a window of a layer; pixels without data are masked."""
    window = Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
    with _open(layer) as file:
        values: np.ma.MaskedArray = file.read(1, window=window, masked=True)
    return values


def make_legend(
    view: View, limits: tuple[int, int] | None, status: View | None = None
) -> dict[str, Any]:
    """Return the range of the colours, a histogram of the values, and the share without data.

    Large maps are counted on an overview.

    Parameters
    ----------
    view : View
    limits : tuple of int or None
        First and last value with a colour of their own, from `colour_range`; None for classes and
        flags.
    status : View, optional
        Says which of the values are forecasts.
    """
    values = _sample(view)
    known = values[values != NO_VALUE]
    legend: dict[str, Any] = {
        "key": view.key,
        "kind": view.kind,
        "title": view.title,
        "unit": view.unit,
        "missing": float(np.mean(values == NO_VALUE)),
        "scale": view.layers[0].scale,
        "status": _shares(_sample(status)) if status else None,
    }
    layer = view.layers[0]
    if limits is not None:
        low, high = limits
        legend["range"] = [low, high]
        bins = min(_BINS, high - low)
        counted = np.histogram(np.clip(known, low, high), bins, (low, high))[0]
        legend["histogram"] = counted.tolist()
    elif view.kind == "flags":
        legend["flags"] = [
            {"bit": bit, "name": name, "share": float(np.mean((known & bit) != 0))}
            for bit, name in layer.flags.items()
        ]
    else:
        codes, counts = np.unique(known, return_counts=True)
        colours = {entry.value: entry.colour for entry in layer.classes}
        commonest = sorted(zip(counts.tolist(), codes.tolist(), strict=True), reverse=True)
        if view.kind != "class":  # a status keeps its place
            commonest.sort(key=lambda entry: entry[1])
        legend["classes"] = [
            {"value": code, "name": class_name(layer, code), "share": count / values.size}
            # Crops get the page's colours, the commonest first: a cube may have hundreds.
            | ({"colour": colours[code]} if view.kind != "class" and colours.get(code) else {})
            for count, code in commonest
        ]
    return legend


def class_name(layer: ResultLayer, code: int) -> str:
    """Return the name of a value of a layer of classes, as words."""
    names = {entry.value: entry.name for entry in layer.classes}
    return names[code].replace("_", " ") if code in names else f"code {code}"


def _shares(status: NDArray[np.int32]) -> dict[str, float]:
    """Return the share of the pixels that each status has, by its name."""
    return {name: float(np.mean(status == code)) for code, name in STATUS.items()}


def colour_range(views: list[View], year: int) -> tuple[int, int] | None:
    """Return the first and last value with a colour of their own, the same for several views.

    Parameters
    ----------
    views : list of View
        Views of one kind in which equal colours mean equal values: a date by several methods, and
        in several issues of a map.
    year : int
        Target year.
    """
    kind = views[0].kind
    if kind in ("class", "status", "reason", "flags"):
        return None
    # The more views there are, the coarser is the overview of each: memory stays the same.
    longest = max(round(_LEGEND_PIXELS / len(views) ** 0.5), 64)
    samples = [_sample(view, longest) for view in views]
    values = np.concatenate([sample[sample != NO_VALUE] for sample in samples])
    return _range(kind, values, year)


def _range(kind: str, values: NDArray[np.int32], year: int) -> tuple[int, int]:
    """Return the first and last value with a colour of their own, by kind of view."""
    if kind == "percent":
        return 0, 100
    if not values.size:  # no pixel has a value: any range does
        return 0, 1
    if kind == "day":  # whole half-months around the central 96 % of the dates
        return date_range(values, year)
    low, high = (float(v) for v in np.percentile(values, (2, 98)))
    if kind == "difference":  # symmetric around 0
        limit = min(max(10, 10 * math.ceil(max(-low, high) / 10)), _MAX_DIFFERENCE)
        return -limit, limit
    if kind == "measure":
        return int(low), max(int(high), int(low) + 1)
    if kind in ("width", "length"):
        return 0, max(10, 10 * math.ceil(high / 10))
    return int(values.min()), max(int(values.max()), int(values.min()) + 1)


def _sample(view: View, longest: int = _LEGEND_PIXELS) -> NDArray[np.int32]:
    """Read the values of a view from the overviews of its files."""
    layers = []
    for layer in view.layers:
        with _open(layer) as file:
            shrink = max(1.0, max(file.shape) / longest)
            shape = tuple(max(round(side / shrink), 1) for side in file.shape)
            layers.append(file.read(1, out_shape=shape, masked=True))
    return _view_values(view, layers)


def _open(layer: ResultLayer) -> rasterio.DatasetReader:
    if not layer.path.is_file():
        raise DeepCropError(f"The file of layer '{layer.key}' is gone; map the region again.")
    try:
        return rasterio.open(layer.path, driver="GTiff")
    except RasterioError:
        raise DeepCropError(
            f"The file of layer '{layer.key}' is damaged; map the region again."
        ) from None


def _view_values(view: View, layers: list[np.ma.MaskedArray]) -> NDArray[np.int32]:
    """Return the values of a view: of its one layer, or of its two layers together."""
    first, *others = (values.astype(np.int32) for values in layers)
    if others and view.kind == "status":  # the date that is known less: a forecast, if one is
        first = np.ma.maximum(first, others[0])
    elif others:  # the width of an interval
        first = others[0] - first
    return np.ma.filled(first, NO_VALUE)

"""Numbers of a view: in a map tile, at a pixel, and in brief for its legend.

Tiles hold the numbers themselves, not colours: the page paints them, so that its time slider needs
no server, and knows what lies under the pointer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window
from rio_tiler.io import Reader

from deepcrop.errors import DeepCropError
from deepcrop.figures.style import date_range
from deepcrop.products.results import ResultLayer
from deepcrop.viewer.views import View

NOTHING = -(2**31)
"""Stands for "nothing known" in tiles."""

SIDE = 512
"""Pixels on the side of a tile: four times fewer requests than usual, a third of the work."""

MOST_ZOOM = 24

_SAMPLE = 700
"""Pixels on the long side that a legend counts."""

_BINS = 48

_MOST_DIFFERENCE = 60
"""Days; where methods take different seasons for the main one, they differ by many more."""


def tile(view: View, x: int, y: int, z: int) -> NDArray[np.int32]:
    """Values of a tile (`SIDE`, `SIDE`) of the Web Mercator grid, each of the nearest pixel.

    Raises
    ------
    TileOutsideBounds
        If the map does not reach into the tile.
    DeepCropError
        If there is no such tile, or the file of the layer is gone.
    """
    if not (z <= MOST_ZOOM and max(x, y) < 2**z):
        raise DeepCropError(f"There is no tile {z}/{x}/{y}.")
    parts = []
    for layer in view.layers:
        with _open(layer) as file, Reader(None, dataset=file) as reader:
            parts.append(reader.tile(x, y, z, tilesize=SIDE, resampling_method="nearest").array[0])
    return _values(parts)


def at_pixel(layer: ResultLayer, row: int, col: int) -> int | None:
    """Value of one pixel of a layer; None where nothing is known."""
    with _open(layer) as file:
        value = file.read(1, window=Window(col, row, 1, 1), masked=True)[0, 0]
    return None if value is np.ma.masked else int(value)


def brief(view: View, same: list[View], year: int) -> dict[str, Any]:
    """Range of the colours, how often which value occurs, share of pixels without any.

    Counted on every n-th pixel of a large map.

    Parameters
    ----------
    view : View
    same : list of View
        Those that share the range, so that equal colours mean equal values: `view` itself, and the
        same date by other methods.
    year : int
        Target year.
    """
    values = _sample(view)
    known = values[values != NOTHING]
    answer: dict[str, Any] = {
        "key": view.key,
        "kind": view.kind,
        "title": view.title,
        "unit": view.unit,
        "missing": float(np.mean(values == NOTHING)),
    }
    layer = view.layers[0]
    if view.kind == "class":
        codes, counts = np.unique(known, return_counts=True)
        names = {each.value: each.name.replace("_", " ") for each in layer.classes}
        found = sorted(zip(counts.tolist(), codes.tolist(), strict=True), reverse=True)
        answer["classes"] = [
            {"value": code, "name": names.get(code, f"code {code}"), "share": count / values.size}
            for count, code in found
        ]
    elif view.kind == "flags":
        answer["flags"] = [
            {"bit": bit, "name": name, "share": float(np.mean((known & bit) != 0))}
            for bit, name in layer.flags.items()
        ]
    else:
        others = [_sample(other) for other in same if other.key != view.key]
        pooled = np.concatenate([known, *(other[other != NOTHING] for other in others)])
        low, high = _range(view.kind, pooled, year)
        answer["range"] = [low, high]
        bins = min(_BINS, high - low)
        counted = np.histogram(np.clip(known, low, high), bins, (low, high))[0]
        answer["histogram"] = counted.tolist()
    return answer


def _range(kind: str, values: NDArray[np.int32], year: int) -> tuple[int, int]:
    """First and last value that get a colour of their own."""
    if kind == "percent":
        return 0, 100
    if not values.size:
        return 0, 1
    if kind == "day":
        return date_range(values, year)
    low, high = (float(v) for v in np.percentile(values, (2, 98)))
    if kind == "difference":
        limit = min(max(10, 10 * math.ceil(max(-low, high) / 10)), _MOST_DIFFERENCE)
        return -limit, limit
    if kind in ("width", "length"):
        return 0, max(10, 10 * math.ceil(high / 10))
    return int(values.min()), max(int(values.max()), int(values.min()) + 1)


def _sample(view: View) -> NDArray[np.int32]:
    """Values of every n-th pixel, from the overviews."""
    parts = []
    for layer in view.layers:
        with _open(layer) as file:
            shrink = max(1.0, max(file.shape) / _SAMPLE)
            shape = tuple(max(round(side / shrink), 1) for side in file.shape)
            parts.append(file.read(1, out_shape=shape, masked=True))
    return _values(parts)


def _open(layer: ResultLayer) -> rasterio.DatasetReader:
    if not layer.path.is_file():
        raise DeepCropError(f"The file of layer '{layer.key}' is gone; map the region again.")
    return rasterio.open(layer.path)


def _values(parts: list[np.ma.MaskedArray]) -> NDArray[np.int32]:
    """Whole numbers of a view from those of its layers."""
    first, *others = (part.astype(np.int32) for part in parts)
    return np.ma.filled(others[0] - first if others else first, NOTHING)

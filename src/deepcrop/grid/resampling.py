"""Resample a source onto the grid: source pixels of each grid pixel, and their weights.

The resampling is our own: GDAL's warp, as rasterio offers it, approximates coordinates to an eighth
of a pixel in a way that depends on the window, so the result would depend on the tiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Transformer

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

_MAX_SAMPLES = 10
"""Points along one side of a pixel at which finer sources are averaged."""

_MAX_WINDOW = 10**8
"""Number of pixels of a source that are read at once: those of 0.26 m in a tile of 256."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Source pixels and weights of each pixel of a tile.

    A tile's pixel is the weighted mean of the picked source pixels that hold data.

    Attributes
    ----------
    rows, cols : slice
        Window of the source that the tile needs.
    picks : array of int, (k, pixels of the tile)
        Source pixels, counted through the window; -1 lies outside of it.
    weights : array of float, (k, pixels of the tile) or (k, 1)
        Their weights.
    under : array of int, (pixels of the tile), optional
        Source pixel that must hold data for there to be a value.
    """

    rows: slice
    cols: slice
    picks: NDArray[np.int32]
    weights: NDArray[np.float32]
    under: NDArray[np.int32] | None

    def apply(self, data: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample (layer, rows, cols) of the window to (layer, pixels of the tile)."""
        flat = data.reshape(data.shape[0], -1)
        total = np.zeros((data.shape[0], self.picks.shape[1]), np.float32)
        weight = np.zeros_like(total)
        for pick, share in zip(self.picks, self.weights, strict=True):
            values = flat[:, pick]  # -1 picks something, which does not count
            counts = ~np.isnan(values) & (pick >= 0)
            total += np.where(counts, values * share, 0)
            weight += np.where(counts, share, 0)
        known = weight > 0
        if self.under is not None:
            known &= ~np.isnan(flat[:, self.under]) & (self.under >= 0)
        return np.where(known, total / np.where(known, weight, 1), np.nan).astype(np.float32)


def method_for(source: GeoBox, box: GeoBox) -> str:
    """Choose the resampling onto the grid ``box``: "nearest", "average" or "bilinear"."""
    (a, b, c, d, e, f), target = source.affine[:6], box.affine
    size = float(box.resolution.x)
    if source.crs == box.crs and b == d == 0:
        # In pixels, at either end of the source: coordinates are not exact to the last digit.
        height, width = source.shape
        off = (abs(a) / size - 1) * width, (abs(e) / size - 1) * height
        shift = (c - target.c) / size, (f - target.f) / size
        if all(abs(s - round(s)) < 1e-3 for s in shift) and max(map(abs, off)) < 1e-3:
            return "nearest"
    # A little less than a pixel: degrees that mean 10 m are not averaged.
    fine = math.sqrt(math.prod(_pixel_size(source, str(box.crs)))) < 0.98 * size
    return "average" if fine else "bilinear"


@lru_cache(maxsize=8)
def place(source: GeoBox, tile: GeoBox, method: str) -> Placement | None:
    """Find the source pixels of a tile; None where the two do not meet.

    Raises
    ------
    DeepCropError
        If they are too many to be read at once.
    """
    if method == "average":
        # A lattice in each pixel, as dense as the source; its points stand for equal areas.
        n = math.ceil(float(tile.resolution.x) / min(_pixel_size(source, str(tile.crs))) - 1e-3)
        n = min(n, _MAX_SAMPLES)
        steps = (np.arange(n) + 0.5) / n
        lattice = [(dy, dx) for dy in steps for dx in steps]
    else:
        lattice = [(0.5, 0.5)]
    points = [_source_cells(source, tile, dy, dx) for dy, dx in lattice]
    v, u = np.stack([p[0] for p in points]), np.stack([p[1] for p in points])
    weights, under = np.ones((len(v), 1), np.float32), None
    if method == "bilinear":
        under = (np.floor(v[0]), np.floor(u[0]))
        v0, u0 = np.floor(v - 0.5), np.floor(u - 0.5)
        fv, fu = v - 0.5 - v0, u - 0.5 - u0
        weights = np.concatenate(
            [(1 - fv) * (1 - fu), (1 - fv) * fu, fv * (1 - fu), fv * fu]
        ).astype(np.float32)
        v, u = np.concatenate([v0, v0, v0 + 1, v0 + 1]), np.concatenate([u0, u0 + 1, u0, u0 + 1])
    else:
        v, u = np.floor(v), np.floor(u)

    height, width = source.shape
    inside = (v >= 0) & (v < height) & (u >= 0) & (u < width)
    if not inside.any():
        return None
    rows = slice(int(v[inside].min()), int(v[inside].max()) + 1)
    cols = slice(int(u[inside].min()), int(u[inside].max()) + 1)
    down, across = rows.stop - rows.start, cols.stop - cols.start
    if down * across > _MAX_WINDOW:
        raise DeepCropError(
            f"{down} x {across} of its pixels lie in {tile.shape[0]} x {tile.shape[1]} pixels of "
            f"the grid; at most {_MAX_WINDOW:.0e} are read at once. Give it coarser pixels "
            "(gdalwarp -tr 1 1)."
        )

    def number(v: NDArray[Any], u: NDArray[Any]) -> NDArray[np.int32]:
        inside = (v >= rows.start) & (v < rows.stop) & (u >= cols.start) & (u < cols.stop)
        index = (v - rows.start) * (cols.stop - cols.start) + (u - cols.start)
        return np.where(inside, index, -1).astype(np.int32)

    return Placement(rows, cols, number(v, u), weights, None if under is None else number(*under))


def overlaps(source: GeoBox, box: GeoBox) -> bool:
    """Whether a source and a grid may have area in common."""
    bounds = box.boundingbox.bbox
    if source.crs != box.crs:
        # Not the other way round: a raster of the whole earth has no bounds in a UTM zone.
        bounds = transformer(str(box.crs), str(source.crs)).transform_bounds(*bounds)
    left, bottom, right, top = bounds
    s_left, s_bottom, s_right, s_top = source.boundingbox.bbox
    if source.crs is not None and source.crs.geographic:
        right += 360 * (right < left)  # over the date line
        turns = 360 * np.round(((s_left + s_right) - (left + right)) / 720)
        left, right = left + turns, right + turns
    # Bounds are those of points along the edges, so a pixel more is allowed. Negated, so that
    # bounds that cannot be computed (infinite) count as overlapping.
    margin = max(map(abs, source.affine[:6:4]))
    return not (
        left >= s_right + margin
        or right <= s_left - margin
        or bottom >= s_top + margin
        or top <= s_bottom - margin
    )


def _source_cells(
    source: GeoBox, tile: GeoBox, dy: float, dx: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fractional row and column, in the source, of one point in every pixel of a tile."""
    a, _, c, _, e, f = tile.affine[:6]
    rows, cols = np.indices(tile.shape).reshape(2, -1)
    x, y = c + a * (cols + dx), f + e * (rows + dy)
    if source.crs != tile.crs:
        x, y = transformer(str(tile.crs), str(source.crs)).transform(x, y)
        if source.crs is not None and source.crs.geographic:
            # Longitudes of the source may run from 0 to 360, or over the date line.
            left, _, right, _ = source.boundingbox.bbox
            x = x + 360 * np.round(((left + right) / 2 - x) / 360)
    a, b, c, d, e, f = (~source.affine)[:6]
    # What has no place in the source's system comes back infinite. A millionth of a pixel puts
    # points on an edge, to the last digit, on the same side in every tile.
    u = np.where(np.isfinite(x), a * x + b * y + c, -10) + 1e-6
    v = np.where(np.isfinite(y), d * x + e * y + f, -10) + 1e-6
    return v, u


def _pixel_size(source: GeoBox, crs: str) -> tuple[float, float]:
    """Width and height, in metres of ``crs``, of a pixel in the middle of a source."""
    a, b, c, d, e, f = source.affine[:6]
    row, col = source.shape[0] / 2, source.shape[1] / 2
    cols, rows = np.array([col, col + 1, col]), np.array([row, row, row + 1])
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    x, y = transformer(str(source.crs), crs).transform(x, y)
    return math.hypot(x[1] - x[0], y[1] - y[0]), math.hypot(x[2] - x[0], y[2] - y[0])


@lru_cache(maxsize=32)
def transformer(source: str, target: str) -> Transformer:
    """Transform x, y from one reference system to another."""
    return Transformer.from_crs(source, target, always_xy=True)

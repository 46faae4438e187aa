"""Render one optical image of the cube as map tiles: true colour or NDVI."""

from __future__ import annotations

import io
import math
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from morecantile import Tile, tms
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import from_bounds
from rasterio.warp import Resampling, reproject, transform_bounds
from rio_tiler.errors import TileOutsideBounds

from deepcrop import grid
from deepcrop.cube.contract import CHUNK
from deepcrop.errors import DeepCropError
from deepcrop.indices import ndvi_of
from deepcrop.viewer.map_tiles import MAX_ZOOM, TILE_SIZE

if TYPE_CHECKING:
    import datetime

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

RENDERINGS = {"true": "True colour", "ndvi": "NDVI"}
"""How an image can be rendered, with the names for the page."""

_BANDS = {"true": ("red", "green", "blue"), "ndvi": ("nir", "red")}
_WHITE = 0.25  # reflectance and above that are drawn white
_GAMMA = 0.55  # brightens bare soil and crops, whose reflectance is low
_NDVI_COLOURS = "YlGn"
_TOP_NDVI = 0.9  # and above: the darkest green

_CHUNKS_ACROSS = 8
"""Maximum number of chunks on a side of a tile; a chunk is read with all its dates."""

_CACHED_CHUNKS = 1024
"""Maximum number of rendered chunks in memory, 256 KiB each."""

_MERCATOR = tms.get("WebMercatorQuad")


class CubeImages:
    """Render the optical images of a cube as tiles of the Web Mercator grid.

    Parameters
    ----------
    optical : Dataset
        The optical group of a checked cube.
    """

    def __init__(self, optical: xr.Dataset):
        self._optical = optical
        self._box: GeoBox = grid.grid_of(optical)
        self._crs = CRS.from_user_input(str(self._box.crs))
        self._times = {
            f"{t.astype('datetime64[s]')}Z": k for k, t in enumerate(optical["time"].values)
        }
        # Metres on the side of a tile of zoom 0 at this latitude; it halves with each zoom.
        side = 40_075_017 * math.cos(math.radians(grid.centre_latitude(self._box)))
        widest = _CHUNKS_ACROSS * CHUNK * float(self._box.resolution.x)
        self._min_zoom = max(0, math.ceil(math.log2(side / widest)))
        self._chunk = lru_cache(maxsize=_CACHED_CHUNKS)(self._render_chunk)

    def describe(self, until: datetime.date | None = None) -> dict[str, Any]:
        """List the renderings, the dates with their share of clear pixels, and the lowest zoom.

        Dates after ``until``, of a map in season, are left out.
        """
        dates = [
            {"time": time, "clear": round(share, 2)}
            for time, share in zip(self._times, self._clear, strict=True)
            if until is None or time[:10] <= str(until)
        ]
        return {"renderings": RENDERINGS, "dates": dates, "minzoom": self._min_zoom}

    @cached_property
    def _clear(self) -> list[float]:
        shares: list[float] = _clear_shares(self._optical).tolist()
        return shares

    def tile(self, rendering: str, time: str, x: int, y: int, z: int) -> bytes:
        """Render a tile as PNG; masked pixels are transparent.

        Raises
        ------
        DeepCropError
            If the rendering, the date or the tile does not exist.
        TileOutsideBounds
            If the tile lies outside the cube.
        """
        if rendering not in RENDERINGS or time not in self._times:
            raise DeepCropError(f"There is no image '{rendering}' of {time}.")
        if not (self._min_zoom <= z <= MAX_ZOOM and max(x, y) < 2**z):
            raise DeepCropError(f"There is no tile {z}/{x}/{y} of the images.")
        bounds = _MERCATOR.xy_bounds(Tile(x, y, z))
        rows, cols = self._window(transform_bounds("EPSG:3857", self._crs, *bounds))
        rgba = self._render(rendering, self._times[time], rows, cols)
        warped = np.zeros((4, TILE_SIZE, TILE_SIZE), np.uint8)
        reproject(
            np.moveaxis(rgba, -1, 0),
            warped,
            src_transform=grid.crop(self._box, (rows, cols)).affine,
            src_crs=self._crs,
            dst_transform=from_bounds(*bounds, TILE_SIZE, TILE_SIZE),
            dst_crs="EPSG:3857",
            resampling=Resampling.nearest,
        )
        file = io.BytesIO()
        Image.fromarray(np.moveaxis(warped, 0, -1)).save(file, "PNG", compress_level=1)
        return file.getvalue()

    def _window(self, bounds: tuple[float, float, float, float]) -> tuple[slice, slice]:
        """Return the rows and columns of the cube within bounds in its own CRS."""
        left, bottom, right, top = bounds
        affine, (height, width) = self._box.affine, self._box.shape
        first_row = max(math.floor((top - affine.f) / affine.e), 0)
        last_row = min(math.ceil((bottom - affine.f) / affine.e), height)
        first_col = max(math.floor((left - affine.c) / affine.a), 0)
        last_col = min(math.ceil((right - affine.c) / affine.a), width)
        if first_row >= last_row or first_col >= last_col:
            raise TileOutsideBounds("This tile lies outside the cube.")
        return slice(first_row, last_row), slice(first_col, last_col)

    def _render(self, rendering: str, scene: int, rows: slice, cols: slice) -> NDArray[np.uint8]:
        """Assemble the RGBA (rows, cols, 4) of a window from its chunks."""
        rgba = np.zeros((rows.stop - rows.start, cols.stop - cols.start, 4), np.uint8)
        for i in range(rows.start // CHUNK, (rows.stop - 1) // CHUNK + 1):
            for j in range(cols.start // CHUNK, (cols.stop - 1) // CHUNK + 1):
                chunk = self._chunk(rendering, scene, i, j)
                (to_row, from_row) = _overlap(rows, i, chunk.shape[0])
                (to_col, from_col) = _overlap(cols, j, chunk.shape[1])
                rgba[to_row, to_col] = chunk[from_row, from_col]
        return rgba

    def _render_chunk(self, rendering: str, scene: int, i: int, j: int) -> NDArray[np.uint8]:
        """Read one chunk of the cube and render it as RGBA."""
        block = self._optical.isel(
            time=scene,
            y=slice(i * CHUNK, (i + 1) * CHUNK),
            x=slice(j * CHUNK, (j + 1) * CHUNK),
        )
        bands = [block[name].values for name in _BANDS[rendering]]
        if rendering == "ndvi":
            ndvi = ndvi_of(*bands)
            shade = np.nan_to_num(ndvi / _TOP_NDVI).clip(0, 1)
            rgba: NDArray[np.uint8] = matplotlib.colormaps[_NDVI_COLOURS](shade, bytes=True)
            clear = np.isfinite(ndvi)
        else:
            reflectance = np.stack(bands, axis=-1)
            clear = np.isfinite(reflectance).all(axis=-1)
            bright = np.nan_to_num(reflectance / _WHITE).clip(0, 1) ** _GAMMA
            rgba = np.empty((*clear.shape, 4), np.uint8)
            rgba[..., :3] = np.rint(255 * bright)
        rgba[..., 3] = 255 * clear
        return rgba


def _overlap(window: slice, index: int, length: int) -> tuple[slice, slice]:
    """Intersect a window with a chunk: as a slice of the window, and as a slice of the chunk."""
    start = index * CHUNK
    first, last = max(window.start, start), min(window.stop, start + length)
    return slice(first - window.start, last - window.start), slice(first - start, last - start)


def _clear_shares(optical: xr.Dataset) -> NDArray[np.floating]:
    """Return the share of clear pixels of each scene, in one chunk in the middle of the cube."""
    middle = {}
    for dim in "yx":
        start = optical.sizes[dim] // 2 // CHUNK * CHUNK
        middle[dim] = slice(start, start + CHUNK)
    clear: NDArray[np.bool_] = np.isfinite(optical["red"].isel(middle).values)
    shares: NDArray[np.float64] = clear.mean(axis=(1, 2))
    return shares

"""Pictures of the cube on one date, behind the map: true colour, or NDVI."""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from morecantile import Tile, tms
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import from_bounds
from rasterio.warp import Resampling, reproject, transform_bounds
from rio_tiler.errors import TileOutsideBounds

from deepcrop import grid
from deepcrop.cube.contract import CHUNK
from deepcrop.errors import DeepCropError
from deepcrop.indices import ndvi_of
from deepcrop.viewer.map_tiles import MOST_ZOOM, SIDE

LOOKS = {"true": "True colour", "ndvi": "NDVI"}
"""Kinds of pictures, and their names."""

_BANDS = {"true": ("red", "green", "blue"), "ndvi": ("nir", "red")}
_BRIGHT, _GAMMA = 0.25, 0.55  # reflectance shown as white; bare soil and crops spread over the rest
_NDVI_COLOURS = "YlGn"
_TOP_NDVI = 0.9

_CHUNKS_ACROSS = 8
"""A tile may take this many chunks of the cube on a side: each is read with all of its dates."""

_KEPT = 1024
"""Chunks of pictures that are kept in memory, 256 KiB each."""

_MERCATOR = tms.get("WebMercatorQuad")


class Background:
    """Pictures of a cube's optical images.

    Parameters
    ----------
    optical : Dataset
        The group of a checked cube.
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
        most = _CHUNKS_ACROSS * CHUNK * float(self._box.resolution.x)
        self._least_zoom = max(0, math.ceil(math.log2(side / most)))
        self._chunk = lru_cache(maxsize=_KEPT)(self._read_chunk)

    def describe(self) -> dict[str, Any]:
        """Say which looks and dates there are, how clear each is, and from which zoom on."""
        clear = _clear_shares(self._optical)
        dates = [
            {"time": time, "clear": round(share, 2)}
            for time, share in zip(self._times, clear.tolist(), strict=True)
        ]
        return {"looks": LOOKS, "dates": dates, "minzoom": self._least_zoom}

    def tile(self, look: str, time: str, x: int, y: int, z: int) -> bytes:
        """PNG of a tile; what is masked is transparent.

        Raises
        ------
        DeepCropError
            If there is no such look, date or tile.
        TileOutsideBounds
            If the cube does not reach into the tile.
        """
        if look not in LOOKS or time not in self._times:
            raise DeepCropError(f"There is no picture '{look}' of {time}.")
        if not (self._least_zoom <= z <= MOST_ZOOM and max(x, y) < 2**z):
            raise DeepCropError(f"There is no tile {z}/{x}/{y} of the background.")
        bounds = _MERCATOR.xy_bounds(Tile(x, y, z))
        rows, cols = self._window(transform_bounds("EPSG:3857", self._crs, *bounds))
        picture = self._picture(look, self._times[time], rows, cols)
        shown = np.zeros((4, SIDE, SIDE), np.uint8)
        reproject(
            np.moveaxis(picture, -1, 0),
            shown,
            src_transform=grid.crop(self._box, (rows, cols)).affine,
            src_crs=self._crs,
            dst_transform=from_bounds(*bounds, SIDE, SIDE),
            dst_crs="EPSG:3857",
            resampling=Resampling.nearest,
        )
        file = io.BytesIO()
        Image.fromarray(np.moveaxis(shown, 0, -1)).save(file, "PNG", compress_level=1)
        return file.getvalue()

    def _window(self, bounds: tuple[float, float, float, float]) -> tuple[slice, slice]:
        """Rows and columns of the cube within bounds of its own reference system."""
        left, bottom, right, top = bounds
        affine, (height, width) = self._box.affine, self._box.shape
        first_row = max(math.floor((top - affine.f) / affine.e), 0)
        last_row = min(math.ceil((bottom - affine.f) / affine.e), height)
        first_col = max(math.floor((left - affine.c) / affine.a), 0)
        last_col = min(math.ceil((right - affine.c) / affine.a), width)
        if first_row >= last_row or first_col >= last_col:
            raise TileOutsideBounds("The cube does not reach into this tile.")
        return slice(first_row, last_row), slice(first_col, last_col)

    def _picture(self, look: str, scene: int, rows: slice, cols: slice) -> NDArray[np.uint8]:
        """RGBA (rows, cols, 4) of a window, put together from chunks."""
        picture = np.zeros((rows.stop - rows.start, cols.stop - cols.start, 4), np.uint8)
        for i in range(rows.start // CHUNK, (rows.stop - 1) // CHUNK + 1):
            for j in range(cols.start // CHUNK, (cols.stop - 1) // CHUNK + 1):
                chunk = self._chunk(look, scene, i, j)
                (to_row, from_row) = _overlap(rows, i, chunk.shape[0])
                (to_col, from_col) = _overlap(cols, j, chunk.shape[1])
                picture[to_row, to_col] = chunk[from_row, from_col]
        return picture

    def _read_chunk(self, look: str, scene: int, i: int, j: int) -> NDArray[np.uint8]:
        """RGBA of one chunk of the cube."""
        block = self._optical.isel(
            time=scene,
            y=slice(i * CHUNK, (i + 1) * CHUNK),
            x=slice(j * CHUNK, (j + 1) * CHUNK),
        )
        bands = [block[name].values for name in _BANDS[look]]
        if look == "ndvi":
            ndvi = ndvi_of(*bands)
            shade = np.nan_to_num(ndvi / _TOP_NDVI).clip(0, 1)
            picture = matplotlib.colormaps[_NDVI_COLOURS](shade, bytes=True)
            seen = np.isfinite(ndvi)
        else:
            colours = np.stack(bands, axis=-1)
            seen = np.isfinite(colours).all(axis=-1)
            bright = np.nan_to_num(colours / _BRIGHT).clip(0, 1) ** _GAMMA
            picture = np.empty((*seen.shape, 4), np.uint8)
            picture[..., :3] = np.rint(255 * bright)
        picture[..., 3] = 255 * seen
        return picture


def _overlap(window: slice, index: int, length: int) -> tuple[slice, slice]:
    """Part of a window that lies in a chunk: counted within the window, and within the chunk."""
    start = index * CHUNK
    first, last = max(window.start, start), min(window.stop, start + length)
    return slice(first - window.start, last - window.start), slice(first - start, last - start)


def _clear_shares(optical: xr.Dataset) -> NDArray[np.floating]:
    """Share of pixels that each scene sees clearly, of one chunk in the middle of the cube."""
    middle = {}
    for dim in "yx":
        start = optical.sizes[dim] // 2 // CHUNK * CHUNK
        middle[dim] = slice(start, start + CHUNK)
    return np.isfinite(optical["red"].isel(middle).values).mean(axis=(1, 2))

"""One map layer as a Cloud-Optimized GeoTIFF, written window by window."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.shutil
from pyproj import CRS
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS as RasterioCRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError, StatisticsError
from rasterio.windows import Window

from deepcrop.cube.contract import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.products.layers import Layer

_CACHE = 128 * 1024**2  # bytes of GDAL's cache, which by default takes a share of the machine
_ACROSS = 16  # chunks of a window
_BLOCK = 512  # side of a block of a file, and the longest side of its coarsest overview


def windows(box: GeoBox) -> Iterator[tuple[slice, slice]]:
    """Cover a grid with windows of whole chunks, in the order of rows."""
    rows, cols = box.shape
    for top in range(0, rows, CHUNK):
        for left in range(0, cols, _ACROSS * CHUNK):
            yield (
                slice(top, min(top + CHUNK, rows)),
                slice(left, min(left + _ACROSS * CHUNK, cols)),
            )


def write_cog(
    path: Path,
    layer: Layer,
    box: GeoBox,
    tags: Mapping[str, str],
    blocks: Iterator[tuple[tuple[slice, slice], NDArray[Any]]],
) -> None:
    """Write a layer with overviews, statistics, description, unit and tags.

    Parameters
    ----------
    path : Path
        The file; nothing written names its folder.
    layer : Layer
    box : GeoBox
    tags : mapping of str to str
        Of the whole file.
    blocks : iterator of (window, ndarray)
        Values of the windows, of the layer's type.

    Raises
    ------
    OSError
        If the file cannot be written, or does not hold the values afterwards.
    """
    checksums = []
    has_values = False
    plain = path.with_name(f".{path.stem}.plain.tif")
    profile = {
        "driver": "GTiff",
        "height": box.shape[0],
        "width": box.shape[1],
        "count": 1,
        "dtype": layer.dtype.name,
        "nodata": layer.nodata,
        "crs": RasterioCRS.from_user_input(crs_name(box)),
        "transform": box.affine,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "bigtiff": "if_safer",
    }
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE):
            with rasterio.open(plain, "w", **profile) as dataset:
                dataset.descriptions = (layer.title,)
                dataset.units = (layer.unit,)
                if layer.scale != 1:
                    dataset.scales = (layer.scale,)
                dataset.update_tags(**tags)
                for (rows, cols), values in blocks:
                    dataset.write(values, 1, window=Window.from_slices(rows, cols))
                    has_values = has_values or bool((values != layer.nodata).any())
                    checksums.append((rows, cols, zlib.crc32(np.ascontiguousarray(values).data)))
            _add_overviews(plain, has_values)
            # Level 1 of deflate takes a quarter of the time of 6 for 5 % more bytes.
            rasterio.shutil.copy(
                plain,
                path,
                driver="COG",
                compress="deflate",
                level=1,
                predictor="standard",
                blocksize=_BLOCK,
                statistics="auto",
                bigtiff="if_safer",
            )
            _check_written(path, checksums)
    except (RasterioError, CPLE_BaseError) as error:  # rasterio lets some of GDAL's errors pass
        raise OSError(f"{path.name} cannot be written ({error}); is the disk full?") from error
    finally:
        plain.unlink(missing_ok=True)


def _add_overviews(plain: Path, has_values: bool) -> None:
    """Add overviews and statistics to an uncompressed file; a COG made from it copies them.

    Left to itself, GDAL makes them while it writes the COG, which then takes half as long again.
    ``has_values``: whether any pixel has a value; without one there are no statistics.

    Raises
    ------
    StatisticsError
        If there are values, and no statistics of them.
    """
    with rasterio.open(plain, "r+") as dataset:
        factors = [2]
        while max(dataset.shape) // factors[-1] > _BLOCK:
            factors.append(2 * factors[-1])
        if max(dataset.shape) > _BLOCK:
            # Days are labels more than quantities at the coarse levels: no averaging across fields.
            dataset.build_overviews(factors, Resampling.nearest)
        if not has_values:
            dataset.update_tags(1, STATISTICS_VALID_PERCENT="0")
            return
        dataset.stats(indexes=1)
        if "STATISTICS_MEAN" not in dataset.tags(1):  # rasterio 1.4 does not raise
            raise StatisticsError("no statistics could be computed")


def _check_written(path: Path, checksums: list[tuple[slice, slice, int]]) -> None:
    """Read a file again, since GDAL says nothing when the last write on a full disk fails.

    Raises
    ------
    OSError
        If it does not hold the values that were written.
    """
    with rasterio.open(path) as dataset:
        right = all(
            zlib.crc32(dataset.read(1, window=Window.from_slices(rows, cols))) == checksum
            for rows, cols, checksum in checksums
        )
    if not right:
        raise OSError(f"{path.name} does not hold what was written into it; is the disk full?")


def crs_name(box: GeoBox) -> str:
    """EPSG code of the grid's reference system where it has one, else its WKT."""
    crs = CRS.from_user_input(str(box.crs))
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else crs.to_wkt()

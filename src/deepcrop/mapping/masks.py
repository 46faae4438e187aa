"""Read masks, rasters of what is to be mapped, onto the grid of a map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from deepcrop import grid
from deepcrop.cube.contract import CHUNK
from deepcrop.errors import DeepCropError
from deepcrop.grid.resampling import place, transformer
from deepcrop.products.cog import windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def read_mask(path: Path, box: GeoBox) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Give each window of a grid with the pixels to map: where a raster has data that is not 0.

    The raster may have any grid; each pixel takes the nearest value. NaN is no data.

    Raises
    ------
    DeepCropError
        If the raster cannot be read, has no reference system, has several bands, or does not say
        which of its numbers mean no data.
    """
    try:
        with rasterio.open(path) as raster:
            _check_mask(path, raster)
            source = GeoBox(raster.shape, raster.transform, str(raster.crs.to_wkt()))
            _check_place(path, source, box)
            others = False
            for rows, cols in windows(box):
                there = np.zeros((rows.stop - rows.start, cols.stop - cols.start), bool)
                for left in range(cols.start, cols.stop, CHUNK):  # of a fine mask little at once
                    part = slice(left, min(left + CHUNK, cols.stop))
                    wanted, others = _read_tile(
                        path, raster, source, grid.crop(box, (rows, part)), others
                    )
                    there[:, part.start - cols.start : part.stop - cols.start] = wanted
                yield (rows, cols), there
    except (rasterio.errors.RasterioError, rasterio.errors.CRSError) as error:
        raise DeepCropError(f"Mask {path} cannot be read: {error}") from error


def files_of(path: Path) -> list[Path]:
    """List the files of a mask: those that a virtual raster (VRT) names, too."""
    try:
        with rasterio.open(path) as raster:
            named = [Path(name) for name in raster.files]
    except rasterio.errors.RasterioError as error:
        raise DeepCropError(f"Mask {path} cannot be read: {error}") from error
    return [path, *sorted(file for file in named if file.is_file() and file != path)]


def _read_tile(
    path: Path, raster: rasterio.DatasetReader, source: GeoBox, tile: GeoBox, others: bool
) -> tuple[NDArray[np.bool_], bool]:
    """Find the pixels of a tile to map; see `_check_fills` for ``others``."""
    try:
        placement = place(source, tile, "nearest")
    except DeepCropError as error:
        raise DeepCropError(f"Mask {path}: {error}") from None
    if placement is None:
        return np.zeros(tile.shape, bool), others
    window = Window.from_slices(placement.rows, placement.cols)
    values = raster.read(1, window=window)
    known = (raster.dataset_mask(window=window) > 0) & ~np.isnan(values)
    if MaskFlags.all_valid in raster.mask_flag_enums[0]:  # the file states no value as no data
        others = _check_fills(path, values[known], others)
    wanted = placement.apply((known & (values != 0)).astype(np.float32)[None])
    return wanted.reshape(tile.shape) > 0, others


def _check_place(path: Path, source: GeoBox, box: GeoBox) -> None:
    """Reject a mask whose pixels have no area, or whose system is not one of the earth."""
    if source.affine.is_degenerate:
        raise DeepCropError(
            f"Mask {path}: its geotransform {tuple(source.affine)[:6]} gives its pixels no area; "
            "georeference it (gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM)."
        )
    try:
        transformer(str(box.crs), str(source.crs))
    except ProjError:
        raise DeepCropError(
            f"Mask {path}: its reference system '{source.crs}' cannot be converted to {box.crs} of "
            "the map; reproject the mask (gdalwarp -t_srs)."
        ) from None


def _check_mask(path: Path, raster: rasterio.DatasetReader) -> None:
    """Reject a mask whose place, or whose band, is not known."""
    lacking = "reference system" if raster.crs is None else "geotransform"
    if raster.crs is None or raster.transform.is_identity:
        raise DeepCropError(
            f"Mask {path} does not state its {lacking}, so it is unknown where it lies; write it "
            "into the file (gdal_edit.py -a_srs EPSG:CODE -a_ullr LEFT TOP RIGHT BOTTOM)."
        )
    bands = sum(kind != ColorInterp.alpha for kind in raster.colorinterp)
    if bands != 1:
        raise DeepCropError(
            f"Mask {path} has {bands} bands; expected one. Extract it (gdal_translate -b N)."
        )


def _check_fills(path: Path, values: NDArray[Any], others: bool) -> bool:
    """Reject numbers that probably mean no data, in a mask that does not state what means no data.

    ``others`` says whether values besides 0 and 255 were seen so far; returned is whether they are.
    """
    found: Any = None
    if values.size and (values.min() < 0 or np.isinf(values).any()):
        found = values.min() if values.min() < 0 else np.inf
    elif values.dtype == np.uint8:
        # 0 and 255 alone are a picture of yes and no.
        full = values == 255
        others = others or bool(((values != 0) & ~full).any())
        found = 255 if others and full.any() else None
    if found is not None:
        raise DeepCropError(
            f"Mask {path} holds {found:g} and does not state which number means no data. State it "
            f"(gdal_edit.py -a_nodata {found:g}, or -a_nodata 0 if {found:g} is to be mapped)."
        )
    return others

"""Read a band of one product onto a grid.

odc-stac reads optical pixels onto the requested grid. The pixels of a product on the same grid stay
unchanged. From another UTM zone, classes are taken from the nearest pixel; reflectance and power
are interpolated bilinearly between pixels with data, which cannot overshoot. Radar power is
resampled by `deepcrop.grid.resampling`: outside of the swath some products hold zeros, which must
not be averaged with measurements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import odc.stac
import pystac
import rasterio
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from odc.loader import RioDriver
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from deepcrop.grid.resampling import Placement, method_for, place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from deepcrop.sources.stac.cog_reader import CogReader


def load_numbers(
    cogs: CogReader,
    item: Mapping[str, Any],
    band: str,
    box: GeoBox,
    pixels: tuple[str, int],
    resampling: str,
) -> NDArray[Any]:
    """Read a band of a product on a grid; no request is sent if the file does not touch it.

    Parameters
    ----------
    cogs : CogReader
    item : dict
        STAC item with the assets of the product under the names of the cube's bands.
    band : str
        Name of the asset.
    box : GeoBox
        The grid.
    pixels : tuple of str and int
        Type of the numbers, and the number that means "no data".
    resampling : str
        ``bilinear`` or ``nearest``.
    """
    kind, nodata = pixels
    only = pystac.Item.from_dict(dict(item) | {"assets": {band: item["assets"][band]}})

    def read(path: str) -> NDArray[Any]:
        data = odc.stac.load(
            [only],
            bands=[band],
            geobox=box,
            groupby="id",
            resampling=resampling,
            dtype=kind,
            nodata=nodata,
            stac_cfg={"*": {"assets": {"*": {"data_type": kind, "nodata": nodata}}}},
            patch_url=lambda _: path,
            driver=_CheckedDriver(cogs),
        )
        numbers: NDArray[Any] = data[band].values[0]
        return numbers

    # A file beside the grid is not opened at all, and not requested.
    return cogs.read(item["assets"][band]["href"], label(item, band), read, lazily=True)


def load_power(
    cogs: CogReader, item: Mapping[str, Any], band: str, box: GeoBox
) -> NDArray[np.float32]:
    """Read the power of a polarisation on a grid, NaN where there is none.

    What is no data is decided before resampling: the no-data value, and power that is not
    positive, which some products hold outside of the swath. No request is sent if the file
    does not touch the grid.
    """
    nothing = np.full(box.shape, np.nan, np.float32)
    stated = _stated_grid(item, band)
    if stated is not None and place(stated, box, method_for(stated, box)) is None:
        return nothing

    def read(path: str) -> NDArray[Any]:
        with rasterio.open(path, driver=cogs.format) as raster:
            placement = placement_of(raster, box)
            if placement is None:
                return nothing
            window = Window.from_slices(placement.rows, placement.cols)
            power = raster.read(1, window=window).astype(np.float32)
            nodata = raster.nodata
        valid = (power > 0) & np.isfinite(power)
        if nodata is not None:
            valid &= power != np.float32(nodata)
        values = placement.apply(np.where(valid, power, np.float32(np.nan))[None])
        resampled: NDArray[np.float32] = values[0].reshape(box.shape)
        return resampled

    return cogs.read(item["assets"][band]["href"], label(item, band), read)


def placement_of(raster: rasterio.DatasetReader, box: GeoBox) -> Placement | None:
    """Find the part of a raster that a grid needs; None if they do not touch."""
    source = GeoBox(raster.shape, raster.transform, _crs_of(raster))
    return place(source, box, method_for(source, box))


def has_other_crs(product: Mapping[str, Any], box: GeoBox) -> bool:
    """Whether a product is in another reference system than a grid, or does not state it."""
    code = product["item"]["properties"].get("proj:code")
    return code is None or CRS(code) != box.crs


def _stated_grid(item: Mapping[str, Any], band: str) -> GeoBox | None:
    """Grid of a file as its item states it; None if it does not."""
    about = item["properties"] | item["assets"][band]
    shape, transform = about.get("proj:shape"), about.get("proj:transform")
    code = item["properties"].get("proj:code")
    if not (shape and transform and code):
        return None
    return GeoBox(tuple(shape), Affine(*transform[:6]), code)


def _crs_of(raster: rasterio.DatasetReader) -> str:
    """Name the reference system of a raster by its EPSG code if it has one, else by WKT."""
    if raster.crs is None:  # the header is cut short: the file is read again, or its scene fails
        raise RasterioIOError("no reference system")
    code = raster.crs.to_epsg()
    return f"EPSG:{code}" if code else str(raster.crs.to_wkt())


def label(item: Mapping[str, Any], band: str) -> str:
    """Name a file of a product for messages: product and asset."""
    return f"{item['id']}, asset {item['assets'][band]['name']}"


class _CheckedDriver(RioDriver):
    """odc-stac's reader of rasters, with a check of the format before each file is opened."""

    def __init__(self, cogs: CogReader) -> None:
        super().__init__()
        self._cogs = cogs

    def open(self, src: Any, ctx: Any) -> Any:
        """Open a file."""
        with self._cogs.check_format(src.uri):
            return super().open(src, ctx)

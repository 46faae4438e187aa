"""Read Sentinel-1 ground-range products (GRD) of an archive: calibrate them and correct terrain.

The Copernicus Data Space serves GRD products file by file: a measurement (Cloud Optimized GeoTIFF
in radar geometry) for each polarization, and the tables that calibrate it, which lie beside it as
in ESA's SAFE format. The tables of a product are kept in a temporary folder of the same form, of
the measurement only the part over the grid is read, and `deepcrop.sources.safe.backscatter` does
the rest, as for products on disk.

Heights come from the archive's Copernicus DEM (GLO-30), which refers to the geoid EGM2008: PROJ
needs its grid of that geoid.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from pyproj import CRS, Transformer
from pyproj.crs import CompoundCRS
from pyproj.exceptions import ProjError
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window

from deepcrop.cube.contract import SAR_BANDS
from deepcrop.errors import DeepCropError
from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import HttpClient, NotFound
from deepcrop.sources.safe.backscatter import OutsideError, backscatter, windows_over
from deepcrop.sources.safe.geometry import require_libraries
from deepcrop.sources.safe.product import Product
from deepcrop.sources.stac.cog_reader import transferred_bytes
from deepcrop.sources.stac.pixels import label
from deepcrop.sources.stac.search import search_items
from deepcrop.storage.files import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.sources.safe.product import ReadWindow
    from deepcrop.sources.stac.cog_reader import CogReader

DEM_SPACING = 30.0
"""Metres between the heights that are read."""

GEOID = "EPSG:3855"
"""What the heights of the Copernicus DEM refer to: EGM2008."""

GEOID_GRID = "us_nga_egm08_25.tif"
"""PROJ's grid of that geoid."""

GEOID_ADVICE = (
    f"Fetch it once, with 'projsync --file {GEOID_GRID}' (80 MB) or as the package proj-data of "
    "conda, or set PROJ_NETWORK=ON."
)
"""How a user gives PROJ the grid."""

_DEM_MARGIN = 100.0  # metres around the grid, whose outer corners need heights, too
_DEM_PERIOD = (date(2000, 1, 1), date(2100, 1, 1))


@dataclass
class GroundRange:
    """Reader of the ground-range products of an archive; several threads may use it.

    Attributes
    ----------
    address : str
        Root of the STAC API.
    cogs : CogReader
        Reader of GeoTIFFs of the archive.
    dem : str
        Collection of the DEM.
    """

    address: str
    cogs: CogReader
    dem: str
    _locks: dict[str, threading.Lock] = field(init=False, repr=False, default_factory=dict)
    _heights: dict[Any, Path] = field(init=False, repr=False, default_factory=dict)

    @cached_property
    def _folder(self) -> Path:
        """Temporary folder of tables and heights; it goes with the archive."""
        path = Path(tempfile.mkdtemp(prefix="deepcrop-"))
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        return path

    def check(self, box: GeoBox) -> None:
        """Check, before a search, that what the processing needs is there.

        Raises
        ------
        ArchiveError
            If libraries are missing, or PROJ does not have the grid of the geoid.
        """
        try:
            require_libraries()
        except DeepCropError as error:  # it concerns all scenes, so it is no matter of one
            raise ArchiveError(str(error)) from None
        if not has_geoid(str(box.crs)):
            raise ArchiveError(
                "Sentinel-1 ground-range images are placed on the ground with a DEM whose heights "
                f"refer to EGM2008, and PROJ lacks its grid {GEOID_GRID}. {GEOID_ADVICE}"
            )

    def read(self, products: Sequence[Mapping[str, Any]], box: GeoBox) -> dict[str, NDArray[Any]]:
        """Read sigma0 (dB) of the products of a pass; where they overlap, the first counts.

        Raises
        ------
        SceneError
            If a file is missing or damaged.
        ArchiveError
            If the archive does not serve, or has no heights.
        """
        heights = self._heights_over(box)
        bands = {name: np.full(box.shape, np.nan, np.float32) for name in SAR_BANDS}
        for each in products:
            try:
                found, _ = backscatter(self._open(each["item"]), SAR_BANDS, box, heights)
            except OutsideError:  # the footprint touches the grid, the image does not
                continue
            new = np.all([np.isnan(band) for band in bands.values()], axis=0)
            for name, values in found.items():
                bands[name][new] = values[new]
        return bands

    def measure(self, products: Sequence[Mapping[str, Any]], box: GeoBox) -> int:
        """Find out the bytes that `read` transfers of these products; errors as there.

        The tables count whole; of the images, the blocks over the grid. To find these, the tables
        are fetched.
        """
        heights = self._heights_over(box)
        total = 0
        for each in products:
            item = each["item"]
            product = self._open(item)
            total += sum(path.stat().st_size for path in product.path.rglob("*.xml"))
            windows = windows_over(product, SAR_BANDS[0], box, heights)

            def measure(path: str, windows: Sequence[tuple[slice, slice]] = windows) -> int:
                with rasterio.open(path, driver=self.cogs.format) as image:
                    return transferred_bytes(image, windows, self.cogs.access.bytes_for_length)

            for name in SAR_BANDS:
                total += self.cogs.read(item["assets"][name]["href"], label(item, name), measure)
        return total

    # Products -------------------------------------------------------------------------------------

    def _open(self, item: Mapping[str, Any]) -> Product:
        """Fetch the tables of a product, unless they are there, and describe the product."""
        # The name comes from the archive, and must not lead out of the folder.
        folder = self._folder / content_hash([str(item["id"]).encode()])
        windows = {}
        for name in SAR_BANDS:
            href = item["assets"][name]["href"]
            windows[name] = self._window_reader(href, label(item, name))
            for table, place in tables_of(href).items():
                self._fetch(place, folder / table, f"{item['id']}: {table}")
        start = np.datetime64(item["properties"]["datetime"].removesuffix("Z"), "ns")
        return Product(
            path=folder,
            mission=str(item["id"])[:3],
            start=start,
            stop=start,
            relative_orbit=0,
            polarizations=SAR_BANDS,
            windows=windows,
        )

    def _fetch(self, href: str, target: Path, name: str) -> None:
        """Keep a text file of the archive; each is requested once."""
        with self._locks.setdefault(str(target), threading.Lock()):
            if target.exists():
                return
            try:
                with HttpClient(tries=self.cogs.tries, pause=self.cogs.pause) as client:
                    text = self.cogs.text(href, client)
            except NotFound:
                raise SceneError(f"{name}: the archive has no such file.") from None
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(".part")
            part.write_text(text, encoding="utf-8")
            part.replace(target)

    def _window_reader(self, href: str, name: str) -> ReadWindow:
        def read_window(rows: slice, cols: slice, shape: tuple[int, int]) -> NDArray[np.uint16]:
            def read(path: str) -> NDArray[np.uint16]:
                with rasterio.open(path, driver=self.cogs.format) as image:
                    if image.shape != shape:
                        raise SceneError(
                            f"{name} has {image.height} x {image.width} pixels; its annotation "
                            f"says {shape[0]} x {shape[1]}. Leave the scene out."
                        )
                    pixels: NDArray[np.uint16] = image.read(
                        1, window=Window.from_slices(rows, cols)
                    )
                    return pixels

            return self.cogs.read(href, name, read)

        return read_window

    # Heights --------------------------------------------------------------------------------------

    def _heights_over(self, box: GeoBox) -> Path:
        """Read the heights around a grid into a file, once; return its path."""
        key = (str(box.crs), *box.shape, *box.affine[:6])
        with self._locks.setdefault("heights", threading.Lock()):
            if key not in self._heights:
                path = self._folder / f"heights_{len(self._heights)}.tif"
                self._read_heights(box, path)
                self._heights[key] = path
            return self._heights[key]

    def _read_heights(self, box: GeoBox, path: Path) -> None:
        left, bottom, right, top = box.boundingbox.bbox
        west, north = left - _DEM_MARGIN, top + _DEM_MARGIN
        cols = int(np.ceil((right + _DEM_MARGIN - west) / DEM_SPACING))
        rows = int(np.ceil((north - bottom + _DEM_MARGIN) / DEM_SPACING))
        affine = rasterio.Affine(DEM_SPACING, 0, west, 0, -DEM_SPACING, north)
        heights = np.full((rows, cols), np.nan, np.float32)
        padded = box.pad(int(np.ceil(2 * _DEM_MARGIN / float(box.resolution.x))))
        items = search_items(
            self.address, (self.dem,), padded, *_DEM_PERIOD,
            tries=self.cogs.tries, pause=self.cogs.pause,
        )  # fmt: skip
        for item in items:
            tile = np.full_like(heights, np.nan)

            def read(file: str, tile: NDArray[np.float32] = tile) -> None:
                with rasterio.open(file, driver=self.cogs.format) as source:
                    reproject(
                        rasterio.band(source, 1), tile, dst_transform=affine, dst_crs=str(box.crs),
                        dst_nodata=np.nan, resampling=Resampling.bilinear,
                    )  # fmt: skip

            try:
                href = item["assets"]["data"]["href"]
            except (KeyError, TypeError):
                raise ArchiveError(
                    f"{self.address}: an item of {self.dem} has no asset 'data' with heights."
                ) from None
            self.cogs.read(href, f"DEM {item.get('id')}", read)
            np.copyto(heights, tile, where=np.isnan(heights))
        if np.isnan(heights).all():
            raise ArchiveError(
                f"{self.address}: the collection {self.dem} has no heights of the area, which its "
                "radar needs; fetch without radar (--sensors optical), or from another archive."
            )
        profile = {
            "driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": "float32",
            "crs": _with_heights(str(box.crs)).to_wkt(), "transform": affine, "nodata": np.nan,
        }  # fmt: skip
        with rasterio.open(path, "w", **profile) as target:
            target.write(heights, 1)


def has_geoid(crs: str) -> bool:
    """Whether PROJ can convert heights above the geoid, over a grid of this reference system.

    Examples
    --------
    >>> has_geoid("EPSG:32631") in (True, False)
    True
    """
    try:
        Transformer.from_crs(_with_heights(crs), "EPSG:4978", only_best=True, allow_ballpark=False)
    except ProjError:
        return False
    return True


def _with_heights(crs: str) -> CompoundCRS:
    """Make a reference system with heights above the geoid."""
    return CompoundCRS("grid, with heights", [CRS.from_user_input(crs), CRS(GEOID)])


def tables_of(measurement: str) -> dict[str, str]:
    """Addresses of the tables that belong to a measurement, by their places in the product.

    Parameters
    ----------
    measurement : str
        Address of the image, in the folder ``measurement`` of a product in SAFE format.

    Raises
    ------
    SceneError
        If the address is of another form.

    Examples
    --------
    >>> tables_of("s3://eodata/x.SAFE/measurement/s1a-iw-grd-vv-001-cog.tiff")
    ... # doctest: +NORMALIZE_WHITESPACE
    {'annotation/s1a-iw-grd-vv-001-cog.xml':
        's3://eodata/x.SAFE/annotation/s1a-iw-grd-vv-001-cog.xml',
     'annotation/calibration/calibration-s1a-iw-grd-vv-001-cog.xml':
        's3://eodata/x.SAFE/annotation/calibration/calibration-s1a-iw-grd-vv-001-cog.xml',
     'annotation/calibration/noise-s1a-iw-grd-vv-001-cog.xml':
        's3://eodata/x.SAFE/annotation/calibration/noise-s1a-iw-grd-vv-001-cog.xml'}
    """
    safe, found, file = measurement.rpartition("/measurement/")
    stem, dot, kind = file.rpartition(".")
    if not found or not dot or kind not in ("tif", "tiff") or "/" in file:
        raise SceneError(
            f"'{measurement[:200]}' is no measurement of a product in SAFE format "
            "(….SAFE/measurement/….tiff)."
        )
    places = (
        f"annotation/{stem}.xml",
        f"annotation/calibration/calibration-{stem}.xml",
        f"annotation/calibration/noise-{stem}.xml",
    )
    return {place: f"{safe}/{place}" for place in places}

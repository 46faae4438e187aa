"""Sentinel-2 and Sentinel-1 from an archive behind a STAC API.

A search lists the products over an area, keeps the newest version of each, decides how their
numbers are scaled, and groups those of one pass into a scene. The scene
then holds all that reading needs, so that it can be read tile by tile, by other threads and other
processes, always with the same result. Each product is converted to reflectance with its own
offset, or to sigma0 with its own incidence angles, before products are mosaicked.

`deepcrop.sources.stac.known_archives` describes the archives.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import rasterio

from deepcrop.cube.contract import (
    CLEAR_CLASSES,
    CLOUD_CLASSES,
    NIR_BANDS,
    RADIOMETRIES,
    nir_attrs,
)
from deepcrop.grid import RESOLUTION
from deepcrop.sources.archive import SENSORS, ArchiveError, Scene, SceneError
from deepcrop.sources.http import HttpClient, Refused
from deepcrop.sources.stac.access import Access, OpenAccess
from deepcrop.sources.stac.cog_reader import PIECE, CogReader, transferred_bytes
from deepcrop.sources.stac.ground_range import GroundRange
from deepcrop.sources.stac.optical import CLOUD, Mask, read_optical
from deepcrop.sources.stac.pixels import (
    has_other_crs,
    label,
    placement_of,
)
from deepcrop.sources.stac.product_notes import ProductNotes
from deepcrop.sources.stac.products import (
    Product,
    best_orbit,
    newest,
    on_grid,
    passes,
    sentinel2_assets,
    usable_products,
)
from deepcrop.sources.stac.radar import radar_preparer, read_radar
from deepcrop.sources.stac.search import search_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.sources.sentinel2 import ScalingRule

_SAMPLE_SIDE = 512  # pixels: a whole product is read at this size to check its offset
_BLOCK = {"GTiff": 512, "JP2OpenJPEG": 1024}  # side of a block in the files, pixels
_TABLES = 6  # of a ground-range product: annotation, calibration and noise of two polarizations
# Bytes of a pixel in real products, compressed.
_BYTES = {"scl": 0.015, "cloud": 0.02, "fmask": 0.11, "vv": 4.0, "vh": 4.0}
_BAND_BYTES = 1.6
# Of a polarization of a radar product, in real ones: annotation, calibration and noise.
_ANNOTATION = 1_700_000
_CALIBRATION = 1_450_000
_REQUESTS = 2  # for a file: one for its header, one for the blocks that touch the area


@dataclass
class StacArchive:
    """Archive of satellite images behind a STAC API; an `Archive`.

    Attributes
    ----------
    name : str
        Name on the command line.
    title : str
        Name for messages and attributes.
    address : str
        Root of the API.
    collections : dict of str to tuple of str
        Collections of each sensor that the archive has.
    scaling : callable
        Chooses scale and offset of an optical product.
    access : Access
        How files are read: by everybody, with tokens, or with keys.
    orbits : str or int
        Relative orbits of the radar: ``"best"``, the one that covers most of the area most often;
        ``"all"``; or a number. One orbit always views a field at the same incidence angle.
    max_cloud : float
        Maximum cloud cover of a Sentinel-2 product, percent. A product that does not state it is
        kept, unless the server leaves it out.
    keep : tuple of int or None
        Scene classes that are not masked; None for the archive's own mask.
    nir : str
        Band of Sentinel-2 that is read as near infrared (`deepcrop.cube.contract.NIR_BANDS`).
    assets : dict of str to tuple of str, optional
        Assets of an optical product that are read, and the names that they may have in an item; by
        default those of Sentinel-2.
    pixels : tuple of str and int
        Type of the numbers of optical bands, and the number that means "no data".
    mask : Mask
        Which optical pixels are clear.
    cloud_buffer : float
        Distance from cloud and shadow up to which pixels are masked, too, metres.
    cloud_probability : float, optional
        Greatest probability of cloud of a pixel that is kept, percent; if the archive has it.
    probability : str
        Name of the asset with the probability of cloud; empty if there is none.
    resolution : float
        Size of the optical pixels, metres; grids have the same.
    credit : str
        Whom a publication must name; ``{years}`` stands for the years of the scenes.
    format : str
        GDAL's name of the format that the archive serves; nothing else is opened.
    dem : str
        Collection of the DEM, where the archive's radar is ground-range images (GRD), which are
        calibrated and terrain-corrected with it; empty where it is terrain-corrected (RTC).
    without_radar : str
        What to do about radar if the archive has none, as a sentence.
    tries : int
        Number of attempts of every request.
    pause : float
        Seconds before the second attempt; doubles with each attempt.
    """

    name: str
    title: str
    address: str
    collections: dict[str, tuple[str, ...]]
    scaling: ScalingRule
    access: Access = field(default_factory=OpenAccess)
    orbits: str | int = "best"
    max_cloud: float = 100.0
    keep: tuple[int, ...] | None = None
    nir: str = NIR_BANDS[0]
    assets: Mapping[str, Sequence[str]] | None = None
    pixels: tuple[str, int] = ("uint16", 0)
    mask: Mask = field(default_factory=lambda: Mask(classes=CLEAR_CLASSES, clouds=CLOUD_CLASSES))
    cloud_buffer: float = 0.0
    cloud_probability: float | None = None
    probability: str = ""
    resolution: float = RESOLUTION
    credit: str = "contains modified Copernicus Sentinel data {years}"
    format: str = "GTiff"
    dem: str = ""
    without_radar: str = (
        "Planetary Computer (pc) and Google Earth Engine (ee) have it: fetch from one of them, or "
        "fetch only optical images."
    )
    tries: int = 5
    pause: float = 1.0
    skips_cloud: ClassVar[bool] = True
    _cogs: CogReader = field(init=False, repr=False)
    _ground_range: GroundRange | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.address = self.address.rstrip("/")
        if self.keep is not None and self.mask.asset != "scl":
            raise ArchiveError(
                f"{self.title} ({self.name}) has no scene classes of Sentinel-2 to keep; its mask "
                f"is: {self.mask}. Leave --keep out."
            )
        if self.assets is not None and self.nir != NIR_BANDS[0]:
            raise ArchiveError(
                f"{self.title} ({self.name}) has one near infrared, and no {self.nir} to choose. "
                "Leave --nir out."
            )
        if self.keep is not None:
            self.mask = replace(self.mask, classes=self.keep)
        if self.cloud_probability is not None and not self.probability:
            raise ArchiveError(
                f"{self.title} ({self.name}) has no probability of cloud; earth-search and ee have "
                "it. Leave --cloud-probability out, or widen the mask with --cloud-buffer."
            )
        self.mask = replace(self.mask, buffer=self.cloud_buffer, probability=self.cloud_probability)
        self._cogs = CogReader(self.access, self.tries, self.pause, self.format)
        if self.dem:
            images = CogReader(self.access, self.tries, self.pause, "GTiff")
            self._ground_range = GroundRange(self.address, images, self.dem)

    # Search ---------------------------------------------------------------------------------------

    def search(
        self,
        box: GeoBox,
        start: date,
        end: date,
        sensor: str,
        *,
        saved: Path | None = None,
        readable: bool = True,
    ) -> list[Scene]:
        """List scenes that touch ``box`` from ``start`` to ``end`` (both included), in time order.

        Of several versions of a product only the newest is kept. Sentinel-1 products are those of
        the IW mode with VV and VH. For ``saved`` and ``readable`` see `Archive.search`.

        Raises
        ------
        ArchiveError
            If the archive does not answer, refuses, or does not have the sensor.

        Warns
        -----
        OffsetWarning
            If the offset that the archive states for a product disagrees with its pixels.
        """
        self._check_sensor(sensor)
        optical = sensor == "optical"
        if readable:
            self.access.check()
            if self._ground_range is not None and not optical:
                self._ground_range.check(box)
        items = search_items(
            self.address,
            self.collections[sensor],
            box,
            start,
            end,
            max_cloud=self.max_cloud if optical else 100.0,
            tries=self.tries,
            pause=self.pause,
            headers=self.access.headers(self.address),
        )
        assets = dict(self.assets or sentinel2_assets(self.nir)) if optical else None
        if assets is not None and self.cloud_probability is not None:
            assets[CLOUD] = (self.probability,)
        found = usable_products(items, sensor, box, self.title, assets)
        products = [p for p in found if (p.cloud_cover or 0) <= self.max_cloud]
        groups = passes(newest(products))
        if not optical and self.orbits != "all":
            orbit = best_orbit(groups, box) if self.orbits == "best" else self.orbits
            groups = [group for group in groups if group[0].relative_orbit == orbit]
        chosen = [product for group in groups for product in group]
        if readable:
            about = self._prepare(chosen, optical, saved)
        else:
            nothing = {"decision": "not asked for", "problem": "the scene was only listed"}
            about = {str(product.item["id"]): nothing for product in chosen}
        scenes = [
            _scene(sensor, group, [{"item": p.item, **about[p.item["id"]]} for p in group])
            for group in groups
        ]
        return sorted(scenes, key=lambda scene: scene.time)

    def _prepare(
        self, products: Sequence[Product], optical: bool, saved: Path | None
    ) -> dict[str, dict[str, Any]]:
        """Find out what reading each product needs, by its name; keep it in ``saved``."""
        if self._ground_range is not None and not optical:
            # Their tables are large, and are fetched when the scene is read.
            note = {"decision": f"calibrated and terrain-corrected from GRD with {self.dem}"}
            return {str(product.item["id"]): note for product in products}
        known = ProductNotes(saved)
        missing = [product for product in products if product.item["id"] not in known.notes]
        with HttpClient(tries=self.tries, pause=self.pause) as client:
            radar = None if optical else radar_preparer(self.address, missing, self._cogs, client)
            prepare = radar or self._prepare_optical

            def work(product: Product) -> None:
                note, final = prepare(product)
                known.add(product.item["id"], note, final)

            pool = ThreadPoolExecutor(8)
            try:
                list(pool.map(work, missing))
            finally:
                pool.shutdown(cancel_futures=True)  # after an error, start no further request
        return known.notes

    def _check_sensor(self, sensor: str) -> None:
        if sensor in self.collections:
            return
        if sensor not in SENSORS:
            raise ArchiveError(f"Sensor '{sensor}'; expected {' or '.join(SENSORS)}.")
        raise ArchiveError(
            f"{self.title} ({self.name}) has no Sentinel-1 that fits the cube. {self.without_radar}"
        )

    def _prepare_optical(self, product: Product) -> tuple[dict[str, Any], bool]:
        """Collect what reading a Sentinel-2 product needs: its scaling; and whether it is final."""
        try:
            scaling = self.scaling(product.item, lambda: self._read_overviews(product.item))
        except (SceneError, Refused) as error:
            # A problem of this product only: raised when its scene is read.
            return {"problem": str(error), "decision": "unknown"}, False
        return {"scaling": scaling.bands, "decision": scaling.decision}, True

    def _read_overviews(
        self, item: Mapping[str, Any]
    ) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Read the blue band and the scene classes of a whole product from its overviews."""

        def read(path: str) -> NDArray[Any]:
            with rasterio.open(path, driver=self.format) as raster:
                pixels: NDArray[Any] = raster.read(1, out_shape=(_SAMPLE_SIDE, _SAMPLE_SIDE))
                return pixels

        blue, classes = (
            self._cogs.read(item["assets"][band]["href"], label(item, band), read)
            for band in ("blue", "scl")
        )
        return blue, classes

    # Read -----------------------------------------------------------------------------------------

    def read(self, scene: Scene, box: GeoBox) -> dict[str, NDArray[Any]]:
        """Read the pixels of a scene on ``box`` as `Archive.read` does; Sentinel-2 with ``scl``.

        Where products overlap, the first product with data counts: those of the grid's own UTM
        zone before others, and newer ones before older ones.

        Raises
        ------
        SceneError
            If a file is missing or damaged, or a product does not say what its numbers mean.
        ArchiveError
            If the archive does not serve any more.
        """
        products = scene.source["products"]
        for product in products:
            if "problem" in product:
                raise SceneError(product["problem"])
        ordered = sorted(products, key=lambda product: has_other_crs(product, box))
        if scene.sensor == "optical":
            return read_optical(self._cogs, ordered, box, self.pixels, self.mask)
        if self._ground_range is not None:
            return self._ground_range.read(ordered, box)
        return read_radar(self._cogs, ordered, box)

    # Size, requests and attributes ----------------------------------------------------------------

    def size(self, scene: Scene, box: GeoBox) -> int:
        """Estimate the bytes that `read` transfers if pixels are clear, those of tables included.

        Files are read in blocks, so half a block is added to each side of the area. If the archive
        states the size of a file, the part of its footprint that is read counts; else 1.6 bytes per
        pixel (4 for radar), as in real products. Blocks of a JPEG 2000 file that are only skipped
        cost one request each.
        """
        pixel = float(box.resolution.x) ** 2
        around = box.pad(_BLOCK[self._format_of(scene.sensor)] // 2).extent
        tables = 0 if scene.sensor == "optical" else _ANNOTATION
        if tables and self._ground_range is not None:
            tables = 2 * (_ANNOTATION + _CALIBRATION)
        total = 0.0
        for product in scene.source["products"]:
            footprint = on_grid(product["item"]["geometry"], box)
            area = (footprint & around).area
            if not area:
                continue
            total += tables
            for band, asset in product["item"]["assets"].items():
                if "file:size" in asset:
                    total += asset["file:size"] * area / footprint.area
                else:
                    total += _BYTES.get(band, _BAND_BYTES) * area / pixel
                total += min(self.access.bytes_for_length, asset.get("file:size", math.inf))
                total += PIECE * self._skipped_blocks(scene.sensor, asset)
        return round(total)

    def _skipped_blocks(self, sensor: str, asset: Mapping[str, Any]) -> int:
        """Estimate the number of blocks of a JPEG 2000 file before those of the area: half."""
        if self._format_of(sensor) != "JP2OpenJPEG":
            return 0
        side = _BLOCK[self.format]
        rows, cols = asset.get("proj:shape", (side, side))
        return int(-(-rows // side) * -(-cols // side) // 2)

    def measure(self, scene: Scene, box: GeoBox) -> int:
        """Find out the bytes that `read` transfers if pixels are clear, from the files' headers.

        Tables of radar products count with their size, too. The header of a JPEG 2000 file does not
        say where its blocks are; for these the size is estimated.

        Raises
        ------
        SceneError, ArchiveError
            As `read`.
        """
        products = scene.source["products"]
        if scene.sensor == "sar" and self._ground_range is not None:
            return self._ground_range.measure(products, box)
        if self.format != "GTiff":
            return self.size(scene, box)

        def measure(path: str) -> int:
            with rasterio.open(path, driver=self.format) as raster:
                placement = placement_of(raster, box)
                if placement is None:
                    return 0
                return transferred_bytes(
                    raster, [(placement.rows, placement.cols)], self.access.bytes_for_length
                )

        pixels: int = sum(
            self._cogs.read(asset["href"], label(product["item"], band), measure)
            for product in products
            for band, asset in product["item"]["assets"].items()
        )
        tables: int = sum(product.get("table_bytes", 0) for product in products)
        return pixels + tables

    def requests(self, scene: Scene) -> int:
        """Estimate the number of requests that a scene takes.

        For each file its header and its blocks; for a radar product its annotation, or all tables
        of a ground-range product. A JPEG 2000
        file has no index of its blocks: one request for each that lies before those of the area,
        which is half of them on average.
        """
        files = _files(scene)
        skipped = sum(self._skipped_blocks(scene.sensor, asset) for asset in files)
        tables = 1 if self._ground_range is None else _TABLES
        annotations = tables * len(scene.products) if scene.sensor == "sar" else 0
        # Where GDAL cannot ask for the length of a file with HEAD, it asks once more.
        each = _REQUESTS + (self.access.bytes_for_length > 0)
        return each * len(files) + skipped + annotations

    def attrs(self, sensor: str, scenes: Sequence[Scene]) -> dict[str, Any]:
        """Make the attributes of a group; ``attribution`` is what a publication must say."""
        years = sorted({str(scene.time)[:4] for scene in scenes})
        attrs = {
            "source": self.title,
            "collection": ", ".join(self.collections[sensor]),
            "attribution": self.credit.format(years=", ".join(years)),
        }
        if sensor == "optical":
            attrs |= {
                "processing_baseline": _joined(s.notes["processing_baseline"] for s in scenes),
                "offset": _joined(scene.notes["offset"] for scene in scenes),
                "mask": str(self.mask),
            }
            return attrs | nir_attrs(self.nir)
        if self._ground_range is not None:
            return attrs | {
                "processing_baseline": "not stated by the archive",
                "radiometry": RADIOMETRIES[0],
                "dem": f"{self.dem}, heights above the geoid EGM2008",
                "orbit": "state vectors of the products' annotations",
                "noise_removal": "thermal noise vectors; border of products before IPF 2.90 masked",
                "multilook": "mean power over the pixel's footprint",
            }
        rough = sum("approximate" in scene.notes["incidence"] for scene in scenes)
        return attrs | {
            "processing_baseline": "not stated by the archive",
            "radiometry": RADIOMETRIES[rough > 0],
            "incidence": "annotation of the source products"
            + (f", approximate for {rough} of {len(scenes)} scenes" if rough else ""),
        }

    def _format_of(self, sensor: str) -> str:
        """GDAL's name of the format of a sensor's files."""
        return "GTiff" if sensor == "sar" else self.format


def _scene(sensor: str, products: Sequence[Product], sources: list[dict[str, Any]]) -> Scene:
    clouds = [p.cloud_cover for p in products if p.cloud_cover is not None]
    about = (
        "offset" if sensor == "optical" else "incidence" if "angles" in sources[0] else "processing"
    )
    notes = {about: _joined(s["decision"] for s in sources)}
    if sensor == "optical":
        baselines = (p.version[0] for p in products)
        notes["processing_baseline"] = _joined(f"{b:05.2f}" if b else "unknown" for b in baselines)
    return Scene(
        sensor,
        min(product.time for product in products),
        tuple(product.item["id"] for product in products),
        products[0].relative_orbit,
        float(np.mean(clouds)) if clouds else None,
        notes,
        {"products": sources},
    )


def _files(scene: Scene) -> list[dict[str, Any]]:
    """Assets of all products of a scene."""
    return [a for p in scene.source["products"] for a in p["item"]["assets"].values()]


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))

"""Sentinel-2 and Sentinel-1 from STAC archives: Planetary Computer and Earth Search.

A search lists the products over an area, keeps the newest version of each, decides what their
numbers mean, and puts those of one solar day and one relative orbit together as a scene. All that a
reader needs is in the scene, so it can be read tile by tile, by other threads and other processes,
and always comes out the same.

Pixels come through odc-stac onto the grid asked for. Where a product lies on that grid its pixels
are taken as they are. In another UTM zone, scene classes are those of the nearest pixel; reflectance
and power are bilinear, which keeps within the values around it, from pixels with data only. Each
product becomes reflectance by its own offset, or sigma0 by its own angles, before products are put
side by side.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import numpy as np
import odc.stac
import pystac
import rasterio
import tenacity
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, unary_union
from pyproj import Transformer
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from urllib3 import Retry

from deepcrop.observations import OPTICAL_BANDS, RADIOMETRIES, SAR_BANDS
from deepcrop.sources.cogs import Cogs
from deepcrop.sources.scenes import CLEAR_CLASSES, SENSORS, ArchiveError, Scene, SceneError
from deepcrop.sources.sentinel1 import (
    Angles,
    AnnotationError,
    angles_from_annotation,
    angles_from_footprint,
    sigma0,
)
from deepcrop.sources.sentinel2 import (
    Sample,
    Scaling,
    identify,
    scaling_by_baseline,
    scaling_by_flag,
    scaling_by_raster_bands,
)
from deepcrop.sources.web import USER_AGENT, NotFound, Web

T = TypeVar("T")

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
"""STAC API of Planetary Computer; the environment variable DEEPCROP_PC names another."""

EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"
"""STAC API of Earth Search; the environment variable DEEPCROP_EARTH_SEARCH names another."""

# Our bands, and what archives call the asset: Planetary Computer and Earth Search version 0 by
# ESA's number, Earth Search version 1 by colour.
_ASSETS = {
    "blue": ("B02", "blue"),
    "green": ("B03", "green"),
    "red": ("B04", "red"),
    "nir": ("B08", "nir"),
    "scl": ("SCL", "scl"),
    "vv": ("vv",),
    "vh": ("vh",),
}
_BANDS = {"optical": (*OPTICAL_BANDS, "scl"), "sar": SAR_BANDS}
_RADAR_NODATA = -32768.0
_SAMPLE_SIDE = 512  # pixels of the whole product that the offset is checked on
_BLOCK = 512  # side of a block of a file, pixels: what is read beyond the area
_BYTES = {"scl": 0.015, "vv": 4.0, "vh": 4.0}  # per 10 m pixel, compressed, in real products
_BAND_BYTES = 1.6


@dataclass
class StacArchive:
    """Satellite images behind a STAC API; an `Archive`.

    Attributes
    ----------
    name : str
        Name on the command line.
    title : str
        Name for people.
    address : str
        Root of the API.
    collections : dict of str to str
        Collection of each sensor that the archive has.
    scaling : callable
        Decides the offset of a Sentinel-2 product.
    signed : bool
        Whether files need a token of Planetary Computer.
    orbits : str or int
        Relative orbits of the radar: ``"best"``, the one that covers most of the area most often;
        ``"all"``; or a number. One orbit sees a field always under the same angle.
    max_cloud : float
        Most cloud cover of a Sentinel-2 product, percent. A product that does not state it stays.
    keep : tuple of int
        Scene classes that are not masked.
    tries : int
        How often anything is tried.
    pause : float
        Seconds before the second try; doubles from try to try.
    """

    name: str
    title: str
    address: str
    collections: dict[str, str]
    scaling: Callable[[Mapping[str, Any], Sample], Scaling]
    signed: bool = False
    orbits: str | int = "best"
    max_cloud: float = 100.0
    keep: tuple[int, ...] = CLEAR_CLASSES
    tries: int = 5
    pause: float = 1.0
    _cogs: Cogs = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.address = self.address.rstrip("/")
        self._cogs = Cogs(self.signed, self.tries, self.pause)

    # Search ---------------------------------------------------------------------------------------

    def search(self, box: GeoBox, start: date, end: date, sensor: str) -> list[Scene]:
        """Scenes that touch ``box`` from ``start`` to ``end`` (both included), in order of time.

        Of products of the same acquisition only the newest version is kept. Sentinel-1 is that of
        the IW mode with VV and VH.

        Raises
        ------
        ArchiveError
            If the archive does not answer, refuses, or does not have the sensor.

        Warns
        -----
        OffsetWarning
            If the offset that the archive states for a product is not what its pixels show.
        """
        self._check_sensor(sensor)
        products = [
            product
            for item in self._items(box, start, end, sensor)
            if (product := _product(item, sensor, box)) is not None
            and (product.cloud_cover or 0) <= self.max_cloud
        ]
        passes = _passes(_newest(products), box)
        if sensor == "sar" and self.orbits != "all":
            orbit = _best_orbit(passes, box) if self.orbits == "best" else self.orbits
            passes = [group for group in passes if group[0].relative_orbit == orbit]
        prepare = self._prepare_optical if sensor == "optical" else self._prepare_radar
        sources = iter(_in_threads(prepare, [p for group in passes for p in group]))
        scenes = [_scene(sensor, group, [next(sources) for _ in group]) for group in passes]
        return sorted(scenes, key=lambda scene: scene.time)

    def _check_sensor(self, sensor: str) -> None:
        if sensor in self.collections:
            return
        if sensor not in SENSORS:
            raise ArchiveError(f"Sensor '{sensor}'; expected {' or '.join(SENSORS)}.")
        raise ArchiveError(
            f"{self.title} ({self.name}) has no {sensor} images that fit the cube; 'pc' (Planetary "
            "Computer) and 'ee' (Earth Engine) have Sentinel-1. Fetch from there, or only optical."
        )

    def _items(self, box: GeoBox, start: date, end: date, sensor: str) -> list[dict[str, Any]]:
        """Items of the collection over the area and period, each once."""
        stac_io = _PatientIO(self.tries, self.pause)
        items: dict[str, dict[str, Any]] = {}
        try:
            client = Client.open(self.address, stac_io=stac_io)
            for bounds in search_bounds(box):
                search = client.search(
                    collections=[self.collections[sensor]],
                    bbox=bounds,
                    datetime=f"{start}/{end}",
                    limit=100,
                    **(self._cloud_filter(client) if sensor == "optical" else {}),
                )
                items |= {item["id"]: item for item in search.items_as_dicts()}
        except (APIError, pystac.STACError, PystacClientWarning, ValueError, KeyError) as error:
            status = getattr(error, "status_code", None)
            reason = f"status {status}" if status else f"{type(error).__name__}: {error}"[:300]
            raise ArchiveError(
                f"{self.title} at {self.address} does not serve a search of "
                f"'{self.collections[sensor]}' ({reason}). Check the address and the connection, "
                "or try again later."
            ) from None
        return list(items.values())

    def _cloud_filter(self, client: Client) -> dict[str, Any]:
        """Let the server leave out cloudy products, in a language that it says it speaks."""
        if self.max_cloud >= 100:
            return {}
        if client.conforms_to("QUERY"):
            return {"query": {"eo:cloud_cover": {"lte": self.max_cloud}}}
        if client.conforms_to("FILTER"):
            cover = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, self.max_cloud]}
            return {"filter": cover, "filter_lang": "cql2-json"}
        return {}

    def _prepare_optical(self, product: _Product) -> dict[str, Any]:
        """What reading a Sentinel-2 product takes: its assets and its scaling."""
        try:
            scaling = self.scaling(product.item, lambda: self._sample(product.item))
        except SceneError as error:  # of this product; named again when it is read
            return {"item": product.item, "problem": str(error), "why": "unknown"}
        return {"item": product.item, "scaling": scaling.bands, "why": scaling.why}

    def _sample(self, item: Mapping[str, Any]) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Red band and scene classes of a whole product, from the overviews of its files."""

        def read(path: str) -> NDArray:
            with rasterio.open(path) as raster:
                return raster.read(1, out_shape=(_SAMPLE_SIDE, _SAMPLE_SIDE))

        red, classes = (
            self._cogs.read(item["assets"][band]["href"], _label(item, band), read)
            for band in ("red", "scl")
        )
        return red, classes

    def _prepare_radar(self, product: _Product) -> dict[str, Any]:
        """What reading a Sentinel-1 product takes: its assets and its angles."""
        grd = product.item["id"].removesuffix("_rtc")
        try:
            with Web(tries=self.tries, pause=self.pause) as web:
                item = web.json(f"{self.address}/collections/sentinel-1-grd/items/{grd}")
                annotation = item["assets"]["schema-product-vv"]["href"]
                angles = angles_from_annotation(web.text(self._cogs.sign(annotation)))
            why = f"annotation of {grd}"
        except (NotFound, KeyError, AnnotationError) as error:
            angles = angles_from_footprint(product.outline, product.ascending)
            reason = "no such product or file" if isinstance(error, NotFound) else str(error)
            why = f"approximate, from the footprint of {grd} ({reason})"
        return {"item": product.item, "angles": angles.to_json(), "why": why}

    # Read -----------------------------------------------------------------------------------------

    def read(self, scene: Scene, box: GeoBox) -> dict[str, NDArray]:
        """Pixels of a scene on ``box``, as `Archive.read` has it; ``scl`` among the optical.

        Where products overlap, a pixel is that of the first with data there: products on the
        grid's own UTM zone first, then the newest.

        Raises
        ------
        SceneError
            If a file is missing or damaged, or a product does not say what its numbers mean.
        ArchiveError
            If the archive does not serve any more.
        """
        products = sorted(
            scene.source["products"], key=lambda p: _epsg(p["item"]) != str(box.crs).upper()
        )
        for product in products:
            if "problem" in product:
                raise SceneError(product["problem"])
        read = self._read_optical if scene.sensor == "optical" else self._read_radar
        return read(products, box)

    def _read_optical(
        self, products: Sequence[Mapping[str, Any]], box: GeoBox
    ) -> dict[str, NDArray]:
        bands = {name: np.full(box.shape, np.nan, np.float32) for name in OPTICAL_BANDS}
        scl = np.zeros(box.shape, np.uint8)
        for product in products:
            classes = self._load(product["item"], "scl", box)
            new = (scl == 0) & (classes != 0)
            if np.isin(classes[new], self.keep).any():  # else there is nothing else to read
                scaling = Scaling(product["scaling"], product["why"])
                numbers = {name: self._load(product["item"], name, box) for name in OPTICAL_BANDS}
                new &= np.logical_and.reduce([values != 0 for values in numbers.values()])
                for name, values in numbers.items():
                    bands[name][new] = scaling.reflectance(name, values[new])
            scl[new] = classes[new]
        masked = ~np.isin(scl, self.keep)
        for values in bands.values():
            values[masked] = np.nan
        return {**bands, "scl": scl}

    def _read_radar(self, products: Sequence[Mapping[str, Any]], box: GeoBox) -> dict[str, NDArray]:
        bands = {name: np.full(box.shape, np.nan, np.float32) for name in SAR_BANDS}
        taken = np.zeros(box.shape, bool)
        for product in products:
            power = {name: self._load(product["item"], name, box) for name in SAR_BANDS}
            new = ~taken & np.logical_and.reduce(
                [np.isfinite(values) & (values != _RADAR_NODATA) for values in power.values()]
            )
            if not new.any():
                continue
            angles = Angles.from_json(product["angles"]).on(box)[new]
            for name, values in power.items():
                bands[name][new] = sigma0(values[new], angles)
            taken |= new
        return bands

    def _load(self, item: Mapping[str, Any], band: str, box: GeoBox) -> NDArray:
        """One band of one product on a grid; asks for no file that lies outside."""
        kind = {"scl": "uint8", "vv": "float32", "vh": "float32"}.get(band, "uint16")
        nodata = _RADAR_NODATA if kind == "float32" else 0
        only = dict(item) | {"assets": {band: item["assets"][band]}}

        def read(path: str) -> NDArray:
            data = odc.stac.load(
                [pystac.Item.from_dict(only)],
                bands=[band],
                geobox=box,
                groupby="id",
                resampling="nearest" if band == "scl" else "bilinear",
                dtype=kind,
                nodata=nodata,
                stac_cfg={"*": {"assets": {"*": {"data_type": kind, "nodata": nodata}}}},
                patch_url=lambda _: path,
            )
            return data[band].values[0]

        return self._cogs.read(item["assets"][band]["href"], _label(item, band), read)

    # What it takes, and what it was ---------------------------------------------------------------

    def size(self, scene: Scene, box: GeoBox) -> int:
        """Bytes that `read` will about move.

        Files are read in blocks, so half a block is added to each side of the area. Where the
        archive states the size of a file, the part of its footprint that is read counts; else
        1.6 bytes a 10 m pixel (4 for radar), as real products have.
        """
        around = box.extent.buffer(_BLOCK / 2 * abs(box.resolution.x))
        total = 0.0
        for product in scene.source["products"]:
            item = product["item"]
            footprint = _on_grid(item["geometry"], box)
            area = (footprint & around).area
            for band, asset in item["assets"].items():
                if "file:size" in asset:
                    total += asset["file:size"] * area / footprint.area
                else:
                    total += _BYTES.get(band, _BAND_BYTES) * area / 100
        return round(total)

    def attrs(self, sensor: str, scenes: Sequence[Scene]) -> dict[str, Any]:
        """Attributes of a group of the cube."""
        years = sorted({str(scene.time)[:4] for scene in scenes})
        attrs = {
            "source": self.title,
            "collection": self.collections[sensor],
            "attribution": f"contains modified Copernicus Sentinel data {', '.join(years)}",
        }
        if sensor == "optical":
            return attrs | {
                "processing_baseline": _joined(s.notes["processing_baseline"] for s in scenes),
                "offset": _joined(scene.notes["offset"] for scene in scenes),
                "mask": f"scene classes {', '.join(map(str, self.keep))} kept",
            }
        rough = sum("approximate" in scene.notes["incidence"] for scene in scenes)
        return attrs | {
            "radiometry": RADIOMETRIES[rough > 0],
            "processing_baseline": "not stated by the archive",
            "incidence": "annotation of the source products"
            + (f", approximate for {rough} of {len(scenes)} scenes" if rough else ""),
        }


def planetary_computer(address: str | None = None, **options: Any) -> StacArchive:
    """Microsoft Planetary Computer: Sentinel-2 L2A, and Sentinel-1 RTC.

    Files are read with tokens that it gives to everybody; planetary-computer's own settings hold
    (``PC_SDK_SAS_URL`` for another token service, ``PC_SDK_SUBSCRIPTION_KEY``).

    Parameters
    ----------
    address : str, optional
        Root of the STAC API; by default that in ``DEEPCROP_PC``, else `PLANETARY_COMPUTER`.
    **options
        ``orbits``, ``max_cloud``, ``keep``, ``tries`` and ``pause`` of `StacArchive`.
    """
    return StacArchive(
        "pc",
        "Microsoft Planetary Computer",
        address or os.environ.get("DEEPCROP_PC") or PLANETARY_COMPUTER,
        {"optical": "sentinel-2-l2a", "sar": "sentinel-1-rtc"},
        scaling_by_baseline,
        signed=True,
        **options,
    )


def earth_search(address: str | None = None, **options: Any) -> StacArchive:
    """Earth Search: Sentinel-2 L2A, collection 1.

    Parameters
    ----------
    address : str, optional
        Root of the STAC API; by default that in ``DEEPCROP_EARTH_SEARCH``, else `EARTH_SEARCH`.
    **options
        ``max_cloud``, ``keep``, ``tries`` and ``pause`` of `StacArchive`.
    """
    return StacArchive(
        "earth-search",
        "Earth Search",
        address or os.environ.get("DEEPCROP_EARTH_SEARCH") or EARTH_SEARCH,
        {"optical": "sentinel-2-c1-l2a"},
        scaling_by_raster_bands,
        **options,
    )


def earth_search_legacy(address: str | None = None, **options: Any) -> StacArchive:
    """Earth Search: Sentinel-2 L2A, the collection before collection 1; as `earth_search`.

    Its statement of the offset is checked against the pixels of each product since 2022, so a
    search takes longer.
    """
    return replace(
        earth_search(address, **options),
        name="earth-search-v0",
        collections={"optical": "sentinel-2-l2a"},
        scaling=scaling_by_flag,
    )


# Products -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Product:
    item: dict[str, Any]  # as `_minimal` makes it
    time: np.datetime64
    acquisition: str
    version: tuple[float, str]  # later ones are greater
    relative_orbit: int | None
    cloud_cover: float | None
    footprint: Geometry  # on the grid's reference system
    ascending: bool

    @property
    def outline(self) -> list[tuple[float, float]]:
        return _corners(self.item["geometry"])


def _product(item: dict[str, Any], sensor: str, box: GeoBox) -> _Product | None:
    """Make a product of an item; None if it is not of the kind we read, or beside the area."""
    properties = item["properties"]
    assets = {
        band: next((item["assets"][name] for name in _ASSETS[band] if name in item["assets"]), None)
        for band in _BANDS[sensor]
    }
    if None in assets.values() or properties.get("sar:instrument_mode", "IW") != "IW":
        return None
    footprint = _on_grid(item["geometry"], box)
    if not footprint.intersects(box.extent):
        return None
    begin = properties.get("start_datetime") or properties["datetime"]
    if sensor == "optical":
        identity = identify(item)
        acquisition, orbit = identity.acquisition, identity.relative_orbit
        version = (identity.baseline or 0.0, identity.generation)
    else:
        acquisition = f"{properties['platform']}_{properties.get('sat:absolute_orbit')}"
        orbit = properties.get("sat:relative_orbit")
        version = (0.0, str(properties.get("created") or properties.get("updated") or ""))
    return _Product(
        _minimal(item, assets),
        _utc(begin),
        acquisition,
        version,
        orbit,
        properties.get("eo:cloud_cover"),
        footprint,
        properties.get("sat:orbit_state") == "ascending",
    )


def _minimal(item: Mapping[str, Any], assets: Mapping[str, Any]) -> dict[str, Any]:
    """Make the item that odc-stac and the choice of offset need, its assets under our names."""
    properties = item["properties"]
    kept = ("datetime", "start_datetime", "proj:shape", "proj:transform")
    prefixes = ("s2:p", "sentinel:p", "sentinel:boa", "earthsearch:boa")
    slim = {
        key: value
        for key, value in properties.items()
        if key in kept or (key.startswith(prefixes) and "percentage" not in key)
    }
    code = properties.get("proj:code") or properties.get("proj:epsg")
    if code is not None:
        slim["proj:code"] = str(code) if ":" in str(code) else f"EPSG:{code}"
    fields = ("href", "type", "roles", "proj:shape", "proj:transform", "raster:bands", "file:size")
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        "id": item["id"],
        "bbox": item["bbox"],
        "geometry": item["geometry"],
        "properties": slim,
        "links": [],
        "assets": {
            band: {key: asset[key] for key in fields if key in asset}
            for band, asset in assets.items()
        },
    }


def _newest(products: Iterable[_Product]) -> list[_Product]:
    """Drop products that a newer version of the same acquisition covers."""
    kept: list[_Product] = []
    for product in sorted(products, key=lambda p: (p.version, p.item["id"]), reverse=True):
        versions = [p.footprint for p in kept if p.acquisition == product.acquisition]
        area = product.footprint.area
        if not any((product.footprint & newer).area > 0.9 * area for newer in versions):
            kept.append(product)
    return kept


def _passes(products: Iterable[_Product], box: GeoBox) -> list[list[_Product]]:
    """Put products of one solar day and one relative orbit together, the newest first."""
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    left, bottom, right, top = box.boundingbox.bbox
    longitude = to_degrees.transform((left + right) / 2, (bottom + top) / 2)[0]
    ahead = np.timedelta64(round(longitude / 15 * 3600), "s")
    groups: dict[Any, list[_Product]] = defaultdict(list)
    for product in products:
        day = (product.time + ahead).astype("datetime64[D]")
        groups[day, product.relative_orbit].append(product)
    return list(groups.values())


def _best_orbit(passes: Iterable[Sequence[_Product]], box: GeoBox) -> int | None:
    """Relative orbit with the most area times scenes; of equals, the lowest number."""
    covered: Counter[int | None] = Counter()
    for group in passes:
        seen = unary_union([product.footprint for product in group])
        covered[group[0].relative_orbit] += round((seen & box.extent).area)
    return min(covered, key=lambda orbit: (-covered[orbit], orbit or 0), default=None)


def _scene(sensor: str, products: Sequence[_Product], sources: Sequence[dict[str, Any]]) -> Scene:
    clouds = [p.cloud_cover for p in products if p.cloud_cover is not None]
    why = _joined(source["why"] for source in sources)
    if sensor == "optical":
        baselines = _joined(
            f"{p.version[0]:05.2f}" if p.version[0] else "unknown" for p in products
        )
        notes = {"processing_baseline": baselines, "offset": why}
    else:
        notes = {"incidence": why}
    return Scene(
        sensor,
        min(product.time for product in products),
        tuple(product.item["id"] for product in products),
        products[0].relative_orbit,
        float(np.mean(clouds)) if clouds else None,
        notes,
        {"products": list(sources)},
    )


def _label(item: Mapping[str, Any], band: str) -> str:
    return f"{item['id']}, asset {_ASSETS[band][0]}"


def _epsg(item: Mapping[str, Any]) -> str:
    return str(item["properties"].get("proj:code", ""))


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _utc(text: str) -> np.datetime64:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "ns")


# Places -------------------------------------------------------------------------------------------


def search_bounds(box: GeoBox) -> list[tuple[float, float, float, float]]:
    """West, south, east, north of a grid in degrees: two of them where it crosses the date line."""
    left, bottom, right, top = box.boundingbox.bbox
    along = np.linspace(0, 1, 21)
    xs, ys = left + along * (right - left), bottom + along * (top - bottom)
    x = np.concatenate([xs, xs, np.full(21, left), np.full(21, right)])
    y = np.concatenate([np.full(21, bottom), np.full(21, top), ys, ys])
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(x, y)
    longitude = longitude[0] + (longitude - longitude[0] + 180) % 360 - 180
    west, east = float(longitude.min()), float(longitude.max())
    south, north = float(latitude.min()), float(latitude.max())
    if west < -180:
        return [(west + 360, south, 180.0, north), (-180.0, south, east, north)]
    if east > 180:
        return [(west, south, 180.0, north), (-180.0, south, east - 360, north)]
    return [(west, south, east, north)]


def _on_grid(geometry: Mapping[str, Any], box: GeoBox) -> Geometry:
    """Footprint in the grid's reference system, where the date line is no edge."""
    return Geometry(dict(geometry), "EPSG:4326").to_crs(box.crs, check_and_fix=True)


def _corners(geometry: Mapping[str, Any]) -> list[tuple[float, float]]:
    polygons = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    return [(x, y) for polygon in polygons for x, y, *_ in polygon[0]]


# Requests -----------------------------------------------------------------------------------------


def _in_threads(function: Callable[[_Product], T], products: Sequence[_Product]) -> list[T]:
    pool = ThreadPoolExecutor(8)
    try:
        return list(pool.map(function, products))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error nothing new begins


class _PatientIO(StacApiIO):
    """Requests of the API, tried again where the server is busy or the connection breaks."""

    def __init__(self, tries: int, pause: float) -> None:
        busy = Retry(
            total=tries,
            connect=0,
            read=0,
            status=tries,
            backoff_factor=pause,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,  # a search is a POST, and may be asked again
            raise_on_status=False,
        )
        super().__init__(max_retries=busy, timeout=60, headers={"User-Agent": USER_AGENT})
        self._again = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(tries),
            wait=tenacity.wait_exponential(multiplier=pause, max=60),
            retry=tenacity.retry_if_exception(_is_broken),
            reraise=True,
        )

    def request(self, *args: Any, **kwargs: Any) -> str:
        return self._again(super().request, *args, **kwargs)


def _is_broken(error: BaseException) -> bool:
    """Whether there was no whole answer, as against one that refuses."""
    return isinstance(error, APIError) and error.status_code is None

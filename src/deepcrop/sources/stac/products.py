"""Make products from STAC items, drop old versions, and group products into passes."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geom import Geometry, unary_union
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely.errors import GEOSException

from deepcrop.cube.contract import SAR_BANDS
from deepcrop.cube.passes import number_passes
from deepcrop.errors import MALFORMED, DeepCropError
from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.footprints import footprint_polygons, name_of, valid_geometry
from deepcrop.sources.left_out import leave_out
from deepcrop.sources.sentinel2 import identify

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from odc.geo.geobox import GeoBox

# Planetary Computer and version 0 of Earth Search use ESA's band numbers, version 1 of Earth Search
# uses colours, the Copernicus Data Space has each band at several resolutions.
_SENTINEL2_ASSETS = {
    "blue": ("B02", "blue", "B02_10m"),
    "green": ("B03", "green", "B03_10m"),
    "red": ("B04", "red", "B04_10m"),
    "scl": ("SCL", "scl", "SCL_20m"),
}
_NIR_ASSETS = {"B08": ("B08", "nir", "B08_10m"), "B07": ("B07", "rededge3", "B07_20m")}

SENTINEL1_ASSETS = {name: (name,) for name in SAR_BANDS}
"""Assets of Sentinel-1 products that are read."""

_MAX_EDGE = 0.1  # degrees: longer edges of a footprint are divided
_MIN_COVER = 0.9  # share of an older version's footprint that a newer version must cover


@dataclass(frozen=True)
class Product:
    """One product over a grid.

    Attributes
    ----------
    item : dict
        What reading it needs, as a STAC item with its assets under the names of the cube's bands,
        without signatures.
    time : datetime64[ns]
        Start, UTC.
    acquisition : str
        The same for all versions of a product.
    version : tuple
        Processing baseline (0 if unknown) and time of processing; a greater version is newer.
    relative_orbit : int or None
    cloud_cover : float or None
        Percent.
    ascending : bool
        Whether the satellite flew north.
    footprint : Geometry
        In the reference system of the grid, where the date line is not an edge.
    """

    item: dict[str, Any]
    time: np.datetime64
    acquisition: str
    version: tuple[float, str]
    relative_orbit: int | None
    cloud_cover: float | None
    ascending: bool
    footprint: Geometry


def sentinel2_assets(nir: str = "B08") -> Mapping[str, tuple[str, ...]]:
    """List the assets of Sentinel-2 products that are read, with the names that archives give them.

    Parameters
    ----------
    nir : str
        Band that is read as near infrared: ``B08`` or ``B07``.

    Examples
    --------
    >>> sentinel2_assets()["nir"]
    ('B08', 'nir', 'B08_10m')
    """
    return _SENTINEL2_ASSETS | {"nir": _NIR_ASSETS[nir]}


def usable_products(
    items: Iterable[Mapping[str, Any]],
    sensor: str,
    box: GeoBox,
    archive: str,
    assets: Mapping[str, Sequence[str]] | None = None,
) -> list[Product]:
    """Make products from the items of a search; an item that cannot be used is left out and named.

    Parameters
    ----------
    items : iterable of dict
        STAC items.
    sensor : str
        ``optical`` or ``sar``.
    box : GeoBox
        The grid.
    archive : str
        Name of the archive, for messages.
    assets : mapping, optional
        Assets that are read, and the names that they may have in an item; by default those of
        Sentinel-2 or Sentinel-1.

    Raises
    ------
    ArchiveError
        If no item can be used.
    """
    products, problems, number = [], [], 0
    for number, item in enumerate(items, 1):  # noqa: B007
        try:
            product = product_of(item, sensor, box, assets)
        except SceneError as error:
            problems.append(f"{archive}: {error}")
            leave_out(problems[-1])
        else:
            products += [product] if product else []
    if problems and len(problems) == number:
        raise ArchiveError(f"{archive} has no {sensor} product that can be used. {problems[0]}")
    return products


def product_of(
    item: Mapping[str, Any],
    sensor: str,
    box: GeoBox,
    assets: Mapping[str, Sequence[str]] | None = None,
) -> Product | None:
    """Make a product from an item; None if it does not touch the grid, or is of another kind.

    Sentinel-1 products must be of the IW mode, with VV and VH.

    Raises
    ------
    SceneError
        If the item is not of the form that the archive promises.
    """
    try:
        usual = sentinel2_assets() if sensor == "optical" else SENTINEL1_ASSETS
        return _product_of(item, sensor, box, usual if assets is None else assets)
    except (*MALFORMED, DeepCropError, GEOSException, CRSError, ProjError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise SceneError(f"{name_of(item)} is left out, because {why[:200]}.") from None


def _product_of(
    item: Mapping[str, Any], sensor: str, box: GeoBox, wanted: Mapping[str, Sequence[str]]
) -> Product | None:
    properties, known_assets = item["properties"], item["assets"]
    if not (isinstance(item["id"], str) and item["id"].strip()):
        raise ValueError(f"its id is {str(item['id'])[:40]!r}, expected a name")
    assets = {}
    for band, names in wanted.items():
        name = next((name for name in names if name in known_assets), None)
        if name is None:
            return None
        assets[band] = known_assets[name] | {"name": name}
        if not isinstance(assets[band]["href"], str):
            raise ValueError(f"its asset {name} has no address")
    if properties.get("sar:instrument_mode", "IW") != "IW":
        return None
    footprint = on_grid(item["geometry"], box)
    if not footprint.intersects(box.extent):
        return None
    if sensor == "optical":
        identity = identify(item)
        acquisition, orbit = identity.acquisition, identity.relative_orbit
        version = (identity.baseline or 0.0, identity.generation)
    else:
        acquisition = f"{properties.get('platform')} {properties.get('sat:absolute_orbit')}"
        orbit = properties.get("sat:relative_orbit")
        version = (0.0, str(properties.get("created") or ""))
    cloud = properties.get("eo:cloud_cover")
    return Product(
        _minimal(item, assets),
        _utc(properties.get("start_datetime") or properties["datetime"]),
        acquisition,
        version,
        None if orbit is None else int(_number("its relative orbit", orbit, 1, 1000)),
        None if cloud is None else _number("its cloud cover", cloud, 0, 100),
        properties.get("sat:orbit_state") == "ascending",
        footprint,
    )


def _number(what: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{what} is {str(value)[:40]!r}, expected a number, {least:g} to {most:g}")
    return float(value)


def on_grid(geometry: Mapping[str, Any], box: GeoBox) -> Geometry:
    """Reproject the footprint of an item to the reference system of a grid.

    Its edges are straight in degrees, so long edges get additional corners.
    """
    middle = _longitude(box)
    polygons = [
        [[((x - middle + 180) % 360 - 180 + middle, y) for x, y in ring] for ring in polygon]
        for polygon in footprint_polygons(geometry)
    ]  # longitudes near the grid's, so that none jumps at the date line
    footprint = valid_geometry(polygons).to_crs(
        str(box.crs), resolution=_MAX_EDGE, check_and_fix=True
    )
    if not (footprint.area > 0 and math.isfinite(footprint.area)):
        raise SceneError("its footprint has no area")
    return footprint


def outline(item: Mapping[str, Any]) -> list[tuple[float, float]]:
    """List the longitude and latitude of the corners of an item's footprint."""
    return [place for polygon in footprint_polygons(item["geometry"]) for place in polygon[0]]


def _longitude(box: GeoBox) -> float:
    """Longitude of the middle of a grid."""
    left, bottom, right, top = box.boundingbox.bbox
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    return float(to_degrees.transform((left + right) / 2, (bottom + top) / 2)[0])


def newest(products: Iterable[Product]) -> list[Product]:
    """Drop products that a newer version of the same acquisition covers; sort newest first.

    An acquisition can have two products side by side, if the data went to two ground stations; both
    are kept.
    """
    kept: list[Product] = []
    for product in sorted(products, key=lambda p: (p.version, p.item["id"]), reverse=True):
        versions = (p.footprint for p in kept if p.acquisition == product.acquisition)
        needed = _MIN_COVER * product.footprint.area
        if not any((product.footprint & newer).area > needed for newer in versions):
            kept.append(product)
    return kept


def passes(products: Iterable[Product]) -> list[list[Product]]:
    """Group products of one pass (`deepcrop.cube.passes`), keeping their order."""
    every = list(products)
    numbers = number_passes(
        np.array([p.time for p in every], "datetime64[ns]"), [p.relative_orbit for p in every]
    )
    groups: dict[int, list[Product]] = defaultdict(list)
    for number, product in zip(numbers, every, strict=True):
        groups[int(number)].append(product)
    return list(groups.values())


def best_orbit(groups: Iterable[Sequence[Product]], box: GeoBox) -> int | None:
    """Find the relative orbit that covers most area, summed over its scenes; lowest of equals."""
    covered: Counter[int | None] = Counter()
    for group in groups:
        seen = unary_union([product.footprint & box.extent for product in group])
        covered[group[0].relative_orbit] += 0 if seen is None else round(seen.area)
    return min(covered, key=lambda orbit: (-covered[orbit], orbit or 0), default=None)


def _minimal(item: Mapping[str, Any], assets: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce an item to what odc-stac and the choice of the offset need."""
    properties = item["properties"]
    about = ("processing_baseline", "product_uri", "product_id", "boa_offset_applied")
    slim = {k: v for k, v in properties.items() if k.split(":")[-1] in about}
    if (version := properties.get("processing:version")) is not None:
        slim["processing:version"] = str(version)
    # The STAC library wants a time; the product has its own, and this one may be null.
    slim["datetime"] = f"{_utc(properties.get('start_datetime') or properties['datetime'])}Z"
    code = properties.get("proj:code") or properties.get("proj:epsg")
    if code is None:  # the Copernicus Data Space states it for each asset
        code = next((a["proj:code"] for a in assets.values() if a.get("proj:code")), None)
    if code is not None:
        slim["proj:code"] = str(code) if ":" in str(code) else f"EPSG:{code}"
        CRS.from_user_input(slim["proj:code"])  # raises if it is unknown
    slim |= _placement(properties)
    fields = ("name", "href", "type", "roles", "raster:bands", "raster:scale", "raster:offset")
    slim_assets = {}
    for band, asset in assets.items():
        slim_assets[band] = {key: asset[key] for key in fields if key in asset} | _placement(asset)
        if (size := asset.get("file:size")) is not None:
            slim_assets[band]["file:size"] = int(_number("file:size", size, 0, 2**50))
    bbox = [_number("its bbox", v, -540, 540) for v in item["bbox"]]
    slim_item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        "id": item["id"],
        "bbox": bbox,
        "geometry": item["geometry"],
        "properties": slim,
        "links": [],
        "assets": slim_assets,
    }
    json.dumps(slim_item, ensure_ascii=False).encode()  # half characters cannot be written down
    return slim_item


def _placement(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Shape and geotransform as an item states them, checked."""
    found: dict[str, Any] = {}
    if (shape := stated.get("proj:shape")) is not None:
        found["proj:shape"] = [int(_number("proj:shape", side, 1, 1e6)) for side in shape]
        if len(found["proj:shape"]) != 2:
            raise ValueError(f"proj:shape is {str(shape)[:80]}, expected rows and columns")
    if (transform := stated.get("proj:transform")) is not None:
        numbers = [_number("proj:transform", v, -1e9, 1e9) for v in transform]
        if len(numbers) not in (6, 9) or numbers[0] == 0 or numbers[4] == 0:
            raise ValueError(f"proj:transform is {str(transform)[:80]}, expected 6 or 9 numbers")
        found["proj:transform"] = numbers
    return found


def _utc(text: str) -> np.datetime64:
    """Convert a time, in UTC if it states no zone."""
    moment = datetime.fromisoformat(text)
    if not 1970 <= moment.year < 2200:
        raise ValueError(f"its time is {text}")
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "ns")

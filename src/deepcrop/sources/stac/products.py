"""Products behind STAC items: which are versions of the same, and which make up one pass."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, unary_union
from pyproj import Transformer

from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS
from deepcrop.sources.sentinel2 import identify

BANDS = {"optical": (*OPTICAL_BANDS, "scl"), "sar": SAR_BANDS}
"""What is read of a product of each sensor."""

# What archives call the assets: Planetary Computer and version 0 of Earth Search by ESA's number,
# version 1 of Earth Search by colour.
_ASSETS = {
    "blue": ("B02", "blue"),
    "green": ("B03", "green"),
    "red": ("B04", "red"),
    "nir": ("B08", "nir"),
    "scl": ("SCL", "scl"),
    "vv": ("vv",),
    "vh": ("vh",),
}
_EDGE = 0.1  # degrees: longer edges of a footprint are cut up
_SAME = 0.9  # of the area of a footprint: what a newer version must cover of an older


@dataclass(frozen=True)
class Product:
    """One product over a grid.

    Attributes
    ----------
    item : dict
        What reading it takes, as a STAC item with its assets under the names of our bands; without
        signatures.
    time : datetime64[ns]
        Start, UTC.
    acquisition : str
        The same for all versions of a product.
    version : tuple
        Processing baseline (0 if unknown) and time of processing; greater ones are newer.
    relative_orbit : int or None
    cloud_cover : float or None
        Percent.
    ascending : bool
        Whether the satellite flew north.
    footprint : Geometry
        In the reference system of the grid, where the date line is no edge.
    """

    item: dict[str, Any]
    time: np.datetime64
    acquisition: str
    version: tuple[float, str]
    relative_orbit: int | None
    cloud_cover: float | None
    ascending: bool
    footprint: Geometry


def product_of(item: Mapping[str, Any], sensor: str, box: GeoBox) -> Product | None:
    """Make a product of an item; None if it is beside the grid, or not of the kind we read.

    Sentinel-1 is read in the IW mode and with VV and VH.
    """
    properties = item["properties"]
    assets = {}
    for band in BANDS[sensor]:
        name = next((name for name in _ASSETS[band] if name in item["assets"]), None)
        if name is None:
            return None
        assets[band] = item["assets"][name] | {"name": name}
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
    return Product(
        _minimal(item, assets),
        _utc(properties.get("start_datetime") or properties["datetime"]),
        acquisition,
        version,
        orbit,
        properties.get("eo:cloud_cover"),
        properties.get("sat:orbit_state") == "ascending",
        footprint,
    )


def on_grid(geometry: Mapping[str, Any], box: GeoBox) -> Geometry:
    """Bring the footprint of an item onto the reference system of a grid.

    Its edges are straight in degrees, so they get more corners on the way.
    """
    middle = _longitude(box)
    polygons = [
        [[((x - middle + 180) % 360 - 180 + middle, y) for x, y, *_ in ring] for ring in polygon]
        for polygon in _polygons(geometry)  # longitudes near ours, so that none jumps
    ]
    footprint = Geometry({"type": "MultiPolygon", "coordinates": polygons}, "EPSG:4326")
    return footprint.to_crs(str(box.crs), resolution=_EDGE, check_and_fix=True)


def outline(item: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Longitude and latitude of the corners of an item's footprint."""
    return [(x, y) for polygon in _polygons(item["geometry"]) for x, y, *_ in polygon[0]]


def _polygons(geometry: Mapping[str, Any]) -> list:
    parts = geometry["coordinates"]
    return [parts] if geometry["type"] == "Polygon" else parts


def _longitude(box: GeoBox) -> float:
    """Longitude of the middle of a grid."""
    left, bottom, right, top = box.boundingbox.bbox
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    return float(to_degrees.transform((left + right) / 2, (bottom + top) / 2)[0])


def newest(products: Iterable[Product]) -> list[Product]:
    """Drop products that a newer version of the same acquisition covers; the newest come first.

    An acquisition can have two products that lie side by side, where the data went to two ground
    stations; these both stay.
    """
    kept: list[Product] = []
    for product in sorted(products, key=lambda p: (p.version, p.item["id"]), reverse=True):
        versions = (p.footprint for p in kept if p.acquisition == product.acquisition)
        needed = _SAME * product.footprint.area
        if not any((product.footprint & newer).area > needed for newer in versions):
            kept.append(product)
    return kept


def passes(products: Iterable[Product], box: GeoBox) -> list[list[Product]]:
    """Put products of one solar day and one relative orbit together, keeping their order."""
    ahead = np.timedelta64(round(_longitude(box) / 15 * 3600), "s")
    groups: dict[Any, list[Product]] = defaultdict(list)
    for product in products:
        day = (product.time + ahead).astype("datetime64[D]")
        groups[day, product.relative_orbit].append(product)
    return list(groups.values())


def best_orbit(groups: Iterable[Sequence[Product]], box: GeoBox) -> int | None:
    """Relative orbit with the most scenes times area; of equals, the lowest number."""
    covered: Counter[int | None] = Counter()
    for group in groups:
        seen = unary_union([product.footprint & box.extent for product in group])
        covered[group[0].relative_orbit] += 0 if seen is None else round(seen.area)
    return min(covered, key=lambda orbit: (-covered[orbit], orbit or 0), default=None)


def _minimal(item: Mapping[str, Any], assets: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of an item what odc-stac and the choice of the offset need."""
    properties = item["properties"]
    kept = ("datetime", "proj:shape", "proj:transform")
    about = ("processing_baseline", "product_uri", "product_id", "boa_offset_applied")
    slim = {k: v for k, v in properties.items() if k in kept or k.split(":")[-1] in about}
    code = properties.get("proj:code") or properties.get("proj:epsg")
    if code is not None:
        slim["proj:code"] = str(code) if ":" in str(code) else f"EPSG:{code}"
    fields = ("name", "href", "type", "roles", "proj:shape", "proj:transform", "raster:bands")
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
            band: {key: asset[key] for key in (*fields, "file:size") if key in asset}
            for band, asset in assets.items()
        },
    }


def _utc(text: str) -> np.datetime64:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "ns")

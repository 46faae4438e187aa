"""List the images of a collection over an area, and group those of one pass into a scene."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geom import Geometry, polygon, unary_union
from pyproj import Transformer
from shapely.errors import GEOSException

from deepcrop.cube.passes import number_passes
from deepcrop.errors import MALFORMED
from deepcrop.sources.archive import ArchiveError, Scene, SceneError
from deepcrop.sources.earthengine.connection import send_request
from deepcrop.sources.footprints import footprint_polygons, name_of, valid_geometry
from deepcrop.sources.left_out import leave_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from odc.geo.geobox import GeoBox

OFFSET = "none applied: HARMONIZED images have the +1000 of baseline 04.00 already removed"
"""What a scene says of the offset of its reflectance."""


@dataclass(frozen=True)
class Product:
    """One image of a collection."""

    asset: str
    time: np.datetime64
    orbit: int
    acquisition: tuple[str, ...]  # the same for all processings of the same data
    version: str
    processed: float
    footprint: Geometry
    cloud: float | None = None
    direction: str = ""


def region_of(box: GeoBox) -> Geometry:
    """Outline of a grid in degrees, divided in two at the date line."""
    left, bottom, right, top = box.boundingbox.bbox
    centre, middle = (left + right) / 2, (bottom + top) / 2
    x = np.array([left, centre, right, right, right, centre, left, left])
    y = np.array([top, top, top, middle, bottom, bottom, bottom, middle])
    lon, lat = _to_degrees(box).transform(x, y)
    if np.ptp(lon) > 180:
        lon = lon % 360
    world = polygon([(-180, -90), (180, -90), (180, 90), (-180, 90), (-180, -90)], "EPSG:4326")
    sides = [polygon([*zip(lon + turn, lat, strict=True)], "EPSG:4326") for turn in (0, -360)]
    outline: Geometry = (sides[0] & world) | (sides[1] & world)
    return outline


def _to_degrees(box: GeoBox) -> Transformer:
    return Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)


def list_images(
    collection: str, region: Geometry, start: date, end: date, conditions: list[str]
) -> list[dict[str, Any]]:
    """List all images of a collection over a region, from ``start`` to ``end``."""
    import ee

    # Six decimals keep the URL of the request short.
    outline = json.loads(json.dumps(region.json), parse_float=lambda text: round(float(text), 6))
    query = {
        "parent": collection,
        "startTime": f"{start.isoformat()}T00:00:00Z",
        "endTime": f"{(end + timedelta(days=1)).isoformat()}T00:00:00Z",
        "region": outline,
        "properties": conditions,
    }
    label = f"Earth Engine, list of {collection}"
    answer = send_request(lambda: ee.data.listImages(query), label, ArchiveError)
    images = answer.get("images") if isinstance(answer, dict) else None
    if not isinstance(images, list | None):
        raise ArchiveError(f"{label}: the answer is no list of images. Try again later.")
    return images or []


def described(
    describe: Callable[[Mapping[str, Any]], Product | None], images: Sequence[Mapping[str, Any]]
) -> list[Product]:
    """Make products of images; an image that cannot be used is left out and named.

    Raises
    ------
    ArchiveError
        If no image can be used.
    """
    products, problems = [], []
    for image in images:
        try:
            json.dumps(image, ensure_ascii=False).encode()  # half characters cannot be written down
            product = describe(image)
        except (*MALFORMED, SceneError, GEOSException) as error:
            problems.append(
                f"Earth Engine describes the image {name_of(image)} in another way than expected "
                f"({type(error).__name__}: {error}); it is left out."
            )
            leave_out(problems[-1])
        else:
            products += [product] if product else []
    if images and len(problems) == len(images):
        raise ArchiveError(f"{problems[0]} Is there a newer version of deepcrop?")
    return products


def optical_product(image: Mapping[str, Any]) -> Product:
    """Make a product of an image of Sentinel-2."""
    properties = image["properties"]
    take = properties["DATATAKE_IDENTIFIER"].rpartition("_N")[0]  # without the baseline
    strip = re.search(r"_S(\d{8}T\d{6})", properties["DATASTRIP_ID"])
    return Product(
        asset=_name(image["id"]),
        time=_time(image),
        orbit=_orbit(properties["SENSING_ORBIT_NUMBER"]),
        acquisition=(take, str(properties["MGRS_TILE"]), strip[1] if strip else ""),
        version=str(properties["PROCESSING_BASELINE"]),
        processed=_moment(properties["GENERATION_TIME"]),
        footprint=_footprint(image),
        cloud=float(properties["CLOUDY_PIXEL_PERCENTAGE"]),
    )


def radar_product(image: Mapping[str, Any]) -> Product | None:
    """Make a product with both VV and VH; None for others."""
    properties = image["properties"]
    if not {"VV", "VH"} <= set(properties["transmitterReceiverPolarisation"]):
        return None
    return Product(
        asset=_name(image["id"]),
        time=_time(image),
        orbit=_orbit(properties["relativeOrbitNumber_start"]),
        acquisition=(image["id"].rpartition("_")[0],),  # the last part distinguishes processings
        version=str(properties["GRD_Post_Processing_software_version"]),
        processed=_moment(properties["GRD_Post_Processing_start"]),
        footprint=_footprint(image),
        direction=str(properties["orbitProperties_pass"]).lower(),
    )


def _time(image: Mapping[str, Any]) -> np.datetime64:
    time = np.datetime64(image["startTime"].removesuffix("Z"), "s")
    if not np.datetime64("1970") <= time < np.datetime64("2200"):  # NaT too; ns ends in 2262
        raise ValueError(f"its time is {image['startTime']}")
    return np.datetime64(image["startTime"].removesuffix("Z"), "ns")


def _name(stated: Any) -> str:
    if not (isinstance(stated, str) and stated):
        raise ValueError(f"its id is {stated!r}")
    return stated


def _moment(stated: Any) -> float:
    if not 0 <= (moment := float(stated)) < 1e15:  # NaN too, which has no place in an order
        raise ValueError(f"its time of processing is {stated}")
    return moment


def _orbit(stated: Any) -> int:
    if not 1 <= (orbit := int(stated)) <= 1000:
        raise ValueError(f"its orbit is {stated}")
    return orbit


def _footprint(image: Mapping[str, Any]) -> Geometry:
    return valid_geometry(footprint_polygons(image["geometry"]))


def newest(products: Sequence[Product]) -> Iterator[Product]:
    """Keep the newest processing of each product, sorted newest first."""
    seen = set()
    for product in sorted(products, key=lambda p: (p.processed, p.asset), reverse=True):
        if product.acquisition not in seen:
            seen.add(product.acquisition)
            yield product


def passes_of(products: Iterator[Product]) -> list[list[Product]]:
    """Group products of one pass (`deepcrop.cube.passes`)."""
    every = list(products)
    times = np.array([product.time for product in every], "datetime64[ns]")
    groups = defaultdict(list)
    for number, product in zip(number_passes(times, [p.orbit for p in every]), every, strict=True):
        groups[int(number)].append(product)
    return list(groups.values())


def best_orbit(passes: list[list[Product]], region: Geometry) -> list[list[Product]]:
    """Keep the passes of the orbit that covers most of the region, summed over its passes."""
    covered: dict[int, float] = defaultdict(float)
    for products in passes:
        seen = unary_union([product.footprint & region for product in products])
        covered[products[0].orbit] += seen.area / region.area if seen else 0.0
    best = max(covered, key=lambda orbit: (round(covered[orbit], 6), -orbit), default=None)
    return [products for products in passes if products[0].orbit == best]


def scene_of(sensor: str, products: list[Product]) -> Scene:
    """Make the scene of a pass."""
    notes = {"processing_baseline": ", ".join(sorted({p.version for p in products}))}
    clouds = [p.cloud for p in products if p.cloud is not None]
    if sensor == "optical":
        notes["offset"] = OFFSET
    else:
        notes["pass"] = products[0].direction
    return Scene(
        sensor=sensor,
        time=min(p.time for p in products),
        products=tuple(p.asset.rpartition("/")[2] for p in products),
        relative_orbit=products[0].orbit,
        cloud_cover=sum(clouds) / len(clouds) if clouds else None,
        notes=notes,
        source={
            "images": [
                {"asset": p.asset, "bounds": list(p.footprint.boundingbox.bbox)} for p in products
            ]
        },
    )

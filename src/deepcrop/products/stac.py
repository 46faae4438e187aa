"""Describe a map in STAC: one item with all its files, in a collection of its own."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pystac
import shapely
from pyproj import Transformer
from shapely.affinity import translate
from shapely.geometry import Polygon
from shapely.geometry.polygon import orient

from deepcrop._version import __version__
from deepcrop.products.cog import crs_name
from deepcrop.products.layers import FLAGS, Layer, codes_of
from deepcrop.stages import YEAR_START, TargetYear
from deepcrop.storage.files import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr
    from odc.geo.geobox import GeoBox

_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
]


def stac_item(
    title: str,
    year: TargetYear,
    methods: list[str],
    assets: Mapping[str, pystac.Asset],
    box: GeoBox,
    properties: Mapping[str, Any],
) -> pystac.Item:
    """Item that describes all files of the folder, with links relative to itself.

    Parameters
    ----------
    title : str
        Name of the region.
    year : TargetYear
        Target year.
    methods : list of str
        Methods it was mapped by.
    assets : mapping of str to Asset
    box : GeoBox
    properties : mapping
        More of them.
    """
    geometry, bbox = _footprint(box)
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "map"
    crs = crs_name(box)
    code = crs if crs.startswith("EPSG:") else None
    first, last = (day.astype(date) for day in year.dates)
    start = "" if year.start == YEAR_START else f"-from-{year.start}"
    return pystac.Item(
        id=f"{slug}-{year.year}{start}-{'-'.join(methods)}",
        geometry=geometry,
        bbox=bbox,
        datetime=None,
        start_datetime=datetime(first.year, first.month, first.day, tzinfo=UTC),
        end_datetime=datetime(last.year, last.month, last.day, 23, 59, 59, tzinfo=UTC),
        properties={
            "title": f"{title}: crop season dates {year}",
            "proj:code": code,
            **({} if code else {"proj:wkt2": crs}),
            "proj:shape": [box.shape[0], box.shape[1]],
            "proj:transform": list(box.affine)[:6],
            "proj:bbox": list(box.boundingbox.bbox),
            "processing:software": {"deepcrop": __version__},
            "processing:level": "L3",
            "processing:lineage": "Season dates of each pixel from optical and radar images, by "
            + " and ".join(methods),
            "deepcrop:methods": methods,
            **properties,
        },
        stac_extensions=list(_EXTENSIONS),
        assets=dict(assets),
    )


def layer_asset(
    href: str, layer: Layer, method: str | None, box: GeoBox, crops: xr.DataArray | None = None
) -> pystac.Asset:
    """Asset of a layer's GeoTIFF; ``crops`` names the classes of crop types."""
    band: dict[str, Any] = {
        "name": layer.name,
        "description": layer.title,
        "data_type": layer.dtype.name,
        "unit": layer.unit,
        "raster:sampling": "area",
        "raster:spatial_resolution": float(box.resolution.x),
    }
    if layer.nodata is not None:
        band["nodata"] = layer.nodata
    if layer.scale != 1:
        band["raster:scale"] = layer.scale
    described: dict[str, Any] = {
        "bands": [band],
        "deepcrop:method": method,
        "deepcrop:kind": layer.kind,
        "deepcrop:stage": layer.stage,
        "deepcrop:season": layer.season,
        "deepcrop:part": layer.part,
    }
    if crops is not None and (classes := _classes(crops)):  # the schema wants one at least
        described["classification:classes"] = classes
    if codes := codes_of(layer):
        described["classification:classes"] = [
            {"value": value, "name": re.sub("[^0-9A-Za-z_-]", "_", words), "title": words}
            | {"color_hint": colour.removeprefix("#").upper()}
            for value, (words, colour) in codes.items()
        ]
    if layer.kind == "flags":
        described["deepcrop:flags"] = {str(bit): words for bit, words in FLAGS.items()}
        described["classification:bitfields"] = [
            {
                "offset": k,
                "length": 1,
                "description": words,
                "classes": [{"value": 0, "name": "no"}, {"value": 1, "name": "yes"}],
            }
            for k, words in enumerate(FLAGS.values())
        ]
    return pystac.Asset(
        href,
        title=layer.title,
        media_type=pystac.MediaType.COG,
        roles=["data"],
        extra_fields=described,
    )


def _classes(crop_type: xr.DataArray) -> list[dict[str, Any]]:
    """Codes, names and colours of the crops, as STAC's classification extension has them."""
    values = np.atleast_1d(crop_type.attrs.get("flag_values", [])).astype(int).tolist()
    names = str(crop_type.attrs.get("flag_meanings", "")).split()
    colours = str(crop_type.attrs.get("flag_colors", "")).split()
    classes: list[dict[str, Any]] = [
        {"value": value, "name": re.sub(r"[^0-9A-Za-z_-]", "_", name), "title": name}
        for value, name in zip(values, names, strict=True)
    ]
    if len(colours) == len(classes):
        for one, colour in zip(classes, colours, strict=True):
            one["color_hint"] = colour.removeprefix("#").upper()
    return classes


def write_stac(item: pystac.Item, out: Path, simulated: bool) -> None:
    """Write ``item.json`` and ``collection.json``, which know each other by relative links."""
    assert item.bbox is not None
    start, end = (
        datetime.fromisoformat(item.properties[f"{k}_datetime"]) for k in ("start", "end")
    )
    collection = pystac.Collection(
        id=f"{item.id}-collection",
        title=item.properties["title"],
        description="Season dates of crops, pixel by pixel, made by deepcrop"
        + (" from SIMULATED DATA." if simulated else "."),
        extent=pystac.Extent(
            pystac.SpatialExtent([item.bbox]), pystac.TemporalExtent([[start, end]])
        ),
        license="other",
        keywords=["phenology", "crops", "Sentinel-1", "Sentinel-2"],
        summaries=pystac.Summaries({"deepcrop:methods": item.properties["deepcrop:methods"]}),
    )
    described = collection.to_dict(include_self_link=False, transform_hrefs=False)
    links = {"item": "./item.json", "root": "./collection.json"}
    described["links"] = [_link(rel, href) for rel, href in links.items()]
    write_json(out / "collection.json", described)
    described = item.to_dict(include_self_link=False, transform_hrefs=False)
    described["collection"] = collection.id
    described["links"] = [
        _link(rel, "./collection.json") for rel in ("root", "parent", "collection")
    ]
    write_json(out / "item.json", described)


def _link(rel: str, href: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": "application/json"}


def _footprint(box: GeoBox) -> tuple[dict[str, Any], list[float]]:
    """Outline of a grid in longitude and latitude, counter-clockwise, and its bounding box.

    A straight edge of the grid is a curve in degrees: each gets 20 points. Over the date line it is
    a MultiPolygon, and west of the box is greater than east.
    """
    left, bottom, right, top = box.boundingbox.bbox
    step = np.arange(20) / 20
    x = np.concatenate(
        [
            0 * step + left,
            left + (right - left) * step,
            0 * step + right,
            right + (left - right) * step,
        ]
    )
    y = np.concatenate(
        [
            top + (bottom - top) * step,
            0 * step + bottom,
            bottom + (top - bottom) * step,
            0 * step + top,
        ]
    )
    lon, lat = Transformer.from_crs(crs_name(box), "EPSG:4326", always_xy=True).transform(x, y)
    lon = lon + 360 * np.round((lon[0] - lon) / 360)  # no jump at the date line
    ring = [[round(a, 7), round(b, 7)] for a, b in zip(lon.tolist(), lat.tolist(), strict=True)]
    lons, lats = zip(*ring, strict=True)
    west, east = min(lons), max(lons)
    if west >= -180 and east <= 180:
        geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        return geometry, [west, min(lats), east, max(lats)]
    # Over the date line GeoJSON wants a polygon on each side, and a box whose west is the greater.
    whole, parts = Polygon(ring), []
    for turn in (-360, 0, 360):
        part = whole.intersection(shapely.box(turn - 180, -90, turn + 180, 90))
        if part.area > 0:
            moved = orient(translate(part, -turn))
            parts.append([[[round(v, 7) for v in place] for place in moved.exterior.coords]])
    wrapped = [(bound + 180) % 360 - 180 for bound in (west, east)]
    west, east = (round(bound, 7) for bound in wrapped)
    return {"type": "MultiPolygon", "coordinates": parts}, [west, min(lats), east, max(lats)]

"""Check the footprints of images that an archive states: GeoJSON from outside."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from odc.geo.geom import Geometry
from shapely import make_valid

from deepcrop.sources.archive import SceneError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_CORNERS = 10_000  # real footprints have 5 to 400
_LONGEST_OUTLINE = 10_000.0  # degrees, all rings together; real ones have up to 20


def footprint_polygons(geometry: Any) -> list[list[list[tuple[float, float]]]]:
    """Return the polygons of a footprint: for each its rings, of longitude and latitude.

    Parameters
    ----------
    geometry : mapping
        GeoJSON Polygon or MultiPolygon, in degrees.

    Raises
    ------
    SceneError
        If it is anything else, or coordinates are no degrees, or there are absurdly many.
    """
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise SceneError(f"its footprint is of type {str(kind)[:40]!r}, expected a polygon")
    parts = geometry.get("coordinates")
    polygons = [
        [_ring(ring) for ring in part] for part in ([parts] if kind == "Polygon" else parts)
    ]
    rings = [ring for polygon in polygons for ring in polygon]
    if not polygons or not all(polygons):
        raise SceneError("its footprint has no corners")
    length = sum(math.dist(a, b) for ring in rings for a, b in pairwise(ring))
    if sum(map(len, rings)) > _MOST_CORNERS or length > _LONGEST_OUTLINE:
        raise SceneError(f"its footprint is absurdly long: {sum(map(len, rings))} corners")
    return polygons


def valid_geometry(polygons: list[Any]) -> Geometry:
    """Make a geometry in degrees; outlines that cross themselves are mended, no part is lost."""
    shape = Geometry({"type": "MultiPolygon", "coordinates": polygons}, "EPSG:4326")
    if shape.is_valid:
        return shape
    return Geometry(make_valid(shape.geom, method="structure", keep_collapsed=False), shape.crs)


def _ring(ring: Any) -> list[tuple[float, float]]:
    corners = [(_degrees(place[0], 540), _degrees(place[1], 90)) for place in ring]
    if len(corners) < 4:
        raise SceneError(f"a ring of its footprint has {len(corners)} corners, expected 4 or more")
    return corners


def _degrees(value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        raise SceneError(f"its footprint has the coordinate {str(value)[:40]}, expected degrees")
    return float(value)


def name_of(item: Mapping[str, Any] | Any) -> str:
    """Name of an item for messages, whatever the item is."""
    name = item.get("id") if isinstance(item, dict) else None
    return repr(name)[:120] if name else f"an item without a name ({type(item).__name__})"

"""Areas as a user gives them: a box of degrees, a GeoJSON file, an area of the paper, a site."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Transformer

from deepcrop import grid
from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

PAPER_AREAS = {"ta1": (38.0, -121.5), "ta1-counties": (38.53, -121.78), "ta2": (35.92, -90.0)}
"""Centres (latitude, longitude) of the paper's test areas, 40 km x 10 km each (section 2.1).

The paper contradicts itself on TA1: "around 38°N and 121°30'W" lies in the delta of the Sacramento
and San Joaquin rivers, outside of "Solano and Yolo counties" that it names. Both readings are
offered: ``ta1`` as printed, ``ta1-counties`` on Putah Creek, the border of these counties, so that
the area stretches over both, from Winters past Davis. TA2 is in north-east Arkansas."""
_PAPER_SHAPE = (1000, 4000)

SITE_CELLS = 64
"""Side of the grid around a camera: room for an 18x18 patch moved along any viewing direction."""

_WIDEST = 500_000.0
"""Metres from the middle of its zone up to which UTM may be used; beyond, pixels shrink."""

_HELP = (
    "expected west,south,east,north in degrees (-121.6,38.0,-121.5,38.1), a GeoJSON file, or one "
    f"of {', '.join(PAPER_AREAS)}"
)


@dataclass(frozen=True)
class Area:
    """A named grid in the UTM zone of its centre."""

    name: str
    box: GeoBox


def area_of(text: str, resolution: float = grid.RESOLUTION) -> Area:
    """Parse the area that a user gives.

    Parameters
    ----------
    text : str
        ``west,south,east,north`` in degrees (west greater than east: over the date line), the path
        of a GeoJSON file (its bounds count), or a name of `PAPER_AREAS`.
    resolution : float
        Pixel size of the grid, metres.

    Raises
    ------
    DeepCropError
        If it is none of these, empty, too wide for one UTM zone, or beyond UTM's latitudes.
    """
    if text.lower() in PAPER_AREAS:
        rows, cols = (round(side * grid.RESOLUTION / resolution) for side in _PAPER_SHAPE)
        box = around(*PAPER_AREAS[text.lower()], rows, cols, resolution)
        return Area(text.lower(), box)
    path = Path(text)
    if path.is_file():
        return Area(path.stem, cover(*_bounds_of(path), str(path), resolution))
    parts = text.split(",")
    try:
        west, south, east, north = (float(part) for part in parts)
    except ValueError:
        raise DeepCropError(f"Area {text!r} is unknown: {_HELP}.") from None
    return Area("area", cover(west, south, east, north, f"Area {text}", resolution))


def around(
    latitude: float,
    longitude: float,
    rows: int,
    cols: int,
    resolution: float = grid.RESOLUTION,
) -> GeoBox:
    """Grid of ``rows`` x ``cols`` pixels, centred on a place, in its UTM zone."""
    crs = utm_crs(latitude, longitude)
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    size = resolution
    # Edges as `make_grid` places them, so that it adds no row.
    base = grid.make_grid((x, y, x + size, y + size), crs, size).affine.f % size
    left, top = (round(x / size - cols / 2) * size, round((y - base) / size + rows / 2) * size)
    top += base
    return grid.make_grid((left, top - size * rows, left + size * cols, top), crs, size)


def cover(
    west: float,
    south: float,
    east: float,
    north: float,
    where: str = "Area",
    resolution: float = grid.RESOLUTION,
) -> GeoBox:
    """Smallest grid in UTM that covers a box of degrees."""
    if not all(math.isfinite(v) for v in (west, south, east, north)):
        raise DeepCropError(f"{where}: coordinates are not finite; {_HELP}.")
    if west > east:
        east += 360
    if not (-180 <= west < east <= 540 and east - west < 180 and -90 <= south < north <= 90):
        raise DeepCropError(
            f"{where}: {west:g},{south:g},{east:g},{north:g} is no box of degrees with west < east "
            f"and south < north; {_HELP}."
        )
    crs = utm_crs((south + north) / 2, (west + east) / 2)
    # Edges are curves in UTM: their extremes lie between the corners.
    share = np.linspace(0, 1, 33)
    lon = np.concatenate([west + share * (east - west)] * 2 + [np.repeat([west, east], 33)])
    lat = np.concatenate([np.repeat([south, north], 33), *[south + share * (north - south)] * 2])
    lon = (lon + 180) % 360 - 180
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    farthest = np.abs(x - 500_000).max()
    if not farthest <= _WIDEST:
        raise DeepCropError(
            f"{where}: reaches {farthest / 1000:.0f} km from the middle of its UTM zone, at most "
            f"{_WIDEST / 1000:.0f} are sensible; fetch it in parts."
        )
    return grid.make_grid((x.min(), y.min(), x.max(), y.max()), crs, resolution)


def utm_crs(latitude: float, longitude: float) -> str:
    """Name the reference system of the UTM zone of a place, for example ``EPSG:32631``.

    Raises
    ------
    DeepCropError
        North of 84 or south of 80 degrees, where UTM ends.
    """
    if not -80 <= latitude <= 84:
        raise DeepCropError(
            f"Latitude {latitude:g} lies beyond UTM, which spans -80 to 84 degrees."
        )
    zone = int(((longitude + 180) % 360) // 6) + 1
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def _bounds_of(path: Path) -> tuple[float, float, float, float]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        places = list(_places(content))
        named = str((content.get("crs") or {}).get("properties", {}).get("name", "CRS84"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DeepCropError(
            f"{path} cannot be read as GeoJSON ({type(error).__name__}: {error}). Export the area "
            "as GeoJSON with longitude and latitude."
        ) from None
    if not named.endswith(("CRS84", ":4326")):  # a member of older GeoJSON
        raise DeepCropError(
            f"{path} is in {named}; export it with longitude and latitude in degrees (WGS 84)."
        )
    if not places:
        raise DeepCropError(f"{path} holds no coordinates; expected a GeoJSON polygon.")
    lon, lat = np.array(places).T[:2]
    if not (np.abs(lon).max() <= 360 and np.abs(lat).max() <= 90):
        raise DeepCropError(
            f"{path}: coordinates reach {np.abs(lon).max():g}, {np.abs(lat).max():g}; GeoJSON has "
            "longitude and latitude in degrees."
        )
    # Longitudes may be counted from 0 to 360, or on beyond the date line.
    lon = np.where(np.abs(lon) > 180, (lon + 180) % 360 - 180, lon)
    west, east = float(lon.min()), float(lon.max())
    if east - west > 180:  # parts on both sides of the date line
        west, east = float(lon[lon > 0].min()), float(lon[lon < 0].max())
    return west, float(lat.min()), east, float(lat.max())


def _places(part: Any) -> Any:
    """Yield all positions of a GeoJSON object."""
    kind = part["type"]
    if kind == "FeatureCollection":
        for feature in part["features"]:
            yield from _places(feature)
    elif kind == "Feature":
        if part["geometry"] is not None:
            yield from _places(part["geometry"])
    elif kind == "GeometryCollection":
        for geometry in part["geometries"]:
            yield from _places(geometry)
    else:
        yield from _positions(part["coordinates"])


def _positions(coordinates: Any) -> Any:
    if coordinates and isinstance(coordinates[0], int | float):
        longitude, latitude = coordinates[:2]
        yield float(longitude), float(latitude)
        return
    for inner in coordinates:
        yield from _positions(inner)

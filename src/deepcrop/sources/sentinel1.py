"""Sentinel-1: compute the incidence angle, and convert gamma0 to sigma0.

Terrain-corrected products (RTC) hold gamma0, the power per area across the line of sight. The cube
holds sigma0, the power per area on the ground: ``sigma0 = gamma0 · cos θ`` with the incidence angle
θ on the ellipsoid. On flat land this is the sigma0 of a ground-range product. On slopes it is not:
the terrain correction has removed the effect of the slope, and the conversion only restores the
decrease of brightness across the swath.

θ comes from the geolocation grid in the annotation of the source product. If the annotation is not
available, θ is computed from the position in the swath (`angles_from_footprint`), with an error of
about half a degree or 0.05 dB.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Transformer

from deepcrop.errors import MALFORMED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

NEAR_INCIDENCE = 30.5
"""Incidence angle at the near edge of the IW swath, degrees; real products have 30.2 to 30.9."""

_EARTH_RADIUS = 6371.0  # km
_HEIGHT = 700.0  # km, mean of the orbit above the ground
_INCLINATION = 98.18  # degrees
_PERIOD = 98.6 * 60  # s
_EARTH_SPEED = 0.4651  # km/s at the equator
_NODE_STEP = 32  # pixels; over this distance the angle is linear to a millionth of a degree


class AnnotationError(ValueError):
    """A file is not a product annotation, or has no usable geolocation grid."""


@dataclass(frozen=True)
class IncidenceAngles:
    """Incidence angle at points of a product's image, arranged in lines and pixels.

    Attributes
    ----------
    longitude, latitude, incidence : ndarray (lines, pixels)
        Degrees; longitudes without a jump at the date line.
    """

    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    incidence: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """Write the angles in types that JSON has, rounded to 1 m and 0.0001 degrees."""
        return {
            "longitude": self.longitude.round(5).tolist(),
            "latitude": self.latitude.round(5).tolist(),
            "incidence": self.incidence.round(4).tolist(),
        }

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> IncidenceAngles:
        """Read the angles that `to_json` wrote."""
        return cls(*(np.array(text[name]) for name in ("longitude", "latitude", "incidence")))

    def on_grid(self, box: GeoBox) -> NDArray[np.float32]:
        """Interpolate the incidence angle at the pixels of a grid, degrees, (rows, cols).

        Bilinear between the points of the image, extrapolated linearly beyond its edge.
        """
        rows, cols = (_nodes(n) for n in box.shape)
        left, bottom, right, top = box.boundingbox.bbox
        x, y = np.meshgrid(
            left + (cols + 0.5) * (right - left) / box.shape[1],
            top - (rows + 0.5) * (top - bottom) / box.shape[0],
        )
        to_grid = Transformer.from_crs("EPSG:4326", str(box.crs), always_xy=True)
        grid_x, grid_y = to_grid.transform(self.longitude, self.latitude)
        line, pixel = _image_position(grid_x, grid_y, x, y)
        nodes = _bilinear(self.incidence, line, pixel)
        weights = [
            _linear_weights(n, where) for n, where in zip(box.shape, (rows, cols), strict=True)
        ]
        return (weights[0] @ nodes @ weights[1].T).astype(np.float32)


def angles_from_annotation(text: str) -> IncidenceAngles:
    """Read the geolocation grid of a product's annotation.

    Raises
    ------
    AnnotationError
        If there is none, or it is not a full grid of lines and pixels.
    """
    try:
        root = ElementTree.fromstring(text)
        points = np.array(
            [
                [float(point.findtext(name, "")) for name in _GRID_POINT]
                for point in root.iter("geolocationGridPoint")
            ]
        ).reshape(-1, len(_GRID_POINT))
    except (ElementTree.ParseError, *MALFORMED) as error:
        raise AnnotationError(f"no annotation of a Sentinel-1 product: {error}") from None
    most = np.array([1e7, 1e7, 90, 360, 90])  # of each of `_GRID_POINT`
    if not (np.abs(points) <= most).all():  # NaN too
        raise AnnotationError("a geolocation grid with impossible positions or angles")
    lines, pixels = (np.unique(points[:, k]).size for k in (0, 1))
    if min(lines, pixels) < 2 or lines * pixels != len(points):
        raise AnnotationError(f"a geolocation grid of {len(points)} points, {lines} x {pixels}")
    order = np.lexsort((points[:, 1], points[:, 0]))
    _, _, latitude, longitude, incidence = points[order].T.reshape(-1, lines, pixels)
    return IncidenceAngles(_unwrap_longitude(longitude), latitude, incidence)


_GRID_POINT = ("line", "pixel", "latitude", "longitude", "incidenceAngle")


def angles_from_footprint(
    points: Sequence[tuple[float, float]], ascending: bool
) -> IncidenceAngles:
    """Incidence angle across the swath of an IW product, from its footprint and a round earth.

    The satellite flies on its known inclination and looks to the right, so the near edge of the
    footprint is the western one on an ascending pass and the eastern one on a descending pass. The
    angle there is `NEAR_INCIDENCE`; farther out it follows from the distance on the ground.

    Parameters
    ----------
    points : sequence of tuple of float
        Longitude and latitude of the corners of the footprint.
    ascending : bool
        Whether the satellite flies north.
    """
    longitude, latitude = np.array(points, float).T
    longitude = _unwrap_longitude(longitude)
    middle = float(latitude.min() + latitude.max()) / 2
    degree = math.radians(_EARTH_RADIUS)  # km
    east = (longitude - longitude[0]) * degree * math.cos(math.radians(middle))
    north = (latitude - latitude[0]) * degree
    heading = _heading(middle, ascending)
    along = (math.sin(heading), math.cos(heading))
    across = (along[1], -along[0])  # to the right
    flight, distance = (east * d[0] + north * d[1] for d in (along, across))
    steps, lines = np.meshgrid(
        np.linspace(distance.min(), distance.max(), 21), np.linspace(flight.min(), flight.max(), 9)
    )
    grid_north = lines * along[1] + steps * across[1]
    grid_east = lines * along[0] + steps * across[0]
    return IncidenceAngles(
        longitude[0] + grid_east / degree / math.cos(math.radians(middle)),
        latitude[0] + grid_north / degree,
        _incidence_at(_ground_range(NEAR_INCIDENCE) + steps - steps.min()),
    )


def sigma0(gamma0: NDArray[np.float32], incidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert linear gamma0 to sigma0 in dB; NaN where the power is not positive.

    Parameters
    ----------
    gamma0 : ndarray
        Linear power.
    incidence : ndarray
        Degrees.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels = 10 * np.log10(gamma0 * np.cos(np.radians(incidence)))
    return np.where(np.isfinite(decibels), decibels, np.nan).astype(np.float32)


# Geometry of the orbit --------------------------------------------------------------------------


def _heading(latitude: float, ascending: bool) -> float:
    """Direction of flight relative to the rotating earth, radians east of north."""
    lat = math.radians(latitude)
    sine = math.cos(math.radians(_INCLINATION)) / math.cos(lat)
    sine = max(-1.0, min(1.0, sine))
    speed = 2 * math.pi * _EARTH_RADIUS / _PERIOD
    east = speed * sine - _EARTH_SPEED * math.cos(lat)
    north = speed * math.sqrt(1 - sine**2)
    return math.atan2(east, north if ascending else -north)


def _incidence_at(ground_range: NDArray[np.float64]) -> NDArray[np.float64]:
    """Incidence angle, degrees, at a ground distance (km) from the point below the satellite."""
    central = ground_range / _EARTH_RADIUS
    up = _EARTH_RADIUS + _HEIGHT
    look = np.arctan2(_EARTH_RADIUS * np.sin(central), up - _EARTH_RADIUS * np.cos(central))
    return np.degrees(look + central)


def _ground_range(incidence: float) -> float:
    theta = math.radians(incidence)
    look = math.asin(math.sin(theta) * _EARTH_RADIUS / (_EARTH_RADIUS + _HEIGHT))
    return (theta - look) * _EARTH_RADIUS


# Interpolation ----------------------------------------------------------------------------------


def _unwrap_longitude(longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    return longitude.flat[0] + (longitude - longitude.flat[0] + 180) % 360 - 180


def _nodes(length: int) -> NDArray[np.float64]:
    return np.linspace(0, length - 1, max(math.ceil((length - 1) / _NODE_STEP), 1) + 1)


def _linear_weights(length: int, nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (length, nodes) of linear interpolation between nodes."""
    step = max(nodes[1] - nodes[0], 1.0)
    distance = np.abs(np.arange(length)[:, None] - nodes) / step
    weights: NDArray[np.float64] = np.maximum(1 - distance, 0)
    return weights


def _bilinear(
    values: NDArray[np.float64], line: NDArray[np.float64], pixel: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate at fractional positions, extrapolating linearly beyond the edge."""
    i = np.clip(np.floor(line).astype(int), 0, values.shape[0] - 2)
    j = np.clip(np.floor(pixel).astype(int), 0, values.shape[1] - 2)
    u, v = line - i, pixel - j
    upper = values[i, j] * (1 - v) + values[i, j + 1] * v
    lower = values[i + 1, j] * (1 - v) + values[i + 1, j + 1] * v
    interpolated: NDArray[np.float64] = upper * (1 - u) + lower * u
    return interpolated


def _image_position(
    grid_x: NDArray[np.float64],
    grid_y: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the fractional line and pixel of coordinates, given those of each image point.

    Line and pixel are nearly linear in the coordinates: a linear fit gives the first guess, and its
    slopes applied to the remaining distance converge within a few iterations.
    """
    lines, pixels = np.indices(grid_x.shape)
    ones = np.ones(grid_x.size)
    centre_x, centre_y = grid_x.mean(), grid_y.mean()
    terms = np.stack([ones, grid_x.ravel() - centre_x, grid_y.ravel() - centre_y], axis=1)
    places = np.stack([lines.ravel(), pixels.ravel()], axis=1)
    (constant, per_x, per_y), *_ = np.linalg.lstsq(terms, places, rcond=None)
    left_x, left_y = x - centre_x, y - centre_y
    line = constant[0] + per_x[0] * left_x + per_y[0] * left_y
    pixel = constant[1] + per_x[1] * left_x + per_y[1] * left_y
    for _ in range(12):
        left_x = x - _bilinear(grid_x, line, pixel)
        left_y = y - _bilinear(grid_y, line, pixel)
        line = line + per_x[0] * left_x + per_y[0] * left_y
        pixel = pixel + per_x[1] * left_x + per_y[1] * left_y
    return line, pixel

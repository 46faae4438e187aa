"""Decide whether coordinates name the centres or the corners of pixels.

CF coordinates are centres, but some tools write the upper left corners (stackstac does by default).
Read as centres, they shift a cube by half a pixel and blur it. The file's own geotransform or the
CF bounds of its coordinates show which they are; a key of the specification overrules them.

Where a file says nothing, coordinates on multiples of the pixel size are doubtful: there lie the
edges of the pixels of Sentinel images and of most other grids, but the centres of Landsat's. In
metres this is an error; in degrees, where grids start anywhere, a warning.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from affine import Affine
from pyproj import CRS

from deepcrop.errors import SpecError
from deepcrop.grid.geotransform import parse_geotransform, place_in_pixel

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

logger = logging.getLogger(__name__)

_TOLERANCE = 0.01  # of a pixel


def pixel_affine(
    first: tuple[float, float],
    step: tuple[float, float],
    crs: str,
    data: xr.Dataset,
    array: xr.DataArray,
    dims: tuple[str, str],
    path: Path,
    key: str,
    stated: str | None,
) -> Affine:
    """Make the affine transform of a raster from its coordinates.

    Parameters
    ----------
    first : tuple of float
        First x and y.
    step : tuple of float
        Steps of x and y.
    crs : str
        Reference system.
    data, array, dims, path
        The file, not decoded, the variable, and its dimensions of x and y.
    key : str
        Key of the specification, for messages.
    stated : str, optional
        Value of that key, ``"centre"`` or ``"corner"``; it decides if it is given.

    Raises
    ------
    SpecError
        If the geotransform contradicts the coordinates, or the coordinates could be either.
    """
    own = geotransform(data, array)
    if stated is None and own is not None:
        stated = place_in_pixel(first, step, own)
        if stated == "neither":
            raise SpecError(
                f"{key}: in {path} the coordinates start at x {first[0]:.10g}, y {first[1]:.10g}, "
                f"which are neither centres nor corners of the pixels of its geotransform "
                f"{tuple(own)[:6]}. Write pixel_coordinates: centre or corner, whichever the "
                "coordinates are."
            )
    if stated is None:
        stated = _place_by_bounds(first, step, data, dims, path, key)
    if stated is None and _on_multiples(first, step):
        _doubt(first, step, crs, path, key)
    if stated == "corner":  # the upper left one, whichever way the axes run
        left = first[0] if step[0] > 0 else first[0] - step[0]
        top = first[1] if step[1] < 0 else first[1] - step[1]
        return Affine(step[0], 0, left, 0, step[1], top)
    return Affine(step[0], 0, first[0] - step[0] / 2, 0, step[1], first[1] - step[1] / 2)


_OTHER_UNITS = {
    "metre": ("km", "kilomet", "cm", "centimet", "mm", "rad", "microrad", "deg"),
    "degree": ("m", "met", "km", "kilomet", "rad", "microrad"),
}
"""Unit of a reference system -> how units of coordinates begin that are not it."""


def check_units(units: object, dim: str, crs: str, path: Path, section: str) -> None:
    """Reject coordinates in kilometres, say, of a reference system in metres.

    Raises
    ------
    SpecError
        If the unit that a coordinate states is another than that of the reference system.
    """
    expected = CRS.from_user_input(crs).axis_info[0].unit_name
    first = str(units or "").lower().replace("_", " ").split()[:1]
    short = ("m", "km", "cm", "mm", "rad")  # whole words
    for other in _OTHER_UNITS.get(expected, ()):
        if first and (first[0] == other if other in short else first[0].startswith(other)):
            raise SpecError(
                f"{section}: the coordinate '{dim}' of {path} is in {units!r}, and its reference "
                f"system in {expected}s. Convert the coordinates, or give the right reference "
                f"system in {section}.crs."
            )


def geotransform(data: xr.Dataset, array: xr.DataArray) -> Affine | None:
    """Read the geotransform that a file states beside its coordinates; None if there is none."""
    mapping = str(array.attrs.get("grid_mapping", "")).split(":")[0].split()
    places: list[dict[str, Any]] = [array.attrs, data.attrs]
    places += [
        data[name].attrs for name in (*mapping[:1], "spatial_ref", "crs") if name in data.variables
    ]
    for attrs in places:
        if "GeoTransform" in attrs:  # as GDAL writes it: x of the corner first
            numbers = parse_geotransform(attrs["GeoTransform"])
            if numbers is not None:
                return Affine.from_gdal(*numbers)
        for name in ("spatial:transform", "proj:transform", "transform"):
            numbers = parse_geotransform(attrs.get(name))
            if numbers is not None:
                return Affine(*numbers)
    return None


def _place_by_bounds(
    first: tuple[float, float],
    step: tuple[float, float],
    data: xr.Dataset,
    dims: tuple[str, str],
    path: Path,
    key: str,
) -> str | None:
    """Compare coordinates with their CF bounds; None if a file has none for both axes."""
    edges: list[float] = []  # upper left
    for dim, size in zip(dims, step, strict=True):
        bounds = data.get(data[dim].attrs.get("bounds"))
        if bounds is None or bounds.shape != (data.sizes[dim], 2):
            return None
        edges.append(float(bounds.values[0].min() if size > 0 else bounds.values[0].max()))
    place = place_in_pixel(first, step, Affine(step[0], 0, edges[0], 0, step[1], edges[1]))
    if place == "neither":
        raise SpecError(
            f"{key}: in {path} the coordinates start at x {first[0]:.10g}, y {first[1]:.10g}, "
            f"which are neither centres nor corners of the pixels by their CF bounds "
            f"({edges[0]:.10g}, {edges[1]:.10g}). Write pixel_coordinates: centre or corner, "
            "whichever the coordinates are."
        )
    return place


def _on_multiples(first: tuple[float, float], step: tuple[float, float]) -> bool:
    """Whether coordinates lie on multiples of the pixel size, in one axis at least.

    In the other axis they lie on multiples too, or in the middle between them.
    """
    shares = [(value / abs(size)) % 1 for value, size in zip(first, step, strict=True)]
    whole = [min(share, 1 - share) < _TOLERANCE for share in shares]
    half = [abs(share - 0.5) < _TOLERANCE for share in shares]
    return any(whole) and all(w or h for w, h in zip(whole, half, strict=True))


def _doubt(
    first: tuple[float, float], step: tuple[float, float], crs: str, path: Path, key: str
) -> None:
    """Reject coordinates on multiples of the pixel size, in metres; warn of them in degrees."""
    unit = "m" if CRS.from_user_input(crs).is_projected else "degrees"
    found = (
        f"{key}: the coordinates of {path} (x {first[0]:.10g}, y {first[1]:.10g}, …) are "
        f"multiples of the pixel size, {abs(step[0]):g} {unit}"
    )
    ways = "corner (upper left, as stackstac writes them) or centre"
    if unit == "m":
        raise SpecError(
            f"{found}. On the grid of Sentinel images these are corners of pixels, on that of "
            f"Landsat centres, and the file does not say which. Write pixel_coordinates: {ways}."
        )
    _warn(
        f"{found}; they are taken as centres of pixels. If they are corners, write "
        "pixel_coordinates: corner."
    )


@cache
def _warn(text: str) -> None:
    """Log a warning once in a plan, and not for each band of a file."""
    logger.warning("%s", text)


def warn_anew() -> None:
    """Forget which warnings were logged: another plan begins."""
    _warn.cache_clear()
